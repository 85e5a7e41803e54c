//! The checkout this program was built from, and cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The folder of the stack that `up` starts.
pub(crate) fn stack_dir() -> PathBuf {
    root().join(".stack")
}

/// Cargo in the repository's root, checking queries against the committed data: no build needs a database.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).env("SQLX_OFFLINE", "true");
    // Set for this program by `cargo run`; a build script would take them for its own.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "DATABASE_URL"] {
        command.env_remove(name);
    }
    command
}
