//! Workers that die, stand still, are asked to stop, or hang.

use std::time::Duration;

use darkroom_client::{Job, JobState};
use darkroom_e2e::{Catalog, Service, faketime, until};
use tokio::time::Instant;

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::Submitted;
use super::report::{seconds, seen};
use super::world::{RECOVERY, World};

const KILL: &str = "kill -9 worker";
const STOP: &str = "SIGSTOP worker beyond its lease, then SIGCONT";
const TERM: &str = "SIGTERM worker";

/// Waits for a service to have been killed.
async fn killed(service: &mut Service) {
    use std::os::unix::process::ExitStatusExt as _;
    let status = service.exited().await;
    assert_eq!(status.signal(), Some(9), "{status}\n{}", service.log());
}

async fn frozen(service: &Service) {
    until("the worker stands still", Duration::from_secs(30), || async { service.is_frozen().then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_a_worker_is_killed() {
    let mut chance = Chance::of(1);
    let world = World::start(20).await;
    // Stands by, and costs no start once it is needed.
    let heir = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        let step = format!("worker.stepped#{}", 1 + chance.below(8));
        for (point, when) in [
            ("worker.leased", "after lease"),
            (&step, "mid-inference"),
            ("worker.recorded", "after upload, before settle"),
            ("worker.settled", "after settle, before ack"),
        ] {
            heir.freeze();
            let mut victim = world.doomed_worker(&format!("kill@{point}"));
            let job = world.submit(8).await;
            jobs.push(job.id);
            killed(&mut victim).await;
            heir.thaw();
            let (job, took) = world.succeeds_within(&job, RECOVERY).await;
            let lost = world.attempts(&job, "lost").await;
            let expected = if point == "worker.settled" { (1, 0) } else { (2, 1) };
            assert_eq!((job.attempts, lost), expected, "{point}");
            let done =
                if lost > 0 { format!("done again after {}", seconds(took)) } else { "not run again".into() };
            seen(1, KILL, when, &format!("{done}, {} attempts", job.attempts));
        }
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    drop(heir);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_a_worker_is_killed_with_other_leases() {
    let chance = Chance::of(1);
    // As it comes in long runs, and as short as it can be in all.
    let leases: &[&str] = if chance.is_long() { &["1", "30"] } else { &["1"] };
    for lease in leases {
        let world = World::with_catalog(&Catalog::fake(20), &[("DARKROOM_LEASE_SECONDS", lease)]).await;
        let heir = world.deployment.worker().await;
        heir.freeze();
        let mut victim = world.doomed_worker("kill@worker.stepped#2");
        let job = world.submit(4).await;
        killed(&mut victim).await;
        heir.thaw();
        let (job, took) = world.succeeds_within(&job, RECOVERY + Duration::from_secs(30)).await;
        let when = format!("mid-inference, lease of {lease} s");
        seen(1, KILL, &when, &format!("done again after {}, {} attempts", seconds(took), job.attempts));
        invariants::hold(&world, &Submitted::all([job.id]), Repeated::Some, RECOVERY).await;
        drop(heir);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_two_workers_die_on_one_job() {
    let world = World::start(20).await;
    let job = world.submit(4).await;
    for _ in 0..2 {
        let mut victim = world.doomed_worker("kill@worker.stepped");
        killed(&mut victim).await;
    }
    let job = world.client.wait(job.id, RECOVERY).await.unwrap();
    let error = job.error.unwrap();
    assert_eq!(
        (job.state, job.attempts, &error.code[..]),
        (JobState::Failed, 2, "poison"),
        "{}",
        error.message
    );
    seen(1, KILL, "two workers on one job", "failed as `poison`, so that it kills no third one");
    invariants::hold(&world, &Submitted::all([job.id]), Repeated::Some, RECOVERY).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_2_a_worker_stands_still_beyond_its_lease() {
    let mut chance = Chance::of(2);
    let world = World::start(20).await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        let step = format!("worker.stepped#{}", 1 + chance.below(8));
        for (point, when) in [(&step[..], "mid-inference"), ("worker.uploaded", "between upload and settle")]
        {
            let mut sleeper = world.doomed_worker(&format!("stop@{point}"));
            let job = world.submit(8).await;
            jobs.push(job.id);
            frozen(&sleeper).await;
            let heir = world.deployment.worker().await;
            let (won, took) = world.succeeds_within(&job, RECOVERY).await;
            sleeper.thaw();
            // What it still believes changes nothing, and it goes on with other work.
            drop(heir);
            let next = world.submit(1).await;
            jobs.push(next.id);
            world.succeeds_within(&next, RECOVERY).await;
            assert!(sleeper.is_running());
            let after = world.client.job(job.id).await.unwrap();
            assert_eq!(after.version, won.version, "the first worker changed the job");
            assert_eq!((won.attempts, world.attempts(&job, "lost").await), (2, 1));
            let spoilt =
                format!("select count(*) from artifacts where job_id = '{}' and attempt <> 2", job.id);
            assert_eq!(world.count(&spoilt).await, 0, "the result is the second worker's");
            sleeper.kill();
            seen(
                2,
                STOP,
                when,
                &format!("the second worker wins after {}, the first changes nothing", seconds(took)),
            );
        }
    }
    let left = invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    seen(2, STOP, "in all", &format!("{} orphans when last looked, all swept", left.orphans));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_3_a_worker_is_asked_to_stop() {
    let chance = Chance::of(3);
    let world = World::start(50).await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        let mut idle = world.deployment.worker().await;
        idle.terminate();
        assert!(idle.exited().await.success(), "{}", idle.log());
        seen(3, TERM, "idle", "exits with 0");

        let mut finishes = world.deployment.worker_with(&[("DARKROOM_GRACE_SECONDS", "20")]).await;
        let short = world.submit(20).await;
        begun(&world, &short).await;
        finishes.terminate();
        assert!(finishes.exited().await.success(), "{}", finishes.log());
        let short = world.client.job(short.id).await.unwrap();
        assert_eq!((short.state, short.attempts), (JobState::Succeeded, 1));
        seen(3, TERM, "short job", "finished in one attempt, exits with 0");

        let mut hands_back = world.deployment.worker_with(&[("DARKROOM_GRACE_SECONDS", "1")]).await;
        let long = world.submit(60).await;
        begun(&world, &long).await;
        let heir = world.deployment.worker().await;
        hands_back.terminate();
        assert!(hands_back.exited().await.success(), "{}", hands_back.log());
        let (long, _) = world.succeeds_within(&long, Duration::from_secs(30)).await;
        assert_eq!((long.attempts, world.attempts(&long, "released").await), (2, 1));
        let burned = format!("select failures::bigint from jobs where id = '{}'", long.id);
        assert_eq!(world.count(&burned).await, 0);
        let gap = format!(
            "select (extract(epoch from second.leased_at - first.finished_at) * 1000)::bigint
             from attempts first join attempts second using (job_id)
             where job_id = '{}' and first.number = 1 and second.number = 2",
            long.id
        );
        let gap = Duration::from_millis(u64::try_from(world.count(&gap).await).unwrap());
        // Two seconds, and a busy machine's share.
        assert!(gap < Duration::from_secs(4), "another worker began only after {gap:?}");
        seen(
            3,
            TERM,
            "job longer than the grace period",
            &format!("no attempt burned, begun again after {}", seconds(gap)),
        );
        jobs.extend([short.id, long.id]);
        drop(heir);
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    world.end().await;
}

/// Waits until a worker has made a step of the job.
async fn begun(world: &World, job: &Job) {
    until("the job runs", Duration::from_secs(30), || async {
        let job = world.client.job(job.id).await.unwrap();
        (job.state == JobState::Running).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_a_workers_clock_is_off() {
    let chance = Chance::of(17);
    let world = World::start(50).await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        for offset in ["+2h", "-2h"] {
            let clock = [
                ("LD_PRELOAD", &faketime()[..]),
                ("FAKETIME", offset),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ];
            let worker = world.deployment.worker_with(&clock).await;
            // Longer than a lease.
            let job = world.submit(100).await;
            let (job, _) = world.succeeds_within(&job, Duration::from_secs(60)).await;
            assert_eq!(job.attempts, 1, "{}", worker.log());
            jobs.push(job.id);
        }
    }
    seen(17, "worker's clock two hours off", "ahead and behind", "leases unaffected: one attempt each");
    invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_device_hangs() {
    let chance = Chance::of(22);
    let world = World::start(10).await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        let mut hanging = world.deployment.worker_with(&[("DARKROOM_STALL_SECONDS", "2")]).await;
        let mut task = crate::verify::request("[fake:hang]", 1);
        task.steps = Some(4);
        let job = world.client.submit_text_to_image(&task).await.unwrap();
        jobs.push(job.id);
        let began = Instant::now();
        let status = hanging.exited().await;
        let took = began.elapsed();
        assert!(!status.success() && status.code().is_some(), "it exits by itself, with a failure: {status}");
        let timed_out = format!(
            "select count(*) from attempts where job_id = '{}' and number = 1 and failure_class = 'timeout'",
            job.id
        );
        assert_eq!(world.count(&timed_out).await, 1, "{}", hanging.log());
        // Restarted, as its supervisor would; the job hangs it again, so its owner takes it back.
        let mut again = world.deployment.worker_with(&[("DARKROOM_STALL_SECONDS", "2")]).await;
        let second = format!("select count(*) from attempts where job_id = '{}' and number = 2", job.id);
        world.becomes("the job runs again", &second, 1, RECOVERY).await;
        let canceled = world.client.cancel(job.id).await.unwrap();
        assert_eq!(canceled.state, JobState::Canceled);
        assert!(!again.exited().await.success());
        seen(
            22,
            "device thread hangs in the middle of a step",
            "mid-inference",
            &format!(
                "attempt timed out and process exited {} after submission, job run again by the next",
                seconds(took)
            ),
        );
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    world.end().await;
}
