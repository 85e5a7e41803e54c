//! Every route with every kind of key. The routes come from the OpenAPI documents, so none can be forgotten.

use std::collections::BTreeMap;

use darkroom_jobs::TenantId;
use darkroom_store::{NewApiKey, Scope};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{Answer, App};

/// Kinds of keys, in the order of the columns.
const KEYS: [(&str, Option<&str>); 9] = [
    ("none", None),
    ("wrong", Some("dk_wrong")),
    ("revoked", Some("dk_revoked")),
    ("expired", Some("dk_expired")),
    ("tenant read", Some("dk_first_read")),
    ("tenant submit", Some("dk_first_submit")),
    ("other tenant", Some("dk_second")),
    ("operator read", Some("dk_operator_read")),
    ("operator submit", Some("dk_operator_submit")),
];

/// A key of the first tenant that does not work any more, whatever it was allowed to do.
async fn make_stopped_keys(app: &App) {
    let store = &app.database.store;
    let tenant: TenantId = store.tenant_named("first").await.unwrap();
    for (number, name) in ["dk_revoked", "dk_expired"].into_iter().enumerate() {
        let id = Uuid::from_u128(number as u128 + 1);
        let new = NewApiKey {
            id,
            tenant: Some(tenant),
            name: name.to_owned(),
            prefix: name.to_owned(),
            hash: Sha256::digest(name).into(),
            scopes: Scope::ALL.to_vec(),
            lifetime: None,
            max_interactive: None,
        };
        store.create_api_key(&new).await.unwrap();
    }
    store.revoke_api_key(Uuid::from_u128(1)).await.unwrap();
    app.database.execute("update api_keys set expires_at = now() where name = 'dk_expired'").await;
}

/// `method path` of every operation, with something of the first tenant filled in.
fn operations(document: &Value) -> Vec<(Method, String)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| (method.to_uppercase().parse().unwrap(), path.clone()))
    });
    operations.collect()
}

/// What a status says about the key: that it is none, that it may not, or that it may, whatever comes of it.
fn verdict(answer: &Answer) -> String {
    match answer.status {
        401 | 403 => answer.refusal().1,
        404 if answer.text("/code") == "not_found" => "not_found".to_owned(),
        status if StatusCode::from_u16(status).unwrap().is_server_error() => panic!("{answer:?}"),
        _ => "allowed".to_owned(),
    }
}

struct Rows(BTreeMap<String, Vec<String>>);

impl Rows {
    /// One line for each operation that has the same verdicts, and the verdicts by key.
    fn table(&self) -> String {
        let mut groups: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
        for (operation, verdicts) in &self.0 {
            groups.entry(verdicts).or_default().push(operation);
        }
        let group = |(verdicts, operations): (&&[String], &Vec<&str>)| {
            let verdicts =
                KEYS.iter().zip(verdicts.iter()).map(|((key, _), verdict)| format!("  {key}: {verdict}"));
            format!("{}\n{}", operations.join("\n"), verdicts.collect::<Vec<_>>().join("\n"))
        };
        groups.iter().map(group).collect::<Vec<_>>().join("\n\n")
    }
}

/// The id that a path is about: of a key, a worker, or a failed job of the first tenant that nobody has touched.
async fn id_for(app: &App, path: &str) -> String {
    if path.contains("/keys/") {
        return Uuid::from_u128(2).to_string();
    }
    if path.contains("/workers/") {
        let worker = app.worker();
        worker.appear(&[]).await;
        return worker.id.to_string();
    }
    if path.contains("/webhooks/") {
        // A tenant may have so many and no more.
        app.database.execute("delete from webhook_deliveries; delete from webhooks").await;
        let new = serde_json::json!({"url": "https://shop.example/hooks"});
        return Answer::of(app.post("/v1/webhooks").json(&new)).await.id();
    }
    if path.contains("/files/") {
        let file = app.post("/v1/files").header("content-type", "image/png").body(crate::upload::png(8, 8));
        return Answer::of(file).await.id();
    }
    if path.contains("/batches/") {
        let new = serde_json::json!({"jobs": [crate::app::picture()]});
        let id = Answer::of(app.post("/v1/batches").json(&new)).await.id();
        // Else a worker would take its job for another.
        Answer::of(app.post(&format!("/v1/batches/{id}/cancel"))).await;
        return id;
    }
    let id = app.queued().await;
    let worker = app.worker();
    worker.fail(&worker.lease().await).await;
    id
}

