use std::time::Duration;

use darkroom_client::JobFilter;
use darkroom_e2e::{Catalog, Deployment};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::verify::{artifacts_match, nothing_happened_twice, request, so_many_succeeded};

const JOBS: i64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_survive_the_death_of_a_worker() {
    let deployment = Deployment::start(&Catalog::fake(3)).await;
    let client = deployment.tenant("a").await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(deployment.worker_with(&[("DARKROOM_SLOTS", "2")]).await);
    }
    stream::iter(0..JOBS)
        .map(|seed| {
            let client = client.clone();
            async move { client.submit_text_to_image(&request("a red circle", seed.unsigned_abs())).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();

    so_many_succeeded(&deployment, JOBS / 2, Duration::from_secs(120)).await;
    workers[0].kill();
    // What it held comes back once its leases have expired.
    so_many_succeeded(&deployment, JOBS, Duration::from_secs(180)).await;

    nothing_happened_twice(&deployment).await;
    assert_eq!(deployment.database.count("select count(*) from artifacts").await, JOBS);
    let lost = deployment.database.count("select count(*) from attempts where state = 'lost'").await;
    // Two slots, and one attempt that has left the device and is being stored.
    assert!(lost <= 3, "only what the killed worker held was lost: {lost}");
    assert_eq!(deployment.database.count("select count(*) from attempts").await, JOBS + lost);

    let mut filter = JobFilter { limit: Some(100), ..JobFilter::default() };
    let mut seen = 0;
    loop {
        let page = client.jobs(&filter).await.unwrap();
        seen += page.jobs.len();
        stream::iter(&page.jobs).for_each_concurrent(8, |job| artifacts_match(&client, job)).await;
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(i64::try_from(seen), Ok(JOBS));
    drop(workers);
    deployment.end().await;
}
