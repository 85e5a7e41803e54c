//! What operators look at and decide: the calls of `/admin/v1`, on the operations port of an API.

mod failed;
mod fleet;
mod key;
mod tenant;

use reqwest::Method;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

pub use failed::{Attempt, Decided, FailedFilter, FailedJob, FailedJobDetail, FailedJobPage, Replay};
pub use fleet::{Lane, LaneOfWorker, Outbox, Queued, RunningAttempt, Worker};
pub use key::{ApiKey, MadeApiKey, NewApiKey, Rotation};
pub use tenant::{LimitChanges, NewTenant, Tenant, TenantLimits, Unfinished};

use crate::client::base_url;
use crate::transport::{Body, Call, Repeat, Transport};
use crate::{Error, Usage, UsageFilter};

/// The operations port of an API, and an operator's key for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    transport: Transport,
    base: Url,
}

/// What to do with failed jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Run each again, by a new job.
    Replay,
    /// Put them aside.
    Discard,
}

impl Decision {
    fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

impl Admin {
    /// A client of the operations port at `base_url`.
    ///
    /// # Errors
    /// [`Error::Settings`] when the URL is none.
    pub fn new(base_url_text: &str, key: impl Into<SecretString>) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(key.into())?, base: base_url(base_url_text)? })
    }

    /// Every tenant, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.get::<tenant::List>(&["tenants"], &[]).await.map(|list| list.tenants)
    }

    /// The tenant with this id or name, and how many of its jobs are not final.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn tenant(&self, id_or_name: &str) -> Result<Tenant, Error> {
        self.get(&["tenants", id_or_name], &[]).await
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `name_taken`: also when an earlier try got through and its answer was lost.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<Tenant, Error> {
        self.send(Method::POST, &["tenants"], new).await
    }

    /// Changes limits of a tenant.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn change_limits(&self, id_or_name: &str, changes: &LimitChanges) -> Result<Tenant, Error> {
        self.send(Method::PATCH, &["tenants", id_or_name], changes).await
    }

    /// What a tenant used and what it cost, by day.
    ///
    /// # Errors
    /// [`Error::Problem`] when these are no days that can be reported on together.
    pub async fn usage(&self, id_or_name: &str, filter: &UsageFilter) -> Result<Usage, Error> {
        let query = [("from", filter.from), ("to", filter.to)]
            .map(|(name, day)| (name, day.map(|day| day.to_string())));
        self.get(&["tenants", id_or_name, "usage"], &query).await
    }

    /// Keys, oldest first: everybody's, or one tenant's.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is no such tenant.
    pub async fn keys(&self, tenant: Option<&str>) -> Result<Vec<ApiKey>, Error> {
        let query = [("tenant", tenant.map(str::to_owned))];
        self.get::<key::List>(&["keys"], &query).await.map(|list| list.keys)
    }

    /// Makes a key. Sent once: it is not known whether a call without an answer has made one.
    ///
    /// # Errors
    /// [`Error::Problem`] with every field that cannot be used.
    pub async fn create_key(&self, new: &NewApiKey) -> Result<MadeApiKey, Error> {
        self.once(&["keys"], new).await
    }

    /// Makes a key that takes over from another one. Sent once, as [`Self::create_key`].
    ///
    /// # Errors
    /// [`Error::Problem`] with code `key_stopped` when the old one does not work any more.
    pub async fn rotate_key(&self, id: Uuid, rotation: &Rotation) -> Result<MadeApiKey, Error> {
        self.once(&["keys", &id.to_string(), "rotate"], rotation).await
    }

    /// Stops a key; stopping it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn revoke_key(&self, id: Uuid) -> Result<(), Error> {
        let call = Call::new(Method::POST, self.url(&["keys", &id.to_string(), "revoke"], &[])?);
        self.transport.send(&call).await.map(drop)
    }

    /// A page of failed jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Problem`] when a filter cannot be used.
    pub async fn failed_jobs(
        &self,
        filter: &FailedFilter,
        standing: &str,
        cursor: Option<&str>,
    ) -> Result<FailedJobPage, Error> {
        let mut query = filter.query();
        query.push(("standing", Some(standing.to_owned())));
        query.push(("limit", Some("100".to_owned())));
        query.push(("cursor", cursor.map(str::to_owned)));
        self.get(&["failed-jobs"], &query).await
    }

    /// A failed job, with its attempts and what was asked for.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn failed_job(&self, id: Uuid) -> Result<FailedJobDetail, Error> {
        self.get(&["failed-jobs", &id.to_string()], &[]).await
    }

    /// Runs a failed job again, by a new job.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `already_decided` when another job does: also when an earlier try got through.
    pub async fn replay(&self, id: Uuid) -> Result<Replay, Error> {
        self.send(Method::POST, &["failed-jobs", &id.to_string(), "replay"], &json!({})).await
    }

    /// Puts a failed job aside.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `already_decided` when another job runs it again.
    pub async fn discard(&self, id: Uuid) -> Result<(), Error> {
        let call = Call::new(Method::POST, self.url(&["failed-jobs", &id.to_string(), "discard"], &[])?);
        self.transport.send(&call).await.map(drop)
    }

    /// How many failed jobs a decision would be about.
    ///
    /// # Errors
    /// [`Error::Problem`] when a filter cannot be used.
    pub async fn count_failed(&self, decision: Decision, filter: &FailedFilter) -> Result<u64, Error> {
        let mut query = filter.query();
        query.push(("dry_run", Some("true".to_owned())));
        let url = self.url(&["failed-jobs", decision.as_str()], &query)?;
        let counted: Decided = self.transport.json(&Call::new(Method::POST, url)).await?;
        Ok(counted.matching)
    }

    /// Does it with the oldest of the failed jobs that match, if there are as many as expected.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `count_changed` when there are not: also when an earlier try got through.
    pub async fn decide(
        &self,
        decision: Decision,
        filter: &FailedFilter,
        expected_count: u64,
    ) -> Result<Decided, Error> {
        let mut query = filter.query();
        query.push(("expected_count", Some(expected_count.to_string())));
        let url = self.url(&["failed-jobs", decision.as_str()], &query)?;
        self.transport.json(&Call::new(Method::POST, url)).await
    }

    /// Every lane.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        self.get::<fleet::LaneList>(&["lanes"], &[]).await.map(|list| list.lanes)
    }

    /// Pauses a lane, `pipeline:model`.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when nobody has heard of it.
    pub async fn pause_lane(&self, lane: &str, reason: Option<&str>) -> Result<Lane, Error> {
        self.send(Method::POST, &["lanes", lane, "pause"], &json!({"reason": reason})).await
    }

    /// Opens a paused lane.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when nobody has heard of it.
    pub async fn resume_lane(&self, lane: &str) -> Result<Lane, Error> {
        self.send(Method::POST, &["lanes", lane, "resume"], &json!({})).await
    }

    /// Workers of the last day that did not end in order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        self.get::<fleet::WorkerList>(&["workers"], &[]).await.map(|list| list.workers)
    }

    /// A worker.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when it has ended.
    pub async fn worker(&self, id: Uuid) -> Result<Worker, Error> {
        self.get(&["workers", &id.to_string()], &[]).await
    }

    /// Asks a worker to finish what it runs and end.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when it has ended.
    pub async fn drain_worker(&self, id: Uuid) -> Result<Worker, Error> {
        self.send(Method::POST, &["workers", &id.to_string(), "drain"], &json!({})).await
    }

    /// Whether tickets are published.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn outbox(&self) -> Result<Outbox, Error> {
        self.get(&["outbox"], &[]).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
    ) -> Result<T, Error> {
        self.transport.json(&Call::new(Method::GET, self.url(path, query)?)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        document: &impl Serialize,
    ) -> Result<T, Error> {
        self.transport.json(&self.call(method, path, document)?).await
    }

    async fn once<T: DeserializeOwned>(&self, path: &[&str], document: &impl Serialize) -> Result<T, Error> {
        let call = Call { repeat: Repeat::Unsent, ..self.call(Method::POST, path, document)? };
        self.transport.json(&call).await
    }

    fn call(&self, method: Method, path: &[&str], document: &impl Serialize) -> Result<Call, Error> {
        let unwritable = |error| Error::Settings(format!("the request is no JSON document: {error}"));
        let body = serde_json::to_value(document).and_then(|value: Value| serde_json::to_vec(&value));
        let body = Body::Json(body.map_err(unwritable)?);
        Ok(Call { body, ..Call::new(method, self.url(path, &[])?) })
    }

    /// The URL of these segments, each of which is escaped.
    fn url(&self, path: &[&str], query: &[(&str, Option<String>)]) -> Result<Url, Error> {
        let mut url = self.base.clone();
        let unusable = |()| Error::Settings("the URL of the operations port has no path".to_owned());
        url.path_segments_mut().map_err(unusable)?.pop_if_empty().extend(["admin", "v1"]).extend(path);
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_escaped() {
        let admin = Admin::new("http://127.0.0.1:9090/ops", "dk_1").unwrap();
        let url =
            admin.url(&["lanes", "text-to-image:a/b c", "pause"], &[("x", Some("1".into())), ("y", None)]);
        assert_eq!(
            url.unwrap().as_str(),
            "http://127.0.0.1:9090/ops/admin/v1/lanes/text-to-image:a%2Fb%20c/pause?x=1"
        );
    }
}
