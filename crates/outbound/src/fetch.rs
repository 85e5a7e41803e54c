//! Fetching a picture.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, LOCATION};
use reqwest::{Response, StatusCode};
use url::Url;

use crate::{Error, Outbound, Refusal};

/// Redirects that are followed; each leads to a URL that is checked like the first.
pub const MAX_REDIRECTS: usize = 3;

/// A body that has begun to come.
#[derive(Debug)]
pub struct Fetched {
    response: Response,
}

impl Fetched {
    /// What the other side says of the body's size.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The body as it comes, unbounded: whoever reads it counts.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin {
        Box::pin(self.response.bytes_stream().map_err(Error::from))
    }
}

impl Outbound {
    /// Asks for what is at `url`, which has to answer with success. Each request, its body with it, may take
    /// `within`.
    ///
    /// # Errors
    /// When there is no such answer. [`Error::Refused`] when `url`, or one that it redirects to, may not be called.
    pub async fn fetch(&self, url: &str, within: Duration) -> Result<Fetched, Error> {
        let mut url = self.guard.check_url(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = self.http.get(url.clone()).header(ACCEPT, "image/*").timeout(within);
            let response = request.header(ACCEPT_ENCODING, "identity").send().await?;
            match target(&response, &url)? {
                Some(next) => {
                    self.guard.check(&next)?;
                    url = next;
                }
                None if response.status().is_success() => return Ok(Fetched { response }),
                None => return Err(Error::Status(response.status().as_u16())),
            }
        }
        Err(Error::Redirects)
    }
}

/// Where an answer sends its reader on to.
fn target(response: &Response, from: &Url) -> Result<Option<Url>, Error> {
    use StatusCode as S;
    let status = response.status();
    let redirects =
        [S::MOVED_PERMANENTLY, S::FOUND, S::SEE_OTHER, S::TEMPORARY_REDIRECT, S::PERMANENT_REDIRECT];
    if !redirects.contains(&status) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or(Error::Status(status.as_u16()))?;
    from.join(location).map(Some).map_err(|_| Refusal::NotHttp.into())
}
