//! `POST /text-to-image`.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use darkroom_jobs::{Catalog, Model, Pipeline};
use serde_json::{Map, Value, json};

use super::lax::Members;
use super::{Failure, answer, is_json};
use crate::Submitter;
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::surfaces::call::Call;

/// What clients send for parameters that their callers leave out.
const WIDTH: i64 = 1024;
const HEIGHT: i64 = 576;
const STEPS: i64 = 50;
const GUIDANCE_SCALE: f64 = 7.5;

pub(super) async fn generate(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Failure> {
    let call = Call::new(key, request.headers())?;
    let body = intake.read_document(call.tenant(), request).await?;
    let document = Params::read(&call.headers, body.bytes())?.document(intake.catalog())?;
    let received = intake.received(document, body);
    answer::submit(&intake, &jobs, call, received).await
}

/// The body, in the order in which the runner checks it.
#[derive(Debug)]
struct Params {
    model_id: String,
    loras: String,
    prompt: String,
    height: i64,
    width: i64,
    guidance_scale: f64,
    negative_prompt: String,
    safety_check: bool,
    seed: Option<i64>,
    num_inference_steps: i64,
    num_images_per_prompt: i64,
}

impl Params {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        if !is_json(headers) {
            let text = String::from_utf8_lossy(body).into_owned();
            return Err(vec![Members::no_object(text.into())].into());
        }
        let mut members = Members::parse(body)?;
        let params = Self {
            model_id: members.string("model_id").unwrap_or_default(),
            loras: members.string("loras").unwrap_or_default(),
            prompt: members.required("prompt").unwrap_or_default(),
            height: members.integer("height").unwrap_or(HEIGHT),
            width: members.integer("width").unwrap_or(WIDTH),
            guidance_scale: members.number("guidance_scale").unwrap_or(GUIDANCE_SCALE),
            negative_prompt: members.string("negative_prompt").unwrap_or_default(),
            safety_check: members.boolean("safety_check").unwrap_or(true),
            seed: members.integer("seed"),
            num_inference_steps: members.integer("num_inference_steps").unwrap_or(STEPS),
            num_images_per_prompt: members.integer("num_images_per_prompt").unwrap_or(1),
        };
        members.finish()?;
        if params.prompt.trim().is_empty() {
            return Err(Failure::Told(
                axum::http::StatusCode::BAD_REQUEST,
                "Prompt must be provided.".to_owned(),
            ));
        }
        Ok(params)
    }

    /// The native document.
    fn document(self, catalog: &Catalog) -> Result<Value, Failure> {
        let model = match self.model_id.as_str() {
            "" => catalog.default_of(Pipeline::TextToImage),
            id => catalog.named(Pipeline::TextToImage, id),
        };
        let mut input = Map::new();
        if let Some(model) = model {
            input = self.fitted(model);
        }
        input.insert("prompt".to_owned(), self.prompt.into());
        // The runner tells its model nothing of a prompt without words.
        if !self.negative_prompt.trim().is_empty() {
            input.insert("negative_prompt".to_owned(), self.negative_prompt.into());
        }
        if let Some(seed) = self.seed {
            input.insert("seed".to_owned(), seed.into());
        }
        input.insert("images".to_owned(), self.num_images_per_prompt.into());
        input.insert("safety_check".to_owned(), self.safety_check.into());
        input.insert("loras".to_owned(), loras(&self.loras)?);
        let mut document = json!({"pipeline": Pipeline::TextToImage.as_str(), "input": input});
        if !self.model_id.is_empty() {
            document["model"] = self.model_id.into();
        }
        Ok(document)
    }

    /// The parameters that models differ in.
    ///
    /// Clients send a value for each of them whether their callers named one or not, the same for every model. Where
    /// the model cannot do with that, it stands for the model's own value; every other value is the caller's.
    fn fitted(&self, model: &Model) -> Map<String, Value> {
        let (defaults, limits) = (&model.defaults, &model.limits);
        let mut input = Map::new();
        let max_side = i64::from(limits.max_side);
        let unchosen = (self.width, self.height) == (WIDTH, HEIGHT);
        if !unchosen || WIDTH.max(HEIGHT) <= max_side {
            input.insert("width".to_owned(), self.width.into());
            input.insert("height".to_owned(), self.height.into());
        }
        let unchosen = self.num_inference_steps == STEPS && !limits.allows_steps(50);
        if self.num_inference_steps >= 1 && !unchosen {
            input.insert("steps".to_owned(), self.num_inference_steps.into());
        }
        // Models that were distilled to work without guidance make noise with it.
        if defaults.guidance_scale > 1.0 || self.guidance_scale.total_cmp(&GUIDANCE_SCALE).is_ne() {
            input.insert("guidance_scale".to_owned(), self.guidance_scale.into());
        }
        input
    }
}

/// The strengths in a string that holds JSON; nothing in an empty one.
fn loras(text: &str) -> Result<Value, Failure> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let strengths: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let expected =
        "loras: expected a JSON object of strengths by LoRA id, such as {\"nerijs/pixel-art-xl\": 1.2}";
    let strengths = strengths.ok_or_else(|| Failure::of_model(expected))?;
    if strengths.values().any(|strength| strength.as_f64().is_some_and(|strength| strength < 0.0)) {
        return Err(Failure::of_model("loras: expected strengths of at least 0"));
    }
    Ok(strengths.into())
}
