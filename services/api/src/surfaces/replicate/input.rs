//! A prediction's input as the parameters of a job.

use darkroom_jobs::{ImageSize, Model, Pipeline, SchedulerKind};
use serde_json::{Map, Value, json};

use super::files;
use crate::{Error, Links, ProblemField};

/// Members that mean the same under another name.
const SAME: [(&str, &str); 11] = [
    ("prompt", "prompt"),
    ("negative_prompt", "negative_prompt"),
    ("width", "width"),
    ("height", "height"),
    ("seed", "seed"),
    ("loras", "loras"),
    ("num_outputs", "images"),
    ("num_inference_steps", "steps"),
    ("guidance", "guidance_scale"),
    ("guidance_scale", "guidance_scale"),
    ("steps", "steps"),
];

/// Schedulers as Replicate's models call them.
const SCHEDULERS: [(&str, SchedulerKind); 8] = [
    ("DDIM", SchedulerKind::Ddim),
    ("PNDM", SchedulerKind::Pndm),
    ("K_EULER", SchedulerKind::Euler),
    ("K_EULER_ANCESTRAL", SchedulerKind::EulerAncestral),
    ("DPMSolverMultistep", SchedulerKind::Dpmpp2m),
    ("KarrasDPM", SchedulerKind::Dpmpp2mKarras),
    ("LCM", SchedulerKind::Lcm),
    ("UniPCMultistep", SchedulerKind::Unipc),
];

/// The native document for a prediction of `model`. Members that Replicate's models have and these do not are left
/// out, as Replicate does with members that a model does not know.
pub(super) fn document(model: &Model, input: &Map<String, Value>, links: &Links) -> Result<Value, Error> {
    let pipeline = model.lane.pipeline();
    let input = match pipeline {
        Pipeline::TextToImage => picture(model, input)?,
        Pipeline::ImageToText => caption(input, links),
    };
    Ok(json!({"pipeline": pipeline.as_str(), "model": model.lane.model(), "input": input}))
}

/// A picture that was uploaded goes by its id: nobody calls this service for it.
fn caption(sent: &Map<String, Value>, links: &Links) -> Map<String, Value> {
    let mut input = Map::new();
    if let Some(prompt) = sent.get("prompt") {
        input.insert("prompt".to_owned(), prompt.clone());
    }
    if let Some(image) = sent.get("image") {
        let file = image.as_str().and_then(|url| files::id_in(url, links));
        match file {
            Some(id) => input.insert("image_file".to_owned(), id.into()),
            None => input.insert("image_url".to_owned(), image.clone()),
        };
    }
    input
}

fn picture(model: &Model, sent: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut input = Map::new();
    for (theirs, ours) in SAME {
        if let Some(value) = sent.get(theirs).filter(|value| !value.is_null()) {
            input.insert(ours.to_owned(), value.clone());
        }
    }
    if let Some(ratio) = sent.get("aspect_ratio").and_then(Value::as_str).filter(|ratio| *ratio != "custom") {
        let (width, height) = sides(model, ratio).ok_or_else(|| {
            wrong(
                "aspect_ratio",
                "expected a ratio of two numbers, such as `16:9`, or `custom` with width and height",
            )
        })?;
        input.entry("width").or_insert_with(|| width.into());
        input.entry("height").or_insert_with(|| height.into());
    }
    if let Some(off) = sent.get("disable_safety_checker").filter(|value| !value.is_null()) {
        let off = off.as_bool().ok_or_else(|| wrong("disable_safety_checker", "expected true or false"))?;
        input.insert("safety_check".to_owned(), (!off).into());
    }
    if let Some(name) = sent.get("scheduler").filter(|value| !value.is_null()) {
        let known = SCHEDULERS.iter().find(|(theirs, _)| name == theirs);
        // Our own names do as well, and what is none is refused by them.
        input.insert(
            "scheduler".to_owned(),
            known.map_or_else(|| name.clone(), |(_, kind)| kind.as_str().into()),
        );
    }
    let format = match sent.get("output_format").and_then(Value::as_str) {
        Some("jpg") => Some("jpeg"),
        format => format,
    };
    if let Some(format) = format {
        input.insert("output_format".to_owned(), format.into());
    }
    // For PNG it means nothing to Replicate's models either.
    if let Some(quality) =
        sent.get("output_quality").filter(|value| !value.is_null() && format.is_some_and(|f| f != "png"))
    {
        let quality = quality.as_u64().map_or_else(|| quality.clone(), |quality| quality.max(1).into());
        input.insert("output_quality".to_owned(), quality);
    }
    Ok(input)
}

