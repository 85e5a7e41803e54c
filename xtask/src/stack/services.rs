//! Darkroom's own services.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};

use super::ports::{self, Port};
use super::{Component, Stack, State, environment};
use crate::workspace;

/// The name of a service's package and binary.
pub(crate) fn binary_name(component: Component) -> String {
    format!("darkroom-{}", component.name())
}

/// The service's process.
pub(crate) fn command(component: Component, stack: &Stack, state: &State) -> Result<Command> {
    let mut command = binary(component, stack, state)?;
    match component {
        Component::Api => {
            command.arg("serve");
            command.env("DARKROOM_LISTEN", ports::loopback(state.port(Port::Api)).to_string());
            urls(&mut command, state);
        }
        // Its port is known: the API is started first.
        Component::Dispatcher => urls(&mut command, state),
        Component::Worker => {
            command.env("DARKROOM_MODELS_DIR", workspace::root()?.join("models"));
            command.env("DARKROOM_MODEL_CACHE", stack.dir().join("data").join("models"));
            command.env("DARKROOM_DEVICE", "cpu");
        }
        _ => {}
    }
    if let Some(port) = ops_port(component) {
        command.env("DARKROOM_OPS_LISTEN", ports::loopback(state.port(port)).to_string());
    }
    Ok(command)
}

/// What the URLs that a service gives out are made of.
fn urls(command: &mut Command, state: &State) {
    command.env("DARKROOM_PUBLIC_URL", environment::api_url(state));
    command.env("DARKROOM_URL_SECRET", &state.secrets.url_secret);
}

/// The service's binary with the settings that all of its subcommands read.
pub(crate) fn binary(component: Component, stack: &Stack, state: &State) -> Result<Command> {
    let path = state.binaries.get(&component);
    let path = path.with_context(|| format!("{} has not been built", binary_name(component)))?;
    let mut command = Command::new(path);
    command.current_dir(stack.dir()).stdin(Stdio::null());
    // What cargo set for this program is not meant for the services.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") {
            command.env_remove(name);
        }
    }
    command.envs(environment::connections(state));
    command.env("DARKROOM_CATALOG", catalog()?);
    // The log is a file.
    command.env("NO_COLOR", "1");
    if std::env::var_os("DARKROOM_LOG").is_none() {
        command.env("DARKROOM_LOG", "info");
    }
    Ok(command)
}

/// Changes whenever a running service should be replaced: its binary or the catalog is another one.
pub(crate) fn generation(component: Component, state: &State) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    let binary = state.binaries.get(&component).cloned();
    for path in [binary, Some(catalog()?)].into_iter().flatten() {
        fingerprint(&path).hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn ops_port(component: Component) -> Option<Port> {
    match component {
        Component::Api => Some(Port::ApiOps),
        Component::Dispatcher => Some(Port::DispatcherOps),
        Component::Worker => Some(Port::WorkerOps),
        _ => None,
    }
}

fn catalog() -> Result<PathBuf> {
    Ok(workspace::root()?.join("deploy").join("catalog.json"))
}

fn fingerprint(path: &Path) -> Option<(u64, u128)> {
    let metadata = fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), modified.as_nanos()))
}
