//! What is said about files that do not fit.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device as CandleDevice, Tensor};
use darkroom_models::{Error, LatentDiffusion, LoadOptions, Lora};

use super::{edited, load, lora, model, picture, request};
use crate::support::run;

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F16, &CandleDevice::Cpu).unwrap()
}

#[track_caller]
fn refusal(loras: &[Lora]) -> Error {
    refusal_by(&mut model(), loras)
}

#[track_caller]
fn refusal_by(model: &mut LatentDiffusion, loras: &[Lora]) -> Error {
    let error = run(model, &request(loras.to_vec())).result.unwrap_err();
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

/// diffusers drops them in silence, and with them a part of what the LoRA was trained for.
#[test]
fn layers_of_t5_are_refused_by_name() {
    for (folder, name, encoder, keys) in [
        (
            "sd3",
            "sd3-peft",
            3,
            [
                "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q",
                "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
            ],
        ),
        (
            "flux-dev",
            "flux-peft",
            2,
            [
                "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
                "lora_te2_encoder_block_0_layer_0_SelfAttention_q",
            ],
        ),
    ] {
        let mut model = load(folder, &LoadOptions::default());
        for key in keys {
            let down = format!("{key}.lora_down.weight");
            let (_folder, lora) = edited(name, |all| {
                all.insert(down.clone(), zeros(&[2, 48]));
                all.insert(format!("{key}.lora_up.weight"), zeros(&[32, 2]));
            });
            let error = refusal_by(&mut model, &[lora]);
            assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
            let expected = format!(
                "LoRA \"{name}\" does not fit the model: {down:?} is for text encoder {encoder}, which LoRAs cannot \
                 change in this model"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
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
