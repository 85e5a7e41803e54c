use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Event;

fn catalog() -> Catalog {
    Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"shapes","source":"builtin:fake",
             "defaults":{"steps":25,"guidance_scale":4,"width":128,"height":128},
             "limits":{"max_side":256,"max_images":4}},
            {"pipeline":"image-to-text","model_id":"captions","source":"builtin:fake"}]"#,
    )
    .unwrap()
}

fn image() -> InputImage {
    InputImage {
        key: "jobs/1/input".into(),
        content_type: "image/png".into(),
        size_bytes: 9,
        sha256: "00".into(),
        width: 20,
        height: 10,
    }
}

fn errors(document: Value) -> Vec<String> {
    match parse_submission(&catalog(), &document, None, 7) {
        Err(Invalid::Fields(errors)) => {
            errors.into_iter().map(|e| format!("{} [{}] {}", e.pointer, e.code, e.detail)).collect()
        }
        other => panic!("expected field errors, got {other:?}"),
    }
}

#[test]
fn defaults_come_from_the_catalog_and_the_seed_from_the_caller() {
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle"}});
    let submission = parse_submission(&catalog(), &document, None, 7).unwrap();
    assert_eq!(submission.lane.to_string(), "text-to-image:shapes");
    insta::assert_json_snapshot!(submission.task, @r#"
    {
      "pipeline": "text-to-image",
      "prompt": "a red circle",
      "width": 128,
      "height": 128,
      "steps": 25,
      "guidance_scale": 4.0,
      "seed": 7,
      "images": 1,
      "safety_check": true,
      "output_format": "png",
      "embed_parameters": true
    }
    "#);
    assert_eq!(submission.options.retention, JobOptions::MAX_RETENTION);
    assert_eq!(submission.options.priority, Priority::Normal);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let document = json!({
        "pipeline": "text-to-image", "priority": "urgent", "deadline_seconds": 0, "colour": 1,
        "metadata": {"a": 1},
        "input": {"prompt": " ", "width": 100, "height": 4096, "steps": 0, "guidance_scale": "high",
                  "seed": -1, "images": 5, "scheduler": "magic", "loras": {"x": 1}, "safety_check": "no",
                  "output_quality": 0, "a/b": 1},
    });
    insta::assert_json_snapshot!(errors(document), @r#"
    [
      "/priority [choice] expected one of interactive, normal, background",
      "/deadline_seconds [range] expected an integer from 1 to 2592000",
      "/metadata [metadata] expected an object of at most 16 strings of at most 512 characters, with keys of 1 to 64 characters",
      "/colour [unknown] unknown field: expected one of pipeline, model, input, retention_seconds, priority, deadline_seconds, metadata, webhook",
      "/input/prompt [text] must not be empty",
      "/input/width [multiple] expected a multiple of 8",
      "/input/height [range] expected an integer from 8 to 256",
      "/input/steps [range] expected an integer from 1 to 150",
      "/input/guidance_scale [type] expected a number from 0 to 100",
      "/input/images [range] expected an integer from 1 to 4",
      "/input/seed [range] expected an integer from 0 to 9007199254740991",
      "/input/scheduler [choice] expected one of ddim, pndm, euler, euler_ancestral, dpmpp_2m, dpmpp_2m_karras, lcm, unipc, flow_match_euler",
      "/input/loras/x [unknown_lora] there is no LoRA `x`: none is served here",
      "/input/safety_check [type] expected true or false",
      "/input/output_quality [range] expected an integer from 1 to 100",
      "/input/a~1b [unknown] unknown field: expected one of prompt, negative_prompt, width, height, steps, guidance_scale, images, seed, scheduler, loras, safety_check, output_format, output_quality, embed_parameters"
    ]
    "#);
}

#[test]
fn what_is_missing_is_named() {
    insta::assert_json_snapshot!(errors(json!({})), @r#"
    [
      "/pipeline [required] expected one of text-to-image, image-to-text"
    ]
    "#);
    insta::assert_json_snapshot!(errors(json!([])), @r#"
    [
      " [type] expected an object",
      "/pipeline [required] expected one of text-to-image, image-to-text"
    ]
    "#);
    insta::assert_json_snapshot!(errors(json!({"pipeline": "text-to-image"})), @r#"
    [
      "/input/prompt [required] expected a text that says what to draw"
    ]
    "#);
    insta::assert_json_snapshot!(errors(json!({"pipeline": "image-to-text", "input": "x"})), @r#"
    [
      "/input [type] expected an object",
      "/input/image [required] send the picture as the multipart part `image`, its URL as `image_url`, or its file's id as `image_file`"
    ]
    "#);
}

#[test]
fn an_unknown_model_is_answered_with_the_known_ones() {
    let document = json!({"pipeline": "text-to-image", "model": "captions", "input": {"prompt": "x"}});
    let invalid = parse_submission(&catalog(), &document, None, 7).unwrap_err();
    assert_eq!(
        invalid,
        Invalid::UnknownModel {
            pipeline: Pipeline::TextToImage,
            model: "captions".into(),
            known: vec!["shapes".into()]
        }
    );
}

#[test]
fn long_texts_are_not_repeated_whole() {
    let long = "x".repeat(100_000);
    let unknown = json!({"pipeline": "text-to-image", "model": long, "input": {"prompt": "x"}});
    let invalid = parse_submission(&catalog(), &unknown, None, 7).unwrap_err();
    assert!(format!("{invalid:?}").len() < 1_000);
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "x", long: 1}});
    assert!(errors(document)[0].len() < 1_000);
}

#[test]
fn a_caption_takes_the_picture_that_was_sent_along() {
    let document = json!({"pipeline": "image-to-text", "input": {"prompt": "a photo of"}});
    let submission = parse_submission(&catalog(), &document, Some(image()), 7).unwrap();
    assert_eq!(submission.task.pixels(), 200);
    assert_eq!(submission.task.artifacts(), 1);
}

#[test]
fn the_last_pictures_seed_is_the_largest_allowed() {
    let with = |seed: u64, images: u32| {
        let input = json!({"prompt": "x", "seed": seed, "images": images});
        parse_submission(&catalog(), &json!({"pipeline": "text-to-image", "input": input}), None, 7)
    };
    assert!(with(MAX_SEED, 1).is_ok());
    assert!(with(MAX_SEED, 2).is_err());
    assert!(with(MAX_SEED - 1, 2).is_ok());
}

#[test]
fn loras_of_the_catalog_are_taken() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"shapes","source":"builtin:fake"},
            {"pipeline":"lora","model_id":"nerijs/pixel-art-xl"}]"#,
    )
    .unwrap();
    let read = |id: &str| {
        let document = json!({"pipeline": "text-to-image", "input": {"prompt": "x", "loras": {id: 0.8}}});
        parse_submission(&catalog, &document, None, 7)
    };
    let Task::TextToImage(task) = read("nerijs/pixel-art-xl").unwrap().task else { panic!("a picture") };
    assert_eq!(task.loras.iter().collect::<Vec<_>>(), [("nerijs/pixel-art-xl", 0.8)]);
    assert!(matches!(read("nerijs/other"), Err(Invalid::Fields(_))));
}

