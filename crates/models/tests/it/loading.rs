//! What is said about folders that are not as they should be.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType as CandleDType, Device as CandleDevice, Tensor};
use darkroom_jobs::Pipeline;
use darkroom_models::{DType, Device, Error, LoadOptions, ModelFolder, load, weights_bytes};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, edit_json, edit_weights, models, run, task};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

/// A copy of a bundled model that a test may damage.
fn copy_of(model: &str) -> TempDir {
    support::copy_of(&models().join(model))
}

fn load_sd(folder: &Path) -> Result<Box<dyn darkroom_models::Model>, Error> {
    load(&folder.into(), Pipeline::TextToImage, &Device::cpu(), &LoadOptions::default())
}

#[track_caller]
fn message(folder: &Path) -> String {
    match load_sd(folder) {
        Ok(_) => panic!("the folder loads"),
        Err(error) => error.to_string().replace(&folder.display().to_string(), "FOLDER"),
    }
}

#[test]
fn bundled_models_take_the_memory_they_announce() {
    for (folder, pipeline) in [("shapes-sd", Pipeline::TextToImage), ("shapes-blip", Pipeline::ImageToText)] {
        let (folder, device) = (models().join(folder).into(), Device::cpu());
        let options = LoadOptions::default();
        let announced = weights_bytes(&folder, pipeline, &device, &options).unwrap();
        let model = load(&folder, pipeline, &device, &options).unwrap();
        assert_eq!(model.memory_bytes(), announced, "{folder:?}");
        assert!(announced > 1_000_000);
    }
}

#[test]
fn a_folder_of_the_other_pipeline_is_refused() {
    let folder = models().join("shapes-sd").into();
    let result = load(&folder, Pipeline::ImageToText, &Device::cpu(), &LoadOptions::default());
    let Err(Error::Unsupported(message)) = result else { panic!("the folder loads") };
    assert_eq!(
        message,
        "the model is a StableDiffusionPipeline, which does not serve the pipeline image-to-text"
    );
}

#[test]
fn an_unknown_class_and_an_empty_folder_are_refused() {
    let copy = copy_of("shapes-sd");
    edit_json(&copy.path().join("model_index.json"), |index| {
        index["_class_name"] = "AuraFlowPipeline".into()
    });
    assert_eq!(message(copy.path()), "models of class \"AuraFlowPipeline\" are not implemented");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        message(empty.path()),
        "failed to load FOLDER: expected model_index.json or config.json, found neither"
    );
}

#[test]
fn half_precision_is_refused_on_the_cpu() {
    let options = LoadOptions { dtype: Some(DType::BF16), ..LoadOptions::default() };
    let result = load(&models().join("shapes-sd").into(), Pipeline::TextToImage, &Device::cpu(), &options);
    assert!(matches!(result, Err(Error::Unsupported(_))));
}

#[test]
fn missing_files_are_named() {
    for (file, expected) in [
        (
            UNET,
            "failed to load FOLDER/unet: expected diffusion_pytorch_model.safetensors or \
             diffusion_pytorch_model.fp16.safetensors, or the index of its shards, found neither",
        ),
        ("vae/config.json", "failed to load FOLDER/vae/config.json: expected a file, found none"),
        (
            "scheduler/scheduler_config.json",
            "failed to load FOLDER/scheduler/scheduler_config.json: expected a file, found none",
        ),
    ] {
        let copy = copy_of("shapes-sd");
        fs::remove_file(copy.path().join(file)).unwrap();
        assert_eq!(message(copy.path()), expected);
    }
}

#[test]
fn pickled_weights_are_never_read() {
    let copy = copy_of("shapes-sd");
    fs::rename(copy.path().join(UNET), copy.path().join("unet/diffusion_pytorch_model.bin")).unwrap();
    assert!(message(copy.path()).ends_with("found diffusion_pytorch_model.bin"));
}

