//! Sending a call, as often as it takes.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use crate::{Error, Problem};

/// How often a call is sent before its last failure is reported.
const TRIES: u32 = 5;
/// Pause before the second try when the service does not name one; doubled for each further try.
const BACKOFF: Duration = Duration::from_millis(250);
/// Longest pause between two tries, whatever the service says.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence on a connection: waits are held for less.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// The same while the service fetches the pictures of a batch, for up to five minutes.
const FETCHING_TIMEOUT: Duration = Duration::from_secs(330);

/// A call that can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) key: Key,
    pub(crate) repeat: Repeat,
    pub(crate) silence: Silence,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Json(Vec<u8>),
    Image {
        document: String,
        image: Bytes,
        file_name: String,
    },
    /// A picture by itself; the service tells its kind by its content.
    Picture(Bytes),
}

/// Whether a call carries the client's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Sent,
    /// For URLs that open by themselves and may lead elsewhere.
    Withheld,
}

/// When a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// While it is refused for now or not answered: doing it twice is doing it once.
    Always,
    /// Only when it cannot have been done: it never arrived, or too many were sent.
    Unsent,
}

/// How long the service may be silent before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    Usual,
    /// As long as the pictures of a batch may take.
    WhileFetching,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            key: Key::Sent,
            repeat: Repeat::Always,
            silence: Silence::Usual,
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    patient: reqwest::Client,
    key: SecretString,
}

impl Transport {
    pub(crate) fn new(key: SecretString) -> Result<Self, Error> {
        // Fails only where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The bound belongs to a client of the library, and cannot be set for one call.
        let silent_for = |bound| {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(bound)
                .user_agent(concat!("darkroom-client/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        Ok(Self { http: silent_for(READ_TIMEOUT)?, patient: silent_for(FETCHING_TIMEOUT)?, key })
    }

    /// Sends the call with the key, and again while it is refused for now or not answered.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response, Error> {
        let mut tries = 1;
        loop {
            let outcome = self.send_once(call).await;
            let pause = match &outcome {
                Ok(answer) => pause_asked_for(answer, call.repeat, tries),
                Err(Error::Transport(error)) if call.repeat == Repeat::Unsent && !error.is_connect() => None,
                Err(_) => Some(backoff(tries)),
            };
            match pause.filter(|_| tries < TRIES) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return refused(outcome?).await,
            }
            tries += 1;
        }
    }

    /// [`Self::send`] for calls that answer with JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let answer = self.send(call).await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        serde_json::from_slice(&body).map_err(|source| Error::Answer { status, source: Some(source) })
    }

    async fn send_once(&self, call: &Call) -> Result<Response, Error> {
        let http = match call.silence {
            Silence::Usual => &self.http,
            Silence::WhileFetching => &self.patient,
        };
        let mut request = http.request(call.method.clone(), call.url.clone());
        if call.key == Key::Sent {
            request = request.bearer_auth(self.key.expose_secret());
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let request = match &call.body {
            Body::Empty => request,
            Body::Json(document) => {
                request.header(reqwest::header::CONTENT_TYPE, "application/json").body(document.clone())
            }
            Body::Picture(bytes) => {
                request.header(reqwest::header::CONTENT_TYPE, "image/png").body(bytes.clone())
            }
            Body::Image { document, image, file_name } => {
                let length = image.len() as u64;
                let image = Part::stream_with_length(image.clone(), length).file_name(file_name.clone());
                let document = Part::text(document.clone()).mime_str("application/json")?;
                request.multipart(Form::new().part("job", document).part("image", image))
            }
        };
        Ok(request.send().await?)
    }
}

/// How long to wait before the same call may succeed; `None` for an answer that stands.
fn pause_asked_for(answer: &Response, repeat: Repeat, tries: u32) -> Option<Duration> {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => {}
        // What became of a call whose database did not answer is not known.
        StatusCode::SERVICE_UNAVAILABLE if repeat == Repeat::Always => {}
        _ => return None,
    }
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(backoff(tries), MAX_PAUSE))
}

fn backoff(tries: u32) -> Duration {
    BACKOFF.saturating_mul(1 << (tries - 1).min(16)).min(MAX_PAUSE)
}

/// Turns a refusal into its error.
async fn refused(answer: Response) -> Result<Response, Error> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let body = answer.bytes().await?;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(Error::Problem(Box::new(problem))),
        Err(source) => Err(Error::Answer { status, source: Some(source) }),
    }
}
