//! A whole Darkroom for one test.

use std::path::PathBuf;

use darkroom_client::Client;
use darkroom_jobs::{Lane, Pipeline};
use darkroom_store::testing::TestDatabase;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::command_line::CommandLine;
use crate::environment::{servers, variable};
use crate::service::Service;

/// Names of the models of a test. Queues are shared with other tests, so every test has names of its own.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: Vec<Value>,
    /// Model that serves requests which name none.
    pub model: String,
}

fn fake(model: &str, step_ms: u64) -> Value {
    json!({
        "pipeline": "text-to-image", "model_id": model, "source": format!("builtin:fake?step_ms={step_ms}"),
        "warm": true, "price_per_unit": 1e-8,
        "defaults": {"width": 64, "height": 64, "steps": 4, "guidance_scale": 1.0},
    })
}

impl Catalog {
    /// One fake text-to-image model whose every step takes `step_ms`.
    pub fn fake(step_ms: u64) -> Self {
        let model = format!("fake-{}", Uuid::now_v7().simple());
        Self { entries: vec![fake(&model, step_ms)], model }
    }

    /// Adds another one, and returns its name.
    pub fn add_fake(&mut self, step_ms: u64) -> String {
        let model = format!("fake-{}", Uuid::now_v7().simple());
        self.entries.push(fake(&model, step_ms));
        model
    }

    /// The same for one whose attempts may take a second.
    pub fn add_hasty_fake(&mut self) -> String {
        let model = self.add_fake(1);
        let entry = self.entries.last_mut().expect("it was added");
        entry["timeout"] = 1.into();
        model
    }

    /// A text-to-image model that is fetched from the hub's repository `id`.
    pub fn hub(id: &str) -> Self {
        Self::stored(&format!("hub:{id}"))
    }

    /// A text-to-image model that is fetched from `source`.
    pub fn stored(source: &str) -> Self {
        let model = format!("stored-{}", Uuid::now_v7().simple());
        let entry = json!({
            "pipeline": "text-to-image", "model_id": model, "source": source, "warm": true,
            "defaults": {"width": 64, "height": 64, "steps": 2, "guidance_scale": 1.0},
        });
        Self { entries: vec![entry], model }
    }

    /// The same, and a fake image-to-text model.
    pub fn with_captions(mut self) -> Self {
        let model = format!("{}-captions", self.model);
        self.entries.push(json!({
            "pipeline": "image-to-text", "model_id": model, "source": "builtin:fake", "warm": true,
        }));
        self
    }

    /// The bundled demo models, their LoRA, and one for another model.
    pub fn demo() -> Self {
        let id = Uuid::now_v7().simple();
        let model = format!("shapes-sd-{id}");
        let picture = json!({
            "pipeline": "text-to-image", "model_id": model, "source": "shapes-sd", "warm": true,
            "defaults": {"width": 128, "height": 128, "steps": 25, "guidance_scale": 4.0},
        });
        let caption = json!({
            "pipeline": "image-to-text", "model_id": format!("shapes-blip-{id}"), "source": "shapes-blip", "warm": true,
        });
        let lora = json!({"pipeline": "lora", "model_id": "shapes-lora", "source": "shapes-lora"});
        let other = models_folder().join("../crates/models/tests/reference/lora/peft.safetensors");
        let misfit = json!({"pipeline": "lora", "model_id": "misfit", "source": other});
        Self { entries: vec![picture, caption, lora, misfit], model }
    }
}

