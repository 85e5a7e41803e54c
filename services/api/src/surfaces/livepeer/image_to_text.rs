//! `POST /image-to-text`.

use axum::extract::{Request, State};
use axum::response::Response;
use darkroom_blobs::input_key;
use serde_json::{Value, json};

use super::lax::Invalid;
use super::{Failure, answer};
use crate::Submitter;
use crate::intake::{FormRules, Intake, Origin, Others, is_form};
use crate::jobs::Jobs;
use crate::surfaces::call::Call;

/// What the form may hold; other parts are read over.
const RULES: FormRules = FormRules {
    images: &["image"],
    texts: &["prompt", "model_id"],
    others: Others::Skipped,
    key: |id| input_key(id),
    origin: Origin::Sent,
};

pub(super) async fn describe(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Failure> {
    let call = Call::new(key, request.headers())?;
    if !is_form(request.headers()) {
        return Err(vec![Invalid::missing(&["body", "image"])].into());
    }
    let mut form = intake.read_form(request, &RULES).await?;
    if let Some(text) = form.texts.get("image") {
        return Err(vec![Invalid::no_file("image", text)].into());
    }
    if !form.has_image() {
        return Err(vec![Invalid::missing(&["body", "image"])].into());
    }
    let mut document = json!({"pipeline": "image-to-text", "input": {}});
    if let Some(prompt) = form.texts.remove("prompt").filter(|text| !text.is_empty()) {
        document["input"]["prompt"] = Value::from(prompt);
    }
    if let Some(model) = form.texts.remove("model_id").filter(|text| !text.is_empty()) {
        document["model"] = Value::from(model);
    }
    answer::submit(&intake, &jobs, call, form.into_received(document)).await
}
