//! The typed client against the real service: their words and shapes agree.

use std::pin::pin;
use std::time::Duration;

use darkroom_client::{
    CaptionRequest, Client, DeliveryFilter, Error, JobEvent, JobFilter, JobOptions, JobState, JobWebhook,
    Missteps, ModelState, Previews, TextToImageRequest, UsageFilter, Webhook, WebhookSettings,
};
use futures_util::TryStreamExt;
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, KEY, SOON, Worker, picture};
use crate::upload::png;

fn client(app: &App) -> Client {
    Client::new(&app.url(""), KEY).unwrap()
}

#[tokio::test]
async fn a_job_is_followed_to_its_end() {
    let app = App::start().await;
    let (client, worker) = (client(&app), app.worker());
    let job = client.submit_text_to_image(&TextToImageRequest::new("a red circle")).await.unwrap();
    let mut following = pin!(client.follow(job.id, Previews::Shown));
    let first = following.try_next().await.unwrap();
    assert!(matches!(first, Some(JobEvent::Job(job)) if job.state == JobState::Queued));
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"a picture").await;
    worker.succeed(&leased).await;
    let mut last = None;
    while let Some(event) = following.try_next().await.unwrap() {
        last = Some(event);
    }
    assert!(matches!(last, Some(JobEvent::Job(job)) if job.state == JobState::Succeeded));
    let nothing = client.follow(Uuid::nil(), Previews::Hidden).try_collect::<Vec<_>>().await;
    assert!(matches!(nothing, Err(Error::Problem(problem)) if problem.code == "not_found"));
    app.stop().await;
}

