//! The documents: every command in them is run as written, and every setting and metric they name is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use darkroom_e2e::{Running, programs_folder};

/// Run before a document's commands: a failed one ends the script and is named, and so does an HTTP error.
const PRELUDE: &str = r#"
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND" >&2' ERR
curl() { command curl --fail-with-body "$@"; }
"#;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The blocks of shell commands, in order.
pub(crate) fn commands(document: &str) -> Vec<String> {
    let blocks = document.split("\n```sh\n").skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// Lines that find a service; the tests have found theirs.
fn finds_service(line: &str) -> bool {
    line.starts_with("export DARKROOM_") || line.starts_with("eval \"$(cargo xtask env)\"")
}

/// Runs a script with these variables and returns what it printed.
pub(crate) fn shell(script: &str, folder: &Path, variables: &[(&str, &str)]) -> String {
    let lines: Vec<&str> = script.lines().filter(|line| !finds_service(line)).collect();
    let path = [programs_folder(), "/usr/local/bin".into(), "/usr/bin".into(), "/bin".into()];
    let output = Command::new("bash")
        .args(["-c", &format!("{PRELUDE}{}\n", lines.join("\n"))])
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("HOME", folder)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{complaints}\n{said}", output.status);
    said
}

/// A folder with the pictures that the documents take for granted.
fn folder_with_pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let picture = root().join("docs/images/demo.png");
    std::fs::create_dir_all(folder.path().join(".stack/demo")).unwrap();
    for name in ["circle.png", ".stack/demo/picture.png"] {
        std::fs::copy(&picture, folder.path().join(name)).unwrap();
    }
    folder
}

async fn runs_as_written(name: &str) -> String {
    let service = Running::find_or_start().await;
    let folder = folder_with_pictures();
    let said = shell(&commands(&document(name)).concat(), folder.path(), &service.variables());
    service.end().await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_readme_run_as_written() {
    let said = runs_as_written("README.md").await;
    assert_eq!(said.matches(r#""state":"succeeded""#).count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_api_document_run_as_written() {
    let said = runs_as_written("docs/api.md").await;
    assert!(said.contains(r#""state":"canceled""#), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_command_line_document_run_as_written() {
    let said = runs_as_written("docs/cli.md").await;
    assert!(said.contains("out-4.png") && said.contains(" is canceled"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_stands_in_the_api_document_with_a_command() {
    let service = Running::find_or_start().await;
    let folder = tempfile::tempdir().unwrap();
    let openapi = shell("curl -sS \"$DARKROOM_URL/openapi.json\"\n", folder.path(), &service.variables());
    service.end().await;
    let openapi: serde_json::Value = serde_json::from_str(&openapi).unwrap();
    let api = document("docs/api.md");
    let sections: Vec<&str> = api.split("\n## ").collect();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let row = api
                .lines()
                .find(|line| line.starts_with("| [") && line.contains(&format!("`{method} {path}")));
            let anchor = row.and_then(|row| row.split(['#', ')']).nth(1));
            let anchor = anchor.unwrap_or_else(|| panic!("docs/api.md has no row for {method} {path}"));
            let section = sections.iter().find(|section| anchor_of(section) == anchor);
            assert!(
                section.is_some_and(|section| section.contains("\n```sh\n")),
                "no command for {method} {path}"
            );
        }
    }
}

/// The anchor of a section, as it is made of its heading.
fn anchor_of(section: &str) -> String {
    section.lines().next().unwrap_or_default().to_lowercase().replace(' ', "-")
}

/// A setting's default: a value, or none that the program knows beforehand.
#[derive(Debug, PartialEq, Eq)]
enum Default {
    Value(String),
    Required,
    None,
}

/// The settings that a program says it has.
fn settings_of(program: &str, subcommand: &str) -> BTreeMap<String, Default> {
    let mut command = Command::new(programs_folder().join(program));
    command.args(Some(subcommand).filter(|word| !word.is_empty())).arg("--help").env_clear();
    let help = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let usage = help.split("Usage: ").nth(1).unwrap().split(" Options: ").next().unwrap();
    let mut settings = BTreeMap::new();
    for setting in help.split("[env: ").skip(1) {
        let name = setting.split(['=', ']']).next().unwrap().to_owned();
        let default =
            setting.split_once("[default: ").map(|(_, rest)| rest.split(']').next().unwrap().to_owned());
        let default = match default.filter(|value| value != "\"\"") {
            Some(value) => Default::Value(value),
            None if usage.contains(&format!("<{name}>")) => Default::Required,
            None => Default::None,
        };
        settings.insert(name, default);
    }
    settings
}

/// The settings in the tables of these sections.
fn documented(document: &str, sections: &[&str]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for section in document.split("\n#").filter(|section| {
        let heading = section.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        sections.contains(&heading)
    }) {
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            for name in cells[0].trim_start_matches("| ").split(", ") {
                settings.insert(name.trim_matches('`').to_owned(), cells[1].trim().to_owned());
            }
        }
    }
    settings
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let (operations, cli) = (document("docs/operations.md"), document("docs/cli.md"));
    for (program, subcommand, document, sections) in [
        ("darkroom-api", "serve", &operations, &["All services", "API"][..]),
        ("darkroom-dispatcher", "", &operations, &["All services", "Dispatcher"]),
        ("darkroom-worker", "", &operations, &["All services", "Worker"]),
        ("darkroom", "models", &cli, &["The command line"]),
    ] {
        let settings = settings_of(program, subcommand);
        let documented = documented(document, sections);
        let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(settings.keys().collect()), names(documented.keys().collect()), "{program}");
        for (name, default) in settings {
            let cell = &documented[&name];
            match &default {
                Default::Value(value) => assert_eq!(cell, &format!("`{value}`"), "{program} {name}"),
                Default::Required => assert_eq!(cell, "required", "{program} {name}"),
                Default::None => {
                    assert!(cell != "required" && !cell.is_empty(), "{program} {name}: `{cell}`")
                }
            }
        }
    }
}

/// Names of metrics, in double quotes in the services' sources.
fn metrics_in_sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("tests") {
            metrics_in_sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            let quoted = text.split('"').filter(|word| word.starts_with("darkroom_"));
            let plain = quoted.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            // Our crates have such names, too, and so have the metrics of a test.
            let crates =
                |word: &str| ["crates", "services"].map(|folder| root().join(folder).join(&word[9..]));
            let metrics =
                plain.filter(|word| !word.contains("_test") && !crates(word).iter().any(|it| it.exists()));
            found.extend(metrics.map(str::to_owned));
        }
    }
}

#[test]
fn every_metric_is_documented() {
    let mut found = BTreeSet::new();
    // `crates/store` has none, and names of its own that look alike: channels of NOTIFY.
    for folder in ["services", "crates/queue", "crates/ops"] {
        metrics_in_sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 10, "{found:?}");
    let operations = document("docs/operations.md");
    let rows = operations.lines().filter(|line| line.starts_with("| `darkroom_"));
    let documented: BTreeSet<String> = rows
        .flat_map(|row| row.split(" | ").next().unwrap().split('`'))
        .filter(|word| word.starts_with("darkroom_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, found);
}
