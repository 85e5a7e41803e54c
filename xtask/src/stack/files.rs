//! Small files that are replaced whole, so that a reader or a crash never meets half of one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interrupt::Interrupt;
use crate::progress::{self, Step};

/// Writes `text` to `path`, readable by nobody but its owner.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let temporary = PathBuf::from(format!("{}.{}.new", path.display(), std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&temporary)?.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// Writes `value` as JSON to `path`, readable by nobody but its owner.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write_private(path, &text)
}

/// The JSON value in `path`, or `None` where there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    let value = serde_json::from_str(&text)
        .with_context(|| format!("{} is not what this version writes", path.display()))?;
    Ok(Some(value))
}

/// Creates `path` with its parents.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))
}

/// Deletes the file `path`, if it exists.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Deletes the folder `path` with all that is in it, if it exists.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The last `count` lines of a log, for error messages.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// An exclusive lock, let go when dropped and by the kernel when its holder dies.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock `path`, or says that somebody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) if is_current(&file, path) => Ok(Some(Self(file))),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("failed to lock {}", path.display()))
            }
        }
    }

    /// Takes the lock `path`, waiting at most `limit` for its holder.
    pub(crate) fn take(path: &Path, limit: Duration, interrupt: &Interrupt) -> Result<Self> {
        // Somebody who only looks holds a lock for microseconds.
        for _ in 0..10 {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            progress::pause(Duration::from_millis(20));
        }
        let mut step = Step::begin("waiting for another command on this stack");
        step.wait(limit, interrupt, || Self::try_take(path))
    }

    /// True while this is the lock `path`: false once its file was deleted or replaced.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        is_current(&self.0, path)
    }

    /// True while somebody holds the lock `path`.
    pub(crate) fn is_taken(path: &Path) -> Result<bool> {
        Ok(path.exists() && Self::try_take(path)?.is_none())
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{} does not exist", path.parent().unwrap_or(path).display())
        }
        Err(error) => Err(error).with_context(|| format!("failed to open {}", path.display())),
    }
}

/// False when the file was deleted, by a purge, between being opened and being locked.
fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn private_file_is_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, "first").unwrap();
        write_private(&path, "2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::create_dir(&path).unwrap();
        write_private(&path, "text").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_taken(&path).unwrap());
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::is_taken(&path).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(lock.is_of(&path));
        fs::remove_file(&path).unwrap();
        assert!(!lock.is_of(&path));
        drop(lock);
        assert!(!Lock::is_taken(&path).unwrap());
    }
}
