//! One file: fetched to a temporary name, gone on with after every cut, verified, and then renamed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::digest;
use super::listing::{Digest, RemoteFile};
use super::origin::Origin;
use super::{Error, Patience, Progress};

/// The longest that a hub may ask us to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Which part of a file is still missing.
#[derive(Debug)]
pub(super) struct Resume<'a> {
    pub(super) file: &'a RemoteFile,
    /// Bytes that are here.
    pub(super) offset: u64,
    /// The entity tag that they came with.
    pub(super) etag: Option<String>,
}

/// A file, or the rest of one, on its way.
pub(super) struct Body {
    /// The offset of its first byte in the file.
    pub(super) start: u64,
    /// The size of the whole file, where that was said.
    pub(super) size_bytes: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) bytes: BoxStream<'static, Result<Bytes, Error>>,
}

/// Tries that are left.
pub(super) struct Retries<'a> {
    patience: &'a Patience,
    delays: ExponentialBackoff,
}

impl<'a> Retries<'a> {
    pub(super) fn new(patience: &'a Patience) -> Self {
        Self { patience, delays: patience.delays().build() }
    }

    /// All of them again: something was achieved.
    fn renew(&mut self) {
        self.delays = self.patience.delays().build();
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `error` itself, when another try is of no use or none is left.
    pub(super) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_passing() {
            return Err(error);
        }
        let Some(delay) = self.delays.next() else { return Err(error) };
        let delay = error.retry_after().map_or(delay, |asked| asked.clamp(delay, LONGEST_RETRY_AFTER));
        tracing::debug!(error = &error as &dyn std::error::Error, ?delay, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

impl Patience {
    fn delays(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(self.retries)
    }
}

/// One file of an origin, and where it is to lie.
pub(super) struct Download<'a> {
    pub(super) origin: &'a Origin,
    pub(super) file: &'a RemoteFile,
    pub(super) folder: &'a Path,
    pub(super) patience: &'a Patience,
    pub(super) progress: &'a Progress,
}

impl Download<'_> {
    /// Fetches the file unless it is here.
    ///
    /// # Errors
    /// When it cannot be had, is damaged, or cannot be stored. What arrived stays for the next try, unless it
    /// is damaged.
    pub(super) async fn run(&self) -> Result<(), Error> {
        let target = self.folder.join(&self.file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).await.map_err(Error::cache("create", parent))?;
        }
        let digest = self.origin.digest(self.file).await?;
        if let Some(found) = self.fill_and_verify(digest.as_ref()).await? {
            tracing::warn!(file = self.name(), %found, "a file arrived damaged, fetching it once more");
            if let Some(found) = self.fill_and_verify(digest.as_ref()).await? {
                let expected = digest.map_or_else(String::new, |digest| digest.to_string());
                return Err(Error::WrongHash { file: self.name(), expected, found: found.to_string() });
            }
        }
        self.keep(&target).await
    }

    /// Completes the part file; answers with its digest, and deletes it, if that is not the one announced.
    async fn fill_and_verify(&self, expected: Option<&Digest>) -> Result<Option<Digest>, Error> {
        self.fill().await?;
        let Some(expected) = expected.cloned() else { return Ok(None) };
        let part = self.part();
        let (path, like) = (part.clone(), expected.clone());
        let found = tokio::task::spawn_blocking(move || digest::of_file(&path, &like)).await;
        let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let found = found.map_err(Error::cache("read", &part))?;
        if found == expected {
            return Ok(None);
        }
        self.progress.take_back(self.file.size_bytes);
        self.forget().await?;
        Ok(Some(found))
    }

