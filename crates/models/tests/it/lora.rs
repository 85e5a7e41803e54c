//! LoRAs on the tiny models in `tests/reference`: the files in `lora` there, written by `make_lora.py` and
//! `make_lora_transformers.py`.

mod agreement;
mod refusals;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device as CandleDevice, Tensor};
use darkroom_jobs::{ImageSize, TextToImage};
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, Lora, Model, Output, Request, Run};
use image::RgbImage;
use tempfile::TempDir;

use crate::support::{models, reference_folder, run, run_and_watch, shapes_sd, task};

fn load(folder: &str, options: &LoadOptions) -> LatentDiffusion {
    LatentDiffusion::load(&reference_folder(folder).into(), &Device::cpu(), options).unwrap()
}

fn model_with(options: &LoadOptions) -> LatentDiffusion {
    load("sd15", options)
}

fn model() -> LatentDiffusion {
    model_with(&LoadOptions::default())
}

fn lora(name: &str, strength: f64) -> Lora {
    let path = reference_folder("lora").join(format!("{name}.safetensors"));
    Lora { id: name.to_owned(), path, strength }
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &CandleDevice::Cpu).unwrap()
}

fn small_task() -> TextToImage {
    TextToImage { size: ImageSize::new(64, 64).unwrap(), steps: 2, ..task("a large red circle") }
}

fn request(loras: Vec<Lora>) -> Request {
    Request::TextToImage { task: small_task(), loras, done: vec![] }
}

#[track_caller]
fn picture(model: &mut dyn Model, loras: &[Lora]) -> RgbImage {
    let told = run(model, &request(loras.to_vec()));
    told.result.unwrap();
    match told.outputs.into_iter().next() {
        Some(Output::Image { image, .. }) => image,
        other => panic!("{other:?} is no picture"),
    }
}

#[test]
fn layers_may_have_the_names_of_latent_diffusion() {
    let mut model = model();
    let named_as_diffusers = picture(&mut model, &[lora("kohya", 1.3)]);
    assert!(picture(&mut model, &[lora("kohya-ldm", 1.3)]) == named_as_diffusers);
    assert!(picture(&mut model, &[]) != named_as_diffusers);
}

#[test]
fn a_request_with_loras_leaves_a_u_net_as_it_was() {
    let layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
    leaves_as_it_was(model(), ("unet", layer), [lora("peft", 0.7), lora("kohya", -0.6)]);
}

#[test]
fn a_request_with_loras_leaves_a_transformer_as_it_was() {
    let model = load("flux-schnell", &LoadOptions::default());
    let layer = "transformer_blocks.0.attn.add_k_proj";
    leaves_as_it_was(model, ("transformer", layer), [lora("flux-peft", 0.6), lora("flux-xlabs", -0.7)]);
}

#[track_caller]
fn leaves_as_it_was(mut model: LatentDiffusion, (component, layer): (&str, &str), both: [Lora; 2]) {
    let weight = |model: &LatentDiffusion| {
        model.weight(component, layer).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (before, before_weight) = (picture(&mut model, &[]), weight(&model));
    let changed = picture(&mut model, &both);
    assert!(changed != before);
    assert!(picture(&mut model, &[]) == before);
    assert!(picture(&mut model, &both) == changed);
    // Canceled in the middle.
    let canceled = AtomicBool::new(false);
    let told = run_and_watch(&mut model, &request(both.to_vec()), &canceled, |_| {
        canceled.store(true, Ordering::Relaxed);
    });
    assert!(matches!(told.result, Err(Error::Canceled)));
    assert!(picture(&mut model, &[]) == before);
    // A panic in a callback.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run {
            canceled: &AtomicBool::new(false),
            on_progress: &mut |_| panic!("as a test of panics"),
            on_output: &mut |_| {},
            on_warning: &mut |_| {},
            previews: None,
        };
        model.run(&request(both.to_vec()), &mut run)
    }));
    assert!(panicked.is_err());
    assert!(picture(&mut model, &[]) == before);
    // An error.
    let failed = model.with_loras(&both, |_| Err::<(), _>(Error::NotFinite("as a test".to_owned())));
    assert!(matches!(failed, Err(Error::NotFinite(_))));
    assert!(picture(&mut model, &[]) == before);
    assert!(weight(&model) == before_weight);
    assert!(model.with_loras(&both, |model| Ok(weight(model))).unwrap() != before_weight);
    assert!(weight(&model) == before_weight);
}

