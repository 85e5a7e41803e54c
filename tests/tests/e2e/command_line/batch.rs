//! `darkroom batch`, and what becomes of it when it is interrupted.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use darkroom_e2e::{Catalog, CommandLine, Deployment, Terminal, until};
use serde_json::{Value, json};

use super::reach;
use crate::verify::count;

const PICTURES: usize = 30;

/// Thirty pictures, three captions of two pictures, and a line that is refused.
fn write_input(darkroom: &CommandLine) {
    for (name, shade) in [("a.png", 10), ("b.png", 10), ("c.png", 200)] {
        image::RgbImage::from_pixel(8, 8, image::Rgb([shade; 3])).save(darkroom.path(name)).unwrap();
    }
    let picture = |seed| json!({"pipeline": "text-to-image", "input": {"prompt": "a circle", "seed": seed}});
    let caption = |image| json!({"pipeline": "image-to-text", "input": {"image": image}});
    let mut lines: Vec<Value> = (0..PICTURES).map(picture).collect();
    lines.extend(["a.png", "b.png", "c.png"].map(caption));
    lines.insert(4, json!({"pipeline": "text-to-image", "input": {"prompt": "a star", "width": 65}}));
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    // An empty line counts.
    std::fs::write(darkroom.path("jobs.jsonl"), format!("\n{}\n", lines.join("\n"))).unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last one may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The results in a folder by line, after a look at each.
fn results(folder: &Path) -> BTreeMap<u64, Value> {
    let results = lines(&folder.join("results.jsonl"));
    for file in results.iter().flat_map(|result| result["files"].as_array().unwrap()) {
        image::open(folder.join(file.as_str().unwrap())).unwrap();
    }
    let count = results.len();
    let results: BTreeMap<u64, Value> =
        results.into_iter().map(|result| (result["line"].as_u64().unwrap(), result)).collect();
    assert_eq!(results.len(), count, "no line stands there twice");
    results
}

/// The files of a folder, and which ones they are: one that is replaced is another.
fn pictures(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let pictures = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "png"));
    pictures.map(|entry| (entry.path(), entry.metadata().unwrap().ino())).collect()
}

