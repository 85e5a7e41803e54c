//! Schedulers against `data/schedulers.json`: every sample on the way of diffusers 0.42 schedulers with a toy
//! model (`data/make_schedulers.py`).

use candle_core::{Device, Tensor};
use darkroom_models::{Error, Scheduler, SchedulerConfig};
use serde::Deserialize;

const START: [f32; 4] = [0.9, -1.4, 0.2, 2.0];

#[derive(Deserialize)]
struct Walk {
    config: SchedulerConfig,
    steps: usize,
    timesteps: Vec<f32>,
    samples: Vec<[f32; 4]>,
}

fn walks() -> Vec<Walk> {
    let walks: Vec<Walk> = serde_json::from_str(include_str!("data/schedulers.json")).unwrap();
    assert_eq!(walks.len(), 49);
    walks
}

#[test]
fn walks_are_those_of_the_reference() {
    let mut largest = 0f32;
    for Walk { config, steps, timesteps, samples } in walks() {
        let mut scheduler = Scheduler::new(&config, config.algorithm().unwrap(), steps).unwrap();
        assert_eq!(scheduler.timesteps(), timesteps, "{config:?}");
        let start = Tensor::from_slice(&START, (1, 4, 1, 1), &Device::Cpu).unwrap();
        let mut latents = start.affine(scheduler.init_noise_sigma(), 0.0).unwrap();
        for (index, (timestep, expected)) in timesteps.into_iter().zip(samples).enumerate() {
            let input = scheduler.scale_model_input(index, &latents).unwrap();
            let output = input.affine(0.7, f64::from(timestep) / 1500.0 - 0.4).unwrap().tanh().unwrap();
            latents = scheduler.step(index, &output, &latents).unwrap();
            let found = latents.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.into_iter().zip(expected) {
                let difference = (found - expected).abs() / expected.abs().max(1.0);
                assert!(difference <= 1e-4, "step {index} of {config:?}: {found} instead of {expected}");
                largest = largest.max(difference);
            }
        }
    }
    println!("largest difference {largest:e}");
}

#[test]
fn variants_that_are_not_implemented_are_refused() {
    for (class, field) in [
        ("DDIMScheduler", r#""thresholding": true"#),
        ("DDIMScheduler", r#""rescale_betas_zero_snr": true"#),
        ("EulerDiscreteScheduler", r#""use_karras_sigmas": true"#),
        ("EulerDiscreteScheduler", r#""final_sigmas_type": "sigma_min""#),
        ("PNDMScheduler", r#""skip_prk_steps": false"#),
        ("PNDMScheduler", r#""skip_prk_steps": true, "prediction_type": "sample""#),
    ] {
        let config = format!(r#"{{"_class_name": "{class}", {field}}}"#);
        let config: SchedulerConfig = serde_json::from_str(&config).unwrap();
        let result = Scheduler::new(&config, config.algorithm().unwrap(), 5);
        assert!(matches!(result, Err(Error::Unsupported(_))), "{class} {field}");
    }
}
