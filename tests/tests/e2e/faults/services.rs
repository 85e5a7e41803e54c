//! APIs and dispatchers that die, tickets that lie, code that panics.

use std::time::Duration;

use darkroom_client::JobState;
use darkroom_e2e::{Catalog, until};
use serde_json::{Value, json};

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::{Caller, Submitted};
use super::report::seen;
use super::storage::picture;
use super::world::{RECOVERY, World};

fn body(prompt: &str) -> Value {
    json!({"pipeline": "text-to-image", "input": {"prompt": prompt, "seed": 1, "steps": 2}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_an_api_is_killed_between_insert_and_response() {
    let chance = Chance::of(4);
    let mut world = World::start(1).await;
    let worker = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for round in 0..chance.rounds() {
        world.deployment.api.kill();
        world.deployment.restart_api_with(&[("DARKROOM_CRASH_POINT", "kill@api.accepted")]).await;
        let caller = Caller::of(&world);
        let key = format!("once-{round}");
        assert!(caller.ask(&key, &body("a red circle")).await.is_none(), "the caller hears nothing");
        let before = world.count("select count(*) from jobs").await;
        world.deployment.api.exited().await;
        world.deployment.restart_api().await;
        let answer = caller.ask(&key, &body("a red circle")).await.expect("the API is back");
        assert_eq!(answer.headers()["idempotency-replayed"], "true");
        let job: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let id = job["id"].as_str().unwrap().parse().unwrap();
        let job = world.client.wait(id, RECOVERY).await.unwrap();
        assert_eq!((job.state, job.attempts), (JobState::Succeeded, 1));
        assert_eq!(world.count("select count(*) from jobs").await, before, "no second job");
        jobs.push(job.id);
    }
    seen(
        4,
        "kill -9 API",
        "after insert, before the response",
        "a retry with the same key gets the same job, one attempt",
    );
    invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_5_a_dispatcher_is_killed_between_publish_and_delete() {
    let chance = Chance::of(5);
    let mut world = World::start(1).await;
    let worker = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        world.deployment.dispatcher.kill();
        world
            .deployment
            .restart_dispatcher_with(&[("DARKROOM_CRASH_POINT", "kill@dispatcher.published")])
            .await;
        let job = world.submit(2).await;
        jobs.push(job.id);
        world.deployment.dispatcher.exited().await;
        assert_eq!(world.count("select count(*) from outbox").await, 1, "the row is still there");
        world.deployment.restart_dispatcher_with(&[]).await;
        // The row comes due again ten seconds after it was claimed, and its ticket is published a second time.
        world.becomes("the outbox is empty", "select count(*) from outbox", 0, Duration::from_secs(30)).await;
        let (job, _) = world.succeeds_within(&job, RECOVERY).await;
        assert_eq!(job.attempts, 1);
    }
    seen(
        5,
        "kill -9 dispatcher",
        "after publish, before the delete commits",
        "duplicate ticket, one attempt",
    );
    invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_code_panics() {
    let chance = Chance::of(21);
    let mut world = World::with_catalog(&Catalog::fake(1).with_captions(), &[]).await;
    let mut worker = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for round in 0..chance.rounds() {
        let broken =
            world.client.submit_text_to_image(&crate::verify::request("[fake:panic]", 1)).await.unwrap();
        let broken = world.client.wait(broken.id, Duration::from_secs(60)).await.unwrap();
        assert_eq!((broken.state, broken.attempts), (JobState::Failed, 4));
        worker.ready().await;
        jobs.push(broken.id);

        world.deployment.api.kill();
        world.deployment.restart_api_with(&[("DARKROOM_CRASH_POINT", "panic@api.accepted")]).await;
        let caller = Caller::of(&world);
        // With a picture, which must not go the way of those whose jobs were refused.
        let key = format!("panic-{round}");
        let answer = caller.send(&key, picture()).await.expect("the process lives");
        assert_eq!(answer.status(), 500);
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "internal");
        let answer = caller.send(&key, picture()).await.expect("the process lives");
        let job: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let id = job["id"].as_str().unwrap().parse().unwrap();
        until("the job of the panic is done", RECOVERY, || async {
            (world.client.job(id).await.unwrap().state == JobState::Succeeded).then_some(())
        })
        .await;
        jobs.push(id);
        assert!(world.deployment.api.is_running() && worker.is_running());
    }
    seen(21, "panic", "in a model", "4 failed attempts, then `poison`; the worker lives");
    seen(21, "panic", "in a handler", "500, and the process lives; a retry with the same key gets the job");
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    drop(worker);
    world.end().await;
}
