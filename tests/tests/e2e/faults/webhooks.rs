//! Receivers of webhooks that fail in every way.

use std::time::Duration;

use darkroom_client::Client;
use darkroom_e2e::{Manner, Receiver, until};
use serde_json::Value;
use tokio::time::Instant;

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::Submitted;
use super::report::{seconds, seen};
use super::world::{RECOVERY, World};
use crate::verify::request;

const FAULT: &str = "webhook receiver";
/// Jobs of the tenant with the bad receivers.
const JOBS: u64 = 10;

/// How one attempt ended, as the tenant is told.
async fn first_attempt(world: &World, key: &str, webhook: &str) -> Value {
    let url = format!("{}/v1/webhooks/{webhook}/deliveries", world.deployment.url);
    until("an attempt was made", RECOVERY, || async {
        let answer = reqwest::Client::new().get(&url).bearer_auth(key).send().await.ok()?;
        let deliveries: Value = answer.json().await.ok()?;
        let delivery = deliveries["deliveries"].as_array()?.last()?.clone();
        (!delivery["attempts"].as_array()?.is_empty()).then_some(delivery)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_receivers_of_webhooks_fail() {
    let chance = Chance::of(19);
    let world = World::start(1).await;
    let worker = world.deployment.worker().await;
    let key = world.deployment.key("hostile").await;
    let hostile = Client::new(&world.deployment.url, key.as_str()).unwrap();
    let secret = Receiver::start(&[Manner::Status(200)]).await;
    // Loopback alone is admitted as if it were the internet, and this is none of it.
    let private = secret.url.replace("127.0.0.1", "127.0.0.2");
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        let mut webhooks = Vec::new();
        for (when, manner, verdict) in [
            ("500", Manner::Status(500), "tried again by the schedule"),
            ("time-out", Manner::Silent, "tried again by the schedule"),
            ("slow loris", Manner::SlowLoris, "cut at the time-out, tried again by the schedule"),
            (
                "redirect to a private address",
                Manner::Redirect(private.clone()),
                "not followed, tried again by the schedule",
            ),
            ("endless body", Manner::Endless, "taken by its status, the rest not read"),
        ] {
            let receiver = Receiver::start(&[manner]).await;
            let webhook = world.tell(&key, &receiver).await;
            webhooks.push((when, verdict, receiver, webhook));
        }
        for seed in 0..JOBS {
            hostile.submit_text_to_image(&request("a red circle", seed)).await.unwrap();
        }
        let began = Instant::now();
        let job = world.submit(1).await;
        jobs.push(job.id);
        until("the other tenant is told", Duration::from_secs(30), || async {
            world.told().contains_key(&job.id).then_some(())
        })
        .await;
        let told = began.elapsed();
        for (when, verdict, _receiver, webhook) in &webhooks {
            let delivery = first_attempt(&world, &key, webhook).await;
            let attempt = &delivery["attempts"][0];
            let answer =
                attempt["status"].as_u64().map_or("no answer".to_owned(), |status| status.to_string());
            seen(
                19,
                FAULT,
                when,
                &format!(
                    "{answer}; {verdict}; `{}` after the first attempt",
                    delivery["state"].as_str().unwrap()
                ),
            );
        }
        seen(19, FAULT, "other tenants", &format!("told {} after submission", seconds(told)));
    }
    assert!(secret.received().is_empty());
    world
        .deployment
        .database
        .execute("delete from jobs where tenant_id = (select id from tenants where name = 'hostile')")
        .await;
    invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    drop(worker);
    world.end().await;
}
