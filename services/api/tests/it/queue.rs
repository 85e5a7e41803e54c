//! Where queued jobs stand.

use serde_json::{Value, json};

use crate::app::{Answer, App, eventually, picture};

/// `queue` and `blocked_reason` of a job.
async fn standing(app: &App, id: &str) -> (Value, Value) {
    let job = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    (job.raw("/queue").clone(), job.raw("/blocked_reason").clone())
}

#[tokio::test]
async fn a_queued_job_has_a_position_and_moves_up_without_a_new_version() {
    let app = App::start().await;
    let worker = app.worker();
    worker.appear(&[]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.queued().await);
    }
    let path = format!("/v1/jobs/{}", ids[2]);
    let tag = Answer::of(app.get(&path)).await.headers["etag"].clone();
    let position = |position: u64| json!({"position": position, "estimated_wait_seconds": null});
    eventually("it is third", async || standing(&app, &ids[2]).await == (position(3), Value::Null)).await;
    let leased = worker.lease().await;
    assert_eq!(leased.lease.job.to_string(), ids[0]);
    eventually("it is second", async || standing(&app, &ids[2]).await == (position(2), Value::Null)).await;
    assert_eq!(Answer::of(app.get(&path)).await.headers["etag"], tag);
    assert_eq!(standing(&app, &ids[0]).await, (Value::Null, Value::Null), "a running job has no place");
    let listed = Answer::of(app.get("/v1/jobs")).await;
    let positions: Vec<&Value> = (0..3).map(|n| listed.raw(&format!("/jobs/{n}/queue"))).collect();
    assert_eq!(positions, [&position(2), &position(1), &Value::Null]);
    app.stop().await;
}

#[tokio::test]
async fn the_wait_is_estimated_once_runs_were_measured() {
    let app = App::start().await;
    let worker = app.worker();
    worker.appear(&[]).await;
    app.queued().await;
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"x").await;
    worker.succeed(&leased).await;
    app.database.execute("update attempts set leased_at = finished_at - interval '10 s'").await;
    let ids = [app.queued().await, app.queued().await];
    worker.lease().await;
    let expected = json!({"position": 1, "estimated_wait_seconds": 5.0});
    eventually("half of the running one is left", async || standing(&app, &ids[1]).await.0 == expected).await;
    app.stop().await;
}

#[tokio::test]
async fn a_job_says_why_it_cannot_start() {
    let app = App::start().await;
    let id = app.queued().await;
    let reason = async |wanted: Value| {
        eventually(&format!("the reason is {wanted}"), async || standing(&app, &id).await.1 == wanted).await;
    };
    reason(json!("no_worker_for_model")).await;
    app.worker().appear(&[]).await;
    reason(Value::Null).await;
    app.database.execute("update tenants set max_running = 0").await;
    reason(json!("tenant_limit")).await;
    app.database
        .execute("insert into lanes (lane, paused_at) values ('text-to-image:test/painter', now())")
        .await;
    reason(json!("lane_paused")).await;
    app.stop().await;
}

#[tokio::test]
async fn jobs_are_shown_without_their_place_while_it_is_not_known() {
    let app = App::start().await;
    let id = app.queued().await;
    // Nobody can read it for longer than an answer waits for it.
    app.database.execute("alter table lanes rename to elsewhere").await;
    eventually("the place is gone", async || standing(&app, &id).await == (Value::Null, Value::Null)).await;
    assert_eq!(app.submit(&picture()).await.status, 202);
    app.stop().await;
}
