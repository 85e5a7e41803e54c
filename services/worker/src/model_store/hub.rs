//! The hub's routes: which commit a revision is, what a commit holds, and the files themselves.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_RANGE, LINK, RANGE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::download::{Body, Resume, Retries};
use super::listing::{Digest, RemoteFile};
use super::{Error, Patience};

/// The branch that is meant when no revision is named.
pub(super) const MAIN: &str = "main";
/// The most of an answer in JSON that is read.
const MAX_JSON_BYTES: usize = 32 << 20;
/// The most pages of a listing, of a thousand files each.
const MAX_PAGES: usize = 100;

/// A hub, reached over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<SecretString>,
    patience: Patience,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// The hub at `endpoint`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the machine's certificates cannot be used.
    pub(super) fn new(endpoint: Url, token: Option<SecretString>, patience: Patience) -> Result<Self, Error> {
        // Fails only where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(patience.connect)
            .user_agent(concat!("darkroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::connection(endpoint.as_str(), error))?;
        Ok(Self { http, endpoint, token, patience })
    }

    /// The commit that `revision` of repository `id` is at this moment.
    ///
    /// # Errors
    /// When there is no such repository or revision, or the hub does not say.
    pub(super) async fn commit(&self, id: &str, revision: &str) -> Result<String, Error> {
        let subject = format!("{id} at {revision}");
        let url = self.url(&["api", "models"], id, &["revision", revision]);
        let (found, _): (Revision, _) = self.json(&url, &subject).await?;
        if darkroom_jobs::is_commit(&found.sha) {
            return Ok(found.sha);
        }
        Err(Error::Answer { subject, problem: format!("its commit is {:?}", found.sha) })
    }

    /// Every file of a commit.
    ///
    /// # Errors
    /// When there is no such repository or commit, or the hub does not say.
    pub(super) async fn tree(&self, id: &str, commit: &str) -> Result<Vec<RemoteFile>, Error> {
        let subject = format!("{id} at {commit}");
        let mut url = self.url(&["api", "models"], id, &["tree", commit]);
        url.set_query(Some("recursive=true"));
        let mut files = Vec::new();
        for _ in 0..MAX_PAGES {
            let (page, headers): (Vec<TreeEntry>, _) = self.json(&url, &subject).await?;
            files.extend(page.into_iter().filter(|entry| entry.kind == "file").map(remote_file));
            let Some(next) = next_page(&headers) else { return Ok(files) };
            // The token goes along, so it must not lead elsewhere.
            url = url.join(next).ok().filter(|next| next.origin() == self.endpoint.origin()).ok_or_else(
                || Error::Answer { subject: subject.clone(), problem: format!("its next page is {next:?}") },
            )?;
        }
        Err(Error::Answer { subject, problem: format!("it has more than {MAX_PAGES} pages of files") })
    }

    /// Opens a file of a commit for reading, from where `resume` says.
    ///
    /// # Errors
    /// When the hub or what it redirects to does not give it.
    pub(super) async fn open(&self, id: &str, commit: &str, resume: &Resume<'_>) -> Result<Body, Error> {
        let path: Vec<&str> = ["resolve", commit].into_iter().chain(resume.file.path.split('/')).collect();
        let mut request = self.get(&self.url(&[], id, &path));
        if resume.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", resume.offset));
            if let Some(etag) = resume.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let subject = format!("{} of {id} at {commit}", resume.file.path);
        let answer = self.send(request, &subject).await?;
        let start = match answer.status() {
            StatusCode::PARTIAL_CONTENT => range_start(answer.headers()).unwrap_or(u64::MAX),
            _ => 0,
        };
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        // A weak one says nothing about single bytes.
        let etag = etag.filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
        let length = answer.content_length().and_then(|length| length.checked_add(start));
        let bytes = answer.bytes_stream().map_err(move |error| Error::connection(subject.clone(), error));
        Ok(Body { start, size_bytes: length, etag, bytes: bytes.boxed() })
    }

    /// The URL of something of a repository.
    fn url(&self, before: &[&str], id: &str, after: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(before).extend(id.split('/')).extend(after);
        }
        url
    }

    fn get(&self, url: &Url) -> RequestBuilder {
        let request = self.http.get(url.clone());
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// An answer in JSON with its headers, asked for again while the hub is busy.
    async fn json<T: DeserializeOwned>(&self, url: &Url, subject: &str) -> Result<(T, HeaderMap), Error> {
        let mut retries = Retries::new(&self.patience);
        let (bytes, headers) = loop {
            match self.read(url, subject).await {
                Ok(read) => break read,
                Err(error) => retries.pause(error).await?,
            }
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Answer { subject: subject.to_owned(), problem: error.to_string() })?;
        Ok((value, headers))
    }

    async fn read(&self, url: &Url, subject: &str) -> Result<(Vec<u8>, HeaderMap), Error> {
        let answer = self.send(self.get(url), subject).await?;
        let headers = answer.headers().clone();
        let mut stream = answer.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = self.within(subject, stream.next()).await? {
            bytes.extend_from_slice(&chunk.map_err(|error| Error::connection(subject, error))?);
            if bytes.len() > MAX_JSON_BYTES {
                let problem = format!("it is longer than {MAX_JSON_BYTES} bytes");
                return Err(Error::Answer { subject: subject.to_owned(), problem });
            }
        }
        Ok((bytes, headers))
    }

    /// The client drops the token where a redirect leads to another host or port.
    async fn send(&self, request: RequestBuilder, subject: &str) -> Result<Response, Error> {
        let answer = self.within(subject, request.send()).await?;
        let answer = answer.map_err(|error| Error::connection(subject, error.without_url()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(&answer, subject)) }
    }

    async fn within<T>(&self, subject: &str, wait: impl Future<Output = T>) -> Result<T, Error> {
        let silence = self.patience.silence;
        let waited = tokio::time::timeout(silence, wait).await;
        waited.map_err(|_| Error::connection(subject, format!("silent for {silence:?}")))
    }

    fn refusal(&self, answer: &Response, subject: &str) -> Error {
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let code = text("x-error-code").unwrap_or_default();
        let (subject, status) = (subject.to_owned(), answer.status().as_u16());
        match status {
            401 | 403 => {
                let gated = code == "GatedRepo";
                Error::Refused { subject, status, gated, token_sent: self.token.is_some() }
            }
            404 => Error::NotFound { subject },
            408 | 429 | 500.. => {
                let seconds = text(RETRY_AFTER.as_str()).and_then(|seconds| seconds.trim().parse().ok());
                Error::Busy { subject, status, retry_after: seconds.map(Duration::from_secs) }
            }
            _ => Error::Answer { subject, problem: format!("status {status}") },
        }
    }
}

fn remote_file(entry: TreeEntry) -> RemoteFile {
    let (size_bytes, digest) = match entry.lfs {
        Some(lfs) => (lfs.size, Digest::Sha256(lfs.oid)),
        None => (entry.size, Digest::GitBlob(entry.oid)),
    };
    RemoteFile { path: entry.path, size_bytes, digest: Some(digest), etag: None }
}

/// The page that the header `Link` calls next.
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    next.trim().strip_prefix('<')?.split_once('>').map(|(url, _)| url)
}

/// The first byte of `Content-Range: bytes first-last/size`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}
