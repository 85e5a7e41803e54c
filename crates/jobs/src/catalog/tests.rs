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
    let folder = "SG161222/RealVisXL_V4.0_Lightning".to_owned();
    let repository = Repository { id: folder.clone(), revision: None, path: String::new() };
    assert_eq!(model.source, Source::Unnamed { folder, repository });
    assert!(catalog.unknown_keys().is_empty(), "{:?}", catalog.unknown_keys());
    assert!(model.warm);
    let caption = catalog.default_of(Pipeline::ImageToText).unwrap();
    assert_eq!(caption.price.as_ref().unwrap().per_unit.to_string(), "0.00000000025");
}

#[test]
fn fields_of_the_scheduler_are_taken_as_they_are() {
    let entry =
        r#"[{"pipeline":"text-to-image","model_id":"m","scheduler":{"timestep_spacing":"trailing"}}]"#;
    let catalog = Catalog::parse(entry).unwrap();
    assert_eq!(catalog.models()[0].scheduler["timestep_spacing"], "trailing");
    assert!(catalog.unknown_keys().is_empty(), "{:?}", catalog.unknown_keys());
    assert!(problem(r#""scheduler":"euler""#).contains("scheduler: invalid type: string"));
}

#[test]
fn distilled_models_have_their_own_numbers_of_steps() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"m","defaults":{"steps":4},"limits":{"steps":[2,4,8]},
             "qualities":{"low":2,"high":8}}]"#,
    )
    .unwrap();
    let model = &catalog.models()[0];
    assert!(catalog.unknown_keys().is_empty(), "{:?}", catalog.unknown_keys());
    let allowed: Vec<u32> = (0..200).filter(|steps| model.limits.allows_steps(*steps)).collect();
    assert_eq!(allowed, [2, 4, 8]);
    assert_eq!(model.qualities["high"], 8);
    assert!(problem(r#""limits":{"steps":[151]}"#).contains("`limits` must have"));
    assert!(
        problem(r#""limits":{"steps":[4]}"#).contains("`defaults` must lie within"),
        "30 steps are the default"
    );
    assert!(problem(r#""qualities":{"low":0}"#).contains("`qualities` must be numbers of steps"));
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
fn deep_cache_is_a_few_steps_of_a_model_that_draws() {
    let of = |value: &str| {
        let text = format!(r#"[{{"pipeline":"text-to-image","model_id":"m"{value}}}]"#);
        let catalog = Catalog::parse(&text).unwrap();
        assert!(catalog.unknown_keys().is_empty(), "{:?}", catalog.unknown_keys());
        catalog.models()[0].deep_cache.map(NonZeroU32::get)
    };
    assert_eq!((of(""), of(r#","deep_cache":1"#), of(r#","deep_cache":10"#)), (None, Some(1), Some(10)));
    insta::assert_snapshot!(problem(r#""deep_cache":0"#), @"catalog entry 0: `deep_cache` must be 1 to 10 steps");
    insta::assert_snapshot!(problem(r#""deep_cache":11"#), @"catalog entry 0: `deep_cache` must be 1 to 10 steps");
    insta::assert_snapshot!(problem(r#""deep_cache":2.5"#), @"catalog entry 0: deep_cache: invalid type: floating point `2.5`, expected u32");
    let caption = r#"[{"pipeline":"image-to-text","model_id":"m","deep_cache":2}]"#;
    let error = Catalog::parse(caption).unwrap_err().to_string();
    assert_eq!(error, "catalog entry 0: `deep_cache` is for text-to-image models");
}

#[test]
fn errors_name_entry_key_and_what_is_allowed() {
    insta::assert_snapshot!(problem(r#""warm":"yes""#), @r#"catalog entry 0: warm: invalid type: string "yes", expected a boolean"#);
    insta::assert_snapshot!(problem(r#""price_per_unit":-1"#), @"catalog entry 0: `price_per_unit` must be a number of at least 0");
    insta::assert_snapshot!(problem(r#""price_per_unit":1,"pixels_per_unit":0"#), @"catalog entry 0: `pixels_per_unit` must be a positive integer");
    insta::assert_snapshot!(problem(r#""source":"pickle:x""#), @"catalog entry 0: `source` must be `hub:owner/name`, `s3://bucket/prefix`, a folder, `builtin:fake` or `builtin:fake?step_ms=N`");
    insta::assert_snapshot!(problem(r#""dtype":"int8""#), @"catalog entry 0: `dtype` must be one of f32, f16, bf16");
    insta::assert_snapshot!(problem(r#""defaults":{"steps":500}"#), @"catalog entry 0: `defaults` must lie within the entry's limits, with sides that divide by 8");
    insta::assert_snapshot!(problem(r#""timeout":0"#), @"catalog entry 0: `timeout` must be at least 1 second");
    assert!(matches!(Catalog::parse("[]"), Err(CatalogError::Empty)));
    assert!(matches!(Catalog::parse("{}"), Err(CatalogError::NoArray)));
    assert!(matches!(Catalog::parse("{oops"), Err(CatalogError::Json(_))));
}

fn source(entry: &str) -> Source {
    let text = format!("[{{\"pipeline\":\"text-to-image\",\"model_id\":\"m\",{entry}}}]");
    Catalog::parse(&text).unwrap().models()[0].source.clone()
}

fn hub(id: &str, revision: Option<&str>, path: &str) -> Source {
    Source::Hub(Repository { id: id.into(), revision: revision.map(Into::into), path: path.into() })
}

#[test]
fn sources_are_read() {
    assert_eq!(source(r#""source":"shapes-sd""#), Source::Folder("shapes-sd".into()));
    assert_eq!(source(r#""source":"file:/srv/sd""#), Source::Folder("/srv/sd".into()));
    assert_eq!(source(r#""warm":true"#), Source::Folder("m".into()), "no id of the hub");
    assert_eq!(source(r#""source":"hub:a/b""#), hub("a/b", None, ""));
    assert_eq!(source(r#""source":"hub:a/b","revision":"refs/pr/1""#), hub("a/b", Some("refs/pr/1"), ""));
    assert_eq!(source(r#""source":"hub:a/b/sub/folder/""#), hub("a/b", None, "sub/folder"));
    let bucket = |prefix: &str| Source::Bucket { bucket: "models".into(), prefix: prefix.into() };
    assert_eq!(source(r#""source":"s3://models/sd/1.5/""#), bucket("sd/1.5"));
    assert_eq!(source(r#""source":"s3://models""#), bucket(""));
}

#[test]
fn commit_is_pinned_and_a_branch_is_not() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = |revision: &str| match hub("a/b", Some(revision), "") {
        Source::Hub(repository) => repository,
        other => panic!("{other:?}"),
    };
    assert!(repository(commit).is_pinned());
    assert!(!repository("main").is_pinned());
    assert!(!repository(&commit.to_uppercase()).is_pinned());
}

#[test]
fn components_and_safety_checkers_come_from_elsewhere() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"a/b","safety_checker":"hub:c/checker",
             "components":{"vae":"hub:stabilityai/sd-vae-ft-ema",
                           "unet":{"source":"hub:l/x/step.safetensors","revision":"v1"}}},
            {"pipeline":"text-to-image","model_id":"a/c","safety_checker":false},
            {"pipeline":"text-to-image","model_id":"a/d","safety_checker":true}]"#,
    )
    .unwrap();
    let [first, second, third] = catalog.models() else { panic!("three models") };
    assert_eq!(first.components["vae"], hub("stabilityai/sd-vae-ft-ema", None, ""));
    assert_eq!(first.components["unet"], hub("l/x", Some("v1"), "step.safetensors"));
    assert!(first.components["unet"].is_file() && !first.components["vae"].is_file());
    assert_eq!(first.safety_checker, SafetyChecker::From(hub("c/checker", None, "")));
    assert_eq!(second.safety_checker, SafetyChecker::Off);
    assert_eq!(third.safety_checker, SafetyChecker::Required);
}

#[test]
fn loras_are_no_models() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"lora","model_id":"nerijs/pixel-art-xl","file":"pixel-art-xl.safetensors"},
            {"pipeline":"text-to-image","model_id":"a"}]"#,
    )
    .unwrap();
    assert_eq!(catalog.models().len(), 1);
    let [lora] = catalog.loras() else { panic!("one LoRA") };
    assert_eq!(lora.id, "nerijs/pixel-art-xl");
    assert_eq!(lora.file.as_deref(), Some("pixel-art-xl.safetensors"));
    assert!(matches!(&lora.source, Source::Unnamed { repository, .. } if repository.id == lora.id));
    let twice = r#"[{"pipeline":"lora","model_id":"a"},{"pipeline":"lora","model_id":"a"}]"#;
    assert!(matches!(Catalog::parse(twice), Err(CatalogError::Value { index: 1, key: "model_id", .. })));
}

#[test]
fn misspelt_keys_are_listed_with_their_model() {
    let catalog = Catalog::parse(
        r#"[{"pipeline":"text-to-image","model_id":"a","sorce":"x","_note":"ours","capacity":1,
             "defaults":{"step":4}},
            {"pipeline":"lora","model_id":"l","weight":1},
            {"pipeline":"audio-to-text","model_id":"w","anything":1}]"#,
    )
    .unwrap();
    assert_eq!(catalog.unknown_keys(), ["a: sorce", "a: defaults.step", "l: weight"]);
}

#[test]
fn sources_that_cannot_be_used_are_named() {
    insta::assert_snapshot!(problem(r#""source":"hub:gpt2""#), @"catalog entry 0: `source` must be `hub:owner/name`, with `/` and a path inside the repository where only a part of it is meant");
    insta::assert_snapshot!(problem(r#""source":"hub:a/../b""#), @"catalog entry 0: `source` must be `hub:owner/name`, with `/` and a path inside the repository where only a part of it is meant");
    insta::assert_snapshot!(problem(r#""source":"s3:models""#), @"catalog entry 0: `source` must be `s3://bucket/prefix`");
    insta::assert_snapshot!(problem(r#""source":"hub:a/b/x.safetensors""#), @"catalog entry 0: `source` must name a folder, not a file");
    insta::assert_snapshot!(problem(r#""source":"shapes-sd","revision":"main""#), @"catalog entry 0: `revision` is for sources of the hub");
    insta::assert_snapshot!(problem(r#""source":"hub:a/b","revision":"a b""#), @"catalog entry 0: `revision` must be a branch, tag or commit: letters, digits and `/._-`");
    insta::assert_snapshot!(problem(r#""components":{"vae":"builtin:fake"}"#), @"catalog entry 0: `components` has `vae`, which must be `hub:owner/name`, `s3://bucket/prefix`, a folder or a file");
    insta::assert_snapshot!(problem(r#""components":{"vae":7}"#), @"catalog entry 0: components.vae: a source, or an object with `source` and `revision`");
    insta::assert_snapshot!(problem(r#""safety_checker":7"#), @"catalog entry 0: safety_checker: true, false or a source");
}

#[test]
fn a_name_stands_for_one_model() {
    let twice = r#"[{"pipeline":"text-to-image","model_id":"a"},
                    {"pipeline":"text-to-image","model_id":"b","aliases":["a"]}]"#;
    assert!(matches!(Catalog::parse(twice), Err(CatalogError::Value { index: 1, .. })));
}