#[test]
fn tasks_stored_before_loras_and_formats_were_are_read() {
    let stored = json!({
        "pipeline": "text-to-image", "prompt": "a red circle", "negative_prompt": "", "width": 128, "height": 128,
        "steps": 25, "guidance_scale": 4.0, "seed": 7, "images": 1, "safety_check": true
    });
    let document =
        json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle", "negative_prompt": ""}});
    let submitted = parse_submission(&catalog(), &document, None, 7).unwrap().task;
    assert_eq!(serde_json::from_value::<Task>(stored).unwrap(), submitted);
}

#[test]
fn prompts_of_more_than_10_000_characters_are_refused() {
    let document = |length: usize| {
        // Characters, not bytes.
        let text = "ж".repeat(length);
        json!({"pipeline": "text-to-image", "input": {"prompt": text, "negative_prompt": text}})
    };
    parse_submission(&catalog(), &document(10_000), None, 7).unwrap();
    let refused = errors(document(10_001));
    let refused_as = |field| format!("/input/{field} [text] must have at most 10000 characters");
    assert_eq!(refused, [refused_as("prompt"), refused_as("negative_prompt")]);
}

proptest! {
    #[test]
    fn tasks_survive_storage(
        prompt in ".{1,40}", seed in 0..=MAX_SEED, side in 1u32..=32, steps in 1u32..=150, quality in 1u8..=100,
    ) {
        prop_assume!(!prompt.trim().is_empty() && !prompt.contains('\0'));
        let input = json!({"prompt": prompt, "seed": seed, "width": side * 8, "steps": steps,
                           "output_format": "webp", "output_quality": quality});
        let document = json!({"pipeline": "text-to-image", "input": input});
        let task = parse_submission(&catalog(), &document, None, 7).unwrap().task;
        let stored = serde_json::to_value(&task).unwrap();
        prop_assert_eq!(serde_json::from_value::<Task>(stored).unwrap(), task);
    }
}

fn webhook(value: Value) -> Option<JobWebhook> {
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a"}, "webhook": value});
    parse_submission(&catalog(), &document, None, 7).unwrap().options.webhook
}

#[test]
fn a_webhook_is_a_url_or_has_one_with_events() {
    let url = "https://shop.example/hooks";
    assert_eq!(webhook(Value::Null), None);
    let whole = webhook(json!(url)).unwrap();
    assert_eq!((whole.url.as_str(), &whole.events[..]), (url, &Event::FINAL[..]));
    assert!(!whole.is_told_early());
    assert_eq!(webhook(json!({"url": url})), Some(whole));
    let some = webhook(json!({"url": url, "events": ["job.failed", "job.started", "job.failed"]})).unwrap();
    assert_eq!((&some.events[..], some.is_told_early()), (&[Event::JobStarted, Event::JobFailed][..], true));
}

#[test]
fn what_is_no_webhook_is_refused_with_its_place() {
    let refused = |value: Value| {
        let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a"}, "webhook": value});
        errors(document).join("\n")
    };
    insta::assert_snapshot!(refused(json!(7)), @"/webhook [type] expected a URL, or an object with `url` and `events`");
    insta::assert_snapshot!(refused(json!({"events": []})), @"
    /webhook/url [required] expected an http:// or https:// URL
    /webhook/events [type] expected a list of at least one event
    ");
    insta::assert_snapshot!(refused(json!({"url": 7, "events": ["job.failed", "webhook.test"], "form": "fal"})), @"
    /webhook/url [type] expected a string
    /webhook/events/1 [choice] expected one of job.started, job.succeeded, job.failed, job.canceled, job.expired
    /webhook/form [unknown] unknown field: expected one of url, events
    ");
}
