//! Following a job.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::header::HeaderName;
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::header;
use crate::transport::Call;
use crate::{Client, Error, Job, Progress};

/// Pause before a stream that broke is taken up again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long nothing may be heard, from the first break on, before the service is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is told of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// The job, which has another version than the one told before.
    Job(Box<Job>),
    /// How far it is.
    Progress(Progress),
    /// What a picture in work looks like.
    Preview(Preview),
    /// A kind of event that this client does not know.
    Other,
}

/// What a picture in work looks like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Preview {
    /// Picture being made, from 0.
    pub image: u32,
    /// Steps done on it.
    pub step: u32,
    /// Media type of the file.
    pub content_type: String,
    /// The file.
    #[serde(deserialize_with = "from_base64")]
    pub content: Bytes,
}

/// Whether pictures in work are told as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previews {
    /// At most one a second.
    Shown,
    /// None.
    Hidden,
}

/// A stream that is taken up again where it broke.
struct Following {
    client: Client,
    id: Uuid,
    previews: Previews,
    response: Option<Response>,
    read: Vec<u8>,
    /// The version told last.
    last: Option<i32>,
    /// When it broke, unless something was heard since.
    broken_at: Option<Instant>,
    ended: bool,
}

impl Client {
    /// The job as it stands, and everything that happens to it, until it is final. A connection that breaks is made
    /// again for half a minute, and goes on after the version that was told last.
    ///
    /// # Errors
    /// The stream ends with the first error that does not pass: [`Error::Problem`] with code `not_found`, for one.
    pub fn follow(
        &self,
        id: Uuid,
        previews: Previews,
    ) -> impl Stream<Item = Result<JobEvent, Error>> + use<> {
        let client = self.clone();
        let following = Following {
            client,
            id,
            previews,
            response: None,
            read: Vec::new(),
            last: None,
            broken_at: None,
            ended: false,
        };
        stream::unfold(following, async |mut following| {
            let event = following.next().await?;
            following.ended |= event.is_err();
            Some((event, following))
        })
    }
}

impl Following {
    async fn next(&mut self) -> Option<Result<JobEvent, Error>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            match self.read_on().await {
                Ok(()) => {}
                Err(error) if error.passes() && self.is_worth_another_try() => {
                    self.response = None;
                    self.read.clear();
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn is_worth_another_try(&mut self) -> bool {
        self.broken_at.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }

    /// Reads some more, over a connection that is made where there is none.
    async fn read_on(&mut self) -> Result<(), Error> {
        let Some(response) = &mut self.response else {
            let response = self.connect().await?;
            // Nothing is left to tell.
            self.ended = response.status() == StatusCode::NO_CONTENT;
            self.response = Some(response);
            return Ok(());
        };
        match response.chunk().await? {
            Some(chunk) => {
                self.broken_at = None;
                self.read.extend_from_slice(&chunk);
            }
            // The service ends before the job does when it stops itself.
            None => {
                self.response = None;
                self.read.clear();
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Response, Error> {
        let mut url = self.client.url(&format!("v1/jobs/{}/events", self.id))?;
        if self.previews == Previews::Shown {
            url.query_pairs_mut().append_pair("previews", "true");
        }
        let mut call = Call::new(Method::GET, url);
        let mut push = |pair: (HeaderName, _)| call.headers.push(pair);
        push(header("accept", "text/event-stream")?);
        if let Some(last) = self.last {
            push(header("last-event-id", &last.to_string())?);
        }
        self.client.transport.send(&call).await
    }

    /// The next whole event of what was read.
    fn take_event(&mut self) -> Option<Result<JobEvent, Error>> {
        let event = loop {
            let end = self.read.windows(2).position(|two| two == b"\n\n")?;
            let block: Bytes = self.read.drain(..end + 2).collect();
            if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                break event;
            }
        };
        if let Ok(JobEvent::Job(job)) = &event {
            self.last = Some(job.version);
            self.ended = job.state.is_final();
        }
        Some(event)
    }
}

/// The event of a block of lines; `None` for a comment.
fn event(block: &str) -> Option<Result<JobEvent, Error>> {
    let field = |name: &str| {
        let mut values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(|value| value.strip_prefix(' ').unwrap_or(value))
    };
    let data: Value = match serde_json::from_str(field("data")?) {
        Ok(data) => data,
        Err(source) => return Some(Err(Error::Answer { status: StatusCode::OK, source: Some(source) })),
    };
    let event = match field("event") {
        Some("job") => serde_json::from_value(data).map(|job| JobEvent::Job(Box::new(job))),
        Some("progress") => serde_json::from_value(data).map(JobEvent::Progress),
        Some("preview") => serde_json::from_value(data).map(JobEvent::Preview),
        _ => Ok(JobEvent::Other),
    };
    Some(event.map_err(|source| Error::Answer { status: StatusCode::OK, source: Some(source) }))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_lines_are_events() {
        assert!(event(": keep alive\n").is_none());
        let progress = event("event: progress\ndata: {\"image\":0,\"images\":1,\"step\":2,\"steps\":4}\n");
        let expected = Progress { image: 0, images: 1, step: 2, steps: 4 };
        assert_eq!(progress.unwrap().unwrap(), JobEvent::Progress(expected));
        assert_eq!(event("event:new\ndata:{}\n").unwrap().unwrap(), JobEvent::Other);
        assert!(event("event: job\ndata: {\n").unwrap().is_err());
    }

    #[test]
    fn previews_are_files() {
        let preview = |content: &str| {
            let head = r#"{"image":0,"step":2,"content_type":"image/webp","content":"#;
            event(&format!("event: preview\ndata: {head}\"{content}\"}}\n")).unwrap()
        };
        let Ok(JobEvent::Preview(told)) = preview("UklGRg==") else { panic!("no preview") };
        assert_eq!(told.content, "RIFF");
        assert!(preview("?").is_err());
    }
}
