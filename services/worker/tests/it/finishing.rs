//! What happens on the device while results are still being stored: the line to the blob store is held.

use darkroom_e2e::{Disturbance, Proxy};
use darkroom_jobs::{JobId, JobState};
use darkroom_store::{Canceled, Job};
use serde_json::{Value, json};

use crate::harness::{RunningWorker, Site, eventually};

/// A job that is on the device for a moment.
fn short() -> Value {
    json!({"prompt": "a red circle"})
}

/// A job that is on the device for 20 seconds.
fn long() -> Value {
    json!({"prompt": "a red circle [fake:step_ms=200]", "steps": 100})
}

/// A worker with one slot, whose results do not reach the blob store.
struct Held {
    site: Site,
    storage: Proxy,
    worker: RunningWorker,
}

impl Held {
    async fn start(name: &str, keys: Value) -> Self {
        Self::start_with(name, keys, 30).await
    }

    async fn start_with(name: &str, keys: Value, grace_seconds: u64) -> Self {
        let site = Site::new(name, keys).await;
        let mut settings = site.settings();
        let endpoint = &mut settings.blobs.s3_endpoint;
        let server = format!("{}:{}", endpoint.host_str().unwrap(), endpoint.port().unwrap());
        let storage = Proxy::start(server).await;
        endpoint.set_ip_host(storage.address().ip()).unwrap();
        endpoint.set_port(Some(storage.address().port())).unwrap();
        // Heartbeats, and with them progress, come 15 times in that.
        settings.store.lease_seconds = 3;
        settings.worker.grace_seconds = grace_seconds;
        settings.worker.stall_seconds = 1;
        let worker = RunningWorker::start(settings);
        worker.ready().await;
        storage.disturb(Disturbance::Hang);
        Self { site, storage, worker }
    }

    /// Submits a short job and one with `input`; returns when the second is on the device.
    async fn two(&self, input: Value) -> [JobId; 2] {
        let first = self.site.draw(short()).await;
        let second = self.site.draw(input).await;
        self.site.stepping(second).await;
        let job = self.site.job(first).await;
        assert_eq!((job.state, job.artifacts.len()), (JobState::Running, 0), "its result is held");
        [first, second]
    }

    /// Waits until the last step of so many pictures was reported.
    async fn drawn(&self, id: JobId, pictures: u32) -> Job {
        let drawn = |job: &Job| {
            let progress = job.progress.as_ref();
            progress.is_some_and(|progress| progress.image + 1 == pictures && progress.step == progress.steps)
        };
        self.site.wait(id, drawn).await
    }

    /// When the first lease of a running attempt ends, in milliseconds.
    async fn first_end(&self) -> i64 {
        let sql = "select (extract(epoch from min(lease_expires_at)) * 1000)::bigint from attempts where state = 'running'";
        self.site.database.count(sql).await
    }
}

#[tokio::test]
async fn pictures_are_made_while_the_first_one_is_stored() {
    let held = Held::start("ahead", json!({})).await;
    let id = held.site.draw(json!({"prompt": "a red circle", "images": 5})).await;
    // One is being stored, two wait, and the fourth is in the device's hands.
    let job = held.drawn(id, 4).await;
    assert_eq!((job.state, job.artifacts.len()), (JobState::Running, 0));
    held.storage.mend();
    let job = held.site.finished(id).await;
    assert_eq!((job.state, job.attempts, job.artifacts.len()), (JobState::Succeeded, 1, 5));
    held.worker.stop().await;
    held.site.clean(&[id]).await;
}

#[tokio::test]
async fn next_job_is_on_the_device_while_results_are_stored() {
    let held = Held::start("next", json!({})).await;
    let [first, second] = held.two(json!({"prompt": "a red circle [fake:step_ms=100]", "steps": 30})).await;
    let end = held.first_end().await;
    eventually(async || (held.first_end().await > end).then_some(())).await;
    assert_eq!(held.site.attempts(first, "running").await, 1);
    held.storage.mend();
    for id in [first, second] {
        let job = held.site.finished(id).await;
        assert_eq!((job.state, job.attempts), (JobState::Succeeded, 1));
    }
    held.worker.stop().await;
    held.site.clean(&[first, second]).await;
}

#[tokio::test]
async fn no_third_job_is_leased_while_the_results_of_two_are_stored() {
    let held = Held::start("third", json!({})).await;
    let [first, second] = held.two(short()).await;
    held.drawn(second, 1).await;
    let third = held.site.draw(short()).await;
    held.storage.mend();
    for id in [first, second, third] {
        assert_eq!(held.site.finished(id).await.state, JobState::Succeeded);
    }
    let early = format!(
        "select count(*) from attempts where job_id = '{third}' and leased_at <
         (select min(finished_at) from attempts where job_id in ('{first}', '{second}'))"
    );
    assert_eq!(held.site.database.count(&early).await, 0);
    held.worker.stop().await;
    held.site.clean(&[first, second, third]).await;
}

