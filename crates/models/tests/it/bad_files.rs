//! Files that are damaged, hostile, or no files: each is a typed error that names it, and none is read to the
//! end when its beginning is enough.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use darkroom_jobs::Pipeline;
use darkroom_models::{Device, Error, LoadOptions, Model, Request, load};
use image::RgbImage;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_of, edit_weights, models, run, task};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

fn copied(model: &str) -> TempDir {
    copy_of(&models().join(model))
}

fn load_as(folder: &Path, pipeline: Pipeline) -> Result<Box<dyn Model>, Error> {
    load(&folder.into(), pipeline, &Device::cpu(), &LoadOptions::default())
}

/// What is said of the file at fault.
#[track_caller]
fn failure(folder: &Path) -> (PathBuf, String) {
    match load_as(folder, Pipeline::TextToImage) {
        Err(Error::Load { file, tensor, found, .. }) => {
            let tensor = tensor.map(|tensor| format!("{tensor}: ")).unwrap_or_default();
            (file.strip_prefix(folder).unwrap().to_owned(), tensor + &found)
        }
        Err(Error::InvalidConfig { file, reason, .. }) => {
            (file.strip_prefix(folder).unwrap().to_owned(), reason)
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the folder loads"),
    }
}

/// A safetensors file with this header and `bytes` of data.
fn safetensors(header: &Value, bytes: usize) -> Vec<u8> {
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    file
}

fn tensor(dtype: &str, shape: &[u64], offsets: [u64; 2]) -> Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": offsets})
}

#[test]
fn damaged_weights_are_named_with_what_is_wrong() {
    let copy = copied("shapes-sd");
    let whole = fs::read(copy.path().join(UNET)).unwrap();
    let gigabyte = (1u64 << 30).to_le_bytes();
    let mut longer = whole.clone();
    longer.push(0);
    let mut not_text = 16u64.to_le_bytes().to_vec();
    not_text.extend([0xff; 16]);
    let one = "conv_in.bias";
    let cases: [(Vec<u8>, &str); 14] = [
        (Vec::new(), ""),
        (whole[..7].to_vec(), "header too small"),
        (whole[..100].to_vec(), "invalid header length"),
        (whole[..whole.len() - 1].to_vec(), "incomplete metadata, file not fully covered"),
        (longer, "incomplete metadata, file not fully covered"),
        // What is announced is not allocated: the file has no more than these bytes.
        (gigabyte.to_vec(), "header too large"),
        ([&gigabyte[..], &[b' '; 64]].concat(), "header too large"),
        (u64::MAX.to_le_bytes().to_vec(), "header too large"),
        (not_text, "invalid UTF-8 in header"),
        (safetensors(&json!([1, 2]), 0), "invalid JSON in header"),
        // Beyond the end of the file.
        (
            safetensors(&json!({one: tensor("F16", &[48], [0, 96])}), 64),
            "incomplete metadata, file not fully covered",
        ),
        // Over each other.
        (
            safetensors(
                &json!({one: tensor("F16", &[48], [0, 96]), "other": tensor("F16", &[48], [48, 144])}),
                144,
            ),
            "invalid offset for tensor",
        ),
        (safetensors(&json!({one: tensor("F16", &[48, 1 << 62], [0, 96])}), 96), "overflow"),
        (safetensors(&json!({one: tensor("I4", &[96], [0, 48])}), 48), "invalid JSON in header"),
    ];
    for (bytes, expected) in cases {
        fs::write(copy.path().join(UNET), bytes).unwrap();
        let (file, found) = failure(copy.path());
        assert_eq!(file, Path::new(UNET));
        assert!(found.to_lowercase().contains(&expected.to_lowercase()), "{found:?} is not {expected:?}");
    }
}

#[test]
fn numbers_that_are_not_floating_point_of_16_bits_or_more_are_refused() {
    for dtype in ["F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "BOOL"] {
        let copy = copied("shapes-sd");
        let file = copy.path().join(UNET);
        let bytes = fs::read(&file).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let of = |tensor: &Value, part: usize| tensor["data_offsets"][part].as_u64().unwrap();
        let size = match dtype {
            "I32" => 4,
            _ => 1,
        };
        // The tensor goes to the end of the file, where there is room for it in another dtype.
        let end = header.as_object().unwrap().values().filter(|tensor| tensor["dtype"].is_string());
        let end = end.map(|tensor| of(tensor, 1)).max().unwrap();
        let values = 48 * 4 * 3 * 3;
        let old = header["conv_in.weight"].take();
        header["filler"] =
            json!({"dtype": old["dtype"], "shape": old["shape"], "data_offsets": old["data_offsets"]});
        header["conv_in.weight"] = tensor(dtype, &[48, 4, 3, 3], [end, end + values * size]);
        let mut changed = safetensors(&header, 0);
        changed.extend(&bytes[8 + length..]);
        changed.resize(changed.len() + (values * size) as usize, 0);
        fs::write(&file, changed).unwrap();
        assert_eq!(failure(copy.path()), (UNET.into(), format!("conv_in.weight: dtype {dtype}")));
    }
}

#[test]
fn hostile_configurations_are_refused() {
    let cases: [(Vec<u8>, &str); 7] = [
        (Vec::new(), "EOF while parsing"),
        (b"{\"in_channels\": \"\xff\xfe\"}".to_vec(), "invalid unicode code point"),
        (b"[1, 2".to_vec(), "EOF while parsing"),
        (b"null".to_vec(), "invalid type: null"),
        // The number of such words costs no more than the file is long.
        (b"NaN ".repeat(4 << 20), "invalid type: null"),
        ([&b"{\"in_channels\":"[..], &vec![b'['; 1 << 20]].concat(), "invalid type: sequence"),
        (vec![b'['; 100_000_000], "100000000 bytes"),
    ];
    for (bytes, expected) in cases {
        for name in ["unet/config.json", "model_index.json"] {
            let copy = copied("shapes-sd");
            fs::write(copy.path().join(name), &bytes).unwrap();
            let (file, found) = failure(copy.path());
            assert_eq!(file, Path::new(name));
            // An index is only read for its classes, and may end anywhere after them.
            assert!(found.contains(expected) || name == "model_index.json", "{found:?} is not {expected:?}");
        }
    }
}

