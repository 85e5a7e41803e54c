//! Our own client for Python, which is generated from the API's document, and that document.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use darkroom_e2e::{Catalog, Deployment, python_client};
use tempfile::TempDir;

use crate::documents::document;

/// Runs a script that uses the client on a deployment of its own, with a fast model, a slow one and one for captions.
async fn works(script: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut catalog = Catalog::fake(1).with_captions();
    let slow = catalog.add_fake(2_000);
    // The script is told by webhook on the loopback address.
    let deployment = Deployment::with(&catalog, &[("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32")]).await;
    let worker = deployment.worker().await;
    let mut command = python(script, &folder);
    command.env("DARKROOM_URL", &deployment.url).env("DARKROOM_API_KEY", deployment.key("a").await);
    command.env("FAST_MODEL", &catalog.model).env("SLOW_MODEL", slow);
    command.env("PICTURE", PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images/demo.png"));
    succeeded(tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap());
    let log = deployment.api.log();
    assert!(!log.contains("panicked") && !log.contains("failed inside"), "the API failed inside: {log}");
    drop(worker);
    deployment.end().await;
}

fn python(script: &Path, folder: &TempDir) -> Command {
    let [python, wheel] = python_client();
    let mut command = Command::new(python);
    command.arg(script).current_dir(folder.path()).stdin(Stdio::null());
    command.env("PYTHONPATH", wheel).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
    command
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients").join(name)
}

fn succeeded(output: Output) {
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_does_what_its_methods_say() {
    works(&script("darkroom_client.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_python_client_work() {
    let readme = document("clients/python/README.md");
    let blocks = readme.split("\n```python\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let blocks: Vec<&str> = blocks.collect();
    assert!(blocks.len() > 3, "the README has lost its examples");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("readme.py");
    std::fs::write(&path, blocks.join("\n")).unwrap();
    works(&path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_of_the_api_are_valid_and_so_are_their_examples() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let (operations, _) = deployment.operator().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    for url in [format!("{}/openapi.json", deployment.url), format!("{operations}/admin/v1/openapi.json")] {
        let document = reqwest::get(url).await.unwrap();
        std::fs::write(&path, document.bytes().await.unwrap()).unwrap();
        let mut command = python(&script("openapi_document.py"), &folder);
        command.stdin(std::fs::File::open(&path).unwrap());
        succeeded(tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap());
    }
    deployment.end().await;
}
