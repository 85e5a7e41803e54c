//! Objects that requests have stored which came to nothing: a process that ends between an upload and the statement
//! that takes it in leaves one behind.

use std::collections::HashSet;

use chrono::TimeDelta;
use darkroom_blobs::{FILE_PREFIX, INPUT_PREFIX};
use darkroom_jobs::{FileId, JobId};
use darkroom_store::Store;
use uuid::Uuid;

use super::{PAGE, Sweeper};

/// An object this old without a row belongs to a request that came to nothing. Long, because it compares the clocks
/// of two machines.
const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);

/// What requests store.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Inputs,
    Files,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Inputs => INPUT_PREFIX,
            Self::Files => FILE_PREFIX,
        }
    }

    /// Which of these have a row.
    async fn existing(self, store: &Store, ids: &[Uuid]) -> Result<HashSet<Uuid>, darkroom_store::Error> {
        match self {
            Self::Inputs => {
                let ids: Vec<JobId> = ids.iter().copied().map(JobId::from_uuid).collect();
                Ok(store.existing_jobs(&ids).await?.into_iter().map(JobId::as_uuid).collect())
            }
            Self::Files => {
                let ids: Vec<FileId> = ids.iter().copied().map(FileId::from_uuid).collect();
                Ok(store.existing_files(&ids).await?.into_iter().map(FileId::as_uuid).collect())
            }
        }
    }
}

/// How far objects were looked through. Keys sort by time, so a round goes on where the last one stopped; a new
/// process begins again.
#[derive(Default)]
pub(super) struct Walks {
    inputs: Option<String>,
    files: Option<String>,
}

impl Sweeper {
    /// Deletes inputs whose job was never accepted, and files that were never recorded.
    pub(super) async fn sweep_orphans(&self, walks: &mut Walks) -> anyhow::Result<u64> {
        let inputs = self.sweep_kind(Kind::Inputs, &mut walks.inputs).await?;
        Ok(inputs + self.sweep_kind(Kind::Files, &mut walks.files).await?)
    }

    /// Goes on where the last round stopped, and deletes the parts of uploads that were never ended as well.
    async fn sweep_kind(&self, kind: Kind, after: &mut Option<String>) -> anyhow::Result<u64> {
        let mut deleted = 0;
        let old = self.store.now().await? - ORPHAN_AGE;
        self.blobs.abort_uploads(kind.prefix(), old).await?;
        loop {
            let page = self.blobs.list(kind.prefix(), after.as_deref(), PAGE).await?;
            let (mut keys, mut ids) = (Vec::new(), Vec::new());
            for object in page.iter().take_while(|object| object.last_modified < old) {
                let id = object.key.strip_prefix(kind.prefix()).and_then(|id| Uuid::try_parse(id).ok());
                if let Some(id) = id {
                    keys.push((id, object.key.clone()));
                    ids.push(id);
                }
                *after = Some(object.key.clone());
            }
            let known = kind.existing(&self.store, &ids).await?;
            let orphans: Vec<String> =
                keys.into_iter().filter(|(id, _)| !known.contains(id)).map(|(_, key)| key).collect();
            self.blobs.delete(&orphans).await?;
            deleted += orphans.len() as u64;
            if page.last().is_none_or(|last| after.as_ref() != Some(&last.key)) {
                return Ok(deleted);
            }
        }
    }
}