#[test]
fn truncated_and_foreign_weights_are_named() {
    let copy = copy_of("shapes-sd");
    let file = copy.path().join(UNET);
    let whole = fs::read(&file).unwrap();
    for bytes in [&whole[..whole.len() / 2], &whole[..100], &whole[..3], &[], b"PK\x03\x04 not safetensors"] {
        fs::write(&file, bytes).unwrap();
        let message = message(copy.path());
        let expected = "failed to load FOLDER/unet/diffusion_pytorch_model.safetensors: expected a whole \
                        safetensors file, found ";
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let copy = copy_of("shapes-sd");
    edit_weights(&copy.path().join(VAE), |tensors| {
        tensors.remove("decoder.conv_in.weight");
    });
    assert_eq!(
        message(copy.path()),
        "failed to load FOLDER/vae/diffusion_pytorch_model.safetensors (tensor decoder.conv_in.weight): \
         expected shape [64, 4, 3, 3], found no such tensor"
    );
    let copy = copy_of("shapes-sd");
    edit_weights(&copy.path().join(UNET), |tensors| {
        let wrong = Tensor::zeros((48, 4, 1, 1), CandleDType::F16, &CandleDevice::Cpu).unwrap();
        tensors.insert("conv_in.weight".to_owned(), wrong);
    });
    assert_eq!(
        message(copy.path()),
        "failed to load FOLDER/unet/diffusion_pytorch_model.safetensors (tensor conv_in.weight): expected \
         shape [48, 4, 3, 3], found shape [48, 4, 1, 1]"
    );
    let copy = copy_of("shapes-sd");
    edit_weights(&copy.path().join(UNET), |tensors| {
        let whole = Tensor::zeros((48, 4, 3, 3), CandleDType::U8, &CandleDevice::Cpu).unwrap();
        tensors.insert("conv_in.weight".to_owned(), whole);
    });
    assert!(message(copy.path()).ends_with("expected a floating point tensor, found dtype U8"));
}

#[test]
fn configurations_that_contradict_each_other_are_refused() {
    let edits: [(&str, &str, Value, &str); 6] = [
        ("unet", "cross_attention_dim", 96.into(), "cross_attention_dim is 96"),
        ("unet", "attention_head_dim", 5.into(), "do not divide into 5 heads"),
        ("unet", "block_out_channels", Value::Array(vec![]), "block_out_channels is empty"),
        ("unet", "norm_num_groups", 7.into(), "not multiples of norm_num_groups"),
        ("text_encoder", "vocab_size", 100.into(), "vocab_size is 100"),
        ("vae", "norm_num_groups", 0.into(), "not multiples of norm_num_groups"),
    ];
    for (component, field, value, expected) in edits {
        let copy = copy_of("shapes-sd");
        edit_json(&copy.path().join(component).join("config.json"), |config| config[field] = value);
        if field == "vocab_size" {
            edit_weights(&copy.path().join("text_encoder/model.safetensors"), |tensors| {
                let name = "text_model.embeddings.token_embedding.weight";
                let fewer = tensors[name].narrow(0, 0, 100).unwrap().contiguous().unwrap();
                tensors.insert(name.to_owned(), fewer);
            });
        }
        let message = message(copy.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn architectures_that_are_not_implemented_are_refused() {
    for (component, field, value) in [
        ("unet", "addition_embed_type", Value::from("image")),
        ("unet", "only_cross_attention", true.into()),
        ("unet", "in_channels", 9.into()),
        ("vae", "latents_mean", vec![0.0; 4].into()),
    ] {
        let copy = copy_of("shapes-sd");
        edit_json(&copy.path().join(component).join("config.json"), |config| config[field] = value);
        assert!(matches!(load_sd(copy.path()), Err(Error::Unsupported(_))), "{field}");
    }
}

#[test]
fn broken_json_is_named_with_its_position() {
    let copy = copy_of("shapes-sd");
    fs::write(copy.path().join("unet/config.json"), "{\"in_channels\": 4").unwrap();
    assert_eq!(
        message(copy.path()),
        "invalid configuration FOLDER/unet/config.json: EOF while parsing an object at line 1 column 17"
    );
}

/// What published repositories look like where the bundled model looks otherwise: weights of the half
/// precision variant only, old names in the VAE, no prefix in the text encoder, no `tokenizer.json`.
#[test]
fn other_layouts_of_the_same_weights_give_the_same_picture() {
    let request =
        darkroom_models::Request::TextToImage { task: task("a red circle"), loras: vec![], done: vec![] };
    let bundled = run(&mut *load_sd(&models().join("shapes-sd")).unwrap(), &request).outputs;

    let copy = copy_of("shapes-sd");
    fs::remove_file(copy.path().join("tokenizer/tokenizer.json")).unwrap();
    fs::rename(copy.path().join(UNET), copy.path().join("unet/diffusion_pytorch_model.fp16.safetensors"))
        .unwrap();
    edit_weights(&copy.path().join(VAE), |tensors| {
        for (new, old) in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")] {
            for part in ["weight", "bias"] {
                let prefix = "decoder.mid_block.attentions.0";
                let mut tensor = tensors.remove(&format!("{prefix}.{new}.{part}")).unwrap();
                if part == "weight" {
                    tensor = tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap();
                }
                tensors.insert(format!("{prefix}.{old}.{part}"), tensor);
            }
        }
    });
    edit_weights(&copy.path().join("text_encoder/model.safetensors"), |tensors| {
        *tensors = tensors
            .drain()
            .map(|(name, tensor)| (name.trim_start_matches("text_model.").to_owned(), tensor))
            .collect();
    });
    let other = run(&mut *load_sd(copy.path()).unwrap(), &request).outputs;
    assert!(bundled == other);
}

/// The first tensors in one file, the others in another, and an index of both.
fn shard(file: &Path, stem: &str) {
    let tensors = candle_core::safetensors::load(file, &CandleDevice::Cpu).unwrap();
    let mut names = tensors.keys().cloned().collect::<Vec<_>>();
    names.sort();
    let mut weight_map = serde_json::Map::new();
    for (number, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let shard = format!("{stem}-{:05}-of-00002.safetensors", number + 1);
        let part = names.iter().map(|name| (name.clone(), tensors[name].clone())).collect::<HashMap<_, _>>();
        candle_core::safetensors::save(&part, file.with_file_name(&shard)).unwrap();
        weight_map.extend(names.iter().map(|name| (name.clone(), shard.clone().into())));
    }
    fs::remove_file(file).unwrap();
    let index = serde_json::json!({"metadata": {}, "weight_map": weight_map});
    fs::write(file.with_extension("safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_are_read_by_their_index_and_a_bad_index_is_named() {
    let request =
        darkroom_models::Request::TextToImage { task: task("a red circle"), loras: vec![], done: vec![] };
    let bundled = run(&mut *load_sd(&models().join("shapes-sd")).unwrap(), &request).outputs;
    let copy = copy_of("shapes-sd");
    shard(&copy.path().join(UNET), "diffusion_pytorch_model");
    assert!(run(&mut *load_sd(copy.path()).unwrap(), &request).outputs == bundled);

    let second = copy.path().join("unet/diffusion_pytorch_model-00002-of-00002.safetensors");
    fs::remove_file(&second).unwrap();
    assert_eq!(
        message(copy.path()),
        "failed to load FOLDER/unet/diffusion_pytorch_model-00002-of-00002.safetensors: expected a whole \
         safetensors file, found none"
    );
    let index = copy.path().join("unet/diffusion_pytorch_model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}"#).unwrap();
    assert!(message(copy.path()).ends_with("is not the name of a file in this folder"));
}

#[test]
fn components_can_come_from_elsewhere() {
    let request =
        darkroom_models::Request::TextToImage { task: task("a red circle"), loras: vec![], done: vec![] };
    let draw = |folder: &ModelFolder| {
        let model = load(folder, Pipeline::TextToImage, &Device::cpu(), &LoadOptions::default());
        model.map(|mut model| run(&mut *model, &request).outputs)
    };
    let bundled = draw(&models().join("shapes-sd").into()).unwrap();
    let without = copy_of("shapes-sd");
    fs::remove_dir_all(without.path().join("vae")).unwrap();
    // A folder of the component's own, and a whole model that has such a component.
    for elsewhere in [models().join("shapes-sd/vae"), models().join("shapes-sd")] {
        let components = [("vae".to_owned(), elsewhere)].into();
        assert!(draw(&ModelFolder { components, ..without.path().into() }).unwrap() == bundled);
    }
    // A file of weights for the component's own configuration.
    let other = copy_of("shapes-sd");
    edit_weights(&other.path().join(UNET), |tensors| {
        let bias = tensors.get_mut("conv_out.bias").unwrap();
        *bias = bias.affine(1.0, 0.5).unwrap();
    });
    let components = [("unet".to_owned(), other.path().join(UNET))].into();
    let drawn = draw(&ModelFolder { components, ..models().join("shapes-sd").into() }).unwrap();
    assert!(drawn == draw(&other.path().into()).unwrap() && drawn != bundled);
    let components = [("vae".to_owned(), without.path().join("absent"))].into();
    let error = draw(&ModelFolder { components, ..models().join("shapes-sd").into() }).unwrap_err();
    assert!(error.to_string().contains("absent/config.json: expected a file, found none"), "{error}");
}

#[test]
fn vocabulary_files_make_the_same_tokenizer_as_tokenizer_json() {
    let copy = copy_of("shapes-sd");
    fs::remove_file(copy.path().join("tokenizer/tokenizer.json")).unwrap();
    let options = LoadOptions::default();
    let from_files =
        darkroom_models::LatentDiffusion::load(&copy.path().into(), &Device::cpu(), &options).unwrap();
    let from_json = crate::support::shapes_sd();
    for prompt in [
        "a large red circle on a blue background",
        "  A  Yellow\tSTAR,\nit's 42nd!! (don't) ",
        "crème brûlée, 日本語, naïve cafe\u{301}",
        "🦊🦊 afterwards",
        "",
    ] {
        assert_eq!(from_files.tokenize(prompt).unwrap(), from_json.tokenize(prompt).unwrap(), "{prompt:?}");
    }
}

#[test]
fn a_scheduler_that_is_not_implemented_is_only_an_error_when_none_is_named() {
    let copy = copy_of("shapes-sd");
    edit_json(&copy.path().join("scheduler/scheduler_config.json"), |config| {
        config["_class_name"] = "HeunDiscreteScheduler".into();
    });
    let mut model = load_sd(copy.path()).unwrap();
    let mut draw = |scheduler| {
        let task = darkroom_jobs::TextToImage { scheduler, ..task("a red circle") };
        run(&mut *model, &darkroom_models::Request::TextToImage { task, loras: vec![], done: vec![] }).result
    };
    assert_eq!(
        draw(None).unwrap_err().to_string(),
        "the model's scheduler HeunDiscreteScheduler is not implemented; name ddim, pndm, euler, euler_ancestral, dpmpp_2m, dpmpp_2m_karras, lcm or unipc in the request"
    );
    draw(Some(darkroom_jobs::SchedulerKind::Euler)).unwrap();
}

#[test]
fn blip_loads_from_a_vocabulary_and_without_the_tied_weights() {
    let copy = copy_of("shapes-blip");
    fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
    edit_weights(&copy.path().join("model.safetensors"), |tensors| {
        tensors.remove("text_decoder.cls.predictions.decoder.weight");
        tensors.remove("text_decoder.cls.predictions.decoder.bias");
    });
    let image = crate::support::recorded_image("caption-3.png");
    let request = darkroom_models::Request::ImageToText { image, prompt: "a photo of".to_owned() };
    let mut model =
        load(&copy.path().into(), Pipeline::ImageToText, &Device::cpu(), &LoadOptions::default()).unwrap();
    let expected = darkroom_models::Output::Text("a photo of a white heart on a green background".to_owned());
    assert_eq!(run(&mut *model, &request).outputs, [expected]);
}
