//! Worker processes, as far as others want to know of them.

use std::collections::BTreeMap;

use darkroom_jobs::{Lane, WorkerId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::rows::At;
use crate::{Error, Store};

/// A worker that has started.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Id of this run of the process.
    pub id: WorkerId,
    /// Where it runs.
    pub host: String,
    /// Device it runs models on.
    pub device: String,
    /// Lanes it serves.
    pub lanes: Vec<Lane>,
}

/// A worker that was seen lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// Lanes it serves.
    pub lanes: Vec<Lane>,
    /// Lanes whose model it has in memory.
    pub loaded: Vec<Lane>,
    /// How it stands with the models' files. Of a lane that is absent, they are there.
    pub models: BTreeMap<Lane, ModelStatus>,
}

/// What operators want of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but that it goes on.
    GoOn,
    /// To finish what it runs, take nothing new, and end.
    Drain,
}

/// What a worker says about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Whether its files are there.
    pub files: FilesStatus,
    /// Whether it has a safety checker; known once it was loaded.
    pub safety_checker: Option<bool>,
}

/// Whether a model's files are on a worker's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FilesStatus {
    /// Not yet.
    Absent,
    /// On their way.
    Downloading {
        /// Bytes that are there.
        downloaded_bytes: u64,
        /// All that belong to the model; 0 until that is known.
        total_bytes: u64,
    },
    /// All of them are.
    Available,
    /// They could not be had. It is tried again.
    Failed {
        /// Why, for callers.
        reason: String,
    },
}

impl Store {
    /// A worker not seen for this long is not counted.
    pub(crate) const SEEN_SECONDS: f64 = 15.0;
    /// Rows of workers not seen for this long are deleted.
    const FORGET_SECONDS: f64 = 24.0 * 3600.0;

    /// Makes a worker known, or known again after its row was lost, and tells whether an operator has asked it to
    /// drain.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn worker_seen(
        &self,
        worker: &NewWorker,
        loaded: &[Lane],
        models: &BTreeMap<Lane, ModelStatus>,
    ) -> Result<Wish, Error> {
        let lanes: Vec<String> = worker.lanes.iter().map(Lane::to_string).collect();
        let loaded: Vec<String> = loaded.iter().map(Lane::to_string).collect();
        let draining = sqlx::query_scalar!(
            r#"insert into workers (id, host, device, lanes, loaded, models) values ($1, $2, $3, $4, $5, $6)
               on conflict (id) do update
               set loaded = excluded.loaded, models = excluded.models, last_seen_at = now()
               returning drain_requested_at is not null as "draining!""#,
            worker.id.as_uuid(),
            worker.host,
            worker.device,
            &lanes,
            &loaded,
            Json(models) as _
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if draining { Wish::Drain } else { Wish::GoOn })
    }

    /// Forgets a worker that stops in an orderly way.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn worker_gone(&self, id: WorkerId) -> Result<(), Error> {
        sqlx::query!("delete from workers where id = $1", id.as_uuid()).execute(&self.pool).await?;
        Ok(())
    }

    /// Workers seen lately.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        sqlx::query!(
            "select id, lanes, loaded, models from workers
             where last_seen_at > now() - $1 * interval '1 second' order by id",
            Self::SEEN_SECONDS
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| {
            let at = At { table: "workers", id: row.id };
            let lanes = |column, words: &[String]| {
                words.iter().map(|word| at.word(column, word)).collect::<Result<Vec<Lane>, Error>>()
            };
            Ok(Worker {
                id: WorkerId::from_uuid(row.id),
                lanes: lanes("lanes", &row.lanes)?,
                loaded: lanes("loaded", &row.loaded)?,
                models: at.json("models", row.models)?,
            })
        })
        .collect()
    }

    /// Deletes rows of workers that are long gone.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn forget_workers(&self) -> Result<u64, Error> {
        let forgotten = sqlx::query!(
            "delete from workers where last_seen_at < now() - $1 * interval '1 second'",
            Self::FORGET_SECONDS
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
