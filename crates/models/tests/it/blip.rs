//! BLIP against `models/reference/captions.json` and `caption-N.safetensors`: transformers 5 with the same
//! weights, in f32.

use std::fs;
use std::path::Path;

use darkroom_models::{Blip, Device, Error, LoadOptions, Output, Request};
use image::RgbImage;
use serde_json::{Value, json};

use crate::parity::report;
use crate::support::{
    copy_of, largest_difference, recorded, recorded_image, recorded_json, reference, reference_folder, run,
    shapes_blip, task,
};

/// A recorded caption.
struct Caption {
    image: RgbImage,
    prompt: String,
    ids: Vec<u32>,
    text: String,
}

/// All recorded captions, without and with a prefix.
fn captions() -> Vec<Caption> {
    let recorded = recorded_json("captions.json");
    let mut captions = Vec::new();
    for entry in recorded.as_array().unwrap() {
        for (prompt, ids, text) in [("", "ids", "caption"), ("prefix", "prefix_ids", "prefix_caption")] {
            captions.push(Caption {
                image: recorded_image(entry["file"].as_str().unwrap()),
                prompt: entry[prompt].as_str().unwrap_or_default().to_owned(),
                ids: serde_json::from_value(entry[ids].clone()).unwrap(),
                text: entry[text].as_str().unwrap().to_owned(),
            });
        }
    }
    assert_eq!(captions.len(), 16);
    captions
}

#[test]
fn pixel_values_agree_with_the_reference() {
    let model = shapes_blip();
    for number in 0..2 {
        let expected = &recorded(&format!("caption-{number}.safetensors"))["pixel_values"];
        let found = model.pixel_values(&recorded_image(&format!("caption-{number}.png"))).unwrap();
        let difference = largest_difference(&found, expected);
        report("BLIP, the demo model", &format!("pixels, picture {number}"), &format!("{difference:.1e}"));
        assert!(difference <= 1e-6, "caption {number}: {difference}");
    }
}

/// `tests/reference/resized.png` is PIL 13's `Image.resize((128, 128), BICUBIC)` of a picture of 200 × 120.
#[test]
fn pictures_are_resized_as_pil_does_to_one_level() {
    let model = shapes_blip();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/resized.png");
    let expected = model.pixel_values(&image::open(path).unwrap().into_rgb8()).unwrap();
    let found = model.pixel_values(&recorded_image("caption-6.png")).unwrap();
    let levels = largest_difference(&found, &expected) * 127.5;
    println!("resized picture differs by {levels:.2} of 255 levels");
    assert!(levels < 1.01, "{levels} levels");
}

#[test]
fn captions_have_the_ids_and_words_of_the_reference() {
    let model = shapes_blip();
    for caption in captions() {
        let prefix = model.prefix(&caption.prompt).unwrap();
        let pixel_values = model.pixel_values(&caption.image).unwrap();
        let ids = model.generate(&pixel_values, &prefix, &mut |_| Ok(())).unwrap();
        assert_eq!(ids, caption.ids, "{}", caption.text);
        assert_eq!(model.decode(&ids).unwrap(), caption.text);
    }
    report("BLIP, the demo model", "16 captions, half of them with a prefix", "the same words");
}

/// Layouts of Salesforce's base and large models, with the settings that files of transformers 4 have and
/// transformers 5 does not heed.
#[test]
fn base_and_large_caption_as_the_reference() {
    for layout in ["blip_base", "blip_large"] {
        let folder = reference_folder(layout);
        let model = Blip::load(&folder.clone().into(), &Device::cpu(), &LoadOptions::default()).unwrap();
        let pixels = &reference(layout)["pixels"];
        let captions: Value =
            serde_json::from_slice(&fs::read(folder.join("captions.json")).unwrap()).unwrap();
        let captions = captions.as_array().unwrap();
        let (mut ended, mut cut) = (0, 0);
        for caption in captions {
            let (prompt, image) = (caption["prompt"].as_str().unwrap(), &caption["image"]);
            let prefix = model.prefix(prompt);
            let Some(expected) = caption["ids"].as_array() else {
                // The reference refuses it too: there is no room for a caption.
                let Err(Error::InvalidInput(message)) = prefix else { panic!("{prompt:?} has room") };
                assert!(message.starts_with("the prompt has 39 tokens"), "{message}");
                continue;
            };
            let expected = expected.iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
            let image = pixels.narrow(0, image.as_u64().unwrap() as usize, 1).unwrap();
            let ids = model.generate(&image, &prefix.unwrap(), &mut |_| Ok(())).unwrap();
            assert_eq!(ids, expected, "{layout}, {prompt:?}");
            assert_eq!(model.decode(&ids).unwrap(), caption["text"].as_str().unwrap().trim(), "{prompt:?}");
            *if ids.ends_with(&[3]) { &mut ended } else { &mut cut } += 1;
        }
        assert!(captions.len() == 22 && ended >= 2 && cut >= 2, "{layout}: {ended} ended, {cut} cut");
        let layout = layout.replace("blip_", "BLIP ");
        report(&layout, &format!("{} captions", ended + cut), "the same words");
    }
}