#[tokio::test]
async fn canceling_a_job_whose_results_are_stored_leaves_the_next_alone() {
    let held = Held::start("cancel-finishing", json!({})).await;
    let [first, second] = held.two(json!({"prompt": "a red circle [fake:step_ms=100]", "steps": 30})).await;
    assert_eq!(held.site.database.store.cancel(held.site.tenant, first).await.unwrap(), Canceled::Done);
    // Its end makes room for another attempt beside the one on the device.
    held.drawn(second, 1).await;
    let third = held.site.draw(short()).await;
    held.drawn(third, 1).await;
    held.storage.mend();
    for id in [second, third] {
        let job = held.site.finished(id).await;
        assert_eq!((job.state, job.attempts), (JobState::Succeeded, 1));
    }
    let job = held.site.job(first).await;
    assert_eq!((job.state, job.artifacts.len()), (JobState::Canceled, 0));
    held.worker.stop().await;
    held.site.clean(&[first, second, third]).await;
}

#[tokio::test]
async fn results_that_cannot_be_stored_fail_their_own_attempt_alone() {
    let held = Held::start("fails-finishing", json!({})).await;
    let [first, second] = held.two(long()).await;
    held.storage.disturb(Disturbance::Refuse);
    held.site.wait(first, |job| job.failures == 1).await;
    let job = held.site.job(second).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Running, 1, 0));
    held.storage.mend();
    assert_eq!(held.site.database.store.cancel(held.site.tenant, second).await.unwrap(), Canceled::Done);
    let job = held.site.finished(first).await;
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2));
    held.worker.stop().await;
    held.site.clean(&[first, second]).await;
}

#[tokio::test]
async fn draining_worker_finishes_what_is_stored_and_what_is_on_the_device() {
    let held = Held::start("drain-both", json!({})).await;
    let [first, second] = held.two(json!({"prompt": "a red circle [fake:step_ms=100]", "steps": 30})).await;
    let third = held.site.draw(short()).await;
    held.worker.shutdown.soft.cancel();
    held.storage.mend();
    held.worker.ended().await.unwrap();
    for id in [first, second] {
        let job = held.site.job(id).await;
        assert_eq!((job.state, job.attempts), (JobState::Succeeded, 1));
    }
    assert_eq!(held.site.job(third).await.attempts, 0);
    held.site.clean(&[first, second, third]).await;
}

#[tokio::test]
async fn both_attempts_are_given_back_after_the_grace_period() {
    let held = Held::start_with("back-both", json!({}), 1).await;
    let [first, second] = held.two(long()).await;
    held.worker.stop().await;
    for id in [first, second] {
        let job = held.site.job(id).await;
        assert_eq!((job.state, job.attempts, job.failures), (JobState::Queued, 1, 0));
        assert_eq!(held.site.attempts(id, "released").await, 1);
    }
    held.storage.mend();
    held.site.clean(&[first, second]).await;
}

#[tokio::test]
async fn hung_device_is_given_no_further_job() {
    let held = Held::start("hang-next", json!({})).await;
    let hung = held.site.draw(json!({"prompt": "[fake:hang]"})).await;
    held.site.wait(hung, |job| job.state == JobState::Running).await;
    let next = held.site.draw(short()).await;
    let error = held.worker.ended().await.unwrap_err().to_string();
    assert_eq!(error, "the device hangs in the middle of a step");
    assert_eq!(held.site.job(hung).await.failures, 1);
    assert_eq!(held.site.job(next).await.attempts, 0);
    held.site.clean(&[hung, next]).await;
}

#[tokio::test]
async fn results_that_are_stored_when_the_device_hangs_are_given_back() {
    let held = Held::start("hang-both", json!({})).await;
    let [first, hung] =
        held.two(json!({"prompt": "a red circle [fake:step_ms=100] [fake:hang@1]", "images": 2})).await;
    let error = held.worker.ended().await.unwrap_err().to_string();
    assert_eq!(error, "the device hangs in the middle of a step");
    let job = held.site.job(hung).await;
    assert_eq!((job.state, job.failures), (JobState::Queued, 1));
    let job = held.site.job(first).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Queued, 1, 0));
    assert_eq!(held.site.attempts(first, "released").await, 1);
    held.storage.mend();
    held.site.clean(&[first, hung]).await;
}
