use std::sync::Mutex;
use std::time::{Duration, Instant};

use darkroom_client::{Client, Job, JobState};
use darkroom_e2e::{Catalog, Deployment, until};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::verify::{count, nothing_happened_twice, request, running, so_many_succeeded, succeeded};

/// So many jobs of a tenant, in this order.
async fn submit(client: &Client, model: &str, jobs: u64) -> Vec<Job> {
    stream::iter(0..jobs)
        .map(|seed| {
            let mut wanted = request("a red circle", seed);
            wanted.model = Some(model.to_owned());
            async move { client.submit_text_to_image(&wanted).await }
        })
        .buffered(8)
        .try_collect()
        .await
        .unwrap()
}

/// How many jobs of a tenant run, at one moment.
async fn running_of(deployment: &Deployment, tenant: &str) -> i64 {
    let running = format!(
        "select count(*) from jobs j join tenants t on t.id = j.tenant_id
         where j.state = 'running' and t.name = '{tenant}'"
    );
    deployment.database.count(&running).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_single_job_starts_next() {
    let deployment = Deployment::start(&Catalog::fake(50)).await;
    let many = deployment.tenant("many").await;
    let single = deployment.tenant("single").await;
    let jobs: Vec<_> = stream::iter(0..500)
        .map(|seed| {
            let many = many.clone();
            async move { many.submit_text_to_image(&request("a red circle", seed)).await }
        })
        .buffered(8)
        .try_collect()
        .await
        .unwrap();
    let worker = deployment.worker().await;
    running(&many, &jobs[0]).await;

    let job = single.submit_text_to_image(&request("a blue square", 1)).await.unwrap();
    let job = succeeded(&single, &job).await;
    // One slot: the other tenant's job that ran at that moment ended, and none began after the submission was
    // committed. One may have begun just before that, with a later time stamp than the submission's beginning.
    let between = deployment
        .database
        .count(&format!(
            "select count(*) from attempts a, jobs j
             where j.id = '{}' and a.leased_at > j.created_at and a.leased_at < j.started_at",
            job.id
        ))
        .await;
    assert!(between <= 1, "{between} jobs of the other tenant started in between");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_with_short_and_long_queues_in_two_models_get_equal_turns() {
    let mut catalog = Catalog::fake(5);
    let second = catalog.add_fake(5);
    let deployment = Deployment::start(&catalog).await;
    let names = ["a", "b", "c"];
    let mut clients = Vec::new();
    for (name, jobs) in names.iter().zip([120, 60, 30]) {
        let client = deployment.tenant(name).await;
        submit(&client, &catalog.model, jobs / 2).await;
        submit(&client, &second, jobs / 2).await;
        clients.push(client);
    }
    let workers = [deployment.worker().await, deployment.worker().await];
    so_many_succeeded(&deployment, 210, Duration::from_secs(120)).await;
    nothing_happened_twice(&deployment).await;
    // When the shortest queue was empty, nobody had been served much more often.
    let mut shares = Vec::new();
    for name in names {
        let share = format!(
            "select count(*) from attempts a join tenants t on t.id = a.tenant_id
             where t.name = '{name}' and a.leased_at <= (
                 select max(a.leased_at) from attempts a join tenants t on t.id = a.tenant_id where t.name = 'c')"
        );
        shares.push(deployment.database.count(&share).await);
    }
    assert_eq!(shares[2], 30);
    assert!(shares.iter().all(|share| (24..=38).contains(share)), "{shares:?}");
    drop(workers);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_limit_holds_with_many_workers_and_costs_it_no_time() {
    let catalog = Catalog::fake(20);
    let deployment = Deployment::start(&catalog).await;
    let (limited, free) = (deployment.tenant("limited").await, deployment.tenant("free").await);
    deployment.database.execute("update tenants set max_running = 2 where name = 'limited'").await;
    let workers = [
        deployment.worker_with(&[("DARKROOM_SLOTS", "4")]).await,
        deployment.worker_with(&[("DARKROOM_SLOTS", "4")]).await,
        deployment.worker_with(&[("DARKROOM_SLOTS", "4")]).await,
    ];
    let jobs = submit(&limited, &catalog.model, 40).await;
    submit(&free, &catalog.model, 40).await;
    let (mut of_limited, mut of_free) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(120);
    while count(&deployment, "succeeded").await < 80 {
        assert!(Instant::now() < deadline, "80 jobs have not ended");
        of_limited = of_limited.max(running_of(&deployment, "limited").await);
        of_free = of_free.max(running_of(&deployment, "free").await);
    }
    assert_eq!(of_limited, 2);
    assert!(of_free > 2, "{of_free}");
    // While jobs of the tenant waited, its two places were taken again at once.
    let longest_gap_ms = deployment
        .database
        .count(
            "select (1000 * max(extract(epoch from gap)))::bigint from (
                 select a.leased_at - lag(a.finished_at, 2) over (order by a.leased_at) as gap
                 from attempts a join tenants t on t.id = a.tenant_id where t.name = 'limited'
             ) gaps",
        )
        .await;
    assert!(longest_gap_ms < 3_000, "a free place was left for {longest_gap_ms} ms");
    assert_eq!(limited.job(jobs[39].id).await.unwrap().state, JobState::Succeeded);
    drop(workers);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_lane_says_so_and_starts_again_within_seconds_of_being_resumed() {
    let mut catalog = Catalog::fake(5);
    let open = catalog.add_fake(5);
    let deployment = Deployment::start(&catalog).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let lane = format!("text-to-image:{}", catalog.model);
    deployment
        .database
        .execute(&format!("insert into lanes (lane, paused_at) values ('{lane}', now())"))
        .await;
    let paused = submit(&client, &catalog.model, 3).await;
    let others = submit(&client, &open, 20).await;
    succeeded(&client, &others[19]).await;
    until("the jobs say that their lane is paused", Duration::from_secs(10), || async {
        let job = client.job(paused[2].id).await.unwrap();
        assert_eq!(job.state, JobState::Queued);
        (job.blocked_reason.as_deref() == Some("lane_paused")).then_some(())
    })
    .await;
    until("the dispatcher tells what waits", Duration::from_secs(30), || async {
        let queued = format!(r#"darkroom_jobs_queued{{lane="{lane}"}} 3"#);
        deployment.dispatcher.metrics().await.contains(&queued).then_some(())
    })
    .await;
    deployment.database.execute("update lanes set paused_at = null").await;
    let resumed = Instant::now();
    running_or_done(&client, &paused[0]).await;
    // A probe is due every 2 seconds or so.
    assert!(resumed.elapsed() < Duration::from_secs(5), "{:?}", resumed.elapsed());
    succeeded(&client, &paused[2]).await;
    drop(worker);
    deployment.end().await;
}

async fn running_or_done(client: &Client, job: &Job) {
    until("the job has started", Duration::from_secs(30), || async {
        (client.job(job.id).await.unwrap().state != JobState::Queued).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_moves_up_and_its_estimate_comes_true() {
    let catalog = Catalog::fake(50);
    let deployment = Deployment::start(&catalog).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    // Measured first.
    let first = submit(&client, &catalog.model, 3).await;
    succeeded(&client, &first[2]).await;
    let jobs = submit(&client, &catalog.model, 30).await;
    let last = jobs[29].id;
    let seen = Mutex::new(Vec::new());
    let started = until("the last job starts", Duration::from_secs(60), || async {
        let job = client.job(last).await.unwrap();
        if job.state != JobState::Queued {
            return Some(Instant::now());
        }
        assert_eq!(job.blocked_reason, None);
        let place = job.queue.expect("a queued job has a place");
        // In the first second the runs may not have been counted yet.
        if let Some(wait) = place.estimated_wait_seconds {
            seen.lock().unwrap().push((place.position, wait, Instant::now()));
        }
        None
    })
    .await;
    let seen = seen.into_inner().unwrap();
    let (first, halfway) = (seen[0], seen[seen.len() / 2]);
    assert!(first.0 > 10 && halfway.0 < first.0, "{seen:?}");
    let truth = (started - halfway.2).as_secs_f64();
    assert!(
        (0.5..=2.0).contains(&(halfway.1 / truth)),
        "{} seconds were estimated, it took {truth}",
        halfway.1
    );
    drop(worker);
    deployment.end().await;
}