/// API and dispatcher on a database of their own.
#[derive(Debug)]
pub struct Deployment {
    /// The database.
    pub database: TestDatabase,
    /// The API.
    pub api: Service,
    /// The dispatcher.
    pub dispatcher: Service,
    /// Where the API answers.
    pub url: String,
    lane: Lane,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Deployment {
    /// Starts API and dispatcher with the shared broker.
    pub async fn start(catalog: &Catalog) -> Self {
        Self::with(catalog, &[]).await
    }

    /// Starts them with further settings.
    pub async fn with(catalog: &Catalog, further: &[(&str, &str)]) -> Self {
        Self::on(TestDatabase::create().await, catalog, further).await
    }

    /// Starts them on a database that a test has made, with settings that may lead there and elsewhere in other ways.
    pub async fn on(database: TestDatabase, catalog: &Catalog, further: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("catalog.json");
        std::fs::write(&path, Value::from(catalog.entries.clone()).to_string())
            .expect("the folder is writable");
        let mut settings = servers();
        settings.extend([
            ("DATABASE_URL".to_owned(), database.url().to_owned()),
            ("DARKROOM_CATALOG".to_owned(), path.display().to_string()),
            ("DARKROOM_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("DARKROOM_URL_SECRET".to_owned(), "5e".repeat(32)),
            ("DARKROOM_ALLOW_FAKE".to_owned(), "true".to_owned()),
            ("DARKROOM_MODELS_DIR".to_owned(), models_folder().display().to_string()),
        ]);
        settings.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        run("darkroom-api", &["migrate"], &settings, &folder).await;
        let mut api = Service::spawn("darkroom-api", &["serve"], &settings, folder.path());
        let url = format!("http://{}", api.logged("serving", "address").await);
        const PUBLIC: &str = "DARKROOM_PUBLIC_URL";
        if settings.iter().all(|(name, _)| name != PUBLIC) {
            settings.push((PUBLIC.to_owned(), url.clone()));
        }
        let mut dispatcher = Service::spawn("darkroom-dispatcher", &[], &settings, folder.path());
        dispatcher.ready().await;
        let lane = Lane::new(Pipeline::TextToImage, &catalog.model).expect("the model's name is one");
        Self { database, api, dispatcher, url, lane, folder, settings }
    }

    /// The lane of requests that name no model.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The settings of its services.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (&name[..], &value[..])).collect()
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn setting(&self, name: &str) -> &str {
        let setting = self.settings.iter().find(|(other, _)| other == name);
        setting.map(|(_, value)| &value[..]).unwrap_or_else(|| panic!("{name} is not set"))
    }

    /// A new tenant's client.
    pub async fn tenant(&self, name: &str) -> Client {
        Client::new(&self.url, self.key(name).await).expect("the URL is one")
    }

    /// The command line of a new tenant.
    pub async fn command_line(&self, name: &str) -> CommandLine {
        CommandLine::new(&self.url, &self.key(name).await)
    }

    /// A new tenant's key.
    pub async fn key(&self, name: &str) -> String {
        run("darkroom-api", &["tenants", "create", name], &self.settings, &self.folder).await;
        let arguments = ["api-keys", "create", "--tenant", name, "--name", "test"];
        run("darkroom-api", &arguments, &self.settings, &self.folder).await.trim().to_owned()
    }

    /// Where the API answers operators, and a new operator's key.
    pub async fn operator(&self) -> (String, String) {
        let arguments = ["api-keys", "create", "--operator", "--name", "test"];
        let key = run("darkroom-api", &arguments, &self.settings, &self.folder).await;
        (self.api.operations_url(), key.trim().to_owned())
    }

    /// A further worker, ready.
    pub async fn worker(&self) -> Service {
        self.worker_with(&[]).await
    }

    /// A further worker with settings of its own, ready.
    pub async fn worker_with(&self, further: &[(&str, &str)]) -> Service {
        let mut worker = self.spawn("darkroom-worker", &[], further);
        worker.ready().await;
        worker
    }

    /// Starts a program of this deployment.
    pub fn spawn(&self, name: &str, arguments: &[&str], further: &[(&str, &str)]) -> Service {
        let mut settings = self.settings.clone();
        settings.retain(|(name, _)| further.iter().all(|(other, _)| name != other));
        settings.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Service::spawn(name, arguments, &settings, self.folder.path())
    }

    /// Starts the API again where it was, after it was killed.
    pub async fn restart_api(&mut self) {
        self.restart_api_with(&[]).await;
    }

    /// The same with further settings.
    pub async fn restart_api_with(&mut self, further: &[(&str, &str)]) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        let settings = [&[("DARKROOM_LISTEN", &listen[..])], further].concat();
        self.api = self.spawn("darkroom-api", &["serve"], &settings);
        self.api.logged("serving", "address").await;
    }

    /// Starts another dispatcher in place of the one that was, with further settings.
    pub async fn restart_dispatcher_with(&mut self, further: &[(&str, &str)]) {
        self.dispatcher = self.spawn("darkroom-dispatcher", &[], further);
        self.dispatcher.ready().await;
    }

    /// Ends everything and drops the database.
    pub async fn end(mut self) {
        self.api.kill();
        self.dispatcher.kill();
        self.database.drop_database().await;
    }
}

/// Runs a command to its end and returns what it printed.
async fn run(name: &str, arguments: &[&str], settings: &[(String, String)], folder: &TempDir) -> String {
    let mut command = Service::spawn(name, arguments, settings, folder.path());
    let status = command.exited().await;
    assert!(status.success(), "{name} {arguments:?}: {status}\n{}", command.log());
    command.log()
}

/// The bundled models.
pub fn models_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// The bucket of the tests.
pub fn bucket() -> &'static str {
    crate::environment::BUCKET
}

/// Storage as the tests see it: to look for objects that should, or should not, be there.
pub fn blobs() -> darkroom_blobs::Blobs {
    darkroom_blobs::Blobs::connect(&darkroom_blobs::BlobsConfig {
        s3_endpoint: variable("TEST_S3_ENDPOINT").parse().expect("TEST_S3_ENDPOINT is a URL"),
        s3_region: variable("TEST_S3_REGION"),
        s3_bucket: crate::environment::BUCKET.to_owned(),
        s3_access_key_id: variable("TEST_S3_ACCESS_KEY_ID"),
        s3_secret_access_key: variable("TEST_S3_SECRET_ACCESS_KEY").into(),
        s3_public_endpoint: None,
    })
}
