//! Sending a webhook.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::HeaderMap;
use tokio::time::timeout;

use crate::{Error, Outbound};

/// The most of an answer's body that is read.
pub const MAX_EXCERPT_BYTES: usize = 1_024;
/// How long it is read: the status has come, and the body is only for the log.
const EXCERPT_TIMEOUT: Duration = Duration::from_secs(2);

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// Headers, the content type among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the first byte to the answer's status.
    pub timeout: Duration,
}

/// What came back, whatever the status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body, as text.
    pub excerpt: String,
}

impl Outbound {
    /// Posts a message once. Redirects are not followed: their status is the answer.
    ///
    /// # Errors
    /// When there is no answer. [`Error::Refused`] when nothing was sent.
    pub async fn post(&self, url: &str, message: Message) -> Result<Answer, Error> {
        let url = self.guard.check_url(url)?;
        let Message { headers, body, timeout: within } = message;
        let request = self.http.post(url).headers(headers).body(body);
        let mut response = request.timeout(within).send().await?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status, headers, excerpt: excerpt(response).await })
    }
}

/// What can be read of the body, within its bounds. A body that breaks off says as much as one that ends.
async fn excerpt(mut response: Response) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(bytes)) = response.chunk().await {
            let room = MAX_EXCERPT_BYTES - read.len();
            read.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if read.len() == MAX_EXCERPT_BYTES {
                break;
            }
        }
    };
    // What was read so far is kept.
    let _ = timeout(EXCERPT_TIMEOUT, reading).await;
    // Postgres cannot store U+0000.
    String::from_utf8_lossy(&read).replace('\0', "\u{fffd}")
}