#[test]
fn order_means_nothing_and_strength_zero_is_the_base() {
    let (mut one, mut other) = (model(), model());
    let both = [lora("peft", 0.7), lora("kohya", -0.6)];
    let swapped = [both[1].clone(), both[0].clone()];
    assert!(picture(&mut one, &both) == picture(&mut other, &swapped));
    let at_rest = [lora("peft", 0.0), lora("kohya", -0.6)];
    assert!(picture(&mut one, &at_rest) == picture(&mut other, &both[1..]));
    assert!(picture(&mut one, &at_rest[..1]) == picture(&mut other, &[]));
}

#[test]
fn changed_weights_are_kept_up_to_the_bound() {
    let bytes = |model: &mut LatentDiffusion, lora: Lora| {
        let before = model.kept_bytes();
        picture(model, &[lora]);
        model.kept_bytes() - before
    };
    let mut unbounded =
        model_with(&LoadOptions { lora_cache_bytes: Some(u64::MAX), ..LoadOptions::default() });
    let peft = bytes(&mut unbounded, lora("peft", 1.0));
    let kohya = bytes(&mut unbounded, lora("kohya", 1.0));
    assert!(kohya > 0 && peft > kohya, "{peft} {kohya}");
    // Kept, and not made again.
    assert_eq!(bytes(&mut unbounded, lora("peft", 1.0)), 0);
    // Another strength is another set.
    assert_eq!(bytes(&mut unbounded, lora("kohya", 0.5)), kohya);

    let bound = LoadOptions { lora_cache_bytes: Some(peft + kohya), ..LoadOptions::default() };
    let mut bounded = model_with(&bound);
    for (strength, kept) in [(1.0, kohya), (0.5, 2 * kohya)] {
        picture(&mut bounded, &[lora("kohya", strength)]);
        assert_eq!(bounded.kept_bytes(), kept);
    }
    // Used again, so that the other one is the oldest and goes.
    picture(&mut bounded, &[lora("kohya", 1.0)]);
    picture(&mut bounded, &[lora("peft", 1.0)]);
    assert_eq!(bounded.kept_bytes(), peft + kohya);
    picture(&mut bounded, &[lora("kohya", 1.0)]);
    assert_eq!(bounded.kept_bytes(), peft + kohya);

    let mut keeps_none = model_with(&LoadOptions { lora_cache_bytes: Some(0), ..LoadOptions::default() });
    assert!(picture(&mut keeps_none, &[lora("peft", 1.0)]) == picture(&mut unbounded, &[lora("peft", 1.0)]));
    assert_eq!(keeps_none.kept_bytes(), 0);
    // The device has no room: what is kept goes.
    let failed = bounded.with_loras(&[], |_| Err::<(), _>(Error::OutOfMemory("as a test".into())));
    assert!(matches!(failed, Err(Error::OutOfMemory(_))));
    assert_eq!(bounded.kept_bytes(), 0);
}

/// A LoRA made of another by `edit`.
fn edited(name: &str, edit: impl FnOnce(&mut HashMap<String, Tensor>)) -> (TempDir, Lora) {
    let mut lora = lora(name, 1.0);
    let mut all = tensors(&lora.path);
    edit(&mut all);
    let folder = tempfile::tempdir().unwrap();
    lora.path = folder.path().join("lora.safetensors");
    candle_core::safetensors::save(&all, &lora.path).unwrap();
    (folder, lora)
}

#[test]
fn a_file_that_has_changed_is_read_again() {
    let mut model = model();
    let (_folder, lora) = edited("kohya", |_| {});
    let before = picture(&mut model, std::slice::from_ref(&lora));
    let mut all = tensors(&lora.path);
    all.remove("lora_unet_conv_in.alpha");
    candle_core::safetensors::save(&all, &lora.path).unwrap();
    assert!(picture(&mut model, &[lora]) != before);
}

