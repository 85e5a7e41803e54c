//! The direction of dependencies, as `docs/architecture.md` has it, checked against the manifests.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crates of other people that only one of ours may name, beside what is compared with it in benchmarks.
const WRAPPERS: [(&str, &str); 4] = [
    ("sqlx", "darkroom-store"),
    ("lapin", "darkroom-queue"),
    ("aws-sdk-s3", "darkroom-blobs"),
    ("candle-core", "darkroom-models"),
];
/// Crates that know nothing of one another; only services combine them.
const PARTS: [&str; 7] = [
    "darkroom-store",
    "darkroom-queue",
    "darkroom-blobs",
    "darkroom-models",
    "darkroom-links",
    "darkroom-outbound",
    "darkroom-pictures",
];
const SERVICES: [&str; 3] = ["darkroom-api", "darkroom-dispatcher", "darkroom-worker"];

/// Names of the dependencies of each package, without those of its tests and its build script.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let normal = list(&package["dependencies"]).iter().filter(|it| it["kind"].is_null());
            (name(package), normal.map(name).collect())
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("metadata has lists of packages and dependencies")
}

fn name(value: &Value) -> String {
    value["name"].as_str().expect("everything has a name").to_owned()
}

fn family(name: &str) -> &str {
    if name.starts_with("candle-") { "candle-core" } else { name }
}

#[test]
fn each_foreign_system_has_one_crate_that_knows_it() {
    for (package, names) in dependencies() {
        for name in names {
            let wrapper = WRAPPERS.iter().find(|(wrapped, _)| *wrapped == family(&name));
            if let Some((_, wrapper)) = wrapper {
                let compared = package == "darkroom-bench";
                assert!(package == *wrapper || compared, "{package} depends on {name}");
            }
        }
    }
}

#[test]
fn parts_do_not_know_one_another() {
    let all = dependencies();
    for part in PARTS {
        for name in all[part].iter().filter(|name| name.starts_with("darkroom-")) {
            assert_eq!(name, "darkroom-jobs", "{part} depends on {name}");
        }
    }
}

/// What is said about a job is a function of its rows, for whoever says it.
#[test]
fn surfaces_know_jobs_rows_and_links_and_do_no_io() {
    let known = ["darkroom-jobs", "darkroom-links", "darkroom-store"];
    let banned = ["axum", "reqwest", "tokio", "rand"];
    for name in &dependencies()["darkroom-surfaces"] {
        let ours = name.starts_with("darkroom-");
        assert!(
            if ours { known.contains(&name.as_str()) } else { !banned.contains(&name.as_str()) },
            "{name}"
        );
    }
}

#[test]
fn domain_depends_on_none_of_ours_and_does_no_io() {
    let banned = ["tokio", "reqwest", "sqlx", "axum", "rand"];
    for name in &dependencies()["darkroom-jobs"] {
        assert!(!name.starts_with("darkroom-") && !banned.contains(&name.as_str()), "jobs depends on {name}");
    }
}

#[test]
fn api_links_neither_models_nor_broker() {
    for name in &dependencies()["darkroom-api"] {
        assert!(!["darkroom-models", "darkroom-queue"].contains(&name.as_str()), "api depends on {name}");
    }
}

#[test]
fn models_know_no_network_and_no_runtime() {
    for name in &dependencies()["darkroom-models"] {
        assert!(!["tokio", "reqwest", "hyper"].contains(&name.as_str()), "models depends on {name}");
    }
}

#[test]
fn nothing_but_the_tests_depends_on_a_service() {
    for (package, names) in dependencies() {
        for name in names.iter().filter(|name| SERVICES.contains(&name.as_str())) {
            assert_eq!(package, "darkroom-e2e", "{package} depends on {name}");
        }
    }
}
