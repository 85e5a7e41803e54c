//! A hub on the loopback address, for models that are fetched.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{Path as Params, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// A hub that serves folders as repositories by the hub's own routes. Weights are redirected to another port,
/// as the real one redirects to another host. Ends when it is dropped.
#[derive(Debug)]
pub struct HubStandIn {
    /// What `HF_ENDPOINT` is set to.
    pub url: String,
    site: Arc<Site>,
    servers: [JoinHandle<()>; 2],
}

/// What goes wrong with one answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It has this status, these headers and no body.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes.
    CutAfter(u64),
    /// Nothing more comes after so many bytes.
    SilentAfter(u64),
    /// A byte is another one.
    Damaged,
    /// It is so many bytes longer than announced in the list of files.
    Longer(usize),
    /// A range is not heeded.
    Whole,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The file's path, or `revision` or `tree`.
    pub what: String,
    /// Whether it came to the port that weights are redirected to.
    pub redirected: bool,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `If-Range`.
    pub if_range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

#[derive(Debug, Default)]
struct Site {
    repositories: Mutex<HashMap<String, Repository>>,
    faults: Mutex<HashMap<String, VecDeque<Fault>>>,
    asked: Mutex<Vec<Asked>>,
    weights_url: Mutex<String>,
    /// Lets those go on that are silent.
    over: CancellationToken,
}

#[derive(Debug, Clone)]
struct Repository {
    commit: String,
    files: Vec<File>,
}

#[derive(Debug, Clone)]
struct File {
    /// In the repository.
    path: String,
    /// On disk.
    source: PathBuf,
    size: u64,
    git_blob: String,
    sha256: String,
}

impl File {
    fn is_large(&self) -> bool {
        self.path.ends_with(".safetensors")
    }
}

impl HubStandIn {
    /// A hub without repositories.
    pub async fn start() -> Self {
        let site = Arc::new(Site::default());
        let weights = Router::new().route("/weights/{sha256}", get(weights)).with_state(site.clone());
        let (weights_url, weights) = serve(weights).await;
        *lock(&site.weights_url) = weights_url;
        let routes = Router::new()
            .route("/api/models/{owner}/{name}/revision/{revision}", get(revision))
            .route("/api/models/{owner}/{name}/tree/{revision}", get(tree))
            .route("/{owner}/{name}/resolve/{revision}/{*path}", get(resolve))
            .with_state(site.clone());
        let (url, routes) = serve(routes).await;
        Self { url, site, servers: [weights, routes] }
    }

    /// Serves the folder as the repository `id`, and returns its commit. A second call is a new commit.
    pub fn add(&self, id: &str, folder: &Path) -> String {
        let mut files = Vec::new();
        collect(folder, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let blobs: Vec<String> =
            files.iter().map(|file| format!("{} {}\n", file.git_blob, file.path)).collect();
        let commit = hex(&Sha1::digest(blobs.concat()));
        lock(&self.site.repositories).insert(id.to_owned(), Repository { commit: commit.clone(), files });
        commit
    }

    /// Makes the next answer for a file, or for `revision` or `tree`, go wrong. Several go wrong in turn.
    pub fn fault(&self, what: &str, fault: Fault) {
        lock(&self.site.faults).entry(what.to_owned()).or_default().push_back(fault);
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        lock(&self.site.faults).clear();
    }

    /// Everything that was asked for a file, or for `revision` or `tree`.
    pub fn asked(&self, what: &str) -> Vec<Asked> {
        lock(&self.site.asked).iter().filter(|asked| asked.what == what).cloned().collect()
    }

    /// Everything that was asked.
    pub fn all_asked(&self) -> Vec<Asked> {
        lock(&self.site.asked).clone()
    }
}

impl Drop for HubStandIn {
    fn drop(&mut self) {
        self.site.over.cancel();
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(routes: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    (url, server)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let name = entry.file_name().into_string().expect("a plain name");
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
            continue;
        }
        let bytes = std::fs::read(entry.path()).expect("a readable file");
        let mut blob = Sha1::new();
        blob.update(format!("blob {}\0", bytes.len()));
        blob.update(&bytes);
        files.push(File {
            path,
            source: entry.path(),
            size: bytes.len() as u64,
            git_blob: hex(&blob.finalize()),
            sha256: hex(&Sha256::digest(&bytes)),
        });
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked")
}

impl Site {
    fn note(&self, what: &str, redirected: bool, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        lock(&self.asked).push(Asked {
            what: what.to_owned(),
            redirected,
            range: text(RANGE),
            if_range: text(IF_RANGE),
            authorization: text(AUTHORIZATION),
        });
    }

    /// The next fault, if it is of the kind that a redirect would hide.
    fn status_fault(&self, what: &str) -> Option<Response> {
        let mut faults = lock(&self.faults);
        let queue = faults.get_mut(what)?;
        let Some(Fault::Status(status, headers)) = queue.front().cloned() else { return None };
        queue.pop_front();
        let mut answer = StatusCode::from_u16(status).expect("a status").into_response();
        for (name, value) in headers {
            answer.headers_mut().insert(name, value.parse().expect("a header"));
        }
        Some(answer)
    }

    fn fault(&self, what: &str) -> Option<Fault> {
        lock(&self.faults).get_mut(what)?.pop_front()
    }