#[tokio::test]
async fn files_batches_and_dry_runs_are_typed() {
    let app = App::start().await;
    let client = client(&app);
    let file = client.upload(png(33, 20)).await.unwrap();
    assert_eq!((file.content_type.as_str(), file.width, file.height), ("image/png", 33, 20));
    assert_eq!(client.upload(png(33, 20)).await.unwrap().id, file.id);
    let request = CaptionRequest { image_file: Some(file.id), ..CaptionRequest::default() };
    assert_eq!(client.submit_caption(&request).await.unwrap().state, JobState::Queued);
    assert_eq!(client.file(file.id).await.unwrap().sha256, file.sha256);
    client.delete_file(file.id).await.unwrap();

    let tried = client.dry_run(&picture()).await.unwrap();
    assert_eq!((tried.dry_run, tried.model.as_str()), (true, "test/painter"));
    let captioned = CaptionRequest::default().to_document();
    let tried = client.dry_run_with_image(&captioned, png(33, 20), "x.png").await.unwrap();
    assert_eq!((tried.model.as_str(), &tried.input["image"]["width"]), ("test/captioner", &json!(33)));

    let mut labelled = picture();
    labelled["metadata"] = json!({"shop": "north"});
    let documents = [labelled, json!({"pipeline": "text-to-image", "input": {}})];
    let refused = client.submit_batch(&documents, None, Missteps::RefuseAll, None).await;
    assert!(matches!(refused, Err(Error::Problem(problem)) if problem.code == "invalid_request"));
    let batch = client.submit_batch(&documents, None, Missteps::AcceptOthers, None).await.unwrap();
    assert!(batch.jobs[0].id.is_some() && batch.jobs[1].error.is_some());
    let page = client.batch(batch.batch.id, 10, None).await.unwrap();
    assert_eq!((page.jobs.len(), page.batch.counts["total"]), (1, 1));
    let filter = JobFilter { metadata: [("shop".into(), "north".into())].into(), ..JobFilter::default() };
    assert_eq!(client.jobs(&filter).await.unwrap().jobs[0].id, page.jobs[0].id);
    assert_eq!(client.cancel_batch(batch.batch.id).await.unwrap().counts["canceled"], 1);
    app.stop().await;
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
        ("test/distilled", ModelState::Available),
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

#[tokio::test]
async fn a_jobs_own_webhook_is_shown_with_what_was_sent_to_it() {
    let app = App::start().await;
    let client = client(&app);
    let webhook = JobWebhook { url: "https://shop.example/hooks".into(), ..JobWebhook::default() };
    let options = JobOptions { webhook: Some(webhook), ..JobOptions::default() };
    let request = TextToImageRequest { options, ..TextToImageRequest::new("a red circle") };
    let job = client.submit_text_to_image(&request).await.unwrap();
    let webhook = job.webhook.unwrap();
    let ends = ["job.succeeded", "job.failed", "job.canceled", "job.expired"];
    assert_eq!(
        (webhook.url.as_str(), webhook.events),
        ("https://shop.example/hooks", ends.map(Into::into).into())
    );
    let filter = DeliveryFilter::default();
    assert!(client.job_deliveries(job.id, &filter).await.unwrap().deliveries.is_empty());
    client.cancel(job.id).await.unwrap();
    let page = client.job_deliveries(job.id, &filter).await.unwrap();
    assert_eq!((page.deliveries[0].event.as_str(), page.deliveries[0].job), ("job.canceled", Some(job.id)));
    let resent = client.resend_job_delivery(job.id, page.deliveries[0].id).await.unwrap();
    assert_eq!((resent.id, resent.state.as_str()), (page.deliveries[0].id, "pending"));

    let told = JobWebhook { url: "https://shop.example/batch".into(), events: Vec::new() };
    let batch = client.submit_batch(&[picture()], Some(&told), Missteps::RefuseAll, None).await.unwrap();
    let shown = client.job(batch.jobs[0].id.unwrap()).await.unwrap().webhook.unwrap();
    assert_eq!(shown, JobWebhook { events: ends.map(Into::into).into(), ..told });

    let secret = client.job_webhook_secret().await.unwrap();
    let rotated = client.rotate_job_webhook_secret().await.unwrap();
    assert!(rotated.secret != secret.secret && rotated.previous_secret_until.is_some());
    assert_eq!(client.job_webhook_secret().await.unwrap(), rotated);
    app.stop().await;
}

#[tokio::test]
async fn webhooks_are_made_changed_tested_and_deleted() {
    let app = App::start().await;
    let client = client(&app);
    let settings = WebhookSettings {
        url: Some("https://shop.example/hooks".into()),
        events: Some(vec!["job.failed".into()]),
        ..WebhookSettings::default()
    };
    let made = client.create_webhook(&settings).await.unwrap();
    assert!(made.secret.as_ref().unwrap().starts_with("whsec_"));
    let shown = client.webhook(made.id).await.unwrap();
    assert_eq!(shown, Webhook { secret: None, ..made.clone() });
    assert_eq!(client.webhooks().await.unwrap(), [shown]);

    let secret = client.job_webhook_secret().await.unwrap().secret;
    assert!(secret.starts_with("whsec_") && Some(&secret) != made.secret.as_ref());

    let test = client.test_webhook(made.id).await.unwrap();
    let filter = DeliveryFilter { state: Some("pending".into()), limit: Some(1), cursor: None };
    let page = client.deliveries(made.id, &filter).await.unwrap();
    assert_eq!((&page.deliveries[..], page.next_cursor), (std::slice::from_ref(&test), None));
    assert_eq!(client.resend_delivery(made.id, test.id).await.unwrap().id, test.id);

    let off = WebhookSettings { enabled: Some(false), ..WebhookSettings::default() };
    let disabled = client.update_webhook(made.id, &off).await.unwrap();
    assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some("owner")));
    assert_eq!(client.test_webhook(made.id).await.unwrap_err().code(), Some("webhook_disabled"));
    let rotated = client.rotate_webhook_secret(made.id).await.unwrap();
    assert!(rotated.secret.is_some() && rotated.secret != made.secret);
    client.delete_webhook(made.id).await.unwrap();
    assert_eq!(client.webhook(made.id).await.unwrap_err().code(), Some("not_found"));
    app.stop().await;
}
