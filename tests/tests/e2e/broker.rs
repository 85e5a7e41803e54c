use std::time::Duration;

use darkroom_e2e::{Catalog, Deployment, PrivateServers};

use crate::verify::{nothing_happened_twice, request, so_many_succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_outlive_a_broker_that_loses_everything() {
    let broker = tokio::task::spawn_blocking(PrivateServers::broker).await.unwrap();
    let deployment = Deployment::with(&Catalog::fake(20), &[("AMQP_URL", broker.amqp_url())]).await;
    let client = deployment.tenant("a").await;
    for seed in 0..40 {
        client.submit_text_to_image(&request("queued before", seed)).await.unwrap();
    }
    let worker = deployment.worker().await;
    so_many_succeeded(&deployment, 5, Duration::from_secs(60)).await;

    let broker = tokio::task::spawn_blocking(move || {
        broker.wipe_broker();
        broker
    })
    .await
    .unwrap();
    // The API does not talk to the broker: submissions go on.
    for seed in 0..10 {
        client.submit_text_to_image(&request("queued meanwhile", seed)).await.unwrap();
    }
    let broker = tokio::task::spawn_blocking(move || {
        broker.restart("rabbitmq");
        broker
    })
    .await
    .unwrap();
    so_many_succeeded(&deployment, 50, Duration::from_secs(120)).await;
    nothing_happened_twice(&deployment).await;
    let outbox = "select count(*) from outbox";
    darkroom_e2e::until("the outbox is empty", Duration::from_secs(60), || async {
        (deployment.database.count(outbox).await == 0).then_some(())
    })
    .await;
    drop(worker);
    drop(broker);
    deployment.end().await;
}
