//! Webhooks, by receivers on the loopback address, which the services are told to admit.

use std::time::Duration;

use darkroom_e2e::{Catalog, Deployment, Manner, Received, Receiver, Service, until};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const SOON: Duration = Duration::from_secs(60);
/// 127.0.0.1 stands for the internet, and a proxy that is not there shows that none is used.
pub(crate) const ADMITTED: [(&str, &str); 4] = [
    ("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32"),
    ("DARKROOM_WEBHOOK_TIMEOUT_SECONDS", "2"),
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
];

/// A tenant, with plain HTTP.
pub(crate) struct Tenant {
    pub(crate) http: reqwest::Client,
    url: String,
    key: String,
}

impl Tenant {
    pub(crate) async fn of(deployment: &Deployment, name: &str) -> Self {
        Self { http: reqwest::Client::new(), url: deployment.url.clone(), key: deployment.key(name).await }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str) -> Value {
        self.call("POST", path, Value::Null).await
    }

    /// A new webhook: its path and its secret.
    async fn webhook(&self, receiver: &Receiver) -> (String, String) {
        let made = self.call("POST", "/v1/webhooks", json!({"url": receiver.url})).await;
        (format!("/v1/webhooks/{}", text(&made["id"])), text(&made["secret"]))
    }

    async fn submit(&self, prompt: &str) -> String {
        let document = json!({"pipeline": "text-to-image", "input": {"prompt": prompt, "seed": 1},
                              "metadata": {"order": "7"}});
        text(&self.call("POST", "/v1/jobs", document).await["id"])
    }

    /// The newest delivery of a webhook, as soon as it is what is waited for.
    async fn delivery(&self, webhook: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(what, SOON, || async {
            let deliveries = self.get(&format!("{webhook}/deliveries")).await;
            Some(deliveries["deliveries"][0].clone()).filter(|delivery| is(delivery))
        })
        .await
    }

