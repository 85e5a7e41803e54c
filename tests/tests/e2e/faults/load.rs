//! Callers that go on submitting while things break.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::World;

/// The longest a caller may wait for an answer, whatever is broken: five seconds, and a busy machine's share.
pub(crate) const ANSWER_BOUND: Duration = Duration::from_millis(6_500);
/// How long a caller goes on asking for the same job.
const PATIENCE: Duration = Duration::from_secs(120);
const STEPS: u64 = 4;

/// What callers heard.
#[derive(Debug, Default)]
pub(crate) struct Submitted {
    /// Jobs that were promised.
    pub(crate) accepted: Vec<Uuid>,
    /// Answers 503, each with a `Retry-After`.
    pub(crate) refused: u32,
    /// Connections that broke.
    pub(crate) broken: u32,
    /// The longest wait for an answer.
    pub(crate) slowest: Duration,
}

impl Submitted {
    /// What one who has submitted these jobs without trouble heard.
    pub(crate) fn all(jobs: impl IntoIterator<Item = Uuid>) -> Self {
        Self { accepted: jobs.into_iter().collect(), ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        self.refused += other.refused;
        self.broken += other.broken;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Submissions at a steady rate.
pub(crate) struct Load {
    stop: CancellationToken,
    callers: JoinHandle<Submitted>,
}

impl Load {
    /// Begins to submit a job at every `period`.
    pub(crate) fn begin(world: &World, period: Duration) -> Self {
        let stop = CancellationToken::new();
        let caller = Caller::of(world);
        let name = Uuid::now_v7().simple().to_string();
        let stopped = stop.clone();
        let callers = tokio::spawn(async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut calls = JoinSet::new();
            let mut number = 0;
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    _ = ticks.tick() => {}
                }
                number += 1;
                let (caller, key) = (caller.clone(), format!("{name}-{number}"));
                calls.spawn(async move { caller.submit(&key, number).await });
            }
            let mut submitted = Submitted::default();
            while let Some(heard) = calls.join_next().await {
                submitted.add(heard.unwrap());
            }
            submitted
        });
        Self { stop, callers }
    }

    /// Begins no more submissions and waits for those under way.
    pub(crate) async fn end(self) -> Submitted {
        self.stop.cancel();
        self.callers.await.unwrap()
    }
}

/// Somebody who wants a job done, and asks until it is promised.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Caller {
    pub(crate) fn of(world: &World) -> Self {
        // Connections of their own, so that a broken one spoils no other call.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let url = format!("{}/v1/jobs", world.deployment.url);
        Self { http, url, key: world.key.clone() }
    }

    /// Asks once; `None` when the connection broke.
    pub(crate) async fn ask(&self, idempotency_key: &str, body: &Value) -> Option<reqwest::Response> {
        let request = self.http.post(&self.url).bearer_auth(&self.key).json(body);
        request.header("Idempotency-Key", idempotency_key).send().await.ok()
    }

    /// Asks once for a picture to be captioned; `None` when the connection broke.
    pub(crate) async fn send(&self, idempotency_key: &str, picture: Vec<u8>) -> Option<reqwest::Response> {
        let form = Form::new().part("image", Part::bytes(picture).file_name("picture.png"));
        let request = self.http.post(&self.url).bearer_auth(&self.key).multipart(form);
        request.header("Idempotency-Key", idempotency_key).send().await.ok()
    }

    async fn submit(&self, idempotency_key: &str, number: u64) -> Submitted {
        let body = json!({
            "pipeline": "text-to-image",
            "input": {"prompt": "a red circle", "seed": number, "steps": STEPS},
        });
        let mut heard = Submitted::default();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let asked = Instant::now();
            let Some(answer) = self.ask(idempotency_key, &body).await else {
                heard.broken += 1;
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            let waited = asked.elapsed();
            heard.slowest = heard.slowest.max(waited);
            assert!(waited < ANSWER_BOUND, "an answer took {waited:?}");
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = answer.text().await.unwrap_or_default();
            match status {
                200 | 202 => {
                    let job: Value = serde_json::from_str(&body).unwrap();
                    heard.accepted.push(job["id"].as_str().unwrap().parse().unwrap());
                    return heard;
                }
                503 => {
                    assert!(headers.contains_key("retry-after"), "503 without Retry-After: {body}");
                    heard.refused += 1;
                    sleep(Duration::from_millis(500)).await;
                }
                _ => panic!("{status}: {body}"),
            }
        }
        panic!("not accepted within {PATIENCE:?}: {heard:?}");
    }
}