async fn jobs(deployment: &Deployment) -> i64 {
    deployment.database.count("select count(*) from jobs").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_killed_goes_on_and_does_every_line_once() {
    let deployment = Deployment::start(&Catalog::fake(20).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    let (folder, journal) = (darkroom.path("jobs"), darkroom.path("jobs/journal.jsonl"));
    let worker = deployment.worker().await;
    for records in [1, 2, 3, 4, 8, 20] {
        let mut command = darkroom.command(&["batch", "jobs.jsonl"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(&format!("there are {records} records"), Duration::from_secs(60), || {
            let there = lines(&journal).len() >= records || child.try_wait().unwrap().is_some();
            async move { there.then_some(()) }
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = pictures(&folder);
    let noted: Vec<PathBuf> = lines(&journal)
        .iter()
        .flat_map(|record| record["ended"]["files"].as_array().cloned().unwrap_or_default())
        .map(|file| folder.join(file.as_str().unwrap()))
        .collect();
    assert!(!noted.is_empty(), "some were fetched before");

    let ended = darkroom.run(&["batch", "jobs.jsonl"]);
    assert_eq!(ended.code, Some(3), "a line was refused: {ended:?}");
    assert!(ended.stderr.contains("line 6: refused: /input/width: expected a multiple of 8"), "{ended:?}");
    assert!(ended.stderr.contains("34 lines: 33 succeeded, 1 refused"), "{ended:?}");
    assert_eq!(ended.stdout, "jobs/results.jsonl\n");
    assert_eq!((jobs(&deployment).await, count(&deployment, "succeeded").await), (33, 33));
    assert_eq!(deployment.database.count("select count(*) from files").await, 2, "two have the same bytes");
    let results = results(&folder);
    assert!(results.keys().copied().eq(2..=35), "{results:?}");
    assert!((2..=35).all(|line| (results[&line]["state"] == "succeeded") == (line != 6)));
    assert!(
        results[&2]["files"][0] == "02-a-circle-0.png" && results[&33]["text"].is_string(),
        "{results:?}"
    );
    let after = pictures(&folder);
    assert_eq!(after.len(), PICTURES);
    assert!(noted.iter().all(|file| before[file] == after[file]), "what was there was not fetched again");

    let again = darkroom.run(&["batch", "jobs.jsonl", "--json"]);
    assert_eq!((again.code, again.documents().len()), (Some(3), 34));
    assert_eq!((jobs(&deployment).await, pictures(&folder)), (33, after));
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_answer_never_came_is_found() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    let worker = deployment.worker().await;
    assert_eq!(darkroom.run(&["batch", "jobs.jsonl", "-o", "out"]).code, Some(3));
    let journal = darkroom.path("out/journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let (submitting, rest) = text.split_once("\n{\"accepted\"").expect("it was accepted");
    // As if it had died in between, in the middle of a record.
    std::fs::write(&journal, format!("{submitting}\n{{\"accepted\"{}", &rest[..40])).unwrap();
    let again = darkroom.run(&["batch", "jobs.jsonl", "-o", "out"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    assert_eq!((jobs(&deployment).await, results(&darkroom.path("out")).len()), (33, 34));
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_checked_before_it_is_submitted() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    let tried = darkroom.run(&["batch", "jobs.jsonl", "--dry-run"]);
    assert_eq!(tried.code, Some(3), "{tried:?}");
    assert!(tried.stderr.starts_with("darkroom: line 6: 422 invalid_request: "), "{tried:?}");
    assert!(tried.stdout.starts_with("33 of 34 lines would be accepted, for "), "{tried:?}");
    assert!(tried.stdout.contains("blocked: no worker for model"), "{tried:?}");
    let documents = darkroom.run(&["batch", "jobs.jsonl", "--dry-run", "--json"]).documents();
    assert!(documents.len() == 33 && documents[32]["line"] == 35, "{documents:?}");
    assert!(!darkroom.path("jobs").exists());

    let broken = b"{}\n{\"input\": {\"image\": \"missing.png\"}}\n[\n";
    let refused = darkroom.run_with_input(&["batch", "-", "-o", "out"], broken);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("line 2: failed to read missing.png"), "{refused:?}");
    assert!(refused.stderr.contains("line 3: not a JSON document"), "{refused:?}");
    let homeless = darkroom.run_with_input(&["batch", "-"], b"{}\n");
    assert!(homeless.code == Some(1) && homeless.stderr.contains("`-o`"), "{homeless:?}");
    std::fs::copy(darkroom.path("jobs.jsonl"), darkroom.path("results.jsonl")).unwrap();
    let itself = darkroom.run(&["batch", "results.jsonl", "-o", "."]);
    assert!(itself.code == Some(1) && itself.stderr.contains("would be written to"), "{itself:?}");
    assert_eq!(jobs(&deployment).await, 0);

    let nothing = darkroom.run_with_input(&["batch", "-", "-o", "out"], b"{}\n{}\n");
    assert_eq!(nothing.code, Some(3), "not one line is a job: {nothing:?}");
    assert!(nothing.stderr.contains("line 2: refused: /pipeline: "), "{nothing:?}");
    let changed = darkroom.run_with_input(&["batch", "-", "-o", "out"], b"{}\n");
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(changed.stderr.contains("the input is not the one that out/journal.jsonl"), "{changed:?}");
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_for_which_there_is_no_room_is_submitted_bit_by_bit() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    deployment.database.execute("update tenants set max_queued = 20").await;
    let worker = deployment.worker().await;
    let ended = darkroom.run(&["batch", "jobs.jsonl"]);
    assert!(ended.stderr.contains("34 lines: 33 succeeded, 1 refused"), "{ended:?}");
    assert_eq!(jobs(&deployment).await, 33);
    assert!(deployment.database.count("select count(*) from batches").await > 1);
    let metrics = deployment.api.metrics().await;
    let sent: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("requests_total") && line.contains("/v1/files"))
        .collect();
    let expected = "darkroom_http_requests_total{method=\"POST\",route=\"/v1/files\",status=\"201\"} 2";
    assert_eq!(sent, [expected], "the same bytes are sent once");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_batch_is_canceled_where_that_is_wanted() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    let mut terminal = Terminal::start(darkroom.command(&["batch", "jobs.jsonl"]));
    reach(&deployment, "queued", 33).await;
    terminal.shows("1 refused").await;
    terminal.interrupt();
    terminal.shows("33 jobs are not finished").await;
    terminal.answer("y");
    assert_eq!(terminal.ended().await, Some(130), "{}", terminal.screen());
    terminal.shows("the same command goes on").await;
    assert_eq!(count(&deployment, "canceled").await, 33);
    let again = darkroom.run(&["batch", "jobs.jsonl"]);
    assert_eq!(again.code, Some(7), "{again:?}");
    assert!(again.stderr.contains("34 lines: 33 canceled, 1 refused"), "{again:?}");

    let batch = lines(&darkroom.path("jobs/journal.jsonl"))
        .iter()
        .find_map(|record| record["accepted"]["batch"].as_str().map(str::to_owned))
        .unwrap();
    let shown = darkroom.run(&["batches", "show", &batch, "-n", "2"]);
    assert!(shown.text().contains("33 canceled") && shown.text().lines().count() == 4, "{shown:?}");
    let whole = darkroom.run(&["batches", "show", &batch, "-n", "1000", "--json"]).documents();
    assert_eq!(whole[0]["jobs"].as_array().unwrap().len(), 33);
    assert!(darkroom.run(&["batches", "cancel", &batch]).text().contains("33 canceled"));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_waits_for_a_restart_of_the_api() {
    let mut deployment = Deployment::start(&Catalog::fake(20).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    write_input(&darkroom);
    let worker = deployment.worker().await;
    let mut terminal = Terminal::start(darkroom.command(&["batch", "jobs.jsonl"]));
    terminal.shows("1 refused").await;
    deployment.api.kill();
    deployment.restart_api().await;
    assert_eq!(terminal.ended().await, Some(3), "{}", terminal.screen());
    assert_eq!((jobs(&deployment).await, results(&darkroom.path("jobs")).len()), (33, 34));
    drop(worker);
    deployment.end().await;
}
