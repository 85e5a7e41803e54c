use std::process::{Command, Stdio};

use darkroom_e2e::{Catalog, Deployment, fault_seed, schemathesis};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Requests to each operation and for each kind of data, with all of what there is to check but that whatever the
/// document allows is accepted: some rules, such as how far back a report goes, are in no schema.
const ARGUMENTS: [&str; 11] = [
    "--checks",
    "all",
    "--exclude-checks",
    "positive_data_acceptance",
    "--max-examples",
    "25",
    "--continue-on-failure",
    "--no-shrink",
    "--request-timeout",
    "10",
    "--no-color",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_does_what_its_document_says() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let key = deployment.key("a").await;
    compare(&format!("{}/openapi.json", deployment.url), &key, &[]).await;
    let log = deployment.api.log();
    assert!(!log.contains("panicked") && !log.contains("failed inside"), "the API failed inside");
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_api_does_what_its_document_says() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    deployment.key("a").await;
    let (operations, key) = deployment.operator().await;
    // Else it soon finds the key that it comes with, and stops it.
    let left_out = ["--exclude-path-regex", "keys/.*/(revoke|rotate)$"];
    compare(&format!("{operations}/admin/v1/openapi.json"), &key, &left_out).await;
    let log = deployment.api.log();
    assert!(!log.contains("panicked") && !log.contains("failed inside"), "the API failed inside");
    deployment.end().await;
}

/// Lets Schemathesis compare an API with the document at `url`.
async fn compare(url: &str, key: &str, further: &[&str]) {
    let seed = fault_seed().unwrap_or_else(|| StdRng::from_os_rng().random_range(0..1_000_000));
    println!("drawn from seed {seed}: cargo xtask test openapi --seed {seed}");
    // It keeps what it has seen where it runs.
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(schemathesis());
    command.args(["-m", "schemathesis.cli", "run", url]);
    command.arg("--header").arg(format!("Authorization: Bearer {key}"));
    command.args(ARGUMENTS).args(further).arg("--seed").arg(seed.to_string());
    command.current_dir(folder.path()).env("NO_PROXY", "*").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "schemathesis found failures");
}
