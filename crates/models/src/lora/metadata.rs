//! What newer versions of diffusers write beside the tensors of a LoRA: PEFT's settings.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Component, Place};
use crate::error::Error;

/// The entry of a safetensors file's metadata, whose value is JSON.
const ENTRY: &str = "lora_adapter_metadata";

/// PEFT's settings by component.
#[derive(Debug, Default)]
pub(super) struct Adapters(BTreeMap<Component, Adapter>);

#[derive(Debug, Deserialize)]
struct Adapter {
    lora_alpha: Option<f64>,
    /// By the ends of names of layers, or by whole ones after a `^`.
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
}

impl Adapters {
    /// Reads the header of a safetensors file that was opened before and so is known to have one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the settings cannot be understood, [`Error::Load`] when the file cannot be
    /// read.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let header = read_header(path).map_err(|error| Error::Load {
            file: path.to_owned(),
            tensor: None,
            expected: "a readable header".to_owned(),
            found: error.to_string(),
            source: Some(Box::new(error)),
        })?;
        Self::parse(&header).map_err(|error| Error::InvalidConfig {
            file: path.to_owned(),
            reason: format!("{ENTRY}: {error}"),
            source: Some(Box::new(error)),
        })
    }

    fn parse(header: &[u8]) -> serde_json::Result<Self> {
        let Header { metadata } = serde_json::from_slice(header)?;
        let Some(json) = metadata.and_then(|mut entries| entries.remove(ENTRY)) else {
            return Ok(Self::default());
        };
        // `{"unet.lora_alpha": 4, "unet.alpha_pattern": {…}, "text_encoder.lora_alpha": …}`
        let mut components = BTreeMap::<Component, Map<String, Value>>::new();
        for (name, value) in serde_json::from_str::<Map<String, Value>>(&json)? {
            let Some((component, field)) = name.split_once('.') else { continue };
            if let Some(component) = Component::of_name(component) {
                components.entry(component).or_default().insert(field.to_owned(), value);
            }
        }
        let adapter = |(component, fields)| Ok((component, serde_json::from_value(Value::Object(fields))?));
        components.into_iter().map(adapter).collect::<serde_json::Result<_>>().map(Self)
    }

    /// Whether the settings make it more than a plain LoRA.
    pub(super) fn uses_dora(&self) -> bool {
        self.0.values().any(|adapter| adapter.use_dora)
    }

    /// What `B·A` of a layer is multiplied by, if the settings say so.
    pub(super) fn scale(&self, place: &Place, rank: usize) -> Option<f64> {
        let adapter = self.0.get(&place.component)?;
        let alpha = adapter.alpha(place)?;
        let rank = rank as f64;
        Some(alpha / if adapter.use_rslora { rank.sqrt() } else { rank })
    }
}

impl Adapter {
    fn alpha(&self, place: &Place) -> Option<f64> {
        let matches = |pattern: &str| match pattern.strip_prefix('^') {
            Some(whole) => Place::new(place.component, whole) == *place,
            None => {
                let end = Place::new(place.component, pattern).layer;
                place.layer.strip_suffix(&end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
            }
        };
        let pattern = self.alpha_pattern.iter().find(|(pattern, _)| matches(pattern));
        pattern.map(|(_, alpha)| *alpha).or(self.lora_alpha)
    }
}

/// The JSON at the beginning of a safetensors file, after its length in eight bytes.
fn read_header(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut header)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapters(settings: Value) -> Adapters {
        let header = serde_json::json!({ "__metadata__": { ENTRY: settings.to_string() }, "a": {} });
        Adapters::parse(&serde_json::to_vec(&header).unwrap()).unwrap()
    }

    fn layer(name: &str) -> Place {
        Place::new(Component::Denoiser, name)
    }

    #[test]
    fn alphas_go_by_component_and_by_pattern() {
        let adapters = adapters(serde_json::json!({
            "unet.r": 4,
            "unet.lora_alpha": 8,
            "unet.alpha_pattern": { "attn1.to_q": 2, "^conv_in": 1.0 },
            "text_encoder.lora_alpha": 16,
            "text_encoder.use_rslora": true,
        }));
        assert_eq!(adapters.scale(&layer("mid_block.attn1.to_q"), 4), Some(0.5));
        assert_eq!(adapters.scale(&layer("mid_block.attn2.to_q"), 4), Some(2.0));
        assert_eq!(adapters.scale(&layer("conv_in"), 4), Some(0.25));
        assert_eq!(adapters.scale(&layer("block.conv_in"), 4), Some(2.0));
        let text = Place::new(Component::TextEncoder(1), "text_model.encoder.layers.0.mlp.fc1");
        assert_eq!(adapters.scale(&text, 4), Some(8.0));
        assert_eq!(adapters.scale(&Place::new(Component::TextEncoder(2), "fc1"), 4), None);
        assert!(!adapters.uses_dora());
    }

    #[test]
    fn a_file_may_say_nothing() {
        for header in [r#"{"__metadata__": {"format": "pt"}}"#, r#"{"a": {}}"#] {
            let adapters = Adapters::parse(header.as_bytes()).unwrap();
            assert_eq!(adapters.scale(&layer("conv_in"), 4), None);
        }
    }
}
