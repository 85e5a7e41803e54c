//! Cancellations at any moment.

use std::time::Duration;

use darkroom_client::{Error, JobState};
use futures_util::{StreamExt as _, stream};

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::Submitted;
use super::report::seen;
use super::world::World;
use crate::verify::request;

const RACES: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_cancel_races_start_and_finish() {
    let mut chance = Chance::of(18);
    let world = World::start(2).await;
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(world.deployment.worker_with(&[("DARKROOM_SLOTS", "4")]).await);
    }
    // A job waits, runs and ends within some hundred milliseconds here.
    let delays: Vec<Duration> =
        (0..RACES).map(|_| chance.between(Duration::ZERO, Duration::from_millis(400))).collect();
    let races = stream::iter(delays.into_iter().enumerate()).map(|(seed, delay)| {
        let client = world.client.clone();
        async move {
            let mut task = request("a red circle", seed as u64);
            task.steps = Some(2);
            let job = client.submit_text_to_image(&task).await.unwrap();
            tokio::time::sleep(delay).await;
            let heard = match client.cancel(job.id).await {
                Ok(job) => job.state,
                Err(Error::Problem(problem)) if problem.code == "job_already_final" => JobState::Succeeded,
                Err(error) => panic!("{error}"),
            };
            (job.id, heard)
        }
    });
    let heard: Vec<_> = races.buffer_unordered(8).collect().await;
    let ids = heard.iter().map(|(id, _)| *id);
    invariants::hold(&world, &Submitted::all(ids), Repeated::None, Duration::from_secs(60)).await;
    let mut canceled = 0;
    for (id, heard) in &heard {
        let state = world.client.job(*id).await.unwrap().state;
        assert_eq!(state, *heard, "what the caller heard stands");
        canceled += u32::from(state == JobState::Canceled);
    }
    assert!(canceled > 0 && canceled < RACES, "{canceled} of {RACES} canceled: both ends won");
    seen(
        18,
        "cancel racing start and finish",
        "1,000 random timings",
        &format!("{canceled} canceled, {} succeeded, one final state each", RACES - canceled),
    );
    drop(workers);
    world.end().await;
}