    /// Goes on until every byte is in the part file.
    async fn fill(&self) -> Result<(), Error> {
        let mut retries = Retries::new(self.patience);
        self.progress.add(self.arrived().await?);
        loop {
            let before = self.arrived().await?;
            if before == self.file.size_bytes && fs::try_exists(self.part()).await.unwrap_or(false) {
                return Ok(());
            }
            match self.append(before).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if self.arrived().await? > before {
                        retries.renew();
                    }
                    retries.pause(error).await?;
                }
            }
        }
    }

    /// Bytes in the part file. One that is too long is of no use and deleted.
    async fn arrived(&self) -> Result<u64, Error> {
        let length = fs::metadata(self.part()).await.map_or(0, |metadata| metadata.len());
        if length > self.file.size_bytes {
            self.forget().await?;
            return Ok(0);
        }
        Ok(length)
    }

    /// One request, written to the end of what is here.
    async fn append(&self, arrived: u64) -> Result<(), Error> {
        let etag = fs::read_to_string(self.tag()).await.ok();
        let resume = Resume { file: self.file, offset: arrived, etag };
        let mut body = self.origin.open(&resume).await?;
        let expected = self.file.size_bytes;
        if let Some(found) = body.size_bytes.filter(|size| *size != expected) {
            return Err(Error::WrongSize { file: self.name(), expected, found });
        }
        let part = self.part();
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true);
        let file = options.open(&part).await.map_err(|error| self.failed_to_write(error))?;
        let mut writer = Writer { file, written: arrived };
        if body.start != arrived {
            // Not what was asked for: another file by now, or a server that knows no ranges.
            self.progress.take_back(arrived);
            self.forget().await?;
            let file = options.open(&part).await.map_err(|error| self.failed_to_write(error))?;
            writer = Writer { file, written: 0 };
            if body.start != 0 {
                return Err(Error::connection(self.name(), "the answer is another part of the file"));
            }
        }
        if let Some(etag) = &body.etag {
            fs::write(self.tag(), etag).await.map_err(|error| self.failed_to_write(error))?;
        }
        let outcome = self.copy(&mut body, &mut writer).await;
        // What arrived before a cut is worth keeping.
        let flushed = writer.file.flush().await.map_err(|error| self.failed_to_write(error));
        outcome.and(flushed)
    }

    async fn copy(&self, body: &mut Body, writer: &mut Writer) -> Result<(), Error> {
        let (expected, silence) = (self.file.size_bytes, self.patience.silence);
        loop {
            let chunk = tokio::time::timeout(silence, body.bytes.next()).await;
            let chunk =
                chunk.map_err(|_| Error::connection(self.name(), format!("silent for {silence:?}")))?;
            let Some(chunk) = chunk.transpose()? else { break };
            let found = writer.written + chunk.len() as u64;
            if found > expected {
                return Err(Error::WrongSize { file: self.name(), expected, found });
            }
            let written = writer.file.write_all(&chunk).await;
            written.map_err(|error| self.failed_to_write(error))?;
            writer.written = found;
            self.progress.add(chunk.len() as u64);
        }
        if writer.written < expected {
            let problem = format!("ended after {} of {expected} bytes", writer.written);
            return Err(Error::connection(self.name(), problem));
        }
        Ok(())
    }

    /// Gives a complete file its name. It is never written again: loaded models map it into memory.
    async fn keep(&self, target: &Path) -> Result<(), Error> {
        let part = self.part();
        let synced = match fs::File::open(&part).await {
            Ok(file) => file.sync_all().await,
            Err(error) => Err(error),
        };
        synced.map_err(|error| self.failed_to_write(error))?;
        // Before the part gets its name, so that a death in between leaves nothing behind.
        let _ = fs::remove_file(self.tag()).await;
        fs::rename(&part, target).await.map_err(Error::cache("rename", &part))?;
        if let Some(parent) = target.parent() {
            let folder = fs::File::open(parent).await.map_err(Error::cache("open", parent))?;
            folder.sync_all().await.map_err(Error::cache("sync", parent))?;
        }
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        for path in [self.tag(), self.part()] {
            match fs::remove_file(&path).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::cache("delete", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn failed_to_write(&self, error: std::io::Error) -> Error {
        let path = self.part();
        if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return Error::cache("write", &path)(error);
        }
        let written = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Error::DiskFull { path, needed_bytes: self.file.size_bytes.saturating_sub(written) }
    }

    /// For errors: the file with its repository.
    fn name(&self) -> String {
        format!("{} of {}", self.file.path, self.origin.subject())
    }

    fn part(&self) -> PathBuf {
        self.beside(".part")
    }

    /// Where the entity tag of the part file is kept.
    fn tag(&self) -> PathBuf {
        self.beside(".part.etag")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.file.path))
    }
}

struct Writer {
    file: fs::File,
    written: u64,
}
