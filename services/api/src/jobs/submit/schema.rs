//! The submitted document, for the documentation only: `darkroom_jobs::parse_submission` reads it, and a
//! test holds the two together.
#![expect(dead_code, reason = "only their schemas are used")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::dry_run::DryRunView;
use crate::JobView;
use crate::openapi::words;

/// A job to be done. Unknown fields are refused; null counts as absent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "pipeline": "text-to-image",
    "input": {"prompt": "a red circle on white", "seed": 7}
}))]
pub(crate) struct Submission {
    /// `text-to-image` or `image-to-text`.
    pipeline: words::Pipeline,
    /// Id or alias of a model of the pipeline; its default when absent.
    model: Option<String>,
    /// The pipeline's own parameters.
    input: Option<SubmittedInput>,
    /// `interactive`, `normal` (the default) or `background`.
    priority: Option<words::Priority>,
    /// Seconds after which the job expires unless it is final.
    #[schema(minimum = 1, maximum = 2_592_000)]
    deadline_seconds: Option<u64>,
    /// Seconds for which the job and its results are kept; 30 days when absent.
    #[schema(minimum = 60, maximum = 2_592_000)]
    retention_seconds: Option<u64>,
    /// Labels of your own: at most 16, keys of 1 to 64 and values of at most 512 characters.
    metadata: Option<BTreeMap<String, String>>,
    /// Where it is told what becomes of this job.
    webhook: Option<SubmittedWebhook>,
}

/// A URL, or one with the events to tell.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum SubmittedWebhook {
    Url(String),
    Webhook(SubmittedWebhookParameters),
}

/// A webhook for one job. Its messages are signed with the secret of `GET /v1/webhooks/secret`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmittedWebhookParameters {
    /// Where messages are posted to: an http or https URL of at most 2,048 bytes that leads to a public address.
    #[schema(example = "https://shop.example/hooks/darkroom")]
    url: String,
    /// What is told, at least one of `job.started`, `job.succeeded`, `job.failed`, `job.canceled` and `job.expired`; the
    /// last four unless given.
    #[schema(example = json!(["job.succeeded", "job.failed"]))]
    events: Option<Vec<words::OneJobEvent>>,
}

/// Parameters of the pipeline.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum SubmittedInput {
    TextToImage(TextToImageParameters),
    ImageToText(ImageToTextParameters),
}

/// Parameters of a text-to-image job. Defaults and limits are the model's: see `GET /v1/models`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextToImageParameters {
    /// What the picture should show, at most 10,000 characters.
    #[schema(example = "a red circle on white")]
    prompt: String,
    /// What it should not show.
    negative_prompt: Option<String>,
    /// Width in pixels, a multiple of 8.
    width: Option<u32>,
    /// Height in pixels, a multiple of 8.
    height: Option<u32>,
    /// Denoising steps.
    #[schema(minimum = 1, maximum = 150)]
    steps: Option<u32>,
    /// Weight of classifier-free guidance.
    #[schema(minimum = 0, maximum = 100)]
    guidance_scale: Option<f64>,
    /// How many pictures.
    #[schema(minimum = 1)]
    images: Option<u32>,
    /// Seed of picture 0; picture `i` uses `seed + i`. Drawn by chance when absent.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    seed: Option<u64>,
    /// `ddim`, `pndm`, `euler`, `euler_ancestral`, `dpmpp_2m`, `dpmpp_2m_karras`, `lcm` or `unipc`, or
    /// `flow_match_euler` for flow-matching models; the model's own when absent.
    scheduler: Option<words::Scheduler>,
    /// LoRAs to merge into the model: strengths, -10 to 10, by id; at most 4.
    #[schema(example = json!({"nerijs/pixel-art-xl": 0.8}))]
    loras: Option<BTreeMap<String, f64>>,
    /// Whether pictures go through the safety checker, where the model has one; true when absent.
    safety_check: Option<bool>,
    /// `png` (the default), `jpeg` or `webp`.
    output_format: Option<words::OutputFormat>,
    /// Quality of a JPEG or WebP; 90 when absent. PNG is lossless and takes none.
    #[schema(minimum = 1, maximum = 100)]
    output_quality: Option<u8>,
    /// Whether prompt, seed and settings, and that the picture was generated, are written into the files; true
    /// when absent.
    embed_parameters: Option<bool>,
}

/// Parameters of an image-to-text job; the picture is the part `image` of the upload, at `image_url`, or
/// the file `image_file`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageToTextParameters {
    /// Words the caption starts with.
    #[schema(example = "a picture of")]
    prompt: Option<String>,
    /// Where the service fetches the picture: an http or https URL of at most 2,048 bytes that leads to a public
    /// address.
    #[schema(example = "https://shop.example/circle.png")]
    image_url: Option<String>,
    /// Id of a picture that was sent to `/v1/files`.
    image_file: Option<uuid::Uuid>,
}

/// A job that is final already, or with `dry_run=true` what would become of it.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum JobOrDryRun {
    /// The job.
    Job(Box<JobView>),
    /// What would become of it.
    DryRun(Box<DryRunView>),
}

/// A job with its picture. Parts may come in any order.
#[derive(ToSchema)]
pub(crate) struct Upload {
    /// The document; `{"pipeline": "image-to-text"}` when absent.
    job: Option<Submission>,
    /// PNG, JPEG, WebP or GIF, whatever its name: at most 52,428,800 bytes, 16,384 pixels a side and 64
    /// megapixels.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::{Catalog, InputImage, Invalid, parse_submission};
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    use super::*;

    /// The fields that the parser takes at `pointer`, by what it says about one that it does not.
    fn taken(document: Value, pointer: &str) -> Vec<String> {
        let catalog = r#"[{"pipeline": "text-to-image", "model_id": "a", "source": "builtin:fake"},
                          {"pipeline": "image-to-text", "model_id": "a", "source": "builtin:fake"}]"#;
        let image = InputImage {
            key: String::new(),
            content_type: String::new(),
            size_bytes: 1,
            sha256: String::new(),
            width: 1,
            height: 1,
        };
        let image = (document["pipeline"] == "image-to-text").then_some(image);
        let parsed = parse_submission(&Catalog::parse(catalog).unwrap(), &document, image, 0);
        let Err(Invalid::Fields(errors)) = parsed else { panic!("{parsed:?}") };
        let refusal = errors.into_iter().find(|error| error.pointer == pointer).unwrap().detail;
        let fields = refusal.strip_prefix("unknown field: expected one of ").unwrap();
        let mut fields: Vec<String> = fields.split(", ").map(str::to_owned).collect();
        fields.sort();
        fields
    }

    fn documented<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let mut fields: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        fields.sort();
        fields
    }

    #[test]
    fn documentation_and_parser_know_the_same_fields() {
        let job = json!({"pipeline": "text-to-image", "x": 1});
        assert_eq!(taken(job, "/x"), documented::<Submission>());
        let job = json!({"pipeline": "text-to-image", "input": {"x": 1}});
        assert_eq!(taken(job, "/input/x"), documented::<TextToImageParameters>());
        let job = json!({"pipeline": "text-to-image", "webhook": {"x": 1}});
        assert_eq!(taken(job, "/webhook/x"), documented::<SubmittedWebhookParameters>());
        // The parser knows the picture as a field, to say where it is missing.
        let job = json!({"pipeline": "image-to-text", "input": {"x": 1}});
        assert_eq!(taken(job, "/input/x"), documented::<ImageToTextParameters>());
    }
}
