//! Webhooks that belong to one job, as each API takes them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, OTHER_KEY, picture};

const URL: &str = "https://shop.example/hooks";
const PREDICTIONS: &str = "/replicate/v1/models/test/painter/predictions";

fn with_webhook(webhook: Value) -> Value {
    let mut document = picture();
    document["webhook"] = webhook;
    document
}

/// `form url events` of the endpoints that jobs name, a line for each job.
async fn named(app: &App, expected: &str) {
    let listed = "select count(*) from (
            select string_agg(w.form || ' ' || w.url || ' ' || array_to_string(j.events, ' '), E'\\n' order by j.job_id) as told
            from job_webhooks j join webhooks w on w.id = j.webhook_id
        ) listed where coalesce(told, '') = ";
    let count = app.database.count(&format!("{listed} '{expected}'")).await;
    assert_eq!(count, 1, "expected {expected:?}");
}

const ALL: &str = "job.succeeded job.failed job.canceled job.expired";

#[tokio::test]
async fn a_job_names_its_webhook_as_a_url_or_with_events() {
    let app = App::start().await;
    let some = json!({"url": URL, "events": ["job.failed", "job.started"]});
    for webhook in [json!("https://Shop.example/hooks"), some] {
        let accepted = app.submit(&with_webhook(webhook)).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
    }
    named(&app, &format!("native {URL} {ALL}\nnative {URL} job.started job.failed")).await;
    let listed = Answer::of(app.get("/v1/webhooks")).await;
    assert_eq!(listed.raw("/webhooks"), &json!([]));
    app.stop().await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_called_is_refused_with_its_place() {
    let app = App::start().await;
    let long = format!("https://shop.example/{}", "ü".repeat(1_000));
    for (url, code) in
        [("http://169.254.169.254/", "address"), ("ftp://shop.example/", "url"), (&long, "length")]
    {
        for (webhook, pointer) in [(json!(url), "/webhook"), (json!({"url": url}), "/webhook/url")] {
            let refused = app.submit(&with_webhook(webhook)).await;
            assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()), "{url}");
            let error = (refused.text("/errors/0/pointer"), refused.text("/errors/0/code"));
            assert_eq!(error, (pointer.to_owned(), code.to_owned()));
        }
    }
    let mut document = with_webhook(json!({"url": "http://10.0.0.1/", "events": ["x"]}));
    document["input"]["width"] = json!(7);
    let refused = app.submit(&document).await;
    let pointers: Vec<&Value> =
        refused.raw("/errors").as_array().unwrap().iter().map(|it| &it["pointer"]).collect();
    assert_eq!(pointers, ["/webhook/events/0", "/input/width", "/webhook/url"], "every mistake at once");

    // Nobody is called before.
    let caption = json!({"pipeline": "image-to-text", "input": {"image_url": "https://picture.invalid/"},
                         "webhook": "http://10.0.0.1/"});
    assert_eq!(app.submit(&caption).await.text("/errors/0/pointer"), "/webhook");
    assert_eq!(app.database.count("select count(*) from webhooks").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_prediction_names_its_webhook_and_what_it_wants_to_hear() {
    let app = App::start().await;
    let create = async |filter: Value, webhook: &str| {
        let body = json!({"input": {"prompt": "a"}, "webhook": webhook, "webhook_events_filter": filter});
        Answer::of(app.post(PREDICTIONS).json(&body)).await
    };
    for filter in [Value::Null, json!([]), json!(["completed", "start"]), json!(["logs", "output", "logs"])] {
        assert_eq!(create(filter, URL).await.status, 201);
    }
    let everything = format!("job.started job.output job.progress {ALL}");
    let told = [&everything, &everything, &format!("job.started {ALL}"), "job.output job.progress"];
    named(&app, &told.map(|events| format!("replicate {URL} {events}")).join("\n")).await;
    for filter in [json!(["finished"]), json!("completed"), json!([7])] {
        let refused = create(filter, URL).await;
        assert_eq!(
            (refused.status, refused.text("/invalid_fields/0/field")),
            (422, "webhook_events_filter".to_owned())
        );
    }
    let refused = create(Value::Null, "http://127.0.0.1/").await;
    assert_eq!((refused.status, refused.text("/invalid_fields/0/field")), (422, "webhook".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_job_shows_its_webhook_and_what_was_sent_to_it_to_its_owner() {
    let app = App::start().await;
    let url = format!("{URL}?token=x");
    let own = json!({"url": url, "events": ["job.canceled"]});
    let id = app.submit(&with_webhook(own.clone())).await.id();
    let plain = app.submit(&picture()).await.id();
    let shown = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    assert_eq!(shown.raw("/webhook"), &own);
    let listed = Answer::of(app.get("/v1/jobs")).await;
    assert_eq!((listed.raw("/jobs/0/webhook"), listed.raw("/jobs/1/webhook")), (&Value::Null, &own));

    // The tenant's own webhooks hear of both jobs, and their deliveries are listed there.
    Answer::of(app.post("/v1/webhooks").json(&json!({"url": URL}))).await;
    let deliveries =
        async |id: &str, query: &str| Answer::of(app.get(&format!("/v1/jobs/{id}/deliveries{query}"))).await;
    assert_eq!(deliveries(&id, "").await.raw(""), &json!({"deliveries": [], "next_cursor": null}));
    for id in [&id, &plain] {
        Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
    }
    assert_eq!(deliveries(&plain, "").await.raw("/deliveries"), &json!([]));
    let page = deliveries(&id, "?state=pending&limit=1").await;
    let delivery = page.raw("/deliveries/0");
    assert_eq!((&delivery["event"], &delivery["job"]), (&json!("job.canceled"), &json!(id)));
    assert_eq!(page.raw("/next_cursor"), &Value::Null);
    assert_eq!(deliveries(&id, "?state=failed").await.raw("/deliveries"), &json!([]));
    assert_eq!(deliveries(&id, "?state=lost").await.refusal(), (422, "invalid_request".to_owned()));

    let resend = format!("/v1/jobs/{id}/deliveries/{}/resend", delivery["id"].as_str().unwrap());
    app.database.execute("update webhook_deliveries set state = 'failed', finished_at = now()").await;
    let resent = Answer::of(app.post(&resend)).await;
    assert_eq!((resent.status, resent.text("/state")), (202, "pending".to_owned()));
    let pending = "select count(*) from webhook_deliveries where state = 'pending'";
    assert_eq!(app.database.count(pending).await, 1);
    let of_another_job = Answer::of(app.post(&resend.replace(&id, &plain))).await;
    assert_eq!(of_another_job.refusal(), (404, "not_found".to_owned()));
    let stranger = app.anonymous(Method::GET, &app.url(&format!("/v1/jobs/{id}/deliveries")));
    assert_eq!(Answer::of(stranger.bearer_auth(OTHER_KEY)).await.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_request_to_fal_names_its_webhook_in_the_query() {
    let app = App::start().await;
    let submit = async |query: &str| {
        Answer::of(app.post(&format!("/fal/test/painter{query}")).json(&json!({"prompt": "a"}))).await
    };
    assert_eq!(submit("?fal_webhook=https%3A%2F%2Fshop.example%2Fhooks").await.status, 200);
    assert_eq!(submit("").await.status, 200);
    named(&app, &format!("fal {URL} {ALL}")).await;
    let refused = submit("?fal_webhook=http%3A%2F%2F10.0.0.1%2F").await;
    let error = refused.raw("/detail/0");
    assert_eq!((refused.status, &error["loc"]), (422, &json!(["query", "fal_webhook"])));
    app.stop().await;
}

#[tokio::test]
async fn the_secret_of_a_tenant_is_the_same_in_every_form_until_it_is_replaced() {
    let app = App::start().await;
    let shown = Answer::of(app.get("/v1/webhooks/secret")).await;
    assert_eq!((shown.status, shown.headers["cache-control"].as_str()), (200, "no-store"));
    let secret = shown.text("/secret");
    let replicate = Answer::of(app.get("/replicate/v1/webhooks/default/secret")).await;
    assert_eq!(replicate.raw(""), &json!({"key": secret}));
    assert_eq!(secret.matches('_').count(), 1);
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    assert_eq!(key.len(), 32);
    let other = app.anonymous(Method::GET, &app.url("/v1/webhooks/secret")).bearer_auth(OTHER_KEY);
    assert_ne!(Answer::of(other).await.text("/secret"), secret);
    let reader = app.anonymous(Method::GET, &app.url("/replicate/v1/webhooks/default/secret"));
    assert_eq!(Answer::of(reader.bearer_auth("dk_first_read")).await.status, 403);

    assert_eq!(shown.raw("/previous_secret_until"), &Value::Null);
    let rotated = Answer::of(app.post("/v1/webhooks/secret/rotate")).await;
    assert_eq!((rotated.status, rotated.headers["cache-control"].as_str()), (200, "no-store"));
    assert!(rotated.text("/secret") != secret && rotated.raw("/previous_secret_until").is_string());
    assert_eq!(Answer::of(app.get("/v1/webhooks/secret")).await.raw(""), rotated.raw(""));
    let replicate = Answer::of(app.get("/replicate/v1/webhooks/default/secret")).await;
    assert_eq!(replicate.raw(""), &json!({"key": rotated.text("/secret")}));
    app.stop().await;
}
