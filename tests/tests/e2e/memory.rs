//! How much memory an API needs for many callers at once.

use std::time::Duration;

use darkroom_e2e::{Catalog, Deployment, until};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::verify::request;

/// Callers that wait for a job.
const POLLS: usize = 2_000;
/// Most that the API may hold.
const MEMORY_BYTES: u64 = 300_000_000;

struct Uploads {
    count: usize,
    size_bytes: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_holds_two_thousand_polls_and_sixteen_uploads() {
    measure(Uploads { count: 16, size_bytes: 12_000_000 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes 2.6 GB to the test storage"]
async fn an_api_holds_two_thousand_polls_and_fifty_uploads_of_50_mb() {
    measure(Uploads { count: 50, size_bytes: 52_428_800 }).await;
}

async fn measure(uploads: Uploads) {
    raise_file_limit();
    let deployment = Deployment::start(&Catalog::demo()).await;
    let key = deployment.key("a").await;
    let client = darkroom_client::Client::new(&deployment.url, key.clone()).unwrap();
    let host = deployment.url.trim_start_matches("http://").to_owned();
    let mut jobs = Vec::new();
    for seed in 0..100 {
        jobs.push(client.submit_text_to_image(&request("a red circle", seed)).await.unwrap().id);
    }
    println!("before: {} MB", deployment.api.peak_memory_bytes() / 1_000_000);
    let mut polls = Vec::new();
    for job in jobs.iter().cycle().take(POLLS) {
        let mut poll = TcpStream::connect(&host).await.unwrap();
        let head = format!(
            "GET /v1/jobs/{job} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nprefer: wait=60\r\n\r\n"
        );
        poll.write_all(head.as_bytes()).await.unwrap();
        polls.push(poll);
    }
    gauge(&deployment, "darkroom_waiters", POLLS).await;
    println!("with {POLLS} polls: {} MB", deployment.api.peak_memory_bytes() / 1_000_000);

    let both = async {
        gauge(&deployment, "darkroom_uploads_in_flight", uploads.count.min(16)).await;
        gauge(&deployment, "darkroom_waiters", POLLS).await;
    };
    let uploading = join_all((0..uploads.count).map(|_| upload(&host, &key, uploads.size_bytes)));
    let (answers, ()) = tokio::join!(uploading, both);
    // Those that found no place in time are asked to come again.
    let accepted = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 202")).count();
    let busy = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 503")).count();
    let peak = deployment.api.peak_memory_bytes();
    println!(
        "with {accepted} uploads of {} bytes and {busy} refused: {} MB",
        uploads.size_bytes,
        peak / 1_000_000
    );
    assert!(accepted >= 16 && accepted + busy == uploads.count, "{answers:?}");
    assert!(peak < MEMORY_BYTES, "{peak} bytes");
    drop(polls);
    deployment.end().await;
}

/// Waits until a gauge of the API has this value.
async fn gauge(deployment: &Deployment, name: &str, value: usize) {
    until(&format!("{name} is {value}"), Duration::from_secs(30), || async {
        let metrics = deployment.api.metrics().await;
        metrics.lines().any(|line| line == format!("{name} {value}")).then_some(())
    })
    .await;
}

/// Uploads a picture of which only the head makes sense, and returns the first line of the answer.
async fn upload(host: &str, key: &str, size_bytes: usize) -> String {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let part = "--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
    let end = "\r\n--x--\r\n";
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: {}\r\n\r\n{part}",
        part.len() + size_bytes + end.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        // A refusal ends the connection in the middle.
        let _ = write_picture(&mut writer, size_bytes).await;
        let _ = writer.write_all(end.as_bytes()).await;
        std::future::pending::<()>().await;
    };
    let mut bytes = vec![0; 64];
    let answered = async {
        tokio::select! {
            read = reader.read(&mut bytes) => read.unwrap(),
            () = writing => unreachable!("the writer stays until there is an answer"),
        }
    };
    let length = timeout(Duration::from_secs(120), answered).await.expect("an answer in time");
    String::from_utf8_lossy(&bytes[..length]).lines().next().unwrap_or_default().to_owned()
}

async fn write_picture(to: &mut (impl AsyncWriteExt + Unpin), size_bytes: usize) -> std::io::Result<()> {
    let mut head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x40\0\0\0\x40\x08\x02\0\0\0".to_vec();
    head.extend([0; 4]);
    to.write_all(&head).await?;
    let filler = vec![0x5a; 256 * 1024];
    let mut left = size_bytes - head.len();
    while left > 0 {
        let next = left.min(filler.len());
        to.write_all(&filler[..next]).await?;
        left -= next;
    }
    Ok(())
}

/// A connection for every caller, on our side as well.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
