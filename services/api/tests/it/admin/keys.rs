use reqwest::Method;
use serde_json::{Value, json};

use super::{get, post, send};
use crate::app::{Answer, App, OPERATOR_KEY, eventually};

/// What a key is answered by a route that reads.
async fn status(app: &App, key: &str) -> u16 {
    Answer::of(app.anonymous(Method::GET, &app.url("/v1/jobs")).bearer_auth(key)).await.status
}

fn named<'a>(list: &'a Answer, name: &str) -> Vec<&'a Value> {
    list.raw("/keys").as_array().unwrap().iter().filter(|key| key["name"] == name).collect()
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_revoked() {
    let app = App::start().await;
    let document = json!({"tenant": "first", "name": "shop", "scopes": ["read"], "max_interactive": 2,
                          "lifetime_seconds": 3600});
    let made = send(&app, Method::POST, "/keys", &document).await;
    assert_eq!((made.status, made.headers["cache-control"].as_str()), (201, "no-store"));
    let key = made.text("/key");
    assert!(key.starts_with("dk_") && key.len() > 40, "{key}");
    assert_eq!(status(&app, &key).await, 200);
    let list = get(&app, "/keys?tenant=first").await;
    let listed = named(&list, "shop")[0];
    assert_eq!(listed["id"], made.id());
    assert!(key.starts_with(listed["prefix"].as_str().unwrap()));
    assert!(!String::from_utf8_lossy(&list.bytes).contains(&key), "it is shown once");
    let of = |member: &str| listed[member].clone();
    assert_eq!(
        [of("scopes"), of("state"), of("max_interactive")],
        [json!(["read"]), json!("works"), json!(2)]
    );
    assert!(listed["expires_at"].is_string());
    assert_eq!(list.raw("/keys").as_array().unwrap().len(), 4, "the first tenant's alone");

    let revoke = format!("/keys/{}/revoke", made.id());
    assert_eq!(post(&app, &revoke).await.status, 204);
    eventually("the key is refused", async || status(&app, &key).await == 401).await;
    assert_eq!(post(&app, &revoke).await.status, 204, "revoking it again changes nothing");
    let list = get(&app, "/keys").await;
    assert_eq!(named(&list, "shop")[0]["state"], "revoked");
    app.stop().await;
}

#[tokio::test]
async fn both_keys_of_a_rotation_work_until_the_overlap_is_over() {
    let app = App::start().await;
    let made = send(&app, Method::POST, "/keys", &json!({"tenant": "first", "name": "shop"})).await;
    let rotated =
        send(&app, Method::POST, &format!("/keys/{}/rotate", made.id()), &json!({"overlap_seconds": 3600}))
            .await;
    assert_eq!(rotated.status, 201);
    for key in [made.text("/key"), rotated.text("/key")] {
        assert_eq!(status(&app, &key).await, 200);
    }
    app.database.execute("update api_keys set expires_at = now() where expires_at is not null").await;
    eventually("the old one is refused", async || status(&app, &made.text("/key")).await == 401).await;
    assert_eq!(status(&app, &rotated.text("/key")).await, 200);
    let list = get(&app, "/keys").await;
    let states: Vec<&Value> = named(&list, "shop").iter().map(|key| &key["state"]).collect();
    assert_eq!(states, ["expired", "works"]);
    let again = post(&app, &format!("/keys/{}/rotate", made.id())).await;
    assert_eq!(again.refusal(), (409, "key_stopped".to_owned()));

    // Without a document: a day.
    let day = post(&app, &format!("/keys/{}/rotate", rotated.id())).await;
    let until: chrono::DateTime<chrono::Utc> = day.text("/old_expires_at").parse().unwrap();
    let left = until - app.database.store.now().await.unwrap();
    assert!((86_000..=86_400).contains(&left.num_seconds()), "{left}");
    app.stop().await;
}

#[tokio::test]
async fn an_operators_key_can_be_made_and_opens_the_operators_port_only() {
    let app = App::start().await;
    let made = send(&app, Method::POST, "/keys", &json!({"name": "second operator"})).await;
    let key = made.text("/key");
    assert_ne!(key, OPERATOR_KEY);
    let url = format!("http://{}/admin/v1/keys", app.admin);
    assert_eq!(Answer::of(app.anonymous(Method::GET, &url).bearer_auth(&key)).await.status, 200);
    assert_eq!(status(&app, &key).await, 403);
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_field_by_field() {
    let app = App::start().await;
    let wrong =
        json!({"name": "", "scopes": ["submit", "admin"], "lifetime_seconds": 0, "max_interactive": -1});
    let refused = send(&app, Method::POST, "/keys", &wrong).await;
    insta::assert_json_snapshot!(refused.raw("/errors"), @r#"
    [
      {
        "code": "text",
        "detail": "expected 1 to 100 characters, no control characters, no spaces around",
        "pointer": "/name"
      },
      {
        "code": "choice",
        "detail": "expected a list of submit, read",
        "pointer": "/scopes"
      },
      {
        "code": "range",
        "detail": "expected an integer from 1 to 315360000",
        "pointer": "/lifetime_seconds"
      },
      {
        "code": "range",
        "detail": "expected an integer from 0 to 2147483647",
        "pointer": "/max_interactive"
      }
    ]
    "#);
    let unknown = send(&app, Method::POST, "/keys", &json!({"name": "x", "tenant": "nobody"})).await;
    assert_eq!((unknown.status, unknown.raw("/errors/0/pointer")), (422, &json!("/tenant")));
    for path in ["/keys?tenant=nobody", "/keys?colour=red"] {
        assert!(matches!(get(&app, path).await.status, 404 | 422), "{path}");
    }
    let path = "/keys/01890000-0000-7000-8000-000000000000";
    for action in ["rotate", "revoke"] {
        assert_eq!(post(&app, &format!("{path}/{action}")).await.refusal().0, 404, "{action}");
    }
    app.stop().await;
}
