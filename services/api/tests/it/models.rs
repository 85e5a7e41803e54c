use std::collections::BTreeMap;

use darkroom_store::{FilesStatus, ModelStatus};
use serde_json::{Value, json};

use crate::app::{Answer, App, Worker};

#[tokio::test]
async fn models_say_what_they_are_and_who_serves_them() {
    let app = App::start().await;
    let lanes = Worker::lanes();
    app.worker().appear(&lanes[..1]).await;
    app.worker().appear(&[]).await;
    insta::assert_json_snapshot!(Answer::of(app.get("/v1/models")).await.raw("/models"), @r#"
    [
      {
        "aliases": [
          "gpt-image-1"
        ],
        "default": true,
        "defaults": {
          "guidance_scale": 4.0,
          "height": 64,
          "steps": 4,
          "width": 64
        },
        "download": null,
        "failure": null,
        "id": "test/painter",
        "limits": {
          "max_images": 4,
          "max_side": 256,
          "max_steps": 50,
          "steps": []
        },
        "loaded": 1,
        "pipeline": "text-to-image",
        "price": {
          "currency": "USD",
          "per_unit": "0.00000002",
          "pixels_per_unit": 1
        },
        "safety_checker": null,
        "state": "ready",
        "warm": false,
        "workers": 2
      },
      {
        "aliases": [],
        "default": false,
        "defaults": {
          "guidance_scale": 7.5,
          "height": 512,
          "steps": 30,
          "width": 512
        },
        "download": null,
        "failure": null,
        "id": "test/sketcher",
        "limits": {
          "max_images": 10,
          "max_side": 2048,
          "max_steps": 150,
          "steps": []
        },
        "loaded": 0,
        "pipeline": "text-to-image",
        "price": null,
        "safety_checker": null,
        "state": "unavailable",
        "warm": false,
        "workers": 0
      },
      {
        "aliases": [],
        "default": false,
        "defaults": {
          "guidance_scale": 0.0,
          "height": 512,
          "steps": 4,
          "width": 512
        },
        "download": null,
        "failure": null,
        "id": "test/distilled",
        "limits": {
          "max_images": 10,
          "max_side": 2048,
          "max_steps": 150,
          "steps": [
            2,
            4,
            8
          ]
        },
        "loaded": 0,
        "pipeline": "text-to-image",
        "price": null,
        "safety_checker": null,
        "state": "available",
        "warm": false,
        "workers": 2
      },
      {
        "aliases": [],
        "default": true,
        "defaults": null,
        "download": null,
        "failure": null,
        "id": "test/captioner",
        "limits": null,
        "loaded": 0,
        "pipeline": "image-to-text",
        "price": null,
        "safety_checker": null,
        "state": "available",
        "warm": true,
        "workers": 2
      }
    ]
    "#);
    app.stop().await;
}

/// Workers whose models are to be fetched: the best of them is told.
#[tokio::test]
async fn state_of_a_model_is_the_best_that_a_worker_says() {
    let app = App::start().await;
    let (painter, captioner) = (Worker::lanes()[0].clone(), Worker::lanes()[1].clone());
    let mut seen = Vec::new();
    for (files, safety_checker) in [
        (FilesStatus::Absent, None),
        (FilesStatus::Failed { reason: "its files do not exist".into() }, None),
        (FilesStatus::Downloading { downloaded_bytes: 7, total_bytes: 100 }, None),
        (FilesStatus::Downloading { downloaded_bytes: 9, total_bytes: 100 }, None),
        (FilesStatus::Downloading { downloaded_bytes: 8, total_bytes: 100 }, None),
        (FilesStatus::Available, Some(true)),
        (FilesStatus::Available, Some(false)),
    ] {
        let status = ModelStatus { files, safety_checker };
        let models = BTreeMap::from([(painter.clone(), status.clone()), (captioner.clone(), status)]);
        app.worker().appear_with(&[], &models).await;
        let answer = Answer::of(app.get("/v1/models")).await;
        let listed = answer.raw("/models");
        let model = &listed[0];
        seen.push(json!([model["state"], model["failure"], model["download"], model["safety_checker"]]));
        assert_eq!(listed[2]["safety_checker"], Value::Null, "captions have none");
    }
    let reason = "its files do not exist";
    let download = |bytes: u64| json!({"downloaded_bytes": bytes, "total_bytes": 100});
    assert_eq!(
        Value::from(seen),
        json!([
            ["absent", null, null, null],
            ["failed", reason, null, null],
            ["downloading", null, download(7), null],
            ["downloading", null, download(9), null],
            ["downloading", null, download(9), null],
            ["available", null, null, true],
            ["available", null, null, false],
        ])
    );
    app.stop().await;
}