fn wrong(field: &str, detail: &str) -> Error {
    Error::Fields(vec![ProblemField::pointer(&format!("/input/{field}"), "format", detail)])
}

/// Sides in a ratio such as `16:9`, with about as many pixels as the model's own size has.
fn sides(model: &Model, ratio: &str) -> Option<(u32, u32)> {
    let (width, height) = ratio.split_once(':')?;
    let (width, height): (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
    let ratio = width / height;
    if !(0.01..=100.0).contains(&ratio) {
        return None;
    }
    let pixels = f64::from(model.defaults.width) * f64::from(model.defaults.height);
    Some((multiple((pixels * ratio).sqrt(), model), multiple((pixels / ratio).sqrt(), model)))
}

/// The side nearest to `side` that the model makes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "floats saturate, and sides are clamped"
)]
fn multiple(side: f64, model: &Model) -> u32 {
    let step = ImageSize::MULTIPLE;
    let steps = (side / f64::from(step)).round() as u32;
    (steps.max(1) * step).min(model.limits.max_side / step * step)
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Catalog;

    use super::*;

    fn catalog() -> Catalog {
        let entry = r#"[{"pipeline":"text-to-image","model_id":"a/b","source":"builtin:fake",
            "defaults":{"width":512,"height":512}, "limits":{"max_side":1024}},
            {"pipeline":"image-to-text","model_id":"c","source":"builtin:fake"}]"#;
        Catalog::parse(entry).unwrap()
    }

    fn links() -> Links {
        let url = url::Url::parse("https://pictures.example").unwrap();
        Links::new(&url, crate::config::UrlSecret::parse(&"5a".repeat(32).into()).unwrap())
    }

    #[test]
    fn uploaded_files_go_by_their_ids() {
        let image = |image: &str| {
            let Value::Object(sent) = json!({"image": image}) else { unreachable!("it is an object") };
            Value::from(caption(&sent, &links())).to_string()
        };
        let id = "0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01";
        let url = format!("https://pictures.example/replicate/v1/files/{id}");
        assert_eq!(image(&url), format!(r#"{{"image_file":"{id}"}}"#));
        let other = format!("https://elsewhere.example/replicate/v1/files/{id}");
        assert_eq!(image(&other), format!(r#"{{"image_url":"{other}"}}"#));
    }

    fn read(input: Value) -> String {
        let Value::Object(input) = input else { unreachable!("tests send objects") };
        match document(&catalog().models()[0], &input, &links()) {
            Ok(document) => document["input"].to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ratios_keep_the_models_pixels() {
        let size = |ratio| sides(&catalog().models()[0], ratio);
        assert_eq!(size("1:1"), Some((512, 512)));
        assert_eq!(size("16:9"), Some((680, 384)));
        assert_eq!(size("9:16"), Some((384, 680)));
        assert_eq!(size("21:9"), Some((784, 336)));
        assert_eq!(size("100:1"), Some((1024, 48)));
        for wrong in ["16", "a:b", "0:1", "1:0", "1000:1", "NaN:1", "-1:2"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn members_go_by_their_native_names() {
        let input = json!({
            "prompt": "a", "num_outputs": 2, "num_inference_steps": 4, "guidance": 3.5, "seed": 7, "aspect_ratio": "16:9",
            "output_format": "jpg", "output_quality": 0, "disable_safety_checker": true, "scheduler": "K_EULER",
            "go_fast": true, "negative_prompt": null
        });
        insta::assert_snapshot!(read(input), @r#"{"guidance_scale":3.5,"height":384,"images":2,"output_format":"jpeg","output_quality":1,"prompt":"a","safety_check":false,"scheduler":"euler","seed":7,"steps":4,"width":680}"#);
        assert_eq!(read(json!({"output_format": "png", "output_quality": 80})), r#"{"output_format":"png"}"#);
        assert_eq!(read(json!({"aspect_ratio": "custom", "width": 64})), r#"{"width":64}"#);
        assert_eq!(read(json!({"aspect_ratio": "16:9", "width": 64})), r#"{"height":384,"width":64}"#);
        assert!(read(json!({"aspect_ratio": "wide"})).contains("expected a ratio"));
        assert!(read(json!({"disable_safety_checker": "no"})).contains("expected true or false"));
    }
}
