//! The worker's metrics. Lanes come from the catalog, so labels are bounded.

use std::time::Duration;

use darkroom_jobs::Lane;

use crate::models::LoadError;

pub(crate) const SLOTS_BUSY: &str = "darkroom_worker_slots_busy";
const ATTEMPTS_STARTED: &str = "darkroom_worker_attempts_started_total";
const ATTEMPTS_ENDED: &str = "darkroom_worker_attempts_ended_total";
const STAGE_SECONDS: &str = "darkroom_worker_stage_seconds";
const MODEL_LOADS: &str = "darkroom_worker_model_loads_total";
const MODEL_EVICTIONS: &str = "darkroom_worker_model_evictions_total";
const HEARTBEATS_FAILED: &str = "darkroom_worker_heartbeats_failed_total";
const TICKETS: &str = "darkroom_worker_tickets_total";

/// Describes every metric. Call it once, after the recorder is installed.
pub(crate) fn describe() {
    metrics::describe_gauge!(SLOTS_BUSY, "Attempts that run");
    metrics::describe_counter!(ATTEMPTS_STARTED, "Leases granted");
    metrics::describe_counter!(ATTEMPTS_ENDED, "Attempts ended, by outcome");
    metrics::describe_histogram!(STAGE_SECONDS, "Duration of each stage of an attempt");
    metrics::describe_counter!(MODEL_LOADS, "Models loaded, or not");
    metrics::describe_counter!(MODEL_EVICTIONS, "Models evicted to make room");
    metrics::describe_counter!(HEARTBEATS_FAILED, "Heartbeats the database did not take");
    metrics::describe_counter!(TICKETS, "Tickets received, with work for this worker or for nothing");
}

pub(crate) fn attempt_started(lane: &Lane) {
    metrics::counter!(ATTEMPTS_STARTED, "lane" => lane.to_string()).increment(1);
}

pub(crate) fn attempt_ended(lane: &Lane, outcome: &'static str) {
    metrics::counter!(ATTEMPTS_ENDED, "lane" => lane.to_string(), "outcome" => outcome).increment(1);
}

pub(crate) fn stage(lane: &Lane, stage: &'static str, duration: Duration) {
    metrics::histogram!(STAGE_SECONDS, "lane" => lane.to_string(), "stage" => stage)
        .record(duration.as_secs_f64());
}

pub(crate) fn model_load(lane: &Lane, outcome: &Result<(), LoadError>) {
    let outcome = if outcome.is_ok() { "loaded" } else { "failed" };
    metrics::counter!(MODEL_LOADS, "lane" => lane.to_string(), "outcome" => outcome).increment(1);
}

pub(crate) fn model_eviction(lane: &Lane) {
    tracing::info!(%lane, "model evicted");
    metrics::counter!(MODEL_EVICTIONS, "lane" => lane.to_string()).increment(1);
}

pub(crate) fn heartbeat_failed() {
    metrics::counter!(HEARTBEATS_FAILED).increment(1);
}

/// A ticket was used up: `"work"` or `"nothing"` was found on its account.
pub(crate) fn ticket(found: &'static str) {
    metrics::counter!(TICKETS, "found" => found).increment(1);
}
