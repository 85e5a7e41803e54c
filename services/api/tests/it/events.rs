use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_store::NewPreview;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::app::{Answer, App, OTHER_KEY, SOON, eventually};

/// A stream that is being read.
struct Events {
    response: Response,
    read: String,
}

/// An event: its name, its id and its data.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Events {
    async fn of(app: &App, id: &str, last: Option<&str>) -> Self {
        let path = if id.contains('/') { format!("/v1/jobs/{id}") } else { format!("/v1/jobs/{id}/events") };
        let mut request = app.get(&path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = timeout(SOON, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.map(str::to_owned).next()
                };
                let Some(name) = field("event") else { continue };
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                return Some(Event { name, id: field("id"), data });
            }
            let chunk = timeout(SOON, self.response.chunk()).await.expect("in time").unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event, which has to be the job in this state.
    async fn state(&mut self, state: &str) -> Event {
        let event = self.next().await.expect("an event");
        assert_eq!((event.name.as_str(), &event.data["state"]), ("job", &json!(state)), "{event:?}");
        assert_eq!(event.id, Some(event.data["version"].to_string()));
        event
    }
}

#[tokio::test]
async fn a_stream_tells_every_version_until_the_last() {
    let app = App::start().await;
    let id = app.queued().await;
    let mut events = Events::of(&app, &id, None).await;
    events.state("queued").await;
    let worker = app.worker();
    let leased = worker.lease().await;
    events.state("running").await;
    worker.store_picture(&leased, b"not really a picture").await;
    let event = events.state("running").await;
    assert_eq!(event.data["artifacts"].as_array().unwrap().len(), 1);
    worker.succeed(&leased).await;
    let last = events.state("succeeded").await;
    assert!(events.next().await.is_none(), "the stream ends");
    assert_eq!(last.data, *Answer::of(app.get(&format!("/v1/jobs/{id}"))).await.raw(""));
    app.stop().await;
}

#[tokio::test]
async fn progress_is_told_in_between() {
    let app = App::start().await;
    let id = app.queued().await;
    let worker = app.worker();
    let leased = worker.lease().await;
    let mut events = Events::of(&app, &id, None).await;
    events.state("running").await;
    for step in [1, 3] {
        worker.report(&leased, step).await;
        let event = events.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.id), ("progress", None));
        assert_eq!(event.data, json!({"image": 0, "images": 1, "step": step, "steps": 4}));
    }
    drop(events);
    app.stop().await;
}

#[tokio::test]
async fn pictures_in_work_are_shown_to_who_asks() {
    let app = App::start().await;
    let id = app.queued().await;
    let job = id.parse().unwrap();
    let worker = app.worker();
    let leased = worker.lease().await;
    let store = &app.database.store;
    let mut others = Events::of(&app, &id, None).await;
    others.state("running").await;
    assert_eq!(store.watched_jobs(&[job]).await.unwrap(), [], "nobody looks on");

    let mut events = Events::of(&app, &format!("{id}/events?previews=true"), None).await;
    events.state("running").await;
    eventually("the worker hears of it", async || store.watched_jobs(&[job]).await.unwrap() == [job]).await;
    for step in [1, 2] {
        let preview = NewPreview { image: 0, step, content: format!("picture {step}").into_bytes() };
        store.keep_preview(job, &preview).await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.id), ("preview", None));
        let content = BASE64_STANDARD.encode(format!("picture {step}"));
        let expected = json!({"image": 0, "step": step, "content_type": "image/webp", "content": content});
        assert_eq!(event.data, expected);
    }
    worker.store_picture(&leased, b"not really a picture").await;
    others.state("running").await;
    events.state("running").await;
    drop(others);
    let wrong = Answer::of(app.get(&format!("/v1/jobs/{id}/events?previews=yes&x=1"))).await;
    assert_eq!(wrong.refusal(), (422, "invalid_request".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_where_the_last_one_ended() {
    let app = App::start().await;
    let id = app.queued().await;
    let version = Events::of(&app, &id, None).await.state("queued").await.id.unwrap();
    // What was told is not told again, what came meanwhile is.
    let mut events = Events::of(&app, &id, Some(&version)).await;
    let worker = app.worker();
    let leased = worker.lease().await;
    events.state("running").await;
    drop(events);
    worker.store_picture(&leased, b"not really a picture").await;
    worker.succeed(&leased).await;
    let mut events = Events::of(&app, &id, Some(&version)).await;
    let last = events.state("succeeded").await.id.unwrap();
    assert!(events.next().await.is_none());
    // A browser comes again after the end, and is told to stop.
    let over = app.get(&format!("/v1/jobs/{id}/events")).header("last-event-id", last);
    assert_eq!(Answer::of(over).await.status, 204);
    app.stop().await;
}

#[tokio::test]
async fn streams_end_with_the_service_and_with_the_job() {
    let app = App::start().await;
    let id = app.queued().await;
    let mut events = Events::of(&app, &id, None).await;
    events.state("queued").await;
    Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
    events.state("canceled").await;
    assert!(events.next().await.is_none());

    let other = app.queued().await;
    let mut events = Events::of(&app, &other, None).await;
    events.state("queued").await;
    app.stop.cancel();
    assert!(events.next().await.is_none(), "the client comes again, to another service");
    app.stop().await;
}

#[tokio::test]
async fn streams_of_others_jobs_are_not_found() {
    let app = App::start().await;
    let id = app.queued().await;
    let path = format!("/v1/jobs/{id}/events");
    let other = app.anonymous(reqwest::Method::GET, &app.url(&path)).bearer_auth(OTHER_KEY);
    assert_eq!(Answer::of(other).await.refusal(), (404, "not_found".to_owned()));
    let none = app.anonymous(reqwest::Method::GET, &app.url(&path));
    assert_eq!(Answer::of(none).await.refusal(), (401, "unauthorized".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn who_leaves_is_forgotten() {
    let app = App::start().await;
    let id = app.queued().await;
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut events = Events::of(&app, &id, None).await;
        events.state("queued").await;
        all.push(events);
    }
    app.held(1).await;
    drop(all);
    timeout(SOON + Duration::from_secs(20), app.held(0)).await.unwrap();
    app.stop().await;
}
