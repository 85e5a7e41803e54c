//! Webhooks of single jobs, in the form of the API that the job came by.

use std::time::Duration;

use darkroom_e2e::{Catalog, Deployment, Manner, Received, Receiver, until};
use serde_json::{Value, json};

use crate::webhooks::{ADMITTED, Tenant, received, text, verify};

async fn deployment() -> (Deployment, Catalog) {
    let catalog = Catalog::fake(1);
    (Deployment::with(&catalog, &ADMITTED).await, catalog)
}

/// Submits a request to fal whose end is told to `receiver`, and returns its id.
async fn to_fal(tenant: &Tenant, model: &str, prompt: &str, receiver: &Receiver) -> String {
    let mut path = reqwest::Url::parse("http://x/").unwrap();
    path.set_path(&format!("/fal/darkroom/{model}"));
    path.query_pairs_mut().append_pair("fal_webhook", &receiver.url);
    let path = format!("{}?{}", path.path(), path.query().unwrap());
    text(&tenant.call("POST", &path, json!({"prompt": prompt})).await["request_id"])
}

/// Submits a prediction of two pictures that tells `events` to `receiver`, and returns its id.
async fn to_replicate(tenant: &Tenant, model: &str, events: &[&str], receiver: &Receiver) -> String {
    let path = format!("/replicate/v1/models/darkroom/{model}/predictions");
    let body = json!({"input": {"prompt": "a red circle", "num_outputs": 2}, "webhook": receiver.url,
                      "webhook_events_filter": events});
    text(&tenant.call("POST", &path, body).await["id"])
}

async fn secret(tenant: &Tenant) -> String {
    text(&tenant.get("/v1/webhooks/secret").await["secret"])
}

