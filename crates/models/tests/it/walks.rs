//! Every scheduler on every U-Net family against `tests/reference/walks.safetensors`: what diffusers 0.42 draws
//! with the same weights and noise, in f32 (`make_walks.py`).

use std::collections::HashMap;

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, SchedulerKind, TextToImage};
use darkroom_models::{Device, LatentDiffusion, LoadOptions, ModelFolder, Noise};
use serde_json::json;

use crate::parity::same_picture;
use crate::support::{reference_file, reference_folder, task};

/// Folder and name.
const FAMILIES: [(&str, &str); 3] = [("sd15", "SD 1.5"), ("sd21", "SD 2.1"), ("sdxl", "SDXL")];

fn load(folder: ModelFolder) -> LatentDiffusion {
    LatentDiffusion::load(&folder, &Device::cpu(), &LoadOptions::default()).unwrap()
}

fn draw(model: &LatentDiffusion, recorded: &HashMap<String, Tensor>, task: &TextToImage) -> Tensor {
    let of_step = |step| Ok(recorded["noise"].narrow(0, step, 1)?);
    let noise = Noise { start: &recorded["start"], of_step: &of_step };
    let conditioning = model.condition(task).unwrap();
    let scheduler = model.scheduler(task).unwrap();
    let latents = model.denoise(&noise, &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
    model.decode(&latents).unwrap()
}

fn request(steps: u32, guidance_scale: f64, scheduler: Option<SchedulerKind>) -> TextToImage {
    let size = ImageSize::new(32, 24).unwrap();
    let negative_prompt = Some("a blue star".to_owned());
    TextToImage { size, steps, guidance_scale, scheduler, negative_prompt, ..task("a large red circle") }
}

#[test]
fn every_scheduler_draws_the_picture_of_the_reference_with_every_family() {
    let recorded = reference_file("walks.safetensors");
    let mut compared = 0;
    for (folder, family) in FAMILIES {
        let model = load(reference_folder(folder).into());
        let named = SchedulerKind::ALL.into_iter().filter(|kind| *kind != SchedulerKind::FlowMatchEuler);
        for (kind, steps) in named.flat_map(|kind| [(kind, 4), (kind, 20)]) {
            let name = kind.as_str();
            let Some(expected) = recorded.get(&format!("{folder}.{name}.{steps}")) else { continue };
            let image = draw(&model, &recorded, &request(steps, 3.0, Some(kind)));
            same_picture(family, &format!("{name}, {steps} steps, guidance"), &image, expected);
            compared += 1;
        }
    }
    assert_eq!(compared, 27, "8 schedulers at 20 steps and LCM at 4, with 3 families");
}

/// As the two Turbo models are published: their layout with a scheduler and a spacing of their own.
#[test]
fn turbo_models_draw_the_pictures_of_the_reference() {
    let recorded = reference_file("walks.safetensors");
    for (folder, name, class) in [
        ("sd21", "SD-Turbo", "EulerDiscreteScheduler"),
        ("sdxl", "SDXL-Turbo", "EulerAncestralDiscreteScheduler"),
    ] {
        let scheduler = [
            ("_class_name", json!(class)),
            ("timestep_spacing", json!("trailing")),
            ("prediction_type", json!("epsilon")),
        ];
        let scheduler = scheduler.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        let model = load(ModelFolder { scheduler, ..reference_folder(folder).into() });
        for steps in [1, 4] {
            let image = draw(&model, &recorded, &request(steps, 0.0, None));
            let expected = &recorded[&format!("{folder}.turbo.{steps}")];
            same_picture(name, &format!("{steps} steps, no guidance"), &image, expected);
        }
    }
}
