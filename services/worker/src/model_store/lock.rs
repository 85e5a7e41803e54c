//! One process at a time writes to a folder of the cache.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::Error;

/// Between two looks at a lock that another process holds.
const PERIOD: Duration = Duration::from_millis(250);

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the advisory lock of `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub(super) async fn acquire(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(".lock");
        tokio::fs::create_dir_all(folder).await.map_err(Error::cache("create", folder))?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(Error::cache("create", &path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if !told => {
                    told = true;
                    tracing::info!(folder = %folder.display(), "another fetch is at work here, waiting for it");
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Error::cache("lock", &path)(error)),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}
