//! Requests that are refused before their body was read.
//!
//! The server closes a connection with an unread rest, and its caller, who was not told, sends the next request into
//! nothing. So a small rest is read and thrown away, and before anything else is refused its caller is told.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The largest rest that is read for the sake of the connection, and how long that may take.
const MAX_REST_BYTES: usize = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads what the request's handler left of a small body, and tells the caller of the end of the connection where more
/// is left.
pub(crate) async fn settle(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Such a caller sends the body when it is asked to.
    let held_back = request.headers().contains_key(EXPECT);
    let (left, mut rest) = oneshot::channel();
    let request = request.map(|body| Body::new(Watched { body, ended: false, left: Some(left) }));
    let mut response = next.run(request).await;
    let is_read = match rest.try_recv() {
        Ok(None) => true,
        Ok(Some(body)) if !held_back => is_read(body).await,
        // Somebody may still read it.
        Ok(Some(_)) | Err(_) => false,
    };
    if !is_read {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn is_read(rest: Body) -> bool {
    let small = rest.size_hint().upper().is_none_or(|bytes| bytes <= MAX_REST_BYTES as u64);
    small && timeout(REST_TIMEOUT, to_bytes(rest, MAX_REST_BYTES)).await.is_ok_and(|read| read.is_ok())
}

/// A body that hands over what is left of it, `None` for nothing.
struct Watched {
    body: Body,
    ended: bool,
    left: Option<oneshot::Sender<Option<Body>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(left) = self.left.take() else { return };
        let ended = self.ended || self.body.is_end_stream();
        let rest = (!ended).then(|| std::mem::take(&mut self.body));
        // Nobody asks when the caller has gone.
        let _ = left.send(rest);
    }
}
