use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, OTHER_KEY};

const URL: &str = "https://shop.example/hooks";

async fn made(app: &App) -> Answer {
    let made = Answer::of(app.post("/v1/webhooks").json(&json!({"url": URL}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

fn path(webhook: &Answer) -> String {
    format!("/v1/webhooks/{}", webhook.id())
}

async fn deliveries(app: &App, path: &str, query: &str) -> Answer {
    Answer::of(app.get(&format!("{path}/deliveries{query}"))).await
}

#[tokio::test]
async fn a_new_webhook_is_told_everything_and_its_secret_is_shown_once() {
    let app = App::start().await;
    let mut created = made(&app).await;
    let secret = created.text("/secret");
    created.body["secret"] = Value::from(secret.split_at(6).0);
    insta::assert_json_snapshot!(created, @r#"
    {
      "status": 201,
      "headers": {
        "cache-control": "no-store",
        "content-type": "application/json",
        "location": "/v1/webhooks/[id]"
      },
      "body": {
        "created_at": "[created_at]",
        "description": "",
        "disabled_at": null,
        "disabled_reason": null,
        "enabled": true,
        "events": [
          "job.succeeded",
          "job.failed",
          "job.canceled",
          "job.expired"
        ],
        "failing_since": null,
        "id": "[id]",
        "previous_secret_until": null,
        "secret": "whsec_",
        "updated_at": "[updated_at]",
        "url": "[url]"
      }
    }
    "#);
    assert_eq!(secret.len(), "whsec_".len() + 44);
    let shown = Answer::of(app.get(&path(&created))).await;
    assert_eq!((shown.status, shown.raw("").get("secret")), (200, None));
    let listed = Answer::of(app.get("/v1/webhooks")).await;
    assert_eq!(listed.raw("/webhooks"), &json!([shown.raw("")]));
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_with_its_place() {
    let app = App::start().await;
    for (url, code) in [
        ("http://127.0.0.1:5432/", "address"),
        ("http://0xa9fea9fe/latest/", "address"),
        ("http://[::ffff:10.0.0.1]/", "address"),
        ("ftp://shop.example/", "url"),
        ("https://user:password@shop.example/", "user_info"),
        (&format!("https://shop.example/{}", "x".repeat(2_048)), "length"),
    ] {
        let refused = Answer::of(app.post("/v1/webhooks").json(&json!({"url": url}))).await;
        assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()), "{url}");
        assert_eq!(
            (refused.text("/errors/0/pointer"), refused.text("/errors/0/code")),
            ("/url".into(), code.into())
        );
        let webhook = made(&app).await;
        let moved = Answer::of(app.request(Method::PATCH, &path(&webhook)).json(&json!({"url": url}))).await;
        assert_eq!(moved.status, 422, "{url}");
    }
    for body in ["", "[]", "{", "\"x\""] {
        let refused = Answer::of(app.post("/v1/webhooks").body(body)).await;
        assert_eq!(refused.refusal(), (400, "malformed_body".to_owned()), "{body}");
    }
    let large = Answer::of(app.post("/v1/webhooks").body(" ".repeat(100_000))).await;
    assert_eq!(large.refusal(), (413, "too_large".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_webhook_is_changed_disabled_enabled_and_deleted() {
    let app = App::start().await;
    let path = path(&made(&app).await);
    let change =
        json!({"url": "https://shop.example/other", "events": ["job.failed"], "description": "orders"});
    let changed = Answer::of(app.request(Method::PATCH, &path).json(&change)).await;
    for (member, value) in change.as_object().unwrap() {
        assert_eq!(changed.raw(&format!("/{member}")), value);
    }
    let disabled = Answer::of(app.request(Method::PATCH, &path).json(&json!({"enabled": false}))).await;
    assert_eq!(
        (disabled.raw("/enabled"), disabled.text("/disabled_reason").as_str()),
        (&json!(false), "owner")
    );
    assert_eq!(disabled.text("/description"), "orders", "what is left out stays");
    let refused = Answer::of(app.post(&format!("{path}/test"))).await;
    assert_eq!(refused.refusal(), (409, "webhook_disabled".to_owned()));
    let enabled = Answer::of(app.request(Method::PATCH, &path).json(&json!({"enabled": true}))).await;
    assert_eq!((enabled.raw("/enabled"), enabled.raw("/disabled_reason")), (&json!(true), &Value::Null));

    assert_eq!(Answer::of(app.request(Method::DELETE, &path)).await.status, 204);
    for gone in [app.get(&path), app.request(Method::DELETE, &path), app.post(&format!("{path}/test"))] {
        assert_eq!(Answer::of(gone).await.refusal(), (404, "not_found".to_owned()));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_rotation_shows_another_secret() {
    let app = App::start().await;
    let webhook = made(&app).await;
    let rotated = Answer::of(app.post(&format!("{}/rotate-secret", path(&webhook)))).await;
    assert_eq!((rotated.status, rotated.headers["cache-control"].as_str()), (200, "no-store"));
    assert_ne!(rotated.text("/secret"), webhook.text("/secret"));
    assert!(rotated.raw("/previous_secret_until").is_string());
    app.stop().await;
}

#[tokio::test]
async fn an_event_is_listed_with_its_job_and_can_be_sent_again() {
    let app = App::start().await;
    let path = path(&made(&app).await);
    let job = app.queued().await;
    Answer::of(app.post(&format!("/v1/jobs/{job}/cancel"))).await;
    let listed = deliveries(&app, &path, "").await;
    let delivery = listed.text("/deliveries/0/id");
    assert_eq!(
        (listed.text("/deliveries/0/event"), listed.text("/deliveries/0/job")),
        ("job.canceled".into(), job)
    );
    assert_eq!(
        (listed.text("/deliveries/0/state"), listed.raw("/next_cursor")),
        ("pending".into(), &Value::Null)
    );

    app.database.execute("update webhook_deliveries set state = 'failed', finished_at = now()").await;
    assert_eq!(deliveries(&app, &path, "?state=failed").await.text("/deliveries/0/id"), delivery);
    let resent = Answer::of(app.post(&format!("{path}/deliveries/{delivery}/resend"))).await;
    assert_eq!((resent.status, resent.id(), resent.text("/state")), (202, delivery, "pending".into()));
    let nothing = Answer::of(app.post(&format!("{path}/deliveries/{}/resend", uuid::Uuid::now_v7()))).await;
    assert_eq!(nothing.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn deliveries_come_in_pages() {
    let app = App::start().await;
    let path = path(&made(&app).await);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let test = Answer::of(app.post(&format!("{path}/test"))).await;
        assert_eq!(
            (test.status, test.text("/event"), test.raw("/job")),
            (202, "webhook.test".into(), &Value::Null)
        );
        sent.insert(0, test.id());
    }
    let first = deliveries(&app, &path, "?limit=2").await;
    let second = deliveries(&app, &path, &format!("?limit=2&cursor={}", first.text("/next_cursor"))).await;
    let ids: Vec<&Value> = [&first, &second]
        .iter()
        .flat_map(|page| page.raw("/deliveries").as_array().unwrap())
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, sent.iter().collect::<Vec<_>>());
    for query in ["?state=x", "?limit=0", "?cursor=x", "?colour=red"] {
        assert_eq!(deliveries(&app, &path, query).await.refusal().1, "invalid_request", "{query}");
    }
    app.stop().await;
}

#[tokio::test]
async fn nobody_sees_or_changes_anothers_webhook() {
    let app = App::start().await;
    let path = path(&made(&app).await);
    let delivery = Answer::of(app.post(&format!("{path}/test"))).await.id();
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/rotate-secret")),
        (Method::POST, format!("{path}/test")),
        (Method::GET, format!("{path}/deliveries")),
        (Method::POST, format!("{path}/deliveries/{delivery}/resend")),
        (Method::GET, "/v1/webhooks/x".to_owned()),
    ] {
        let request = app.anonymous(method.clone(), &app.url(&path)).bearer_auth(OTHER_KEY).json(&json!({}));
        assert_eq!(Answer::of(request).await.refusal(), (404, "not_found".to_owned()), "{method} {path}");
    }
    for (method, path) in [(Method::POST, "/v1/webhooks"), (Method::PATCH, &path), (Method::DELETE, &path)] {
        let request =
            app.anonymous(method, &app.url(path)).bearer_auth("dk_first_read").json(&json!({"url": URL}));
        assert_eq!(Answer::of(request).await.refusal(), (403, "missing_scope".to_owned()), "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn sixteen_webhooks_are_enough() {
    let app = App::start().await;
    for _ in 0..16 {
        made(&app).await;
    }
    let refused = Answer::of(app.post("/v1/webhooks").json(&json!({"url": URL}))).await;
    assert_eq!(refused.refusal(), (409, "too_many_webhooks".to_owned()));
    app.stop().await;
}
