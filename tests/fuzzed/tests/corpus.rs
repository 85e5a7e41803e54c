//! What fuzzing has found, as a test: see `docs/development.md`.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "the runner shows it with the failed test")]

use std::fs;
use std::path::Path;

/// Calls `target` with every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{} has {count} files", folder.display());
}

#[test]
fn pictures_keep_their_promises() {
    replay("picture", darkroom_fuzzed::picture);
}

#[test]
fn submissions_keep_their_promises() {
    replay("submission", darkroom_fuzzed::submission);
}

#[test]
fn headers_of_weights_keep_their_promises() {
    replay("safetensors", darkroom_fuzzed::safetensors);
}

#[test]
fn webhook_urls_keep_their_promises() {
    replay("webhook_url", darkroom_fuzzed::webhook_url);
}

#[test]
fn tickets_keep_their_promises() {
    replay("ticket", darkroom_fuzzed::ticket);
}
