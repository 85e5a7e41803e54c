//! The official clients of other systems, unmodified, pointed at the service by the lines in docs/api.md.
//!
//! Each script in `clients/` begins with those lines (`from point import *`) and ends with an error at the first thing
//! that is not as its client's callers expect.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use darkroom_e2e::{Catalog, Deployment, TlsFront, clients};

use crate::documents::document;

/// The lines that the document gives for a client.
fn lines(heading: &str) -> String {
    let api = document("docs/api.md");
    let section = api.split("\n### ").find(|section| section.starts_with(heading));
    let block = section.and_then(|section| section.split("\n```python\n").nth(1));
    let block = block.and_then(|rest| rest.split("\n```").next());
    block.unwrap_or_else(|| panic!("docs/api.md has no Python for {heading}")).to_owned()
}

/// Runs the script of a client on a deployment of its own behind TLS, with a fast model, a slow one and one for captions.
async fn works(heading: &str, script: &str) {
    let front = TlsFront::start().await;
    let mut catalog = Catalog::fake(1).with_captions();
    let slow = catalog.add_fake(2_000);
    let deployment =
        Deployment::with(&catalog, &[("DARKROOM_PUBLIC_URL", &format!("https://{}", front.host()))]).await;
    front.lead_to(deployment.url.trim_start_matches("http://").parse().unwrap());
    let worker = deployment.worker().await;
    let key = deployment.key("a").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("point.py"), lines(heading)).unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, front.authority()).unwrap();
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients");
    let mut command = Command::new(clients());
    command.arg(scripts.join(script)).current_dir(folder.path()).stdin(Stdio::null());
    command.env("PYTHONPATH", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    command.env("SSL_CERT_FILE", &authority).env("REQUESTS_CA_BUNDLE", &authority);
    command.env("DARKROOM_URL", format!("https://{}", front.host())).env("DARKROOM_API_KEY", key);
    command.env("DARKROOM_HOST", front.host());
    command.env("FAST_MODEL", &catalog.model).env("SLOW_MODEL", slow);
    command.env("PICTURE", PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images/demo.png"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}", output.status);
    let log = deployment.api.log();
    assert!(!log.contains("panicked") && !log.contains("failed inside"), "the API failed inside: {log}");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_livepeer_works_unmodified() {
    works("Livepeer", "livepeer.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_openai_works_unmodified() {
    works("OpenAI", "openai_images.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_replicate_works_unmodified() {
    works("Replicate", "replicate_predictions.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_fal_works_unmodified() {
    works("fal", "fal_queue.py").await;
}
