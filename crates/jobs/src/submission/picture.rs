//! Parameters of pictures that are more than one value.

use std::collections::BTreeMap;

use crate::fields::{Fields, shortened};
use crate::{FormatName, Loras, PictureFormat, PictureOutput, Quality};

/// Reads `loras`, an object of strengths by id. Every id has to be among the `known` ones.
pub(super) fn loras(fields: &mut Fields<'_, '_>, known: &[&str]) -> Loras {
    const NAME: &str = "loras";
    let Some(value) = fields.take(NAME) else { return Loras::default() };
    let Some(object) = value.as_object() else {
        fields.error(NAME, "type", "expected an object of strengths by LoRA id");
        return Loras::default();
    };
    if object.len() > Loras::MAX {
        fields.error(NAME, "range", format!("expected at most {} LoRAs", Loras::MAX));
        return Loras::default();
    }
    let mut strengths = BTreeMap::new();
    for (id, value) in object {
        if !known.contains(&id.as_str()) {
            fields.error_in(NAME, id, "unknown_lora", unknown_lora(id, known));
        }
        match value.as_f64().filter(|strength| Loras::STRENGTHS.contains(strength)) {
            Some(strength) => drop(strengths.insert(id.clone(), strength)),
            None => {
                let code = if value.is_number() { "range" } else { "type" };
                let (min, max) = Loras::STRENGTHS.into_inner();
                fields.error_in(NAME, id, code, format!("expected a number from {min} to {max}"));
            }
        }
    }
    // What breaks a rule is reported by now.
    Loras::new(strengths).unwrap_or_default()
}

fn unknown_lora(id: &str, known: &[&str]) -> String {
    let id = shortened(id);
    if known.is_empty() {
        return format!("there is no LoRA `{id}`: none is served here");
    }
    format!("there is no LoRA `{id}`: expected one of {}", known.join(", "))
}

/// Reads `output_format`, `output_quality` and `embed_parameters`.
pub(super) fn output(fields: &mut Fields<'_, '_>) -> PictureOutput {
    const QUALITY: &str = "output_quality";
    let name = fields.word("output_format").unwrap_or(FormatName::Png);
    let quality = fields.small(QUALITY, 1..=Quality::MAX.into());
    let quality = quality.and_then(|quality| Quality::new(quality.try_into().ok()?));
    let format = PictureFormat::new(name, quality).unwrap_or_else(|| {
        fields.error(QUALITY, "lossless", format!("{name} has no quality: expected none, or another format"));
        PictureFormat::Png
    });
    PictureOutput { format, embed_parameters: fields.boolean("embed_parameters").unwrap_or(true) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(input: &Value, known: &[&str]) -> (Loras, PictureOutput, Vec<String>) {
        let mut errors = Vec::new();
        let mut fields = Fields::new(Some(input), "/input", &mut errors);
        let (loras, output) = (loras(&mut fields, known), output(&mut fields));
        fields.refuse_others();
        let errors = errors.into_iter().map(|e| format!("{} [{}] {}", e.pointer, e.code, e.detail));
        (loras, output, errors.collect())
    }

    #[test]
    fn known_loras_are_taken_with_their_strengths() {
        let input = json!({"loras": {"nerijs/pixel-art-xl": 0.8, "a/b": -1}});
        let (loras, _, errors) = read(&input, &["a/b", "nerijs/pixel-art-xl"]);
        assert_eq!(errors, [""; 0]);
        assert_eq!(loras.iter().collect::<Vec<_>>(), [("a/b", -1.0), ("nerijs/pixel-art-xl", 0.8)]);
        for absent in [json!({}), json!({"loras": null}), json!({"loras": {}})] {
            let (loras, _, errors) = read(&absent, &[]);
            assert!(loras.is_empty() && errors.is_empty(), "{absent}");
        }
    }

    #[test]
    fn loras_that_cannot_be_used_are_named() {
        let errors = |loras: Value, known: &[&str]| read(&json!({"loras": loras}), known).2;
        insta::assert_json_snapshot!(errors(json!({"a/b": 11, "c": "1", "d": 1}), &["a/b", "c"]), @r#"
        [
          "/input/loras/a~1b [range] expected a number from -10 to 10",
          "/input/loras/c [type] expected a number from -10 to 10",
          "/input/loras/d [unknown_lora] there is no LoRA `d`: expected one of a/b, c"
        ]
        "#);
        assert_eq!(
            errors(json!({"x": 1}), &[]),
            ["/input/loras/x [unknown_lora] there is no LoRA `x`: none is served here"]
        );
        assert_eq!(
            errors(json!("{\"a\": 1}"), &[]),
            ["/input/loras [type] expected an object of strengths by LoRA id"]
        );
        let five = json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1});
        assert_eq!(errors(five, &[]), ["/input/loras [range] expected at most 4 LoRAs"]);
    }

    #[test]
    fn formats_have_a_quality_or_none() {
        let quality = |quality| Quality::new(quality).unwrap();
        let cases = [
            (json!({}), PictureFormat::Png),
            (json!({"output_format": "jpeg"}), PictureFormat::Jpeg(quality(90))),
            (json!({"output_format": "jpeg", "output_quality": 100}), PictureFormat::Jpeg(quality(100))),
            (json!({"output_format": "webp", "output_quality": 1}), PictureFormat::Webp(quality(1))),
        ];
        for (input, format) in cases {
            let (_, output, errors) = read(&input, &[]);
            assert_eq!((output.format, output.embed_parameters, errors.len()), (format, true, 0), "{input}");
        }
        let (_, output, _) = read(&json!({"embed_parameters": false}), &[]);
        assert!(!output.embed_parameters);
    }

    #[test]
    fn outputs_that_cannot_be_are_refused() {
        let errors = |input: Value| read(&input, &[]).2;
        insta::assert_json_snapshot!(
            errors(json!({"output_format": "bmp", "output_quality": 0, "embed_parameters": 1})), @r#"
        [
          "/input/output_format [choice] expected one of png, jpeg, webp",
          "/input/output_quality [range] expected an integer from 1 to 100",
          "/input/embed_parameters [type] expected true or false"
        ]
        "#);
        let lossless =
            "/input/output_quality [lossless] png has no quality: expected none, or another format";
        assert_eq!(errors(json!({"output_quality": 90})), [lossless]);
        assert_eq!(errors(json!({"output_quality": 90, "output_format": "png"})), [lossless]);
    }
}
