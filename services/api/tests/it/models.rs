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
        "id": "test/painter",
        "limits": {
          "max_images": 4,
          "max_side": 256,
          "max_steps": 50
        },
        "loaded": 1,
        "pipeline": "text-to-image",
        "price": {
          "currency": "USD",
          "per_unit": "0.00000002",
          "pixels_per_unit": 1
        },
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
        "id": "test/sketcher",
        "limits": {
          "max_images": 10,
          "max_side": 2048,
          "max_steps": 150
        },
        "loaded": 0,
        "pipeline": "text-to-image",
        "price": null,
        "state": "unavailable",
        "warm": false,
        "workers": 0
      },
      {
        "aliases": [],
        "default": true,
        "defaults": null,
        "id": "test/captioner",
        "limits": null,
        "loaded": 0,
        "pipeline": "image-to-text",
        "price": null,
        "state": "available",
        "warm": true,
        "workers": 2
      }
    ]
    "#);
    app.stop().await;
}
