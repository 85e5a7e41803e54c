use reqwest::multipart::Part;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::app::{Answer, App, KEY, eventually, storage};
use crate::upload::{caption, endless, png};

/// A bucket that no other test writes to, so that what is left behind can be seen.
const BUCKET: &str = "darkroom-test-leftovers";

async fn objects(app: &App) -> usize {
    app.blobs.list("inputs/", None, 1_000).await.unwrap().len()
}

#[tokio::test]
async fn refused_replayed_and_broken_uploads_leave_nothing_behind() {
    let app = App::start_with(storage(BUCKET)).await;
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("inputs/").await.unwrap();
    let send = async |form, status| {
        let request = app.post("/v1/jobs").header("idempotency-key", "k").multipart(form);
        assert_eq!(Answer::of(request).await.status, status);
    };
    send(caption(png(8, 8)), 202).await;
    // The one that is kept.
    assert_eq!(objects(&app).await, 1);
    send(caption(png(8, 8)), 202).await;
    send(caption(png(8, 9)), 422).await;
    send(caption(b"no picture".to_vec()), 400).await;
    send(caption(Vec::new()), 422).await;
    send(caption(png(8, 8)).text("job", json!({"pipeline": "image-to-text", "x": 1}).to_string()), 422).await;
    send(caption(png(8, 8)).text("job", json!({"pipeline": "image-to-text", "model": "x"}).to_string()), 400)
        .await;
    send(caption(png(8, 8)).text("job", "{"), 400).await;
    send(caption(png(8, 8)).part("image", Part::bytes(png(8, 8))), 422).await;
    send(endless(52_428_801), 413).await;
    hang_up_in_the_middle(&app, 9 << 20).await;
    eventually("nothing is left", async || objects(&app).await == 1).await;
    assert_eq!(app.database.count("select count(*) from jobs").await, 1);
    app.stop().await;
}

/// Sends `size` bytes of a picture, more than fits in one part of an upload, and goes away.
async fn hang_up_in_the_middle(app: &App, size: usize) {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: 20000000\r\n\r\n\
         --x\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut picture = png(8, 8);
    picture.resize(size, 0);
    stream.write_all(&picture).await.unwrap();
}
