//! Watching jobs: through a restart of the API, and what their pictures look like meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use darkroom_e2e::{Catalog, CommandLine, Deployment, Terminal, until};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_api_is_waited_for() {
    let mut deployment = Deployment::start(&Catalog::fake(50)).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;
    let submitted = darkroom.run(&["submit", "a circle", "--steps", "150"]);
    let mut terminal = Terminal::start(darkroom.command(&["watch", submitted.text(), "-o", "out.png"]));
    terminal.shows("of 150").await;
    deployment.api.kill();
    deployment.restart_api().await;
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.screen());
    image::open(darkroom.path("out.png")).unwrap();
    drop(worker);
    deployment.end().await;
}

/// The files of a folder that previews are saved in, all of them pictures.
fn previews(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().for_each(|name| drop(image::open(folder.join(name)).unwrap()));
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previews_are_saved_as_they_come() {
    let deployment = Deployment::start(&Catalog::fake(80)).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;
    let made = darkroom.run(&[
        "generate",
        "a circle",
        "--steps",
        "150",
        "--previews",
        "steps/",
        "-o",
        "out.png",
        "--json",
    ]);
    let id = made.documents()[0]["id"].as_str().unwrap().to_owned();
    let names = previews(&darkroom.path("steps"));
    assert!(names.len() >= 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with(&format!("{id}-picture-01-step-"))), "{names:?}");

    let submitted = darkroom.run(&["submit", "a star", "--steps", "150"]);
    let mut command = darkroom.command(&["watch", submitted.text(), "--previews", "live.webp"]);
    let mut watching = command.stdout(Stdio::null()).spawn().unwrap();
    let live = darkroom.path("live.webp");
    let first =
        until("there is a preview", Duration::from_secs(60), || async { std::fs::read(&live).ok() }).await;
    until("there is another one", Duration::from_secs(60), || async {
        let now = std::fs::read(&live).unwrap();
        image::load_from_memory(&now).expect("whenever it is read, it is whole");
        (now != first).then_some(())
    })
    .await;
    assert!(watching.wait().unwrap().success());
    let refused = darkroom.run(&["watch", submitted.text(), "--previews", "live.png"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("previews are WebP files"), "{refused:?}");
    drop(worker);
    deployment.end().await;
}

/// Passes a request on, unless it is for events.
async fn pass_on(service: &str, client: &reqwest::Client, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.uri.path().ends_with("/events") {
        return (StatusCode::NOT_FOUND, "no such page").into_response();
    }
    let mut headers = head.headers;
    headers.remove("host");
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let sent = client.request(head.method, format!("{service}{}", head.uri)).headers(headers).body(body);
    let answer = sent.send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap()).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_events_is_asked() {
    let deployment = Deployment::start(&Catalog::fake(20)).await;
    let key = deployment.key("a").await;
    let worker = deployment.worker().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (service, client) = (deployment.url.clone(), reqwest::Client::new());
    let app = axum::Router::new()
        .fallback(move |request: Request| async move { pass_on(&service, &client, request).await });
    let proxy = tokio::spawn(async move { axum::serve(listener, app).await });
    let darkroom = CommandLine::new(&url, &key);
    let made = darkroom.run(&["generate", "a circle", "--steps", "100", "-o", "out.png"]);
    assert_eq!((made.text(), &made.stderr[..]), ("out.png", ""));
    proxy.abort();
    drop(worker);
    deployment.end().await;
}
