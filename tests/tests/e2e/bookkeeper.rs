use std::time::Duration;

use darkroom_client::UsageFilter;
use darkroom_e2e::{Catalog, Deployment, until};

use crate::verify::{request, succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_rolled_up_when_its_day_is_over_and_stays_the_same() {
    let mut deployment = Deployment::start(&Catalog::fake(1)).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    for seed in 0..3 {
        let job = client.submit_text_to_image(&request("a red circle", seed)).await.unwrap();
        succeeded(&client, &job).await;
    }
    deployment.dispatcher.kill();
    // As if no dispatcher had run for three days.
    deployment
        .database
        .execute(
            "update jobs set finished_at = finished_at - interval '3 days';
             update usage_mark set rolled_through = rolled_through - 3",
        )
        .await;
    let before = client.usage(&UsageFilter::default()).await.unwrap();
    assert_eq!((before.total.counts.succeeded, before.total.counts.artifacts), (3, 3));
    assert_eq!(before.total.counts.units, 3 * 64 * 64);
    assert_eq!(before.total.costs[0].amount, "0.00012288");

    deployment.dispatcher = deployment.spawn("darkroom-dispatcher", &[], &[]);
    until("the day is rolled up", Duration::from_secs(30), || async {
        let rolled = "select count(*) from usage_daily where succeeded = 3";
        (deployment.database.count(rolled).await == 1).then_some(())
    })
    .await;
    assert_eq!(client.usage(&UsageFilter::default()).await.unwrap(), before);
    drop(worker);
    deployment.end().await;
}
