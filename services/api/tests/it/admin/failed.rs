use reqwest::Method;
use serde_json::{Value, json};

use super::{get, post};
use crate::app::{Answer, App};

/// A failed job of the first tenant: its id.
async fn failed(app: &App) -> String {
    let id = app.queued().await;
    let worker = app.worker();
    worker.fail(&worker.lease().await).await;
    id
}

fn ids(page: &Answer) -> Vec<&str> {
    page.raw("/jobs").as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn failed_jobs_are_listed_without_what_their_owners_wrote() {
    let app = App::start().await;
    let (first, second) = (failed(&app).await, failed(&app).await);
    app.queued().await;
    let page = get(&app, "/failed-jobs?limit=1").await;
    assert_eq!(ids(&page), [second.as_str()]);
    assert!(!String::from_utf8_lossy(&page.bytes).contains("red circle"), "no prompt");
    insta::assert_json_snapshot!(page.body["jobs"][0], {
        ".tenant_id" => "[id]", ".last_worker_id" => "[id]",
    }, @r#"
    {
      "attempts": 1,
      "created_at": "[created_at]",
      "deadline": "[deadline]",
      "discarded_at": null,
      "error": {
        "code": "invalid_input",
        "message": "the image cannot be decoded"
      },
      "failures": 1,
      "finished_at": "[finished_at]",
      "id": "[id]",
      "lane": "text-to-image:test/painter",
      "last_attempt": "invalid_input",
      "last_worker_id": "[id]",
      "priority": "normal",
      "replay_of": null,
      "replayed_by": null,
      "standing": "open",
      "tenant": "first",
      "tenant_id": "[id]",
      "worker_deaths": 0
    }
    "#);
    let next = get(&app, &format!("/failed-jobs?limit=1&cursor={}", page.text("/next_cursor"))).await;
    assert_eq!((ids(&next), next.raw("/next_cursor")), (vec![first.as_str()], &Value::Null));
    for (query, count) in [
        ("tenant=first", 2),
        ("tenant=second", 0),
        ("lane=text-to-image:test%2Fpainter", 2),
        ("lane=text-to-image:test%2Fsketcher", 0),
        ("failure_class=invalid_input", 2),
        ("failure_class=poison", 0),
        ("older_than_seconds=3600", 0),
        ("newer_than_seconds=3600", 2),
        ("standing=discarded", 0),
        ("tenant=first&failure_class=invalid_input&newer_than_seconds=3600", 2),
    ] {
        assert_eq!(ids(&get(&app, &format!("/failed-jobs?{query}")).await).len(), count, "{query}");
    }
    let wrong = "lane=x&failure_class=bad&older_than_seconds=-1&standing=lost&limit=0&cursor=x&colour=red";
    let refused = get(&app, &format!("/failed-jobs?{wrong}")).await;
    let named: Vec<&str> =
        refused.raw("/errors").as_array().unwrap().iter().map(|e| e["parameter"].as_str().unwrap()).collect();
    let expected = ["lane", "failure_class", "older_than_seconds", "standing", "limit", "cursor", "colour"];
    assert_eq!((refused.status, named), (422, expected.to_vec()));
    app.stop().await;
}

#[tokio::test]
async fn a_failed_job_is_shown_with_its_attempts_and_what_was_asked_for() {
    let app = App::start().await;
    let id = failed(&app).await;
    let shown = get(&app, &format!("/failed-jobs/{id}")).await;
    assert_eq!(shown.raw("/job/input/prompt"), "a red circle");
    insta::assert_json_snapshot!(shown.body["history"], { "[].worker_id" => "[id]" }, @r#"
    [
      {
        "error": {
          "code": "invalid_input",
          "message": "the image cannot be decoded"
        },
        "finished_at": "[finished_at]",
        "number": 1,
        "started_at": "[started_at]",
        "state": "failed",
        "worker_id": "[id]"
      }
    ]
    "#);
    let queued = app.queued().await;
    assert_eq!(get(&app, &format!("/failed-jobs/{queued}")).await.refusal().0, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_failed_job_is_run_again_by_a_new_one_that_its_owner_sees() {
    let app = App::start().await;
    let id = failed(&app).await;
    let before = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    let replayed = post(&app, &format!("/failed-jobs/{id}/replay")).await;
    assert_eq!((replayed.status, replayed.text("/replay_of")), (201, id.clone()));
    let new = Answer::of(app.get(&format!("/v1/jobs/{}", replayed.id()))).await;
    assert_eq!((new.text("/state"), new.text("/replay_of")), ("queued".to_owned(), id.clone()));
    assert_eq!(new.raw("/input"), before.raw("/input"));
    let old =
        Answer::of(app.get(&format!("/v1/jobs/{id}")).header("if-none-match", &before.headers["etag"])).await;
    assert_eq!((old.status, old.text("/state")), (200, "failed".to_owned()), "another version");
    assert_eq!(old.text("/replayed_by"), replayed.id());
    let again = post(&app, &format!("/failed-jobs/{id}/replay")).await;
    assert_eq!(again.refusal(), (409, "already_decided".to_owned()));
    assert_eq!(post(&app, &format!("/failed-jobs/{id}/discard")).await.refusal().0, 409);
    let queued = post(&app, &format!("/failed-jobs/{}/replay", replayed.id())).await;
    assert_eq!(queued.refusal().0, 404, "only failed jobs are run again");
    Answer::of(app.post(&format!("/v1/jobs/{}/cancel", replayed.id()))).await;
    let late = failed(&app).await;
    app.database.execute(&format!("update jobs set deadline = now() where id = '{late}'")).await;
    let late = post(&app, &format!("/failed-jobs/{late}/replay")).await;
    assert_eq!(late.refusal(), (409, "deadline_passed".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn many_are_decided_about_at_once_after_they_were_counted() {
    let app = App::start().await;
    for _ in 0..3 {
        failed(&app).await;
    }
    let uncounted = post(&app, "/failed-jobs/replay?tenant=first").await;
    assert_eq!((uncounted.status, uncounted.raw("/errors/0/parameter")), (422, &json!("expected_count")));
    let counted = post(&app, "/failed-jobs/replay?tenant=first&dry_run=true").await;
    assert_eq!(counted.body, json!({"matching": 3, "done": 0, "remaining": 3}));
    let changed = post(&app, "/failed-jobs/replay?tenant=first&expected_count=2").await;
    assert_eq!(changed.refusal(), (409, "count_changed".to_owned()));
    assert_eq!(ids(&get(&app, "/failed-jobs").await).len(), 3, "nothing was changed");
    let done = post(&app, "/failed-jobs/replay?tenant=first&expected_count=3").await;
    assert_eq!(done.body, json!({"matching": 3, "done": 3, "remaining": 0}));
    assert_eq!(ids(&get(&app, "/failed-jobs?standing=replayed").await).len(), 3);
    assert_eq!(app.database.count("select count(*) from jobs where state = 'queued'").await, 3);

    app.database
        .execute("update jobs set state = 'canceled', finished_at = now() where state = 'queued'")
        .await;
    let id = failed(&app).await;
    let discarded = post(&app, "/failed-jobs/discard?failure_class=invalid_input&expected_count=1").await;
    assert_eq!(discarded.body, json!({"matching": 1, "done": 1, "remaining": 0}));
    assert_eq!(ids(&get(&app, "/failed-jobs?standing=discarded").await), [id.as_str()]);
    assert_eq!(post(&app, &format!("/failed-jobs/{id}/discard")).await.status, 204, "again changes nothing");
    let seen = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    assert_eq!(seen.text("/state"), "failed", "its owner sees no difference");
    let wrong =
        Answer::of(app.operate(Method::POST, "/failed-jobs/discard?dry_run=yes&expected_count=x&a=b")).await;
    assert_eq!(wrong.raw("/errors").as_array().unwrap().len(), 3);
    app.stop().await;
}
