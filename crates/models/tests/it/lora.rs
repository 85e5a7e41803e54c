//! LoRAs on the tiny models in `tests/reference/sd15` and `sdxl` against what diffusers 0.42 and PEFT 0.21 make of
//! the same files (`tests/reference/lora`, written by `make_lora.py`), and what is said about files that do not fit.

use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device as CandleDevice, Tensor};
use darkroom_jobs::{ImageSize, Prompt, TextToImage};
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, Lora, Model, Output, Request, Run};
use image::RgbImage;
use tempfile::TempDir;

use crate::parity::{report, same_picture};
use crate::support::{
    largest_difference, models, reference, reference_folder, run, run_and_watch, shapes_sd, task, walk_from,
};

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

/// A recorded case.
struct Case {
    name: &'static str,
    folder: &'static str,
    loras: Vec<Lora>,
}

fn cases() -> [Case; 4] {
    let case = |name, folder, loras| Case { name, folder, loras };
    [
        case("peft", "sd15", vec![lora("peft", 0.8)]),
        case("kohya", "sd15", vec![lora("kohya", 1.3)]),
        case("both", "sd15", vec![lora("peft", 0.7), lora("kohya", -0.6)]),
        case("xl", "sdxl", vec![lora("kohya-xl", 0.9)]),
    ]
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
fn changed_weights_agree_with_the_reference() {
    let recorded = reference("lora");
    let mut weights = 0;
    for Case { name, folder, loras } in cases() {
        let prefix = format!("{name}.");
        let agree = |model: &LatentDiffusion| {
            let mut largest = 0f32;
            for (key, expected) in &recorded {
                let Some((component, layer)) = key.strip_prefix(&prefix).and_then(|key| key.split_once('.'))
                else {
                    continue;
                };
                let found = model.weight(component, layer).unwrap().flatten_from(1)?;
                let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?;
                let difference = largest_difference(&found, expected) / scale;
                assert!(difference <= 1e-5, "{key}: {difference:e}");
                largest = largest.max(difference);
                weights += 1;
            }
            report("LoRA", &format!("{name}: changed weights, relative"), &format!("{largest:.1e}"));
            Ok(())
        };
        load(folder, &LoadOptions::default()).with_loras(&loras, agree).unwrap();
    }
    assert_eq!(weights, 3 * 13 + 13);
}

#[test]
fn pictures_with_loras_agree_with_the_reference() {
    let recorded = reference("lora");
    let task = TextToImage {
        prompt: Prompt::new("a large red circle").unwrap(),
        negative_prompt: Some("a blue star".to_owned()),
        size: ImageSize::new(72, 96).unwrap(),
        steps: 5,
        guidance_scale: 3.0,
        ..task("a prompt")
    };
    for Case { name, folder, loras } in cases() {
        let noise = reference(folder)["noise"].clone();
        let draw = |model: &LatentDiffusion| {
            let conditioning = model.condition(&task)?;
            let scheduler = model.scheduler(&task)?;
            model.decode(&model.denoise(&walk_from(&noise), &conditioning, scheduler, &mut |_, _| Ok(()))?)
        };
        let mut model = load(folder, &LoadOptions::default());
        let image = model.with_loras(&loras, draw).unwrap();
        let expected = &recorded[&format!("{name}.image")];
        same_picture("LoRA", &format!("{name}: 5 steps, guidance"), &image, expected);
        // Not the base model's picture, with prompts encoded for the base model.
        assert!(largest_difference(&model.with_loras(&[], draw).unwrap(), expected) > 0.1);
        assert_eq!(largest_difference(&model.with_loras(&loras, draw).unwrap(), &image), 0.0);
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
fn a_request_with_loras_leaves_the_model_as_it_was() {
    let mut model = model();
    let both = [lora("peft", 0.7), lora("kohya", -0.6)];
    let layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
    let weight = |model: &LatentDiffusion| {
        model.weight("unet", layer).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
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
        let before = model.memory_bytes();
        picture(model, &[lora]);
        model.memory_bytes() - before
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
    let base = bounded.memory_bytes();
    for (strength, kept) in [(1.0, kohya), (0.5, 2 * kohya)] {
        picture(&mut bounded, &[lora("kohya", strength)]);
        assert_eq!(bounded.memory_bytes() - base, kept);
    }
    // Used again, so that the other one is the oldest and goes.
    picture(&mut bounded, &[lora("kohya", 1.0)]);
    picture(&mut bounded, &[lora("peft", 1.0)]);
    assert_eq!(bounded.memory_bytes() - base, peft + kohya);
    picture(&mut bounded, &[lora("kohya", 1.0)]);
    assert_eq!(bounded.memory_bytes() - base, peft + kohya);

    let mut keeps_none = model_with(&LoadOptions { lora_cache_bytes: Some(0), ..LoadOptions::default() });
    let base = keeps_none.memory_bytes();
    assert!(picture(&mut keeps_none, &[lora("peft", 1.0)]) == picture(&mut unbounded, &[lora("peft", 1.0)]));
    assert_eq!(keeps_none.memory_bytes(), base);
    // The device has no room: what is kept goes.
    let failed = bounded.with_loras(&[], |_| Err::<(), _>(Error::OutOfMemory("as a test".into())));
    assert!(matches!(failed, Err(Error::OutOfMemory(_))));
    assert_eq!(bounded.memory_bytes(), base);
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

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F16, &CandleDevice::Cpu).unwrap()
}

#[track_caller]
fn refusal(loras: &[Lora]) -> Error {
    let mut model = model();
    let error = run(&mut model, &request(loras.to_vec())).result.unwrap_err();
    // Refused before anything is changed.
    assert_eq!(model.with_loras(loras, |_| Ok(())).unwrap_err().to_string(), error.to_string());
    error
}

#[track_caller]
fn misfit(name: &str, edit: impl FnOnce(&mut HashMap<String, Tensor>), expected: &str) {
    let (_folder, lora) = edited(name, edit);
    let error = refusal(&[lora]);
    assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_does_not_fit_is_named_by_lora_and_first_key() {
    let conv = "lora_unet_conv_in.lora_down.weight";
    let last = "lora_unet_up_blocks_3_resnets_2_conv1.lora_up.weight";
    misfit(
        "kohya",
        |all| {
            all.insert(last.to_owned(), zeros(&[7, 2, 1, 1]));
            all.insert(conv.to_owned(), zeros(&[2, 5, 3, 3]));
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_conv_in.lora_down.weight\" is of shape [2, 5, 3, 3], \
         and the layer's weight of [16, 4, 3, 3]",
    );
    misfit(
        "kohya",
        |all| {
            all.insert(last.to_owned(), zeros(&[16, 3, 1, 1]));
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_up_blocks_3_resnets_2_conv1.lora_up.weight\" is of \
         shape [16, 3, 1, 1], where [16, 2] is expected",
    );
    misfit(
        "kohya",
        |all| {
            all.insert("lora_unet_down_blocks_9_x.lora_down.weight".to_owned(), zeros(&[1]));
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_down_blocks_9_x.lora_down.weight\" is for a layer \
         that the model does not have",
    );
    misfit(
        "kohya",
        |all| {
            all.remove("lora_unet_conv_in.lora_up.weight");
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_conv_in.lora_down.weight\" is there without its \
         counterpart",
    );
    misfit(
        "kohya",
        |all| {
            all.insert("lora_unet_conv_in.alpha".to_owned(), zeros(&[2]));
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_conv_in.alpha\" is of shape [2], not one number",
    );
    misfit(
        "kohya",
        |all| {
            all.insert("unet.conv_in.lora_A.weight".to_owned(), zeros(&[2, 4, 3, 3]));
        },
        "LoRA \"kohya\" does not fit the model: \"lora_unet_conv_in.lora_down.weight\" is for the same layer as \
         \"unet.conv_in.lora_A.weight\"",
    );
    misfit(
        "kohya",
        |all| {
            all.insert("conv_in.weight".to_owned(), zeros(&[16, 4, 3, 3]));
        },
        "LoRA \"kohya\" does not fit the model: \"conv_in.weight\" is no part of a LoRA",
    );
    misfit("kohya", HashMap::clear, "LoRA \"kohya\" holds no weights");
}

#[test]
fn what_is_not_finite_is_refused() {
    let key = "lora_unet_conv_in.lora_up.weight";
    misfit(
        "kohya",
        |all| {
            let nan = Tensor::full(f32::NAN, all[key].shape(), &CandleDevice::Cpu).unwrap();
            all.insert(key.to_owned(), nan);
        },
        "LoRA \"kohya\" cannot be used: \"lora_unet_conv_in.lora_up.weight\" has values that are not finite",
    );
    misfit(
        "kohya",
        |all| {
            let alpha = Tensor::new(f32::INFINITY, &CandleDevice::Cpu).unwrap();
            all.insert("lora_unet_conv_in.alpha".to_owned(), alpha);
        },
        "LoRA \"kohya\" cannot be used: \"lora_unet_conv_in.alpha\" has values that are not finite",
    );
    for strength in [f64::NAN, f64::NEG_INFINITY] {
        let error = refusal(&[lora("peft", strength)]).to_string();
        assert_eq!(error, format!("the strength of LoRA \"peft\" must be a finite number, not {strength}"));
    }
    let error = refusal(&[lora("peft", 1e60)]);
    assert!(matches!(error, Error::InvalidInput(_)));
    assert_eq!(error.to_string(), "the LoRAs are too strong: the weights they make are not finite");
}

#[test]
fn a_fifth_lora_is_refused() {
    let error = refusal(&vec![lora("peft", 0.1); 5]);
    assert!(matches!(error, Error::InvalidInput(_)));
    assert_eq!(error.to_string(), "a request may name at most 4 LoRAs, not 5");
    picture(&mut model(), &vec![lora("kohya", 0.1); 4]);
}

#[test]
fn other_kinds_of_changes_are_refused() {
    let key = "lora_unet_conv_in.dora_scale";
    let (_folder, lora) = edited("kohya", |all| {
        all.insert(key.to_owned(), zeros(&[16, 1]));
    });
    let error = refusal(&[lora]);
    assert!(matches!(error, Error::Unsupported(_)));
    assert_eq!(error.to_string(), format!("LoRA \"kohya\" holds {key:?}: DoRA is not implemented"));
}

#[test]
fn files_that_cannot_be_read_are_errors_for_operators() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(lora("kohya", 1.0).path).unwrap();
    let huge_header = [&(1u64 << 30).to_le_bytes()[..], b"{}"].concat();
    let cases = [
        ("cut", Some(whole[..whole.len() - 10].to_vec())),
        ("cut in the header", Some(whole[..100].to_vec())),
        ("header of a gigabyte", Some(huge_header)),
        ("pickle", Some(b"\x80\x02}q\x00X\x09\x00\x00\x00conv_in.wq\x01.".to_vec())),
        ("empty", Some(Vec::new())),
        ("absent", None),
    ];
    for (name, contents) in cases {
        let path = folder.path().join(name);
        contents.into_iter().for_each(|contents| fs::write(&path, contents).unwrap());
        let error = refusal(&[Lora { id: "x".to_owned(), path: path.clone(), strength: 1.0 }]);
        let Error::Load { file, expected, .. } = &error else { panic!("{name}: {error:?}") };
        assert_eq!((file, expected.as_str()), (&path, "a whole safetensors file"), "{name}");
    }
    let (_folder, lora) = edited("kohya", |all| {
        let key = "lora_unet_conv_in.lora_up.weight";
        all.insert(key.to_owned(), all[key].to_dtype(DType::U8).unwrap());
    });
    let error = refusal(&[lora]).to_string();
    assert!(
        error.contains("(tensor lora_unet_conv_in.lora_up.weight): expected a tensor of numbers"),
        "{error}"
    );
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
