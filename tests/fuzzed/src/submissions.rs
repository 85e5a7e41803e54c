use std::sync::LazyLock;

use darkroom_jobs::{Catalog, InputImage, Task, parse_submission};
use serde_json::Value;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let catalog = r#"[
        {"pipeline": "text-to-image", "model_id": "shapes", "source": "builtin:fake",
         "defaults": {"steps": 25, "guidance_scale": 4, "width": 128, "height": 128},
         "limits": {"max_side": 1024, "max_images": 4}},
        {"pipeline": "image-to-text", "model_id": "captions", "source": "builtin:fake"},
        {"pipeline": "lora", "model_id": "style", "source": "style"}
    ]"#;
    Catalog::parse(catalog).expect("the catalog is right")
});

/// The document of a job, with a picture beside it if the first byte is odd.
///
/// # Panics
/// When what is accepted cannot be stored and read back, or does not get a lane of the catalog.
pub fn submission(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let Ok(document) = serde_json::from_slice::<Value>(text) else { return };
    let image = (first & 1 == 1).then(|| InputImage {
        key: "jobs/1/input".into(),
        content_type: "image/png".into(),
        size_bytes: 9,
        sha256: "00".into(),
        width: 20,
        height: 10,
    });
    let Ok(submission) = parse_submission(&CATALOG, &document, image, 7) else { return };
    assert!(CATALOG.of_lane(&submission.lane).is_some(), "{}", submission.lane);
    let stored = serde_json::to_string(&submission.task).expect("a task can be stored");
    // The database's text has no such character.
    assert!(!stored.contains("\\u0000"), "{stored}");
    let read: Task = serde_json::from_str(&stored).unwrap_or_else(|error| panic!("{error}: {stored}"));
    assert_eq!(serde_json::to_string(&read).expect("it can be stored again"), stored);
}