    fn repository(&self, owner: &str, name: &str, revision: &str) -> Result<Repository, Box<Response>> {
        let repositories = lock(&self.repositories);
        let missing = |code: &'static str, status: StatusCode| {
            Box::new((status, [("x-error-code", code)]).into_response())
        };
        let repository = repositories.get(&format!("{owner}/{name}"));
        // Whoever shows no token is not told whether it exists.
        let repository = repository.ok_or_else(|| missing("RepoNotFound", StatusCode::UNAUTHORIZED))?;
        if [repository.commit.as_str(), "main"].contains(&revision) {
            return Ok(repository.clone());
        }
        Err(missing("RevisionNotFound", StatusCode::NOT_FOUND))
    }
}

type ThreeNames = Params<(String, String, String)>;

async fn revision(
    State(site): State<Arc<Site>>,
    Params((owner, name, revision)): ThreeNames,
    headers: HeaderMap,
) -> Response {
    site.note("revision", false, &headers);
    if let Some(fault) = site.status_fault("revision") {
        return fault;
    }
    match site.repository(&owner, &name, &revision) {
        Ok(repository) => {
            Json(json!({"id": format!("{owner}/{name}"), "sha": repository.commit})).into_response()
        }
        Err(refusal) => *refusal,
    }
}

async fn tree(
    State(site): State<Arc<Site>>,
    Params((owner, name, revision)): ThreeNames,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response {
    site.note("tree", false, &headers);
    if let Some(fault) = site.status_fault("tree") {
        return fault;
    }
    let repository = match site.repository(&owner, &name, &revision) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    // Two pages, so that clients must follow the link.
    let half = repository.files.len() / 2;
    let second = uri.query().is_some_and(|query| query.contains("cursor="));
    let page = if second { &repository.files[half..] } else { &repository.files[..half] };
    let entries: Vec<Value> = page.iter().map(entry).collect();
    let mut answer = Json(entries).into_response();
    if !second {
        let next = format!("<{}?recursive=true&cursor=2>; rel=\"next\"", uri.path());
        answer.headers_mut().insert("link", next.parse().expect("a header"));
    }
    answer
}

fn entry(file: &File) -> Value {
    let mut entry = json!({"type": "file", "path": file.path, "size": file.size, "oid": file.git_blob});
    if file.is_large() {
        entry["lfs"] = json!({"oid": file.sha256, "size": file.size, "pointerSize": 135});
    }
    entry
}

async fn resolve(
    State(site): State<Arc<Site>>,
    Params((owner, name, revision, path)): Params<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    site.note(&path, false, &headers);
    if let Some(fault) = site.status_fault(&path) {
        return fault;
    }
    let repository = match site.repository(&owner, &name, &revision) {
        Ok(repository) => repository,
        Err(refusal) => return *refusal,
    };
    let Some(file) = repository.files.iter().find(|file| file.path == path) else {
        return (StatusCode::NOT_FOUND, [("x-error-code", "EntryNotFound")]).into_response();
    };
    if file.is_large() {
        let location = format!("{}/weights/{}", lock(&site.weights_url), file.sha256);
        return (StatusCode::FOUND, [(LOCATION, location)]).into_response();
    }
    contents(&site, file, &headers).await
}

async fn weights(
    State(site): State<Arc<Site>>,
    Params(sha256): Params<String>,
    headers: HeaderMap,
) -> Response {
    let found = lock(&site.repositories)
        .values()
        .flat_map(|repository| &repository.files)
        .find(|file| file.sha256 == sha256)
        .cloned();
    let Some(file) = found else { return StatusCode::NOT_FOUND.into_response() };
    site.note(&file.path, true, &headers);
    contents(&site, &file, &headers).await
}

/// The file, or the range of it that is asked for, with its next fault.
async fn contents(site: &Site, file: &File, headers: &HeaderMap) -> Response {
    let fault = site.fault(&file.path);
    let etag = format!("\"{}\"", file.sha256);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(IF_RANGE).is_none_or(|known| known == etag);
    let range = text(RANGE).and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let first: u64 = range.filter(|_| same && !matches!(fault, Some(Fault::Whole))).unwrap_or(0);
    let mut source = tokio::fs::File::open(&file.source).await.expect("the file is still there");
    source.seek(std::io::SeekFrom::Start(first)).await.expect("files can be sought");
    let mut length = file.size - first;
    let limit = match fault {
        Some(Fault::CutAfter(bytes) | Fault::SilentAfter(bytes)) => bytes,
        _ => length,
    };
    let bytes = ReaderStream::new(source.take(limit));
    let body = match fault {
        Some(Fault::CutAfter(_)) => {
            let cut = stream::once(async { Err(std::io::Error::other("the connection is cut")) });
            Body::from_stream(bytes.chain(cut))
        }
        Some(Fault::SilentAfter(_)) => Body::from_stream(bytes.chain(silence(site.over.clone()))),
        Some(Fault::Longer(more)) => {
            length += more as u64;
            let more = stream::once(async move { Ok(Bytes::from(vec![0; more])) });
            Body::from_stream(bytes.chain(more))
        }
        Some(Fault::Damaged) => Body::from_stream(bytes.map(|chunk| chunk.map(damage))),
        _ => Body::from_stream(bytes),
    };
    let status = if first > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut answer = (status, [(ETAG, etag), (CONTENT_LENGTH, length.to_string())], body).into_response();
    if first > 0 {
        let range = format!("bytes {first}-{}/{}", file.size - 1, file.size);
        answer.headers_mut().insert(CONTENT_RANGE, range.parse().expect("a header"));
    }
    answer
}

fn silence(over: CancellationToken) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::once(async move {
        over.cancelled().await;
        Err(std::io::Error::other("the hub has ended"))
    })
}

fn damage(chunk: Bytes) -> Bytes {
    let mut chunk = chunk.to_vec();
    if let Some(byte) = chunk.last_mut() {
        *byte ^= 1;
    }
    chunk.into()
}
