//! What takes documents and forms: the native API's one path, and those of every surface.

use serde_json::{Value, json};

/// A prompt that is fine, which others take the place of.
pub(super) const PROMPT: &str = "a red circle";

/// A path that jobs are submitted to.
#[derive(Debug)]
pub(super) struct Target {
    path: String,
    /// How a key is announced.
    scheme: &'static str,
    /// Everything that it takes.
    pub(super) document: Value,
    /// Members without which there is no job.
    pub(super) needed: &'static [&'static str],
    /// Parts of its form.
    pub(super) parts: &'static [&'static str],
}

impl Target {
    fn new(path: impl Into<String>, document: Value) -> Self {
        Self {
            path: path.into(),
            scheme: "Bearer",
            document,
            needed: &["pipeline", "input", "prompt", "messages", "image_url", "version"],
            parts: &["image", "image", "image", "job"],
        }
    }

    /// The first lines of a request with this key.
    pub(super) fn head(&self, key: &str) -> String {
        let Self { path, scheme, .. } = self;
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {scheme} {key}\r\n")
    }
}

/// `POST /v1/jobs`.
pub(super) fn native(model: &str) -> Target {
    let input = json!({
        "prompt": PROMPT, "negative_prompt": "blur", "width": 64, "height": 64, "steps": 2,
        "guidance_scale": 1.5, "seed": 7, "images": 1, "scheduler": "euler", "loras": {},
        "output_format": "png", "output_quality": 90, "safety_check": false,
    });
    let document = json!({
        "pipeline": "text-to-image", "model": model, "input": input, "priority": "normal",
        "deadline_seconds": 600, "retention_seconds": 3600, "metadata": {"a": "b"},
    });
    Target::new("/v1/jobs", document)
}

/// Everything that takes jobs on a surface. `job` is one that is there.
pub(super) fn of_surfaces(model: &str, job: &str) -> Vec<Target> {
    let mut targets = livepeer(model, job);
    targets.extend(openai(model));
    targets.extend(replicate(model));
    targets.extend(fal(model));
    targets
}

fn livepeer(model: &str, job: &str) -> Vec<Target> {
    let picture = json!({
        "prompt": PROMPT, "model_id": model, "loras": "", "height": 64, "width": 64, "guidance_scale": 7.5,
        "negative_prompt": "", "safety_check": true, "seed": 7, "num_inference_steps": 2, "num_images_per_prompt": 1,
    });
    let parts = &["image", "image", "prompt", "model_id"];
    vec![
        Target::new("/text-to-image", picture.clone()),
        Target::new("/api/beta/generate/text-to-image/", picture),
        Target { parts, ..Target::new("/image-to-text", json!({"image": PROMPT})) },
        Target::new("/text-to-image/result", json!({"request_id": job})),
        Target::new("/image-to-text/result", json!({"request_id": PROMPT})),
    ]
}

fn openai(model: &str) -> Vec<Target> {
    let picture = json!({
        "prompt": PROMPT, "model": model, "n": 1, "size": "64x64", "quality": "auto", "output_format": "png",
        "output_compression": 90, "response_format": "url", "moderation": "low", "stream": false, "partial_images": 0,
        "user": "u", "seed": 7, "steps": 2, "background": "auto", "style": "vivid", "loras": {},
    });
    let look = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": PROMPT}, look]}]);
    let chat = json!({"model": model, "messages": messages, "stream": false, "n": 1, "max_tokens": 10});
    vec![
        Target::new("/openai/v1/images/generations", picture),
        Target::new("/openai/v1/chat/completions", chat),
    ]
}

fn replicate(model: &str) -> Vec<Target> {
    let input = json!({
        "prompt": PROMPT, "num_outputs": 1, "aspect_ratio": "1:1", "width": 64, "height": 64, "output_format": "png",
        "output_quality": 90, "guidance": 3.5, "num_inference_steps": 2, "negative_prompt": "blur", "seed": 7,
        "disable_safety_checker": true, "scheduler": "K_EULER", "loras": {},
    });
    let name = format!("darkroom/{model}");
    let document = json!({
        "version": name, "input": input, "webhook": "http://127.0.0.1:9/", "stream": false,
        "webhook_events_filter": ["completed"],
    });
    vec![
        Target::new("/replicate/v1/predictions", document.clone()),
        Target::new(format!("/replicate/v1/models/{name}/predictions"), document),
        Target { parts: &["content"], ..Target::new("/replicate/v1/files", json!({"content": PROMPT})) },
    ]
}

fn fal(model: &str) -> Vec<Target> {
    let picture = json!({
        "prompt": PROMPT, "image_size": {"width": 64, "height": 64}, "num_images": 1, "num_inference_steps": 2,
        "guidance_scale": 3.5, "seed": 7, "sync_mode": false, "loras": [], "enable_safety_checker": false,
        "output_format": "png", "negative_prompt": "blur",
    });
    let look = json!({"image_url": "data:image/png;base64,AAAA", "prompt": PROMPT});
    let key =
        |path: String, document: &Value| Target { scheme: "Key", ..Target::new(path, document.clone()) };
    vec![
        key(format!("/fal/darkroom/{model}"), &picture),
        key(format!("/fal/run/darkroom/{model}"), &picture),
        key(format!("/fal/darkroom/{model}-captions?fal_webhook=http%3A%2F%2F127.0.0.1%3A9"), &look),
    ]
}
