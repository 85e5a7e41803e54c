//! A database that restarts, throws its clients out, goes silent, or loses replies.

use std::time::Duration;

use darkroom_client::JobState;
use darkroom_e2e::{Disturbance, Lines, PrivateServers, Service, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Instant, interval, sleep};

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::{Caller, Load, Submitted};
use super::report::{seconds, seen};
use super::world::{RECOVERY, World};
use crate::verify::request;

/// Between two submissions of the load.
const PERIOD: Duration = Duration::from_millis(100);
/// How long after the end of an outage everything must be as before.
const AS_BEFORE: Duration = Duration::from_secs(10);

async fn still_running(world: &mut World, worker: &mut Service) {
    assert!(world.deployment.api.is_running(), "{}", world.deployment.api.log());
    assert!(world.deployment.dispatcher.is_running(), "{}", world.deployment.dispatcher.log());
    assert!(worker.is_running(), "{}", worker.log());
}

/// Waits until a job that is submitted now succeeds at once, with nothing queued before it.
///
/// # Panics
/// When none does within a minute.
async fn as_before(world: &World, submitted: &mut Vec<uuid::Uuid>) -> Duration {
    let began = Instant::now();
    let caller = Caller::of(world);
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(60) {
        number += 1;
        let key = format!("probe-{}-{number}", submitted.len());
        let body = json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle", "steps": 1}});
        let asked = Instant::now();
        let answer = caller.ask(&key, &body).await;
        if let Some(answer) = answer.filter(|answer| answer.status().is_success()) {
            let job: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let id = job["id"].as_str().unwrap().parse().unwrap();
            submitted.push(id);
            let done = world.client.wait(id, Duration::from_secs(30)).await;
            if done.is_ok_and(|job| job.state == JobState::Succeeded)
                && asked.elapsed() < Duration::from_secs(2)
            {
                return began.elapsed();
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("not as before within a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_postgres_restarts_and_throws_its_clients_out() {
    let mut chance = Chance::of(11);
    let servers = tokio::task::spawn_blocking(|| PrivateServers::start(&["postgres"])).await.unwrap();
    let mut world = World::with_database(&servers, 1).await;
    let mut worker = world.deployment.worker().await;
    for _ in 0..chance.rounds() {
        let load = Load::begin(&world, PERIOD);
        sleep(chance.between(Duration::from_secs(2), Duration::from_secs(4))).await;
        let postmaster = "select split_part(pg_read_file('postmaster.pid'), chr(10), 1)::bigint";
        let postmaster = i32::try_from(world.count(postmaster).await).unwrap();
        kill_process(Pid::from_raw(postmaster).unwrap(), Signal::QUIT).unwrap();
        let began = Instant::now();
        let mut probes = Vec::new();
        as_before(&world, &mut probes).await;
        let back = began.elapsed();
        assert!(back < AS_BEFORE + RECOVERY, "only after {back:?}");
        let mut submitted = load.end().await;
        submitted.accepted.append(&mut probes);
        seen(
            11,
            "Postgres immediate restart",
            "under load",
            &format!(
                "{} answers 503, slowest answer {}; as before {} after the shutdown, start included",
                submitted.refused,
                seconds(submitted.slowest),
                seconds(back)
            ),
        );

        let load = Load::begin(&world, PERIOD);
        let over = Instant::now() + chance.outage(Duration::from_secs(60));
        let mut ticks = interval(Duration::from_secs(1));
        while Instant::now() < over {
            ticks.tick().await;
            world
                .count(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()",
                )
                .await;
        }
        let back = as_before(&world, &mut submitted.accepted).await;
        assert!(back < AS_BEFORE, "only after {back:?}");
        let more = load.end().await;
        seen(
            11,
            "Postgres backends terminated once a second",
            "under load",
            &format!(
                "{} answers 503 to {} jobs; as before {} after",
                more.refused,
                more.accepted.len(),
                seconds(back)
            ),
        );
        submitted.accepted.extend(more.accepted);
        still_running(&mut world, &mut worker).await;
        invariants::hold(&world, &submitted, Repeated::Some, Duration::from_secs(60)).await;
        world.forget().await;
    }
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_postgres_goes_silent() {
    let mut chance = Chance::of(12);
    let mut world = World::start(1).await;
    let mut worker = world.deployment.worker().await;
    for _ in 0..chance.rounds() {
        let load = Load::begin(&world, PERIOD);
        sleep(Duration::from_secs(2)).await;
        let outage = chance.outage(Duration::from_secs(30));
        world.lines.database.disturb(Disturbance::Hang);
        sleep(outage).await;
        world.lines.database.mend();
        let mut probes = Vec::new();
        let back = as_before(&world, &mut probes).await;
        // Every caller that was refused comes again, and is served before the probe: the longer it was, the more do.
        assert!(back < AS_BEFORE + RECOVERY.max(outage), "only after {back:?}, of {outage:?}");
        let mut submitted = load.end().await;
        submitted.accepted.append(&mut probes);
        seen(
            12,
            "Postgres connections hang",
            "under load",
            &format!(
                "{} answers 503, slowest {}; as before {} after, without a restart",
                submitted.refused,
                seconds(submitted.slowest),
                seconds(back)
            ),
        );
        still_running(&mut world, &mut worker).await;
        invariants::hold(&world, &submitted, Repeated::Some, Duration::from_secs(60)).await;
        world.forget().await;
    }
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_the_reply_to_a_commit_is_lost() {
    let chance = Chance::of(13);
    let world = World::start(1).await;
    let lost = "COMMIT reply lost";
    let mut jobs = Vec::new();
    for round in 0..chance.rounds() {
        // Accept: the label is in no other statement.
        let label = format!("label-{}", uuid::Uuid::now_v7().simple());
        world.lines.database.lose_reply_to(label.clone());
        let mut task = request("a red circle", 1);
        task.steps = Some(2);
        let body = json!({
            "pipeline": "text-to-image", "metadata": {"label": label},
            "input": {"prompt": "a red circle", "seed": 1, "steps": 2},
        });
        let caller = Caller::of(&world);
        let answer = caller.ask(&format!("accept-{round}"), &body).await.expect("the API answers");
        assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
        assert_eq!(world.lines.database.replies_lost(), 1 + usize::try_from(round).unwrap());
        let job: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let job = world.client.job(job["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
        jobs.push(job.id);
        seen(13, lost, "accept", "the caller gets its 202, one job");

        // Lease: the first reply to this worker that names the job.
        let lines = Lines::lay(world.deployment.database.url(), None).await;
        lines.database.lose_reply_with(job.id.as_bytes());
        let worker = world.deployment.worker_with(&lines.settings()).await;
        let (job, took) = world.succeeds_within(&job, RECOVERY).await;
        assert_eq!((job.attempts, lines.database.replies_lost()), (1, 1));
        seen(
            13,
            lost,
            "lease",
            &format!("the worker finds its lease: one attempt, done {} after", seconds(took)),
        );

        // Settle: the only statement with an attempt's timings.
        lines.database.lose_reply_to("inference_started_ms");
        let job = world.submit(2).await;
        let (job, took) = world.succeeds_within(&job, RECOVERY).await;
        until("the reply was lost", RECOVERY, || async {
            (lines.database.replies_lost() == 2).then_some(())
        })
        .await;
        assert_eq!(job.attempts, 1);
        jobs.push(job.id);
        seen(13, lost, "settle", &format!("settled once: one attempt, done {} after", seconds(took)));

        // The worker is free again: it has heard that its settlement stands.
        let job = world.submit(1).await;
        world.succeeds_within(&job, RECOVERY).await;
        jobs.push(job.id);
        drop(worker);
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    world.end().await;
}
