//! What must hold after every fault.

use std::collections::BTreeSet;
use std::time::Duration;

use darkroom_blobs::job_prefix;
use darkroom_client::{Error, JobFilter, JobState};
use darkroom_e2e::{blobs, until};
use darkroom_jobs::JobId;
use darkroom_store::testing::TestDatabase;
use futures_util::{StreamExt as _, stream};
use uuid::Uuid;

use super::load::Submitted;
use super::world::World;
use crate::verify::{artifacts_match, nothing_happened_twice};

/// Writes down every change of a job that is final.
const WITNESS: &str = "
    create table witnessed (job_id uuid, old text, new text);
    create function witness() returns trigger language plpgsql as
        $$ begin insert into witnessed values (old.id, old.state, new.state); return new; end $$;
    create trigger witness after update on jobs for each row
        when (old.finished_at is not null and (old.state, old.cost) is distinct from (new.state, new.cost))
        execute function witness();";

/// Most memory a service may hold: it grows with nothing that a fault piles up.
const MEMORY_BYTES: u64 = 300 << 20;
/// Files and sockets of a service: its pools, its ports, its logs, and a few more.
const OPEN_FILES: usize = 120;

/// Begins to watch what happens to final jobs.
pub(crate) async fn watch(database: &TestDatabase) {
    database.execute(WITNESS).await;
}

/// Which jobs may have needed more than one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// None: the fault did not touch what ran.
    None,
    /// Some.
    Some,
}

/// What was left behind and taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Objects that no result names, before they were swept.
    pub(crate) orphans: usize,
}

/// Waits until every job is final, and checks all that must hold. `submitted` are the jobs that callers were
/// promised.
pub(crate) async fn hold(world: &World, submitted: &Submitted, repeated: Repeated, bound: Duration) -> Left {
    let open = "select count(*) from jobs where state in ('queued', 'running')";
    world.becomes("every job is final", open, 0, bound).await;
    nothing_is_lost(world, submitted).await;
    nothing_happened_twice(&world.deployment).await;
    results_are_there(world).await;
    attempts_are_few(world, repeated).await;
    assert_eq!(world.count("select count(*) from witnessed").await, 0, "final states never change");
    strangers_see_nothing(world, submitted).await;
    owners_are_told(world, submitted).await;
    let left = orphans_are_swept(world, submitted).await;
    world.becomes("the outbox is empty", "select count(*) from outbox", 0, Duration::from_secs(30)).await;
    nothing_leaks(world);
    left
}

async fn nothing_is_lost(world: &World, submitted: &Submitted) {
    let known: BTreeSet<Uuid> = all_jobs(world).await.into_iter().map(|(id, _)| id).collect();
    let promised: BTreeSet<Uuid> = submitted.accepted.iter().copied().collect();
    assert_eq!(promised.len(), submitted.accepted.len(), "two submissions got the same job");
    assert_eq!(known, promised, "accepted jobs on the left, known ones on the right");
}

async fn all_jobs(world: &World) -> Vec<(Uuid, JobState)> {
    let mut filter = JobFilter { limit: Some(100), ..JobFilter::default() };
    let mut all = Vec::new();
    loop {
        let page = world.client.jobs(&filter).await.unwrap();
        all.extend(page.jobs.iter().map(|job| (job.id, job.state)));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            return all;
        }
    }
}

async fn results_are_there(world: &World) {
    let jobs = all_jobs(world).await;
    let succeeded = jobs.into_iter().filter(|(_, state)| *state == JobState::Succeeded);
    stream::iter(succeeded)
        .for_each_concurrent(8, async |(id, _)| {
            let job = world.client.job(id).await.unwrap();
            artifacts_match(&world.client, &job).await;
        })
        .await;
    let unpaid = "select count(*) from jobs where (state = 'succeeded') <> (cost is not null)";
    assert_eq!(world.count(unpaid).await, 0, "exactly what succeeded is charged");
}

async fn attempts_are_few(world: &World, repeated: Repeated) {
    let too_many = "select count(*) from jobs j where (
        select count(*) from attempts a where a.job_id = j.id and a.state in ('failed', 'lost')) > j.max_attempts";
    assert_eq!(world.count(too_many).await, 0);
    let open = "select count(*) from attempts a join jobs j on j.id = a.job_id
        where a.state = 'running' and j.state <> 'running'";
    assert_eq!(world.count(open).await, 0, "an attempt of a final job is still open");
    if repeated == Repeated::None {
        assert_eq!(world.count("select count(*) from jobs where attempt > 1").await, 0, "a job was repeated");
    }
}

async fn strangers_see_nothing(world: &World, submitted: &Submitted) {
    let page = world.stranger.jobs(&JobFilter::default()).await.unwrap();
    assert!(page.jobs.is_empty());
    if let Some(id) = submitted.accepted.first() {
        let refused = world.stranger.job(*id).await.unwrap_err();
        assert!(matches!(&refused, Error::Problem(problem) if problem.code == "not_found"), "{refused}");
    }
}

/// One event for each job, however often its message was sent.
async fn owners_are_told(world: &World, submitted: &Submitted) {
    let told = until("the owner is told of every job", Duration::from_secs(60), || async {
        Some(world.told()).filter(|told| submitted.accepted.iter().all(|id| told.contains_key(id)))
    })
    .await;
    let twice: Vec<&Uuid> = submitted.accepted.iter().filter(|id| told[id].len() != 1).collect();
    assert!(twice.is_empty(), "more than one event of {twice:?}");
}

async fn orphans_are_swept(world: &World, submitted: &Submitted) -> Left {
    let artifacts = usize::try_from(world.count("select count(*) from artifacts").await).unwrap();
    let orphans = objects(submitted).await.saturating_sub(artifacts);
    until("what nobody names is swept", Duration::from_secs(30), || async {
        (objects(submitted).await == artifacts).then_some(())
    })
    .await;
    Left { orphans }
}

/// Results and leftovers of these jobs in storage.
async fn objects(submitted: &Submitted) -> usize {
    let blobs = blobs();
    let counts = stream::iter(&submitted.accepted).map(|id| {
        let blobs = blobs.clone();
        let prefix = job_prefix(JobId::from_uuid(*id));
        async move { blobs.list(&prefix, None, 1_000).await.unwrap().len() }
    });
    counts.buffer_unordered(8).fold(0, async |sum, count| sum + count).await
}

fn nothing_leaks(world: &World) {
    for service in [&world.deployment.api, &world.deployment.dispatcher] {
        assert!(service.memory_bytes() < MEMORY_BYTES, "{service:?} holds {} bytes", service.memory_bytes());
        assert!(service.open_files() < OPEN_FILES, "{service:?} has {} files open", service.open_files());
    }
}
