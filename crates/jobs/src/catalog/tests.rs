use super::*;

fn problem(entry: &str) -> String {
    let text = format!("[{{\"pipeline\":\"text-to-image\",\"model_id\":\"m\",{entry}}}]");
    let error = Catalog::parse(&text).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[test]
fn reads_a_livepeer_file_as_it_is() {
    let catalog = Catalog::parse(
        r#"[
          {"pipeline":"text-to-image","model_id":"SG161222/RealVisXL_V4.0_Lightning","price_per_unit":1.9073484e-08,
           "pixels_per_unit":1,"currency":"USD","warm":true,"capacity":1,"url":"http://runner:8000","token":"t",
           "optimization_flags":{"SFAST":true}},
          {"pipeline":"image-to-text","model_id":"Salesforce/blip-image-captioning-large","price_per_unit":"2.5e-10"},
          {"pipeline":"audio-to-text","model_id":"openai/whisper-large-v3"}
        ]"#,
    )
    .unwrap();
    assert_eq!(catalog.skipped(), ["audio-to-text:openai/whisper-large-v3"]);
    let model = catalog.default_of(Pipeline::TextToImage).unwrap();
    assert_eq!(model.price.as_ref().unwrap().per_unit.to_string(), "0.000000019073484");
    assert_eq!(model.source, Source::Folder("SG161222/RealVisXL_V4.0_Lightning".into()));
    assert!(model.warm);
    let caption = catalog.default_of(Pipeline::ImageToText).unwrap();
    assert_eq!(caption.price.as_ref().unwrap().per_unit.to_string(), "0.00000000025");
}

#[test]
fn finds_models_by_id_alias_and_default() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"a","source":"builtin:fake"},
            {"pipeline":"text-to-image","model_id":"b","aliases":["gpt-image-1"],"default":true,
             "source":"builtin:fake?step_ms=20"}]"#,
    )
    .unwrap();
    let id = |model: Option<&Model>| model.map(|model| model.lane.model().to_owned());
    assert_eq!(id(catalog.default_of(Pipeline::TextToImage)), Some("b".into()));
    assert_eq!(id(catalog.named(Pipeline::TextToImage, "gpt-image-1")), Some("b".into()));
    assert_eq!(id(catalog.named(Pipeline::ImageToText, "a")), None);
    assert_eq!(catalog.models()[1].source, Source::Fake { step: Duration::from_millis(20) });
}

#[test]
fn errors_name_entry_key_and_what_is_allowed() {
    insta::assert_snapshot!(problem(r#""warm":"yes""#), @r#"catalog entry 0: warm: invalid type: string "yes", expected a boolean"#);
    insta::assert_snapshot!(problem(r#""price_per_unit":-1"#), @"catalog entry 0: `price_per_unit` must be a number of at least 0");
    insta::assert_snapshot!(problem(r#""price_per_unit":1,"pixels_per_unit":0"#), @"catalog entry 0: `pixels_per_unit` must be a positive integer");
    insta::assert_snapshot!(problem(r#""source":"pickle:x""#), @"catalog entry 0: `source` must be `builtin:fake`, `builtin:fake?step_ms=N` or a folder");
    insta::assert_snapshot!(problem(r#""dtype":"int8""#), @"catalog entry 0: `dtype` must be one of f32, f16, bf16");
    insta::assert_snapshot!(problem(r#""defaults":{"steps":500}"#), @"catalog entry 0: `defaults` must lie within the entry's limits, with sides that divide by 8");
    insta::assert_snapshot!(problem(r#""timeout":0"#), @"catalog entry 0: `timeout` must be at least 1 second");
    assert!(matches!(Catalog::parse("[]"), Err(CatalogError::Empty)));
    assert!(matches!(Catalog::parse("{}"), Err(CatalogError::NoArray)));
    assert!(matches!(Catalog::parse("{oops"), Err(CatalogError::Json(_))));
}

#[test]
fn a_name_stands_for_one_model() {
    let twice = r#"[{"pipeline":"text-to-image","model_id":"a"},
                    {"pipeline":"text-to-image","model_id":"b","aliases":["a"]}]"#;
    assert!(matches!(Catalog::parse(twice), Err(CatalogError::Value { index: 1, .. })));
}
