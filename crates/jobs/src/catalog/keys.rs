//! Keys that a catalog may have, so that a misspelt one can be told.

use serde_json::{Map, Value};

/// What an entry may have.
pub(super) struct Keys {
    own: &'static [&'static str],
    nested: &'static [(&'static str, &'static [&'static str])],
}

/// Keys of a model.
pub(super) const MODEL: Keys = Keys {
    own: &[
        "pipeline",
        "model_id",
        "warm",
        "price_per_unit",
        "pixels_per_unit",
        "currency",
        "default",
        "aliases",
        "source",
        "revision",
        "components",
        "scheduler",
        "safety_checker",
        "dtype",
        "deep_cache",
        "memory_bytes",
        "timeout",
        "max_attempts",
        "defaults",
        "limits",
        "qualities",
    ],
    nested: &[
        ("defaults", &["steps", "guidance_scale", "width", "height"]),
        ("limits", &["max_side", "max_images", "max_steps", "steps"]),
    ],
};

/// Keys of a LoRA.
pub(super) const LORA: Keys =
    Keys { own: &["pipeline", "model_id", "source", "revision", "file"], nested: &[] };

/// Livepeer's, which mean nothing here.
const LIVEPEER: [&str; 4] = ["url", "token", "capacity", "optimization_flags"];

/// Keys of `entry` that nobody knows, each as `model: key`. Those that begin with `_` are comments.
pub(super) fn unknown(entry: &Value, keys: &Keys) -> Vec<String> {
    let Value::Object(entry) = entry else { return Vec::new() };
    let mut found: Vec<String> = strangers(entry, |key| keys.own.contains(&key) || LIVEPEER.contains(&key));
    for (name, known) in keys.nested {
        if let Some(Value::Object(nested)) = entry.get(*name) {
            let strangers = strangers(nested, |key| known.contains(&key));
            found.extend(strangers.into_iter().map(|key| format!("{name}.{key}")));
        }
    }
    let model = entry.get("model_id").and_then(Value::as_str).unwrap_or_default();
    found.into_iter().map(|key| format!("{model}: {key}")).collect()
}

fn strangers(object: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Vec<String> {
    object.keys().filter(|key| !key.starts_with('_') && !known(key)).cloned().collect()
}
