//! Against `tests/reference/flux-schnell` and `flux-dev`: diffusers 0.42 with the same weights, in f32.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::*;
use crate::attention::largest_difference;
use crate::folder::{Folder, ModelFolder};
use crate::weights::Checkpoint;

const VARIANTS: [&str; 2] = ["flux-schnell", "flux-dev"];

fn folder(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(variant)
}

fn recorded(variant: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(folder(variant).join("reference.safetensors"), &Device::Cpu).unwrap()
}

fn load(variant: &str, dtype: DType) -> Flux {
    let component = Folder::new(&ModelFolder::from(folder(variant))).component("transformer");
    let config = FluxConfig::load(&component).unwrap();
    let paths = component.weights("diffusion_pytorch_model", dtype).unwrap();
    let checkpoint = Checkpoint::open(paths).unwrap();
    Flux::load(&config, &checkpoint.root(&Device::Cpu, dtype)).unwrap()
}

#[test]
fn two_pictures_at_once_agree_with_the_reference() {
    for variant in VARIANTS {
        let (model, recorded) = (load(variant, DType::F32), recorded(variant));
        for (timestep, guidance) in [(965.5, 3.5), (31.25, 1.0)] {
            let (text, pooled) = (&recorded["transformer.text"], &recorded["transformer.pooled"]);
            let input = FluxInput { timestep, guidance, text, pooled };
            let found = model.forward(&recorded["transformer.latents"], input).unwrap();
            let expected = &recorded[&format!("transformer.{timestep}")];
            let difference = largest_difference(&found, expected);
            println!("{variant} at {timestep}: {difference:e}");
            assert!(difference <= 1e-4, "{variant} at {timestep}: {difference:e}");
        }
    }
}

#[test]
fn two_pictures_at_once_are_each_as_if_alone() {
    for variant in VARIANTS {
        let (model, recorded) = (load(variant, DType::F32), recorded(variant));
        let predict = |first: usize, count: usize| {
            let part = |name: &str| recorded[name].narrow(0, first, count).unwrap();
            let (text, pooled) = (part("transformer.text"), part("transformer.pooled"));
            let input = FluxInput { timestep: 500.0, guidance: 2.0, text: &text, pooled: &pooled };
            model.forward(&part("transformer.latents"), input).unwrap()
        };
        let both = predict(0, 2);
        for picture in 0..2 {
            let difference = largest_difference(&both.narrow(0, picture, 1).unwrap(), &predict(picture, 1));
            assert!(difference <= 1e-5, "{variant}, picture {picture}: {difference:e}");
        }
    }
}

#[test]
fn only_a_model_with_guidance_reads_it() {
    for (variant, reads) in VARIANTS.into_iter().zip([false, true]) {
        let (model, recorded) = (load(variant, DType::F32), recorded(variant));
        let predict = |guidance: f32| {
            let (text, pooled) = (&recorded["transformer.text"], &recorded["transformer.pooled"]);
            let input = FluxInput { timestep: 500.0, guidance, text, pooled };
            model.forward(&recorded["transformer.latents"], input).unwrap()
        };
        let difference = largest_difference(&predict(1.0), &predict(4.0));
        assert_eq!(difference > 1e-3, reads, "{variant}: {difference:e}");
    }
}

#[test]
fn positions_turn_tokens_as_in_the_reference() {
    let recorded = recorded("flux-dev");
    let rotary = Rotary::new([4, 6, 6], 3, (2, 48), &Device::Cpu).unwrap();
    let (cos, sin) = rotary.tables();
    assert!(largest_difference(cos, &recorded["rotary.cos"]) <= 1e-6);
    assert!(largest_difference(sin, &recorded["rotary.sin"]) <= 1e-6);
}

/// Half precision loses what it must and no more: what is computed from timestep, guidance and position is f32.
#[test]
fn half_precision_stays_near_the_reference() {
    for (dtype, bound) in [(DType::F16, 0.005), (DType::BF16, 0.03)] {
        let (model, recorded) = (load("flux-dev", dtype), recorded("flux-dev"));
        let half = |name: &str| recorded[name].to_dtype(dtype).unwrap();
        let (text, pooled) = (half("transformer.text"), half("transformer.pooled"));
        for (timestep, guidance) in [(965.5, 3.5), (31.25, 1.0)] {
            let input = FluxInput { timestep, guidance, text: &text, pooled: &pooled };
            let found = model.forward(&recorded["transformer.latents"], input).unwrap();
            let difference = largest_difference(&found, &recorded[&format!("transformer.{timestep}")]);
            println!("{dtype:?} at {timestep}: {difference:e}");
            assert!(difference <= bound, "{dtype:?} at {timestep}: {difference:e}");
        }
    }
}
