use std::path::Path;
use std::sync::LazyLock;

use darkroom_jobs::Pipeline;
use darkroom_models::{Device, LoadOptions, weights_bytes};
use tempfile::TempDir;

/// A small captioning model without its weights. In memory where there is such a folder.
static MODEL: LazyLock<TempDir> = LazyLock::new(|| {
    let shared_memory = Path::new("/dev/shm");
    let folder =
        if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a temporary folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/shapes-blip");
    for name in ["config.json", "generation_config.json", "tokenizer_config.json", "vocab.txt"] {
        std::fs::copy(model.join(name), folder.path().join(name)).expect("the model is bundled");
    }
    folder
});

/// A file of weights, of which the header is read and compared with what the model needs.
pub fn safetensors(bytes: &[u8]) {
    std::fs::write(MODEL.path().join("model.safetensors"), bytes).expect("the folder is writable");
    let folder = MODEL.path().to_owned().into();
    // Refused or not: the point is that it ends.
    let _ = weights_bytes(&folder, Pipeline::ImageToText, &Device::cpu(), &LoadOptions::default());
}
