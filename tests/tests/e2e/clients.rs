//! The official clients of other systems, unmodified, pointed at the service by the lines in docs/api.md.
//!
//! Each script in `clients/` takes those lines as `point`, and ends with an error at the first thing that is not as its
//! client's callers expect.

mod control;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use darkroom_client::Client;
use darkroom_e2e::{Catalog, Deployment, Lines, Proxy, TlsFront, clients, node_clients};
use darkroom_jobs::{Lane, Pipeline};
use darkroom_store::LimitChanges;
use serde_json::json;

use self::control::{Control, Disturbable};
use crate::documents::document;

/// A script and its language.
#[derive(Debug, Clone, Copy)]
enum Script {
    Python(&'static str),
    JavaScript(&'static str),
}

impl Script {
    fn language(self) -> &'static str {
        match self {
            Self::Python(_) => "python",
            Self::JavaScript(_) => "js",
        }
    }

    /// The lines that the document gives for a client in this language.
    fn lines(self, heading: &str) -> String {
        let api = document("docs/api.md");
        let section = api.split("\n### ").find(|section| section.starts_with(heading));
        let block = section.and_then(|section| section.split(&format!("\n```{}\n", self.language())).nth(1));
        let block = block.and_then(|rest| rest.split("\n```").next());
        block.unwrap_or_else(|| panic!("docs/api.md has no {} for {heading}", self.language())).to_owned()
    }

    /// What runs it in `folder`; `None` on a machine that cannot.
    fn command(self, heading: &str, folder: &Path) -> Option<Command> {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients");
        match self {
            Self::Python(name) => {
                std::fs::write(folder.join("point.py"), self.lines(heading)).unwrap();
                let mut command = Command::new(clients());
                command.arg(scripts.join(name)).env("PYTHONPATH", folder);
                command.env("PYTHONDONTWRITEBYTECODE", "1").env("SSL_CERT_FILE", folder.join(AUTHORITY));
                Some(command)
            }
            Self::JavaScript(name) => {
                let packages = node_clients()?;
                // Modules are looked for beside the script that imports them.
                symlink(Path::new(&packages).join("node_modules"), folder.join("node_modules")).unwrap();
                for script in ["expect.mjs", name] {
                    std::fs::copy(scripts.join(script), folder.join(script)).unwrap();
                }
                let lines = format!("{}\nexport {{ client }};\n", self.lines(heading));
                std::fs::write(folder.join("point.mjs"), lines).unwrap();
                let mut command = Command::new("node");
                command.arg(folder.join(name)).env("NODE_EXTRA_CA_CERTS", folder.join(AUTHORITY));
                Some(command)
            }
        }
    }
}

/// The certificate that the scripts have to trust.
const AUTHORITY: &str = "authority.pem";

/// What waits at most, in pixels: less than [`busy`] has waiting, and much more than the scripts have.
const MAX_QUEUED_PIXELS: &str = "20000000";

/// Runs the script of a client on a deployment of its own behind TLS, with a fast model, a slow one, one that nobody
/// serves and one for captions.
async fn works(heading: &str, script: Script) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut command) = script.command(heading, folder.path()) else {
        return println!("not run: there is no Node on this machine, and nothing installs it");
    };
    let front = TlsFront::start().await;
    std::fs::write(folder.path().join(AUTHORITY), front.authority()).unwrap();
    let mut catalog = Catalog::fake(1).with_captions();
    let (slow, idle) = (catalog.add_fake(2_000), catalog.add_hasty_fake());
    let url = format!("https://{}", front.host());
    // The scripts are told by webhook on the loopback address.
    let settings = [
        ("DARKROOM_PUBLIC_URL", &*url),
        ("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32"),
        ("DARKROOM_MAX_QUEUED_PIXELS", MAX_QUEUED_PIXELS),
    ];
    let mut deployment = Deployment::with(&catalog, &settings).await;
    let control = controlled(&mut deployment, &front).await;
    let lane = Lane::new(Pipeline::TextToImage, &idle).unwrap();
    deployment.database.store.pause_lane(&lane, None).await.unwrap();
    let worker = deployment.worker().await;
    command.current_dir(folder.path()).stdin(Stdio::null()).env("NO_PROXY", "*");
    command.env("DARKROOM_URL", &url).env("DARKROOM_HOST", front.host()).env("CONTROL", &control.url);
    command.env("DIRECT_URL", &deployment.url);
    let (busy, limited) = tokio::join!(busy(&deployment, &idle), limited(&deployment));
    command.env("DARKROOM_API_KEY", &control.key).env("BUSY_API_KEY", busy).env("LIMITED_API_KEY", limited);
    command.env("FAST_MODEL", &catalog.model).env("SLOW_MODEL", slow).env("IDLE_MODEL", idle);
    command.env("PICTURE", PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images/demo.png"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script:?}: {}", output.status);
    let log = deployment.api.log();
    assert!(!log.contains("panicked") && !log.contains("failed inside"), "the API failed inside: {log}");
    drop((worker, control));
    deployment.end().await;
}

/// Lays lines that can be disturbed: from the front to the API, and from the API to its database.
async fn controlled(deployment: &mut Deployment, front: &TlsFront) -> Control {
    let database = Lines::lay(deployment.database.url(), None).await;
    deployment.restart_api_with(&[database.setting("DATABASE_URL")]).await;
    let callers = Proxy::start(deployment.url.trim_start_matches("http://")).await;
    front.lead_to(callers.address());
    let key = deployment.key("a").await;
    let tenant = Client::new(&deployment.url, key.clone()).unwrap();
    let operations = deployment.api.operations_url();
    Control::start(key, Disturbable { callers, database: database.database, tenant, operations }).await
}

/// The key of a tenant with as much waiting as there may: every further job is refused with 503.
async fn busy(deployment: &Deployment, idle: &str) -> String {
    let key = deployment.key("busy").await;
    let input = json!({"prompt": "a", "width": 1024, "height": 1024, "images": 4});
    let document = json!({"pipeline": "text-to-image", "model": idle, "input": input});
    let client = Client::new(&deployment.url, key.clone()).unwrap();
    for _ in 0..5 {
        client.submit(&document, None).await.unwrap();
    }
    key
}

/// The key of a tenant that may make thirty requests a minute: the next one is refused with 429, for two seconds.
async fn limited(deployment: &Deployment) -> String {
    let key = deployment.key("limited").await;
    let store = &deployment.database.store;
    let tenant = store.tenant_named("limited").await.unwrap();
    let changes = LimitChanges { requests_per_minute: Some(Some(30)), ..LimitChanges::default() };
    store.change_limits(tenant, &changes).await.unwrap();
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_of_livepeer_works_unmodified() {
    works("Livepeer", Script::Python("livepeer.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_of_openai_works_unmodified() {
    works("OpenAI", Script::Python("openai_images.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_of_replicate_works_unmodified() {
    works("Replicate", Script::Python("replicate_predictions.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_of_fal_works_unmodified() {
    works("fal", Script::Python("fal_queue.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_of_livepeer_works_unmodified() {
    works("Livepeer", Script::JavaScript("livepeer.mjs")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_of_openai_works_unmodified() {
    works("OpenAI", Script::JavaScript("openai.mjs")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_of_replicate_works_unmodified() {
    works("Replicate", Script::JavaScript("replicate.mjs")).await;
}
