//! Keeps a package's installation from starting servers.
//!
//! Debian asks `/usr/sbin/policy-rc.d` before a maintainer script starts anything; exit status 101 forbids
//! it. Containers often have one already. Ours is there during an installation only.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const FORBID: &str =
    "#!/bin/sh\n# Put here by Darkroom's `cargo xtask` for the time of one installation.\nexit 101\n";
/// Debian's Postgres packages make and start a cluster on port 5432 unless told otherwise.
const NO_CLUSTER: &str =
    "# Put here by Darkroom's `cargo xtask` for the time of one installation.\ncreate_main_cluster = false\n";

/// The two files in place; dropped, the machine is as it was.
pub(crate) struct Quiet {
    root: PathBuf,
}

impl Quiet {
    /// Forbids packages to start servers, on the machine whose root folder is `root`.
    pub(crate) fn begin(root: &Path) -> Result<Self> {
        recover(root)?;
        let quiet = Self { root: root.to_path_buf() };
        let policy = policy(root);
        if policy.symlink_metadata().is_ok() {
            fs::rename(&policy, saved(root)).context("failed to set /usr/sbin/policy-rc.d aside")?;
        }
        write(&policy, FORBID)?;
        fs::set_permissions(&policy, Permissions::from_mode(0o755))?;
        write(&no_cluster(root), NO_CLUSTER)?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = recover(&self.root) {
            crate::progress::note(format!("warning: {error:#}"));
        }
    }
}

/// Undoes what an installation that was killed left behind. Does nothing on a machine that has none of it.
pub(crate) fn recover(root: &Path) -> Result<()> {
    let policy = policy(root);
    if fs::read_to_string(&policy).is_ok_and(|text| text == FORBID) {
        remove(&policy)?;
    }
    let saved = saved(root);
    if saved.symlink_metadata().is_ok() {
        fs::rename(&saved, &policy).context("failed to put /usr/sbin/policy-rc.d back")?;
    }
    remove(&no_cluster(root))
}

fn policy(root: &Path) -> PathBuf {
    root.join("usr/sbin/policy-rc.d")
}

fn saved(root: &Path) -> PathBuf {
    root.join("usr/sbin/policy-rc.d.before-darkroom")
}

fn no_cluster(root: &Path) -> PathBuf {
    root.join("etc/postgresql-common/createcluster.d/darkroom.conf")
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_without_a_policy_has_none_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let quiet = Quiet::begin(root.path()).unwrap();
        assert_eq!(fs::read_to_string(policy(root.path())).unwrap(), FORBID);
        assert!(no_cluster(root.path()).exists());
        drop(quiet);
        assert!(!policy(root.path()).exists());
        assert!(!no_cluster(root.path()).exists());
    }

    #[test]
    fn own_policy_comes_back_even_after_a_kill() {
        let root = tempfile::tempdir().unwrap();
        write(&policy(root.path()), "#!/bin/sh\nexit 0\n").unwrap();
        std::mem::forget(Quiet::begin(root.path()).unwrap());
        assert_eq!(fs::read_to_string(policy(root.path())).unwrap(), FORBID);
        drop(Quiet::begin(root.path()).unwrap());
        assert_eq!(fs::read_to_string(policy(root.path())).unwrap(), "#!/bin/sh\nexit 0\n");
        assert!(!saved(root.path()).exists());
    }
}
