//! fal's queue: what its client cannot show.

use darkroom_store::Repeated;
use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, App, KEY, eventually};

fn submit(app: &App) -> reqwest::RequestBuilder {
    let request = app.anonymous(Method::POST, &app.url("/fal/test/painter"));
    request.header("authorization", format!("Key {KEY}")).json(&json!({"prompt": "a red circle"}))
}

#[tokio::test]
async fn callers_who_want_the_same_get_a_job_each() {
    let app = App::start().await;
    let (one, other) = tokio::join!(Answer::of(submit(&app)), Answer::of(submit(&app)));
    assert_eq!((one.status, other.status), (200, 200));
    assert_ne!(one.raw("/request_id"), other.raw("/request_id"));
    eventually("both are known to be answered", async || {
        app.database.count("select count(*) from unanswered_jobs").await == 0
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_result_is_told_to_come_again_when_the_service_stops() {
    let app = App::start().await;
    let run = app.anonymous(Method::POST, &app.url("/fal/run/test/painter"));
    let run = run.header("authorization", format!("Key {KEY}")).json(&json!({"prompt": "a red circle"}));
    let stopping = async {
        app.held(1).await;
        app.stop.cancel();
    };
    let (late, ()) = tokio::join!(Answer::of(run), stopping);
    assert_eq!((late.status, late.text("/error_type")), (503, "request_timeout".to_owned()));
    assert_eq!(late.headers["retry-after"], "1");
    app.stop().await;
}

#[tokio::test]
async fn a_submission_whose_answer_was_lost_is_found_again() {
    let app = App::start().await;
    let first = Answer::of(submit(&app)).await;
    let id = first.text("/request_id");
    eventually("it is known to be answered", async || {
        app.database.count("select count(*) from unanswered_jobs").await == 0
    })
    .await;
    // As it stands when the connection breaks before the answer: only who asks knows the fingerprint.
    app.database
        .execute(&format!(
            "insert into unanswered_jobs (job_id, fingerprint, abandoned)
             values ('{id}', decode(repeat('00', 32), 'hex'), true)"
        ))
        .await;
    let store = &app.database.store;
    let tenant = store.tenant_named("first").await.unwrap();
    let other = store.tenant_named("second").await.unwrap();
    let found = async |tenant, fingerprint: u8, repeated| {
        store.unanswered(tenant, &[fingerprint; 32], repeated).await.unwrap().map(|id| id.to_string())
    };
    assert_eq!(found(tenant, 0, Repeated::Perhaps).await, Some(id.clone()));
    assert_eq!(found(tenant, 1, Repeated::Perhaps).await, None);
    assert_eq!(found(other, 0, Repeated::Surely).await, None);
    // A connection that may still be there is not taken for a broken one, unless the client says so.
    app.database.execute("update unanswered_jobs set abandoned = false").await;
    assert_eq!(found(tenant, 0, Repeated::Perhaps).await, None);
    assert_eq!(found(tenant, 0, Repeated::Surely).await, Some(id.clone()));
    app.database
        .execute("update unanswered_jobs set created_at = now() - interval '2 minutes', abandoned = true")
        .await;
    assert_eq!(found(tenant, 0, Repeated::Perhaps).await, None);
    assert_eq!(found(tenant, 0, Repeated::Surely).await, Some(id));
    app.database.execute("update unanswered_jobs set created_at = now() - interval '11 minutes'").await;
    assert_eq!(found(tenant, 0, Repeated::Surely).await, None);
    assert_eq!(store.forget_unanswered().await.unwrap(), 1);
    app.stop().await;
}
