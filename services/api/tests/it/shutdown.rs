use std::time::Duration;

use tokio::time::timeout;

use crate::app::{Answer, App};

#[tokio::test]
async fn held_answers_come_at_once_when_the_service_stops() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let held = Answer::of(app.get(&path).header("prefer", "wait=60"));
    let stop = async {
        app.held(1).await;
        app.stop.cancel();
    };
    let (answer, ()) = timeout(Duration::from_secs(10), async { tokio::join!(held, stop) }).await.unwrap();
    assert_eq!((answer.status, answer.text("/state").as_str()), (200, "queued"));
    assert!(app.get(&path).send().await.is_err(), "no connection is taken any more");
    app.stop().await;
}
