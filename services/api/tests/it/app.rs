//! A whole API on port 0, with a database of its own.

mod answer;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use darkroom_api::config::UrlSecret;
use darkroom_api::{Api, ApiParts, Capacity, Links, Mint, Server, admin_router, router};
use darkroom_blobs::{Blobs, BlobsConfig};
use darkroom_jobs::{Catalog, TenantId};
use darkroom_outbound::{Guard, Names, Outbound};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{NewApiKey, Scope};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

pub(crate) use answer::Answer;
pub(crate) use worker::Worker;

/// Bound of everything that is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A key of the first tenant that may do everything; others are `KEY` with an ending.
pub(crate) const KEY: &str = "dk_first";
pub(crate) const OTHER_KEY: &str = "dk_second";
/// The one network that callers' URLs may lead to although it is not public.
const ADMITTED: &str = "127.0.0.3/32";
/// A key of an operator that may do everything.
pub(crate) const OPERATOR_KEY: &str = "dk_operator";

const CATALOG: &str = r#"[
    {"pipeline": "text-to-image", "model_id": "test/painter", "source": "builtin:fake", "default": true,
     "aliases": ["gpt-image-1"], "price_per_unit": "0.00000002", "currency": "USD",
     "defaults": {"width": 64, "height": 64, "steps": 4, "guidance_scale": 4},
     "limits": {"max_side": 256, "max_images": 4, "max_steps": 50}, "qualities": {"low": 2}},
    {"pipeline": "text-to-image", "model_id": "test/sketcher", "source": "builtin:fake"},
    {"pipeline": "text-to-image", "model_id": "test/distilled", "source": "builtin:fake",
     "defaults": {"width": 512, "height": 512, "steps": 4, "guidance_scale": 0}, "limits": {"steps": [2, 4, 8]}},
    {"pipeline": "image-to-text", "model_id": "test/captioner", "source": "builtin:fake", "warm": true}
]"#;

pub(crate) struct App {
    pub(crate) database: TestDatabase,
    pub(crate) blobs: Blobs,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) admin: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    http: reqwest::Client,
    api: Api,
    running: Vec<JoinHandle<()>>,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::start_with_capacity(Capacity::default()).await
    }

    /// An app in which no more than this may wait.
    pub(crate) async fn start_with_capacity(capacity: Capacity) -> Self {
        let storage = storage("darkroom-test");
        Blobs::connect(&storage).ensure_bucket().await.expect("the test storage answers");
        Self::start_on(storage, capacity).await
    }

    /// An app on storage of its own choice, whether it is there or not.
    pub(crate) async fn start_with(storage: BlobsConfig) -> Self {
        Self::start_on(storage, Capacity::default()).await
    }

    async fn start_on(storage: BlobsConfig, capacity: Capacity) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = TestDatabase::create().await;
        make_keys(&database).await;
        let blobs = Blobs::connect(&storage);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = admin_listener.local_addr().unwrap();
        let public = Url::parse(&format!("http://{address}")).unwrap();
        let secret = UrlSecret::parse(&"5a".repeat(32).into()).unwrap();
        let stop = CancellationToken::new();
        let api = Api::new(ApiParts {
            store: database.store.clone(),
            blobs: blobs.clone(),
            catalog: Arc::new(Catalog::parse(CATALOG).unwrap()),
            links: Links::new(&public, secret),
            mint: Mint::from_os(),
            capacity,
            outbound: Outbound::new(Guard::new(vec![ADMITTED.parse().unwrap()]), Names::of_system().unwrap())
                .unwrap(),
            stop: stop.clone(),
        });
        let server = Server::new(listener, router(api.clone()), stop.clone(), CancellationToken::new());
        let routes = admin_router(api.clone());
        let admin_server = Server::new(admin_listener, routes, stop.clone(), CancellationToken::new());
        let (watch, store, stopping) = (api.watch().clone(), database.store.clone(), stop.clone());
        let (announcing, announced) = (database.store.clone(), stop.clone());
        let running = vec![
            tokio::spawn(server.run()),
            tokio::spawn(admin_server.run()),
            tokio::spawn(async move { watch.run(&store, &stopping).await }),
            tokio::spawn(async move { announcing.announce(&announced).await }),
        ];
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { database, blobs, address, admin, stop, http, api, running }
    }

    /// Stops everything and drops the database. Fails when something does not stop.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for running in self.running {
            timeout(SOON, running).await.expect("stops in time").unwrap();
        }
        self.api.settled(SOON).await;
        self.database.drop_database().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request of the first tenant.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(KEY)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A request of an operator.
    pub(crate) fn operate(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}/admin/v1{path}", self.admin)).bearer_auth(OPERATOR_KEY)
    }

    /// A request without a key.
    pub(crate) fn anonymous(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url)
    }

    pub(crate) async fn submit(&self, document: &Value) -> Answer {
        Answer::of(self.post("/v1/jobs").json(document)).await
    }

    /// A queued text-to-image job: its id.
    pub(crate) async fn queued(&self) -> String {
        let answer = self.submit(&picture()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.id()
    }

    /// Returns when answers about this many jobs are held back.
    pub(crate) async fn held(&self, jobs: usize) {
        eventually("answers are held", async || self.api.watch().len() == jobs).await;
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::new(self.database.store.clone(), self.blobs.clone())
    }
}

/// The smallest text-to-image document, with a seed so that answers are the same every time.
pub(crate) fn picture() -> Value {
    json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle", "seed": 7}})
}

/// A bucket on the test storage.
pub(crate) fn storage(bucket: &str) -> BlobsConfig {
    #[expect(clippy::disallowed_methods, reason = "test servers are named by the environment")]
    let var =
        |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run through `cargo xtask test`"));
    BlobsConfig {
        s3_endpoint: Url::parse(&var("TEST_S3_ENDPOINT")).unwrap(),
        s3_region: "us-east-1".to_owned(),
        s3_bucket: bucket.to_owned(),
        s3_access_key_id: var("TEST_S3_ACCESS_KEY_ID"),
        s3_secret_access_key: var("TEST_S3_SECRET_ACCESS_KEY").into(),
        s3_public_endpoint: None,
    }
}

/// Asks until the answer is yes.
pub(crate) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !ask().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, asking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Two tenants and their keys.
async fn make_keys(database: &TestDatabase) {
    let tenants = [Uuid::now_v7(), Uuid::now_v7()].map(TenantId::from_uuid);
    for (tenant, name) in tenants.iter().zip(["first", "second"]) {
        database.store.create_tenant(*tenant, name).await.unwrap();
    }
    let keys = [
        (KEY, Some(tenants[0]), &Scope::ALL[..]),
        (OTHER_KEY, Some(tenants[1]), &Scope::ALL[..]),
        ("dk_first_submit", Some(tenants[0]), &[Scope::Submit][..]),
        ("dk_first_read", Some(tenants[0]), &[Scope::Read][..]),
        (OPERATOR_KEY, None, &Scope::ALL[..]),
        ("dk_operator_read", None, &[Scope::Read][..]),
        ("dk_operator_submit", None, &[Scope::Submit][..]),
    ];
    for (key, tenant, scopes) in keys {
        let new = NewApiKey {
            id: Uuid::now_v7(),
            tenant,
            name: key.to_owned(),
            prefix: key.to_owned(),
            hash: Sha256::digest(key).into(),
            scopes: scopes.to_vec(),
            lifetime: None,
            max_interactive: None,
        };
        database.store.create_api_key(&new).await.unwrap();
    }
}
