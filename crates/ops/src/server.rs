//! The operations port: `/livez`, `/readyz`, `/metrics`, and what the service adds.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Readiness, Routes};

/// How often old histogram samples are folded away; without it they pile up between scrapes.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) routes: Routes,
}

/// Answers on `listener` until `stop` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    probes: Probes,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = probes.metrics.clone();
    let server = axum::serve(listener, router(probes)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let upkeep = async {
        let mut ticks = tokio::time::interval(UPKEEP_PERIOD);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        // A keep-alive connection of a scraper must not hold the process.
        () = stop.cancelled() => Ok(()),
        () = upkeep => Ok(()),
        served = server => Ok(served?),
    }
}

fn router(probes: Probes) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(elsewhere)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(probes)
}

async fn livez() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

async fn readyz(State(probes): State<Probes>) -> Response {
    let report = probes.readiness.report().await;
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(probes): State<Probes>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], probes.metrics.render()).into_response()
}

async fn elsewhere(State(probes): State<Probes>, request: Request) -> Response {
    let answer = probes.routes.answer(request).await;
    answer.unwrap_or_else(|| (StatusCode::NOT_FOUND, Json(json!({ "code": "not_found" }))).into_response())
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "code": "method_not_allowed" }))).into_response()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::telemetry::recorder_builder;

    struct Ops {
        readiness: Readiness,
        routes: Routes,
        router: Router,
    }

    impl Ops {
        fn new() -> Self {
            let recorder = recorder_builder().unwrap().build_recorder();
            metrics::with_local_recorder(&recorder, || {
                metrics::counter!("darkroom_tests_total").increment(3);
                metrics::histogram!("darkroom_test_seconds").record(0.3);
            });
            let readiness = Readiness::new(CancellationToken::new());
            let routes = Routes::default();
            let metrics = recorder.handle();
            let router = router(Probes { readiness: readiness.clone(), metrics, routes: routes.clone() });
            Self { readiness, routes, router }
        }

        async fn answer(&self, method: &str, path: &str) -> (u16, String) {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    #[tokio::test]
    async fn livez_answers_while_not_ready() {
        let ops = Ops::new();
        assert_eq!(ops.answer("GET", "/livez").await, (200, r#"{"status":"alive"}"#.to_owned()));
        assert_eq!(ops.answer("GET", "/readyz").await, (503, r#"{"stopping":false,"checks":{}}"#.to_owned()));
    }

    #[tokio::test]
    async fn readyz_shows_every_check() {
        let ops = Ops::new();
        ops.readiness.add("database", || async { Ok::<_, Infallible>(()) });
        let body = r#"{"stopping":false,"checks":{"database":{"status":"ok"}}}"#;
        assert_eq!(ops.answer("GET", "/readyz").await, (200, body.to_owned()));

        ops.readiness.add("store", || async { Err("refused") });
        let body = concat!(
            r#"{"stopping":false,"checks":{"database":{"status":"ok"},"#,
            r#""store":{"status":"failed","error":"refused"}}}"#
        );
        assert_eq!(ops.answer("GET", "/readyz").await, (503, body.to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text_with_buckets() {
        let (status, body) = Ops::new().answer("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("darkroom_tests_total 3"), "{body}");
        assert!(body.contains(r#"darkroom_test_seconds_bucket{le="0.5"} 1"#), "{body}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_json_error() {
        let ops = Ops::new();
        assert_eq!(ops.answer("GET", "/nothing").await, (404, r#"{"code":"not_found"}"#.to_owned()));
        assert_eq!(ops.answer("POST", "/livez").await, (405, r#"{"code":"method_not_allowed"}"#.to_owned()));
    }

    #[tokio::test]
    async fn routes_of_the_service_answer_once_they_are_there_and_take_none_of_the_ports_own() {
        let ops = Ops::new();
        assert_eq!(ops.answer("GET", "/own/path").await.0, 404);
        let own =
            Router::new().route("/own/path", get(async || "mine")).route("/livez", get(async || "taken"));
        ops.routes.add(own.fallback(async || (StatusCode::NOT_FOUND, "not mine")));
        assert_eq!(ops.answer("GET", "/own/path").await, (200, "mine".to_owned()));
        assert_eq!(ops.answer("GET", "/nothing").await, (404, "not mine".to_owned()));
        assert_eq!(ops.answer("GET", "/livez").await, (200, r#"{"status":"alive"}"#.to_owned()));
    }
}
