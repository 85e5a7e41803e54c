//! Ten times what the deployment can do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use darkroom_e2e::{Catalog, Deployment, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::report::seen;
use crate::verify::{count, nothing_happened_twice};

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(8);
/// Callers of each tenant, who submit one job after the other and do not care about `Retry-After`.
const CALLERS: [(&str, usize); 3] = [("loud", 16), ("steady", 4), ("limited", 4)];
/// Jobs that may wait.
const MAX_QUEUED: u64 = 60;
/// No process needs more, in a debug build.
const MEMORY_BYTES: u64 = 200 << 20;

/// What a caller got.
#[derive(Debug, Default)]
struct Answers {
    accepted: usize,
    refused: BTreeMap<(u16, String), usize>,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (refusal, times) in other.refused {
            *self.refused.entry(refusal).or_default() += times;
        }
    }

    fn of(&self, status: u16, code: &str) -> usize {
        self.refused.get(&(status, code.to_owned())).copied().unwrap_or(0)
    }
}

async fn call(url: String, key: String, http: reqwest::Client) -> Answers {
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle"}});
    let mut answers = Answers::default();
    let started = Instant::now();
    while started.elapsed() < FLOOD {
        let request = http.post(format!("{url}/v1/jobs")).bearer_auth(&key).json(&document);
        let asked = Instant::now();
        let answer = request.send().await.expect("the API answers");
        assert!(asked.elapsed() < Duration::from_secs(5), "an answer took {:?}", asked.elapsed());
        let status = answer.status().as_u16();
        if status == 202 {
            answers.accepted += 1;
            continue;
        }
        assert!(answer.headers().contains_key("retry-after"), "{status} without Retry-After");
        let problem: Value = answer.json().await.expect("a problem document");
        let code = problem["code"].as_str().expect("a code").to_owned();
        *answers.refused.entry((status, code)).or_default() += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_ten_times_the_capacity_is_asked_for() {
    let max_queued = MAX_QUEUED.to_string();
    let settings = [("DARKROOM_MAX_QUEUED_JOBS", &max_queued[..])];
    // Two workers that need 200 ms for a job: ten a second.
    let deployment = Deployment::with(&Catalog::fake(50), &settings).await;
    let workers = [deployment.worker().await, deployment.worker().await];
    let http = reqwest::Client::new();
    let mut calls = Vec::new();
    for (name, callers) in CALLERS {
        let key = deployment.key(name).await;
        if name == "limited" {
            let limit = "update tenants set max_queued = 5, max_running = 1 where name = 'limited'";
            deployment.database.execute(limit).await;
        }
        calls.extend((0..callers).map(|_| {
            let call = call(deployment.url.clone(), key.clone(), http.clone());
            async move { (name, call.await) }
        }));
    }
    let deepest = async {
        let (started, mut deepest) = (Instant::now(), 0);
        while started.elapsed() < FLOOD {
            deepest = deepest.max(count(&deployment, "queued").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        deepest
    };
    let (answered, deepest) = tokio::join!(join_all(calls), deepest);
    let mut by_tenant: BTreeMap<&str, Answers> = BTreeMap::new();
    for (name, answers) in answered {
        by_tenant.entry(name).or_default().add(answers);
    }

    let mut served = BTreeMap::new();
    for (name, _) in CALLERS {
        let started = "select count(*) from attempts a join tenants t on t.id = a.tenant_id where t.name";
        served.insert(name, deployment.database.count(&format!("{started} = '{name}'")).await);
    }
    let accepted: usize = by_tenant.values().map(|answers| answers.accepted).sum();
    let refused: usize = by_tenant.values().flat_map(|answers| answers.refused.values()).sum();
    // Ten a second can be done.
    assert!(accepted + refused >= 10 * 10 * FLOOD.as_secs() as usize / 2, "too little was asked for");
    for (name, answers) in &by_tenant {
        let polite = answers.of(503, "overloaded") + answers.of(429, "queue_limit");
        assert_eq!(polite, answers.refused.values().sum::<usize>(), "{name}: {answers:?}");
    }
    assert!(by_tenant["limited"].of(429, "queue_limit") > 0, "{by_tenant:?}");
    assert!(by_tenant["loud"].of(503, "overloaded") > 0, "{by_tenant:?}");
    // Who asks four times as loud is served no more often.
    let (loud, steady) = (served["loud"] as f64, served["steady"] as f64);
    assert!(served.values().all(|jobs| *jobs > 0) && (0.7..=1.4).contains(&(loud / steady)), "{served:?}");
    // Below twice the limit, whatever comes in a second.
    assert!(deepest <= 2 * MAX_QUEUED as i64, "{deepest} jobs waited");

    until("every accepted job has ended", Duration::from_secs(120), || async {
        (count(&deployment, "queued").await + count(&deployment, "running").await == 0).then_some(())
    })
    .await;
    assert_eq!(count(&deployment, "succeeded").await, accepted as i64);
    nothing_happened_twice(&deployment).await;
    let mut most = 0;
    for service in [&deployment.api, &deployment.dispatcher, &workers[0], &workers[1]] {
        let peak = service.peak_memory_bytes();
        assert!(peak < MEMORY_BYTES, "{peak} bytes");
        most = most.max(peak);
    }
    seen(
        20,
        "ten times the capacity",
        &format!("for {} s", FLOOD.as_secs()),
        &format!(
            "{accepted} accepted and done, {refused} refused with 429 or 503, {deepest} queued at most; {} and {} jobs \
             served of two tenants of whom one asks four times as often; no process over {} MiB",
            served["loud"],
            served["steady"],
            most >> 20
        ),
    );
    drop(workers);
    deployment.end().await;
}