    /// Sends a test message and returns its delivery after the first attempt.
    async fn attempted(&self, webhook: &str) -> Value {
        self.post(&format!("{webhook}/test")).await;
        self.delivery(webhook, "an attempt was made", |delivery| attempts(delivery) == 1).await
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn attempts(delivery: &Value) -> usize {
    delivery["attempts"].as_array().map_or(0, Vec::len)
}

pub(crate) async fn received(receiver: &Receiver, messages: usize) -> Vec<Received> {
    until(&format!("{messages} messages came"), SOON, || async {
        Some(receiver.received()).filter(|received| received.len() >= messages)
    })
    .await
}

pub(crate) fn verify(secret: &str, message: &Received) {
    Webhook::new(secret).unwrap().verify(message.body.as_bytes(), &message.headers).unwrap();
}

async fn deployment() -> Deployment {
    Deployment::with(&Catalog::fake(1), &ADMITTED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_job_is_told_with_its_results() {
    let deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Status(204)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (_, secret) = tenant.webhook(&receiver).await;
    let worker = deployment.worker().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let document =
        json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle"}, "metadata": {"order": "7"}});
    let request = tenant.http.post(format!("{}/v1/jobs", tenant.url)).bearer_auth(&tenant.key);
    let answer = request.header("traceparent", trace).json(&document).send().await.unwrap();
    let id = text(&answer.json::<Value>().await.unwrap()["id"]);

    let message = received(&receiver, 1).await.remove(0);
    verify(&secret, &message);
    assert_eq!((message.header("content-type"), message.header("traceparent")), ("application/json", trace));
    assert!(message.header("user-agent").starts_with("Darkroom/"));
    let told = message.json();
    let job = tenant.get(&format!("/v1/jobs/{id}")).await;
    assert_eq!((&told["type"], &told["data"]["state"]), (&json!("job.succeeded"), &json!("succeeded")));
    assert_eq!(told["timestamp"], job["finished_at"]);
    for (member, value) in told["data"].as_object().unwrap() {
        let expected =
            if member == "links" { json!({"self": job["links"]["self"]}) } else { job[member].clone() };
        assert_eq!(value, &expected, "{member}");
    }
    let picture = tenant.http.get(text(&told["data"]["artifacts"][0]["url"])).send().await.unwrap();
    assert_eq!(
        (picture.status().as_u16(), &picture.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_final_state_is_told_once() {
    let deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Status(200)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    tenant.webhook(&receiver).await;
    let canceled = tenant.submit("a red circle").await;
    tenant.post(&format!("/v1/jobs/{canceled}/cancel")).await;
    let expired = tenant.submit("a red circle").await;
    deployment.database.execute(&format!("update jobs set deadline = now() where id = '{expired}'")).await;
    received(&receiver, 2).await;
    let worker = deployment.worker().await;
    let failed = tenant.submit("[fake:invalid_input]").await;
    let succeeded = tenant.submit("a red circle").await;
    let mut told: Vec<(String, String)> = received(&receiver, 4)
        .await
        .iter()
        .map(|message| (text(&message.json()["type"]), text(&message.json()["data"]["id"])))
        .collect();
    told.sort();
    let mut expected = [
        ("job.canceled".to_owned(), canceled),
        ("job.expired".to_owned(), expired),
        ("job.failed".to_owned(), failed),
        ("job.succeeded".to_owned(), succeeded),
    ];
    expected.sort();
    assert_eq!(told, expected);
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_not_taken_is_sent_again_with_its_id() {
    let deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Status(500), Manner::Status(200)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (webhook, secret) = tenant.webhook(&receiver).await;
    let job = tenant.submit("a red circle").await;
    tenant.post(&format!("/v1/jobs/{job}/cancel")).await;
    let messages = received(&receiver, 2).await;
    assert_eq!(messages[0].header("webhook-id"), messages[1].header("webhook-id"));
    assert_eq!(messages[0].body, messages[1].body);
    verify(&secret, &messages[1]);
    let delivered = tenant.delivery(&webhook, "it is delivered", |it| it["state"] == "delivered").await;
    assert_eq!(messages[1].header("webhook-id"), text(&delivered["id"]));
    let statuses: Vec<&Value> =
        delivered["attempts"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [500, 200]);
    assert_eq!(delivered["attempts"][0]["response"], "heard");
    let webhook = tenant.get(&webhook).await;
    assert_eq!(webhook["failing_since"], Value::Null, "one success forgives it");
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_receivers_cost_one_attempt_each() {
    let deployment = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let late = "no answer within 2 seconds";
    for (manner, status, error) in [
        (Manner::Silent, Value::Null, json!(late)),
        (Manner::SlowLoris, Value::Null, json!(late)),
        (Manner::Endless, json!(200), Value::Null),
        (Manner::Status(404), json!(404), Value::Null),
    ] {
        let receiver = Receiver::start(std::slice::from_ref(&manner)).await;
        let (webhook, _) = tenant.webhook(&receiver).await;
        let delivery = tenant.attempted(&webhook).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((&attempt["status"], &attempt["error"]), (&status, &error), "{manner:?}");
        let state = if matches!(manner, Manner::Endless) { "delivered" } else { "pending" };
        assert_eq!(delivery["state"], state, "{manner:?}");
    }
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_not_called_by_name_nor_by_redirect() {
    let deployment = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let private = Receiver::start(&[Manner::Status(200)]).await;
    let redirecting = Receiver::start(&[Manner::Redirect(private.url.clone())]).await;
    let (webhook, _) = tenant.webhook(&redirecting).await;
    let attempt = tenant.attempted(&webhook).await["attempts"][0].clone();
    assert_eq!(
        (&attempt["status"], &attempt["error"]),
        (&json!(307), &Value::Null),
        "a redirect is a failure"
    );

    // As if its network had been admitted when the webhook was made.
    let address = private.url.replace("127.0.0.1", "127.0.0.2");
    deployment.database.execute(&format!("update webhooks set url = '{address}'")).await;
    let refused = tenant.attempted(&webhook).await["attempts"][0].clone();
    assert_eq!(refused["error"], "the URL must lead to a public address");
    assert!(private.received().is_empty());
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_says_it_is_gone_is_disabled() {
    let deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Status(410)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (webhook, _) = tenant.webhook(&receiver).await;
    assert_eq!(tenant.attempted(&webhook).await["state"], "failed");
    let shown = tenant.get(&webhook).await;
    assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("gone")));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_rotation_either_secret_verifies() {
    let deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Status(200)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (webhook, old) = tenant.webhook(&receiver).await;
    let rotated = tenant.post(&format!("{webhook}/rotate-secret")).await;
    let new = text(&rotated["secret"]);
    tenant.post(&format!("{webhook}/test")).await;
    let message = received(&receiver, 1).await.remove(0);
    verify(&old, &message);
    verify(&new, &message);
    assert_eq!(message.header("webhook-signature").split(' ').count(), 2);
    deployment.database.execute("update webhooks set previous_secret_until = now()").await;
    tenant.post(&format!("{webhook}/test")).await;
    let message = received(&receiver, 2).await.remove(1);
    verify(&new, &message);
    assert!(Webhook::new(&old).unwrap().verify(message.body.as_bytes(), &message.headers).is_err());
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_endpoints_delay_no_others() {
    let deployment = Deployment::with(
        &Catalog::fake(1),
        &[("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32"), ("DARKROOM_WEBHOOK_TIMEOUT_SECONDS", "30")],
    )
    .await;
    let (slow, quick) =
        (Receiver::start(&[Manner::Silent]).await, Receiver::start(&[Manner::Status(200)]).await);
    let hostile = Tenant::of(&deployment, "hostile").await;
    for _ in 0..5 {
        let (webhook, _) = hostile.webhook(&slow).await;
        for _ in 0..8 {
            hostile.post(&format!("{webhook}/test")).await;
        }
    }
    // All that the tenant may have under way, and no more: five endpoints at four each would be twenty.
    received(&slow, 16).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (webhook, _) = tenant.webhook(&quick).await;
    let started = tokio::time::Instant::now();
    for sent in 1..=5 {
        tenant.post(&format!("{webhook}/test")).await;
        received(&quick, sent).await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(slow.received().len(), 16);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_sent_again_when_the_dispatcher_died_over_it() {
    let mut deployment = deployment().await;
    let receiver = Receiver::start(&[Manner::Silent, Manner::Status(200)]).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (webhook, _) = tenant.webhook(&receiver).await;
    tenant.post(&format!("{webhook}/test")).await;
    received(&receiver, 1).await;
    deployment.dispatcher.kill();
    let settings = [("DARKROOM_PUBLIC_URL", &*deployment.url.clone())];
    deployment.dispatcher = restarted(&deployment, &settings).await;
    // As if the claim's minute were over.
    deployment.database.execute("update webhook_deliveries set next_attempt_at = now()").await;
    let messages = received(&receiver, 2).await;
    assert_eq!(messages[0].header("webhook-id"), messages[1].header("webhook-id"));
    let delivered = tenant.delivery(&webhook, "it is delivered", |it| it["state"] == "delivered").await;
    assert_eq!(attempts(&delivered), 1, "the attempt that nobody could write down is not there");
    deployment.end().await;
}

async fn restarted(deployment: &Deployment, settings: &[(&str, &str)]) -> Service {
    let mut dispatcher = deployment.spawn("darkroom-dispatcher", &[], settings);
    dispatcher.ready().await;
    dispatcher
}