async fn first(receiver: &Receiver) -> Received {
    received(receiver, 1).await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_told_as_its_own_api_shows_it() {
    let (deployment, catalog) = deployment().await;
    let model = &catalog.model;
    let tenant = Tenant::of(&deployment, "a").await;
    let secret = secret(&tenant).await;
    let taking = async || Receiver::start(&[Manner::Status(204)]).await;
    let (native, replicate, fal, failing) = (taking().await, taking().await, taking().await, taking().await);
    let worker = deployment.worker().await;

    let document =
        json!({"pipeline": "text-to-image", "input": {"prompt": "a"}, "webhook": {"url": native.url}});
    let id = text(&tenant.call("POST", "/v1/jobs", document).await["id"]);
    let told = first(&native).await;
    verify(&secret, &told);
    assert_eq!((&told.json()["type"], &told.json()["data"]["id"]), (&json!("job.succeeded"), &json!(id)));

    let id = to_replicate(&tenant, model, &["completed"], &replicate).await;
    let told = first(&replicate).await;
    verify(&secret, &told);
    assert_eq!(told.json(), tenant.get(&format!("/replicate/v1/predictions/{id}")).await);
    assert_eq!((&told.json()["status"], &told.json()["data_removed"]), (&json!("succeeded"), &json!(false)));

    let id = to_fal(&tenant, model, "a red circle", &fal).await;
    let told = first(&fal).await;
    verify(&secret, &told);
    let result = tenant.get(&format!("/fal/darkroom/{model}/requests/{id}")).await;
    let expected =
        json!({"request_id": id, "gateway_request_id": id, "status": "OK", "error": null, "payload": result});
    assert_eq!(told.json(), expected);

    let id = to_fal(&tenant, model, "[fake:invalid_input]", &failing).await;
    let told = first(&failing).await.json();
    assert_eq!((&told["request_id"], &told["status"]), (&json!(id), &json!("ERROR")));
    assert!(told["error"].is_string() && told["payload"]["detail"] == told["error"], "{told}");
    for receiver in [&native, &replicate, &fal, &failing] {
        assert_eq!(receiver.received().len(), 1);
    }
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_deleted_before_it_is_told_is_told_by_its_id() {
    let (deployment, catalog) = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let manners = [Manner::Status(500), Manner::Status(200)];
    let (replicate, fal) = (Receiver::start(&manners).await, Receiver::start(&manners).await);
    let prediction = to_replicate(&tenant, &catalog.model, &["completed"], &replicate).await;
    let request = to_fal(&tenant, &catalog.model, "a red circle", &fal).await;
    for (id, receiver) in [(&prediction, &replicate), (&request, &fal)] {
        tenant.post(&format!("/v1/jobs/{id}/cancel")).await;
        received(receiver, 1).await;
        tenant.call("DELETE", &format!("/v1/jobs/{id}"), Value::Null).await;
    }
    let told = received(&replicate, 2).await.remove(1).json();
    let seen = (&told["id"], &told["status"], &told["data_removed"]);
    assert_eq!(seen, (&json!(prediction), &json!("canceled"), &json!(true)));
    let told = received(&fal, 2).await.remove(1).json();
    assert_eq!((&told["request_id"], &told["status"]), (&json!(request), &json!("ERROR")));
    assert_eq!(told["payload"]["error_type"], "deleted");
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_webhook_is_not_called_at_a_private_address() {
    let (deployment, _) = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let (private, public) =
        (Receiver::start(&[Manner::Status(200)]).await, Receiver::start(&[Manner::Status(200)]).await);
    let submit = async |url: &str| {
        let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a"}, "webhook": url});
        text(&tenant.call("POST", "/v1/jobs", document).await["id"])
    };
    let id = submit(&private.url).await;
    // As if its network had been admitted when the job was submitted.
    let address = private.url.replace("127.0.0.1", "127.0.0.2");
    deployment.database.execute(&format!("update webhooks set url = '{address}'")).await;
    tenant.post(&format!("/v1/jobs/{id}/cancel")).await;
    let id = submit(&public.url).await;
    tenant.post(&format!("/v1/jobs/{id}/cancel")).await;
    received(&public, 1).await;
    let refused =
        "select count(*) from webhook_attempts where error = 'the URL must lead to a public address'";
    until("the attempt is written down", Duration::from_secs(60), || async {
        (deployment.database.count(refused).await == 1).then_some(())
    })
    .await;
    assert!(private.received().is_empty());
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prediction_is_told_from_its_start_to_its_end() {
    let catalog = Catalog::fake(500);
    let deployment = Deployment::with(&catalog, &ADMITTED).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let secret = secret(&tenant).await;
    let receiver = Receiver::start(&[Manner::Status(204)]).await;
    let worker = deployment.worker().await;
    let id = to_replicate(&tenant, &catalog.model, &[], &receiver).await;
    let count = async |of: &str| {
        let sql = format!("select count(*) from webhook_deliveries where job_id = '{id}' and {of}");
        deployment.database.count(&sql).await
    };
    until("everything is told", Duration::from_secs(60), || async {
        (count("event = 'job.succeeded'").await == 1 && count("state = 'pending'").await == 0).then_some(())
    })
    .await;
    assert_eq!((count("event = 'job.started'").await, count("event = 'job.output'").await), (1, 2));
    assert!(count("event = 'job.progress'").await >= 1, "four seconds have two heartbeats");

    let shown = tenant.get(&format!("/replicate/v1/predictions/{id}")).await;
    let told = receiver.received();
    assert_eq!(i64::try_from(told.len()).unwrap(), count("true").await);
    for message in &told {
        verify(&secret, message);
        let prediction = message.json();
        assert_eq!(prediction["id"], json!(id));
        match prediction["status"].as_str() {
            Some("processing") => assert_eq!(prediction["completed_at"], Value::Null),
            Some("succeeded") => assert_eq!(prediction, shown),
            other => panic!("{other:?}"),
        }
    }
    let statuses: Vec<Value> = told.iter().map(|message| message.json()["status"].clone()).collect();
    assert!(
        statuses.contains(&json!("processing")) && statuses.contains(&json!("succeeded")),
        "{statuses:?}"
    );
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_message_that_is_late_tells_the_end_or_nothing_of_a_job_that_is_deleted() {
    let (deployment, catalog) = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let manners = [Manner::Status(500), Manner::Status(200)];
    let (late, deleted) = (Receiver::start(&manners).await, Receiver::start(&manners).await);
    let worker = deployment.worker().await;
    let start = ["start"];
    let (one, other) = (
        to_replicate(&tenant, &catalog.model, &start, &late).await,
        to_replicate(&tenant, &catalog.model, &start, &deleted).await,
    );
    received(&deleted, 1).await;
    until("it is done", Duration::from_secs(60), || async {
        let job = tenant.get(&format!("/v1/jobs/{other}")).await;
        (job["state"] == "succeeded").then_some(())
    })
    .await;
    tenant.call("DELETE", &format!("/v1/jobs/{other}"), Value::Null).await;
    let told = received(&late, 2).await.remove(1).json();
    assert_eq!(told, tenant.get(&format!("/replicate/v1/predictions/{one}")).await);
    assert_eq!(told["status"], "succeeded");
    let untold = "select count(*) from webhook_attempts a join webhook_deliveries d on d.id = a.delivery_id
                  where d.state = 'failed' and a.error = 'the job was deleted before this was told'";
    until("it is given up", Duration::from_secs(60), || async {
        (deployment.database.count(untold).await == 1).then_some(())
    })
    .await;
    assert_eq!(deleted.received().len(), 1);
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_own_webhook_is_told_of_its_start() {
    let catalog = Catalog::fake(200);
    let deployment = Deployment::with(&catalog, &ADMITTED).await;
    let tenant = Tenant::of(&deployment, "a").await;
    let receiver = Receiver::start(&[Manner::Status(204)]).await;
    let worker = deployment.worker().await;
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a", "steps": 150},
                          "webhook": {"url": receiver.url, "events": ["job.started"]}});
    let id = text(&tenant.call("POST", "/v1/jobs", document).await["id"]);
    let told = first(&receiver).await.json();
    let seen = (&told["type"], &told["data"]["id"], &told["data"]["state"]);
    assert_eq!(seen, (&json!("job.started"), &json!(id), &json!("running")));
    tenant.post(&format!("/v1/jobs/{id}/cancel")).await;
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_batch_are_told_and_told_again_with_either_secret() {
    let (deployment, _) = deployment().await;
    let tenant = Tenant::of(&deployment, "a").await;
    let receiver = Receiver::start(&[Manner::Status(204)]).await;
    let worker = deployment.worker().await;
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a"}});
    let batch = json!({"jobs": [document, document], "webhook": receiver.url});
    let accepted = tenant.call("POST", "/v1/batches", batch).await;
    let ids: Vec<&Value> = (0..2).map(|index| &accepted["jobs"][index]["id"]).collect();
    let told = received(&receiver, 2).await;
    let before = secret(&tenant).await;
    for message in &told {
        verify(&before, message);
        assert!(ids.contains(&&message.json()["data"]["id"]));
    }

    let deliveries = format!("/v1/jobs/{}/deliveries", text(ids[0]));
    let delivered = until("it is written down", Duration::from_secs(60), || async {
        let listed = tenant.get(&format!("{deliveries}?state=delivered")).await;
        listed["deliveries"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&delivered["event"], &delivered["attempts"][0]["status"]),
        (&json!("job.succeeded"), &json!(204))
    );
    let after = text(&tenant.post("/v1/webhooks/secret/rotate").await["secret"]);
    tenant.post(&format!("{deliveries}/{}/resend", text(&delivered["id"]))).await;
    let again = received(&receiver, 3).await.remove(2);
    assert_eq!(again.header("webhook-id"), text(&delivered["id"]));
    assert_ne!(before, after);
    for secret in [&before, &after] {
        verify(secret, &again);
    }
    drop(worker);
    deployment.end().await;
}
