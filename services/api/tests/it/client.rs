//! The typed client against the real service: their words and shapes agree.

use std::time::Duration;

use darkroom_client::{
    CaptionRequest, Client, Error, JobFilter, JobOptions, JobState, ModelState, TextToImageRequest,
    UsageFilter,
};
use uuid::Uuid;

use crate::app::{App, KEY, SOON, Worker};
use crate::upload::png;

fn client(app: &App) -> Client {
    Client::new(&app.url(""), KEY).unwrap()
}

#[tokio::test]
async fn pictures_and_captions_are_made_and_fetched() {
    let app = App::start().await;
    let (client, worker) = (client(&app), app.worker());
    let mut request = TextToImageRequest::new("a red circle");
    request.seed = Some(7);
    request.options = JobOptions { priority: Some("interactive".into()), ..JobOptions::default() };
    let submitted = client.submit_text_to_image(&request).await.unwrap();
    assert_eq!((submitted.state, submitted.priority.as_str()), (JobState::Queued, "interactive"));
    let work = async {
        let leased = worker.lease().await;
        worker.store_picture(&leased, b"a picture").await;
        worker.succeed(&leased).await;
    };
    let (finished, ()) = tokio::join!(client.wait(submitted.id, SOON), work);
    let finished = finished.unwrap();
    assert_eq!(finished.state, JobState::Succeeded);
    assert_eq!(client.fetch(&finished.artifacts[0].url).await.unwrap(), "a picture");

    let caption = client.caption(png(8, 8), "x.png", &CaptionRequest::default()).await.unwrap();
    let leased = worker.lease().await;
    worker.store_caption(&leased, "a circle").await;
    worker.succeed(&leased).await;
    let caption = client.wait(caption.id, SOON).await.unwrap();
    assert_eq!(caption.artifacts[0].text.as_deref(), Some("a circle"));

    let page = client.jobs(&JobFilter { limit: Some(1), ..JobFilter::default() }).await.unwrap();
    assert_eq!(page.jobs, [caption]);
    let filter =
        JobFilter { cursor: page.next_cursor, state: Some(JobState::Succeeded), ..JobFilter::default() };
    assert_eq!(client.jobs(&filter).await.unwrap().jobs, [finished]);
    app.stop().await;
}

#[tokio::test]
async fn jobs_are_canceled_and_deleted() {
    let app = App::start().await;
    let client = client(&app);
    let job = client.submit_text_to_image(&TextToImageRequest::new("x")).await.unwrap();
    let waited = client.wait(job.id, Duration::from_millis(10)).await;
    assert!(matches!(waited, Err(Error::TimedOut { state: JobState::Queued, .. })), "{waited:?}");
    assert_eq!(client.delete(job.id).await.unwrap_err().code(), Some("job_not_final"));
    assert_eq!(client.cancel(job.id).await.unwrap().state, JobState::Canceled);
    client.delete(job.id).await.unwrap();
    assert_eq!(client.job(job.id).await.unwrap_err().status(), Some(404));
    app.stop().await;
}

#[tokio::test]
async fn refusals_name_the_fields() {
    let app = App::start().await;
    let client = client(&app);
    let request = TextToImageRequest { width: Some(9), ..TextToImageRequest::new(" ") };
    let error = client.submit_text_to_image(&request).await.unwrap_err();
    insta::assert_snapshot!(error, @"422 invalid_request: 2 fields cannot be used: see `errors`; /input/prompt: must not be empty; /input/width: expected a multiple of 8");
    let error = client.caption("no picture", "x", &CaptionRequest::default()).await.unwrap_err();
    insta::assert_snapshot!(error, @"400 unsupported_image: the file is no PNG, JPEG, WebP or GIF image");
    let error = client.jobs(&JobFilter { limit: Some(0), ..JobFilter::default() }).await.unwrap_err();
    insta::assert_snapshot!(error, @"422 invalid_request: limit: expected an integer from 1 to 100");
    assert_eq!(client.cancel(Uuid::nil()).await.unwrap_err().code(), Some("not_found"));
    app.stop().await;
}

#[tokio::test]
async fn models_are_listed_with_their_state() {
    let app = App::start().await;
    app.worker().appear(&Worker::lanes()[..1]).await;
    let models = client(&app).models().await.unwrap();
    let states: Vec<(&str, ModelState)> =
        models.iter().map(|model| (model.id.as_str(), model.state)).collect();
    let expected = [
        ("test/painter", ModelState::Ready),
        ("test/sketcher", ModelState::Unavailable),
        ("test/captioner", ModelState::Available),
    ];
    assert_eq!(states, expected);
    app.stop().await;
}

#[tokio::test]
async fn usage_is_shown_by_day() {
    let app = App::start().await;
    let (client, worker) = (client(&app), app.worker());
    client.submit_text_to_image(&TextToImageRequest::new("a red circle")).await.unwrap();
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"a picture").await;
    worker.succeed(&leased).await;
    let usage = client.usage(&UsageFilter::default()).await.unwrap();
    let [day] = &usage.days[..] else { panic!("one day, one model: {usage:?}") };
    assert_eq!((day.pipeline.as_str(), day.model.as_str()), ("text-to-image", "test/painter"));
    assert_eq!((day.date, day.counts.succeeded, day.counts.units), (usage.to, 1, 4096));
    assert_eq!(day.counts, usage.total.counts);
    assert_eq!(usage.total.costs, std::slice::from_ref(&day.cost));

    let filter = UsageFilter { from: usage.to.succ_opt(), to: Some(usage.to) };
    let error = client.usage(&filter).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(422), Some("invalid_request")));
    let earlier = UsageFilter { from: None, to: usage.from.pred_opt() };
    assert!(client.usage(&earlier).await.unwrap().days.is_empty());
    app.stop().await;
}