/// The verdict of every operation of a document on every kind of key.
async fn judge(app: &App, base: &str, document: &str) -> Rows {
    let document = Answer::of(app.anonymous(Method::GET, &format!("{base}{document}"))).await;
    let mut rows = BTreeMap::new();
    for (method, path) in operations(document.raw("")) {
        // Results open by their signature, whatever key comes along.
        if path == "/r/{file}" {
            continue;
        }
        let filled = path.replace("{tenant}", "first").replace("{lane}", "text-to-image:test%2Fpainter");
        let mut verdicts = Vec::new();
        for (_, key) in KEYS {
            let id = if path.contains("{id}") { id_for(app, &path).await } else { String::new() };
            let filled = filled.replace("{id}", &id).replace("{delivery}", &id);
            assert!(!filled.contains('{'), "{path} has a parameter that this test does not fill in");
            let mut request = app.anonymous(method.clone(), &format!("{base}{filled}"));
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            // Changes nothing, and is looked at after the keys.
            if method == Method::PATCH {
                request = request.json(&serde_json::json!({}));
            }
            verdicts.push(verdict(&Answer::of(request).await));
        }
        rows.insert(format!("{method} {path}"), verdicts);
    }
    Rows(rows)
}

#[tokio::test]
async fn each_route_opens_to_the_keys_it_is_for() {
    let app = App::start().await;
    make_stopped_keys(&app).await;
    let api = judge(&app, &format!("http://{}", app.address), "/openapi.json").await;
    insta::assert_snapshot!(api.table(), @"
    GET /v1/jobs
    GET /v1/models
    GET /v1/usage
    GET /v1/webhooks
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: allowed
      tenant submit: missing_scope
      other tenant: allowed
      operator read: operator_key
      operator submit: operator_key

    GET /v1/batches/{id}
    GET /v1/files/{id}
    GET /v1/jobs/{id}
    GET /v1/jobs/{id}/deliveries
    GET /v1/jobs/{id}/events
    GET /v1/webhooks/{id}
    GET /v1/webhooks/{id}/deliveries
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: allowed
      tenant submit: missing_scope
      other tenant: not_found
      operator read: operator_key
      operator submit: operator_key

    GET /v1/webhooks/secret
    POST /v1/batches
    POST /v1/files
    POST /v1/jobs
    POST /v1/webhooks
    POST /v1/webhooks/secret/rotate
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: missing_scope
      tenant submit: allowed
      other tenant: allowed
      operator read: operator_key
      operator submit: operator_key

    DELETE /v1/files/{id}
    DELETE /v1/jobs/{id}
    DELETE /v1/webhooks/{id}
    PATCH /v1/webhooks/{id}
    POST /v1/batches/{id}/cancel
    POST /v1/jobs/{id}/cancel
    POST /v1/webhooks/{id}/rotate-secret
    POST /v1/webhooks/{id}/test
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: missing_scope
      tenant submit: allowed
      other tenant: not_found
      operator read: operator_key
      operator submit: operator_key

    POST /v1/jobs/{id}/deliveries/{delivery}/resend
    POST /v1/webhooks/{id}/deliveries/{delivery}/resend
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: missing_scope
      tenant submit: not_found
      other tenant: not_found
      operator read: operator_key
      operator submit: operator_key
    ");
    let admin = judge(&app, &format!("http://{}", app.admin), "/admin/v1/openapi.json").await;
    insta::assert_snapshot!(admin.table(), @"
    GET /admin/v1/failed-jobs
    GET /admin/v1/failed-jobs/{id}
    GET /admin/v1/keys
    GET /admin/v1/lanes
    GET /admin/v1/outbox
    GET /admin/v1/tenants
    GET /admin/v1/tenants/{tenant}
    GET /admin/v1/tenants/{tenant}/usage
    GET /admin/v1/workers
    GET /admin/v1/workers/{id}
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: tenant_key
      tenant submit: tenant_key
      other tenant: tenant_key
      operator read: allowed
      operator submit: missing_scope

    PATCH /admin/v1/tenants/{tenant}
    POST /admin/v1/failed-jobs/discard
    POST /admin/v1/failed-jobs/replay
    POST /admin/v1/failed-jobs/{id}/discard
    POST /admin/v1/failed-jobs/{id}/replay
    POST /admin/v1/keys
    POST /admin/v1/keys/{id}/revoke
    POST /admin/v1/keys/{id}/rotate
    POST /admin/v1/lanes/{lane}/pause
    POST /admin/v1/lanes/{lane}/resume
    POST /admin/v1/tenants
    POST /admin/v1/workers/{id}/drain
      none: unauthorized
      wrong: unauthorized
      revoked: unauthorized
      expired: unauthorized
      tenant read: tenant_key
      tenant submit: tenant_key
      other tenant: tenant_key
      operator read: missing_scope
      operator submit: allowed
    ");
    app.stop().await;
}