/// Alphas, which the file of PEFT has beside its tensors, and the layers' names in other spellings.
#[test]
fn spellings_of_the_same_lora_make_the_same_picture() {
    let mut model = model();
    let plain = |all: &mut HashMap<String, Tensor>| {
        // Without the text encoder, whose settings are lost with the metadata as well.
        all.retain(|key, _| key.starts_with("unet."));
    };
    let (_folder, reference) = edited("peft", plain);
    let expected = picture(&mut model, &[reference]);
    assert!(picture(&mut model, &[]) != expected);
    type Spell = fn(&str) -> String;
    let spellings: [Spell; 3] = [
        |key| key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
        |key| {
            let key = key.trim_start_matches("unet.");
            let key = key.replace("attn1.to_", "attn1.processor.to_").replace("to_out.0.", "to_out.");
            key.replace(".lora_A", "_lora.down").replace(".lora_B", "_lora.up")
        },
        |key| {
            let (name, end) = key.trim_start_matches("unet.").split_once(".lora_").unwrap();
            let end = if end == "A.weight" { "lora_down.weight" } else { "lora_up.weight" };
            format!("lora_unet_{}.{end}", name.replace('.', "_"))
        },
    ];
    for spell in spellings {
        let (_folder, lora) = edited("peft", |all| {
            plain(all);
            *all = all.drain().map(|(key, tensor)| (spell(&key), tensor)).collect();
        });
        assert!(picture(&mut model, &[lora]) == expected);
    }
}

/// diffusers reads both alike, as `make_lora_transformers.py` checks.
#[test]
fn layers_may_have_the_names_of_comfyui() {
    let mut model = load("flux-dev", &LoadOptions::default());
    let named_as_kohya = picture(&mut model, &[lora("flux-kohya", 1.0)]);
    let spell = |key: &str| {
        [
            ("lora_unet_", "diffusion_model."),
            (
                "lora_te1_text_model_encoder_layers_",
                "text_encoders.clip_l.transformer.text_model.encoder.layers.",
            ),
            ("_blocks_", "_blocks."),
            ("_img_", ".img_"),
            ("_txt_", ".txt_"),
            ("attn_qkv.", "attn.qkv."),
            ("attn_proj.", "attn.proj."),
            ("mlp_", "mlp."),
            ("_self_attn_", ".self_attn."),
            ("_mlp.fc", ".mlp.fc"),
            ("mod_lin.", "mod.lin."),
            ("_linear", ".linear"),
            ("_in_in_layer.", "_in.in_layer."),
            ("_modulation_lin.", ".modulation.lin."),
        ]
        .into_iter()
        .fold(key.to_owned(), |key, (from, to)| key.replace(from, to))
    };
    let (_folder, lora) = edited("flux-kohya", |all| {
        *all = all.drain().map(|(key, tensor)| (spell(&key), tensor)).collect();
        for key in [
            "diffusion_model.double_blocks.1.txt_attn.qkv.lora_up.weight",
            "diffusion_model.single_blocks.2.modulation.lin.alpha",
            "text_encoders.clip_l.transformer.text_model.encoder.layers.1.mlp.fc2.lora_down.weight",
        ] {
            assert!(all.contains_key(key), "{key}");
        }
    });
    assert!(picture(&mut model, &[lora]) == named_as_kohya);
    assert!(picture(&mut model, &[]) != named_as_kohya);
}

/// The demo LoRA was trained to put a black frame around every picture.
#[test]
fn the_demo_lora_frames_the_picture() {
    let mut model = shapes_sd();
    let path = models().join("shapes-lora/pytorch_lora_weights.safetensors");
    let task = TextToImage {
        size: ImageSize::new(128, 128).unwrap(),
        steps: 12,
        guidance_scale: 4.0,
        ..task("a blue square on a yellow background")
    };
    let mut draw = |strength| {
        let loras = vec![Lora { id: "shapes-lora".to_owned(), path: path.clone(), strength }];
        let told = run(&mut model, &Request::TextToImage { task: task.clone(), loras, done: vec![] });
        let (_, _, image) = told.pictures()[0];
        let border =
            image.enumerate_pixels().filter(|(x, y, _)| [*x, *y].iter().any(|at| !(8..120).contains(at)));
        let red = border.map(|(_, _, pixel)| f64::from(pixel.0[0])).collect::<Vec<_>>();
        (red.iter().sum::<f64>() / red.len() as f64, *image.get_pixel(64, 64))
    };
    let (border, center) = draw(0.0);
    assert!(border > 220.0, "{border}");
    let (framed, framed_center) = draw(1.0);
    assert!(framed < 70.0, "{framed}");
    for pixel in [center, framed_center] {
        assert!(pixel.0[2] > 150 && pixel.0[0] < 100, "{pixel:?} is not blue");
    }
}