#[test]
fn configurations_of_any_depth_are_refused() {
    let copy = copied("shapes-sd");
    let file = copy.path().join("model_index.json");
    let (depth, index) = (1 << 20, fs::read_to_string(&file).unwrap());
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    fs::write(&file, index.replacen('{', &format!("{{\"deep\": {nested},"), 1)).unwrap();
    let (at, found) = failure(copy.path());
    assert_eq!(at, Path::new("model_index.json"));
    assert!(found.starts_with("recursion limit exceeded"), "{found}");
}

#[test]
fn hostile_vocabularies_are_refused() {
    for bytes in [&b"{"[..], b"\xff\xfe", &[b'['; 1 << 20], b"{\"model\": {\"type\": \"BPE\"}}"] {
        let copy = copied("shapes-sd");
        fs::write(copy.path().join("tokenizer/tokenizer.json"), bytes).unwrap();
        assert_eq!(failure(copy.path()).0, Path::new("tokenizer/tokenizer.json"));
    }
    for (name, bytes) in
        [("vocab.json", &b"[]"[..]), ("merges.txt", b"one two three\n"), ("merges.txt", b"\xff\n")]
    {
        let copy = copied("shapes-sd");
        fs::remove_file(copy.path().join("tokenizer/tokenizer.json")).unwrap();
        fs::write(copy.path().join("tokenizer").join(name), bytes).unwrap();
        assert_eq!(failure(copy.path()).0, Path::new("tokenizer/vocab.json"), "{name}");
    }
}

#[test]
fn a_folder_that_is_a_file_and_files_that_are_folders_are_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = load_as(file.path(), Pipeline::TextToImage).err().unwrap();
    assert!(matches!(&error, Error::Load { file: at, .. } if at.starts_with(file.path())), "{error}");
    for name in ["model_index.json", "unet/config.json", UNET, "tokenizer/tokenizer_config.json"] {
        let copy = copied("shapes-sd");
        fs::remove_file(copy.path().join(name)).unwrap();
        fs::create_dir(copy.path().join(name)).unwrap();
        let (at, _) = failure(copy.path());
        assert!(Path::new(name).starts_with(&at), "{at:?}");
    }
}

#[test]
fn links_that_lead_nowhere_or_in_circles_are_refused() {
    for name in ["model_index.json", "vae/config.json", UNET, "tokenizer/tokenizer_config.json"] {
        for target in ["absent", "circle"] {
            let copy = copied("shapes-sd");
            let file = copy.path().join(name);
            fs::remove_file(&file).unwrap();
            match target {
                "circle" => symlink(&file, &file).unwrap(),
                target => symlink(target, &file).unwrap(),
            }
            let result = load_as(copy.path(), Pipeline::TextToImage);
            // A tokenizer can do without this file, and does where there is none.
            let optional = target == "absent" && name == "tokenizer/tokenizer_config.json";
            assert_eq!(result.is_ok(), optional, "{name} is a link to {target}");
            if let Err(error) = result {
                assert!(matches!(error, Error::Load { .. }), "{error}");
            }
        }
    }
}

#[test]
fn files_that_may_not_be_read_are_named() {
    for name in ["unet/config.json", UNET] {
        let copy = copied("shapes-sd");
        let file = copy.path().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&file).is_ok() {
            // Root may read everything; the error is the same as for a link in a circle.
            return;
        }
        let (at, found) = failure(copy.path());
        assert_eq!(at, Path::new(name));
        assert!(found.contains("ermission denied"), "{found}");
    }
}

/// Fills a tensor with NaN.
fn poison(file: &Path, name: &str) {
    edit_weights(file, |tensors| {
        let tensor: &mut Tensor = tensors.get_mut(name).unwrap();
        *tensor = (tensor.ones_like().unwrap() * f64::NAN).unwrap();
    });
}

#[test]
fn weights_that_are_not_numbers_end_the_run_in_the_stage_that_has_them() {
    for (file, tensor, stage) in [
        ("text_encoder/model.safetensors", "text_model.final_layer_norm.bias", "the encoded prompt"),
        (UNET, "conv_out.bias", "the latents are not finite after step 1"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", "the decoded picture"),
    ] {
        let copy = copied("shapes-sd");
        poison(&copy.path().join(file), tensor);
        let mut model = load_as(copy.path(), Pipeline::TextToImage).unwrap();
        let told = run(
            &mut *model,
            &Request::TextToImage { task: task("a red circle"), done: vec![], loras: vec![] },
        );
        let Err(Error::NotFinite(message)) = told.result else { panic!("{file}: {:?}", told.result) };
        assert!(message.starts_with(stage), "{file}: {message}");
        assert!(told.outputs.is_empty());
    }
    for tensor in ["vision_model.post_layernorm.bias", "text_decoder.cls.predictions.bias"] {
        let copy = copied("shapes-blip");
        poison(&copy.path().join("model.safetensors"), tensor);
        let mut model = load_as(copy.path(), Pipeline::ImageToText).unwrap();
        let image = RgbImage::from_pixel(8, 8, image::Rgb([200, 30, 30]));
        let told = run(&mut *model, &Request::ImageToText { image, prompt: String::new() });
        assert!(matches!(told.result, Err(Error::NotFinite(_))), "{tensor}: {:?}", told.result);
    }
}