#[test]
fn lengths_come_from_the_generation_settings_where_they_have_any() {
    let copy = copy_of(&reference_folder("blip_large"));
    let pixels = reference("blip_large")["pixels"].narrow(0, 0, 1).unwrap();
    for (settings, prompt, length) in [
        // Unlike "", "a photo of" ends by itself.
        (json!({}), "", 21),
        (json!({"max_new_tokens": 4}), "", 5),
        (json!({"max_new_tokens": 4, "max_length": 30}), "", 5),
        (json!({"max_length": 7}), "", 7),
        // This one ends by itself, too.
        (json!({"max_length": 400}), "", 29),
        (json!({"max_length": 7}), "a photo of", 5),
        // What the decoder ends with stands in `config.json` alone.
        (json!({"eos_token_id": 45, "bos_token_id": 30_522}), "a photo of", 5),
    ] {
        fs::write(copy.path().join("generation_config.json"), settings.to_string()).unwrap();
        let model = Blip::load(&copy.path().into(), &Device::cpu(), &LoadOptions::default()).unwrap();
        let prefix = model.prefix(prompt).unwrap();
        let ids = model.generate(&pixels, &prefix, &mut |_| Ok(())).unwrap();
        assert_eq!(ids.len(), length, "{settings}, {prompt:?}");
    }
    fs::write(copy.path().join("generation_config.json"), r#"{"num_beams": 3}"#).unwrap();
    let refused = Blip::load(&copy.path().into(), &Device::cpu(), &LoadOptions::default());
    assert!(matches!(refused, Err(Error::Unsupported(_))));
}

#[test]
fn a_request_is_answered_by_its_caption_with_progress_for_each_token() {
    let mut model = shapes_blip();
    let caption = captions().remove(1);
    let request = Request::ImageToText { image: caption.image, prompt: caption.prompt };
    let told = run(&mut model, &request);
    told.result.unwrap();
    assert_eq!(told.outputs, [Output::Text(caption.text)]);
    let steps = told.progress.iter().map(|progress| (progress.step, progress.steps)).collect::<Vec<_>>();
    // "a photo of" and the start are four of the thirteen ids.
    assert_eq!(steps, (1..=9).map(|step| (step, 24)).collect::<Vec<_>>());
}

#[test]
fn unusable_requests_are_refused() {
    let mut model = shapes_blip();
    let image = RgbImage::from_pixel(40, 30, image::Rgb([10, 200, 30]));
    let requests = [
        Request::ImageToText { image: image.clone(), prompt: "red ".repeat(80) },
        Request::ImageToText { image: RgbImage::new(0, 0), prompt: String::new() },
    ];
    for request in requests {
        assert!(matches!(run(&mut model, &request).result, Err(Error::InvalidInput(_))));
    }
    let request = Request::TextToImage { task: task("a red circle"), loras: vec![], done: vec![] };
    assert!(matches!(run(&mut model, &request).result, Err(Error::Unsupported(_))));
    // And the model still works.
    run(&mut model, &Request::ImageToText { image, prompt: "a photo of".to_owned() }).result.unwrap();
}

#[test]
fn every_size_of_picture_is_captioned() {
    let mut model = shapes_blip();
    for (width, height) in [(1, 1), (1, 3000), (3000, 2), (129, 127), (1024, 768)] {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]));
        let told = run(&mut model, &Request::ImageToText { image, prompt: String::new() });
        told.result.unwrap();
        assert_eq!(told.outputs.len(), 1, "{width} x {height}");
    }
}
