//! A request's arguments as the parameters of a job.

use darkroom_jobs::{Model, Pipeline};
use serde_json::{Map, Value, json};

use crate::{Error, ProblemField};

/// Members and their native names.
const SAME: [(&str, &str); 9] = [
    ("prompt", "prompt"),
    ("negative_prompt", "negative_prompt"),
    ("seed", "seed"),
    ("num_images", "images"),
    ("num_inference_steps", "steps"),
    ("guidance_scale", "guidance_scale"),
    ("enable_safety_checker", "safety_check"),
    ("output_format", "output_format"),
    ("scheduler", "scheduler"),
];

/// Sizes that have a name.
const SIZES: [(&str, u32, u32); 6] = [
    ("square_hd", 1024, 1024),
    ("square", 512, 512),
    ("portrait_4_3", 768, 1024),
    ("portrait_16_9", 576, 1024),
    ("landscape_4_3", 1024, 768),
    ("landscape_16_9", 1024, 576),
];

/// The native document for a request to `model`. Members that fal's models have and these do not are left out.
pub(super) fn document(model: &Model, sent: &Value) -> Result<Value, Error> {
    let Some(sent) = sent.as_object() else {
        return Err(Error::Fields(vec![ProblemField::pointer("", "type", "expected an object")]));
    };
    let pipeline = model.lane.pipeline();
    let input = match pipeline {
        Pipeline::TextToImage => picture(sent)?,
        Pipeline::ImageToText => caption(sent),
    };
    Ok(json!({"pipeline": pipeline.as_str(), "model": model.lane.model(), "input": input}))
}

fn caption(sent: &Map<String, Value>) -> Map<String, Value> {
    let taken = ["image_url", "prompt"].into_iter();
    taken.filter_map(|name| Some((name.to_owned(), sent.get(name)?.clone()))).collect()
}

fn picture(sent: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut input = Map::new();
    for (theirs, ours) in SAME {
        if let Some(value) = sent.get(theirs).filter(|value| !value.is_null()) {
            input.insert(ours.to_owned(), value.clone());
        }
    }
    if let Some((width, height)) =
        sent.get("image_size").filter(|size| !size.is_null()).map(size).transpose()?
    {
        input.insert("width".to_owned(), width);
        input.insert("height".to_owned(), height);
    }
    if let Some(loras) = sent.get("loras").filter(|loras| !loras.is_null()) {
        input.insert("loras".to_owned(), strengths(loras)?.into());
    }
    Ok(input)
}

/// A size by its name or by its sides, whose values are checked later.
fn size(size: &Value) -> Result<(Value, Value), Error> {
    if let Some((_, width, height)) = SIZES.iter().find(|(name, ..)| size == name) {
        return Ok(((*width).into(), (*height).into()));
    }
    match (size.get("width"), size.get("height")) {
        (Some(width), Some(height)) => Ok((width.clone(), height.clone())),
        _ => {
            let names = SIZES.map(|(name, ..)| name).join(", ");
            Err(wrong("image_size", &format!("expected one of {names}, or an object with width and height")))
        }
    }
}

/// Strengths by id of a list of LoRAs.
fn strengths(loras: &Value) -> Result<Map<String, Value>, Error> {
    let one = |lora: &Value| {
        let scale = lora.get("scale").cloned().unwrap_or_else(|| 1.into());
        Some((lora.get("path")?.as_str()?.to_owned(), scale))
    };
    let strengths = loras.as_array().and_then(|loras| loras.iter().map(one).collect());
    strengths
        .ok_or_else(|| wrong("loras", "expected a list of objects with `path`, the LoRA's id, and `scale`"))
}

fn wrong(field: &str, detail: &str) -> Error {
    Error::Fields(vec![ProblemField::pointer(&format!("/input/{field}"), "format", detail)])
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Catalog;

    use super::*;

    fn read(sent: &Value) -> String {
        let catalog =
            Catalog::parse(r#"[{"pipeline":"text-to-image","model_id":"a","source":"builtin:fake"}]"#)
                .unwrap();
        match document(&catalog.models()[0], sent) {
            Ok(document) => document["input"].to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arguments_go_by_their_native_names() {
        let sent = json!({
            "prompt": "a", "image_size": "landscape_4_3", "num_images": 2, "num_inference_steps": 4, "seed": 7,
            "guidance_scale": 3.5, "enable_safety_checker": false, "sync_mode": true, "acceleration": "high",
            "loras": [{"path": "a/b", "scale": 0.5}, {"path": "c"}], "negative_prompt": null
        });
        insta::assert_snapshot!(read(&sent), @r#"{"guidance_scale":3.5,"height":768,"images":2,"loras":{"a/b":0.5,"c":1},"prompt":"a","safety_check":false,"seed":7,"steps":4,"width":1024}"#);
        let sides = json!({"image_size": {"width": 64, "height": "x"}});
        assert_eq!(read(&sides), r#"{"height":"x","width":64}"#);
        assert!(read(&json!({"image_size": "huge"})).contains("expected one of square_hd"));
        assert!(read(&json!({"loras": [{"scale": 1}]})).contains("expected a list of objects"));
        assert!(read(&json!([])).contains("expected an object"));
    }
}
