//! Saving what pictures in work look like.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail, ensure};
use darkroom_client::{Job, Preview};

use crate::failure::complain;
use crate::save::{ends_in_slash, numbered, probe, replace_soon};
use crate::wanted::is_stdin;

/// Where previews go.
#[derive(Debug)]
pub(crate) struct Previews {
    target: Target,
    jobs: usize,
    failed: AtomicBool,
}

#[derive(Debug)]
enum Target {
    /// Each into a file of its own.
    Folder(PathBuf),
    /// Always the latest one.
    File(PathBuf),
}

impl Previews {
    /// Prepares to save the previews of so many jobs to a file, an existing folder or one that ends in `/`.
    ///
    /// # Errors
    /// When nothing could be written there, or the file is called after another format.
    pub(crate) fn new(path: &Path, jobs: usize) -> anyhow::Result<Self> {
        ensure!(!is_stdin(path), "`--previews` takes a file or a folder, not the output");
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let target = if path.is_dir() || ends_in_slash(path) {
            std::fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))?;
            Target::Folder(path.to_path_buf())
        } else if let Some(other @ ("png" | "jpg" | "jpeg" | "gif")) = extension.as_deref() {
            bail!("{}: previews are WebP files, not {other}", path.display())
        } else {
            Target::File(path.to_path_buf())
        };
        match &target {
            Target::Folder(folder) => probe(folder)?,
            Target::File(path) => probe(path.parent().unwrap_or(Path::new("")))?,
        }
        Ok(Self { target, jobs, failed: AtomicBool::new(false) })
    }

    /// Saves a preview of the call's job number `number`, from 0. A disk that is full does not spoil the job: it is
    /// said once.
    pub(crate) fn save(&self, number: usize, job: &Job, preview: &Preview) {
        let path = self.path(number, job, preview);
        if let Err(error) = replace_soon(&path, &preview.content)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            complain(format_args!("{:#}", error.context("previews are missing")));
        }
    }

    fn path(&self, number: usize, job: &Job, preview: &Preview) -> PathBuf {
        match &self.target {
            Target::Folder(folder) => {
                let (id, image, step) = (job.id, preview.image + 1, preview.step);
                folder.join(format!("{id}-picture-{image:02}-step-{step:03}.webp"))
            }
            Target::File(path) => numbered(path, (self.jobs > 1).then_some(number + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_webp_files() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| Previews::new(&folder.path().join(name), 1).unwrap_err().to_string();
        assert!(refused("live.png").contains("WebP"));
        assert!(refused("missing/live.webp").contains("missing"));
        assert!(Previews::new(Path::new("-"), 1).is_err());
        Previews::new(&folder.path().join("live.webp"), 1).unwrap();
        Previews::new(&folder.path().join("steps.png/"), 1).unwrap();
    }
}
