//! Lanes, workers, outbox.

use std::collections::BTreeMap;

use darkroom_store::{FilesStatus, ModelStatus};
use reqwest::Method;
use serde_json::{Value, json};

use super::{get, post, send};
use crate::app::{App, Worker};

const PAINTER: &str = "text-to-image:test%2Fpainter";

#[tokio::test]
async fn lanes_show_queue_and_workers_and_can_be_paused() {
    let app = App::start().await;
    app.worker().appear(&Worker::lanes()[..1]).await;
    app.queued().await;
    let lanes = get(&app, "/lanes").await;
    let listed = lanes.raw("/lanes").as_array().unwrap();
    let names: Vec<&str> = listed.iter().map(|lane| lane["lane"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "image-to-text:test/captioner",
            "text-to-image:test/distilled",
            "text-to-image:test/painter",
            "text-to-image:test/sketcher"
        ]
    );
    insta::assert_json_snapshot!(listed[2], { ".oldest_wait_seconds" => "[seconds]" }, @r#"
    {
      "in_catalog": true,
      "lane": "text-to-image:test/painter",
      "loaded": 1,
      "oldest_wait_seconds": "[seconds]",
      "paused_at": null,
      "queued": {
        "background": 0,
        "delayed": 0,
        "interactive": 0,
        "normal": 1,
        "total": 1
      },
      "reason": null,
      "running": 0,
      "succeeded_per_minute": 0.0,
      "workers": 1
    }
    "#);
    assert!(listed[2]["oldest_wait_seconds"].is_number());
    let pause = format!("/lanes/{PAINTER}/pause");
    let paused = send(&app, Method::POST, &pause, &json!({"reason": "bad weights"})).await;
    assert_eq!((paused.status, paused.text("/reason")), (200, "bad weights".to_owned()));
    assert!(paused.raw("/paused_at").is_string());
    assert_eq!(app.submit(&crate::app::picture()).await.status, 202, "jobs are accepted and wait");
    let resumed = post(&app, &format!("/lanes/{PAINTER}/resume")).await;
    assert_eq!((resumed.status, resumed.raw("/paused_at")), (200, &Value::Null));
    assert_eq!(post(&app, &format!("/lanes/{PAINTER}/resume")).await.status, 200, "it is open");
    let misspelt = post(&app, "/lanes/text-to-image:test%2Fpaniter/pause").await;
    assert_eq!(misspelt.refusal(), (404, "not_found".to_owned()));
    let wrong = send(&app, Method::POST, &pause, &json!({"reason": 1, "until": "noon"})).await;
    assert_eq!((wrong.status, wrong.raw("/errors").as_array().unwrap().len()), (422, 2));
    app.stop().await;
}

#[tokio::test]
async fn workers_show_models_and_attempts_and_can_be_drained() {
    let app = App::start().await;
    let lanes = Worker::lanes();
    let status = |files| ModelStatus { files, safety_checker: None };
    let downloading = FilesStatus::Downloading { downloaded_bytes: 5, total_bytes: 20 };
    let worker = app.worker();
    worker.appear_with(&lanes[..1], &BTreeMap::from([(lanes[1].clone(), status(downloading))])).await;
    let id = app.queued().await;
    worker.lease().await;
    let list = get(&app, "/workers").await;
    insta::assert_json_snapshot!(list.body, {
        ".workers[].silent_seconds" => "[seconds]", ".workers[].running[].job" => "[job]",
        ".workers[].running[].tenant_id" => "[id]",
    }, @r#"
    {
      "workers": [
        {
          "device": "test",
          "drain_requested_at": null,
          "host": "test",
          "id": "[id]",
          "lanes": [
            {
              "downloaded_bytes": null,
              "failure": null,
              "files": "available",
              "lane": "text-to-image:test/painter",
              "loaded": true,
              "total_bytes": null
            },
            {
              "downloaded_bytes": 5,
              "failure": null,
              "files": "downloading",
              "lane": "image-to-text:test/captioner",
              "loaded": false,
              "total_bytes": 20
            },
            {
              "downloaded_bytes": null,
              "failure": null,
              "files": "available",
              "lane": "text-to-image:test/distilled",
              "loaded": false,
              "total_bytes": null
            }
          ],
          "last_seen_at": "[last_seen_at]",
          "running": [
            {
              "attempt": 1,
              "job": "[job]",
              "lane": "text-to-image:test/painter",
              "lease_expires_at": "[lease_expires_at]",
              "leased_at": "[leased_at]",
              "progress": null,
              "tenant_id": "[id]"
            }
          ],
          "silent_seconds": "[seconds]",
          "started_at": "[started_at]"
        }
      ]
    }
    "#);
    assert_eq!(list.text("/workers/0/running/0/job"), id);
    let drained = post(&app, &format!("/workers/{}/drain", worker.id)).await;
    assert_eq!(drained.status, 200);
    let asked = drained.text("/drain_requested_at");
    let again = post(&app, &format!("/workers/{}/drain", worker.id)).await;
    assert_eq!(again.text("/drain_requested_at"), asked);
    assert_eq!(get(&app, &format!("/workers/{}", worker.id)).await.text("/drain_requested_at"), asked);
    let path = "/workers/01890000-0000-7000-8000-000000000000";
    assert_eq!(get(&app, path).await.refusal().0, 404);
    assert_eq!(post(&app, &format!("{path}/drain")).await.refusal().0, 404);
    app.stop().await;
}

#[tokio::test]
async fn the_outbox_shows_how_late_tickets_are() {
    let app = App::start().await;
    assert_eq!(get(&app, "/outbox").await.body, json!({"rows": 0, "late_seconds": 0.0}));
    app.queued().await;
    app.database.execute("update outbox set available_at = now() - interval '1 minute'").await;
    let outbox = get(&app, "/outbox").await;
    assert_eq!(outbox.raw("/rows"), 1);
    assert!(outbox.raw("/late_seconds").as_f64().unwrap() >= 60.0, "{outbox:?}");
    app.stop().await;
}
