//! Operators at their command line, on a real deployment.

use std::time::Duration;

use darkroom_client::{Client, Job, JobState, TextToImageRequest};
use darkroom_e2e::{Catalog, CommandLine, Deployment, Said};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// An operator's command line.
struct Operator {
    command_line: CommandLine,
    variables: [(&'static str, String); 2],
}

impl Operator {
    async fn of(deployment: &Deployment) -> Self {
        let (url, key) = deployment.operator().await;
        // A key of a tenant is not needed.
        let command_line = CommandLine::new(&deployment.url, "");
        Self { command_line, variables: [("DARKROOM_ADMIN_URL", url), ("DARKROOM_ADMIN_KEY", key)] }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.command_line.command(&[&["admin"], arguments].concat());
        Said::of({
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
            command
        })
    }

    /// The JSON documents that a command prints.
    fn documents(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        said.documents()
    }
}

async fn submit(client: &Client, prompt: &str) -> Job {
    client.submit_text_to_image(&TextToImageRequest::new(prompt)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_jobs_are_counted_run_again_and_put_aside() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let client = deployment.tenant("a").await;
    let operator = Operator::of(&deployment).await;
    let worker = deployment.worker().await;
    let mut failed = Vec::new();
    for _ in 0..3 {
        let job = submit(&client, "a red circle [fake:invalid_input]").await;
        assert_eq!(client.wait(job.id, SOON).await.unwrap().state, JobState::Failed);
        failed.push(job.id.to_string());
    }
    let listed = operator.documents(&["failed", "list", "--tenant", "a", "--failure-class", "invalid_input"]);
    let ids: Vec<&str> = listed.iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, failed.iter().rev().map(String::as_str).collect::<Vec<_>>());
    let shown = operator.run(&["failed", "show", &failed[0]]);
    assert!(shown.text().contains("attempt 1"), "{shown:?}");

    let unasked = operator.run(&["failed", "replay", "--all"]);
    assert_eq!(unasked.code, Some(1), "nobody can confirm it: {unasked:?}");
    let replayed = operator.documents(&["failed", "replay", &failed[0]]);
    let again = client.wait(replayed[0]["id"].as_str().unwrap().parse().unwrap(), SOON).await.unwrap();
    assert_eq!((again.state, again.replay_of.unwrap().to_string()), (JobState::Failed, failed[0].clone()));
    let old = client.job(failed[0].parse().unwrap()).await.unwrap();
    assert_eq!((old.state, old.replayed_by), (JobState::Failed, Some(again.id)));
    // Two of the first and the one that ran again are left.
    let done =
        operator.documents(&["failed", "replay", "--all", "--lane", &deployment.lane().to_string(), "--yes"]);
    assert_eq!((done[0]["matching"].as_u64(), done[0]["done"].as_u64()), (Some(3), Some(3)));
    let twice = operator.run(&["failed", "replay", &failed[0]]);
    assert_eq!(twice.code, Some(3), "{twice:?}");
    let waiting = deployment.database.count("select count(*) from jobs where replay_of is not null").await;
    assert_eq!(waiting, 4);
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_paused_lane_wait_until_it_is_opened_and_a_drained_worker_exits_with_success() {
    let catalog = Catalog::fake(1).with_captions();
    let deployment = Deployment::start(&catalog).await;
    let client = deployment.tenant("a").await;
    let operator = Operator::of(&deployment).await;
    let mut worker = deployment.worker().await;
    let lane = deployment.lane().to_string();
    let paused = operator.documents(&["lanes", "pause", &lane, "--reason", "bad weights"]);
    assert_eq!(paused[0]["reason"], "bad weights");
    let waiting = submit(&client, "a red circle").await;
    // The worker has been free, and has looked for work, after the job was there.
    for _ in 0..2 {
        let picture = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/images/demo.png")).unwrap();
        let caption = client.caption(picture, "demo.png", &Default::default()).await.unwrap();
        assert_eq!(client.wait(caption.id, SOON).await.unwrap().state, JobState::Succeeded);
    }
    assert_eq!(client.job(waiting.id).await.unwrap().attempts, 0);
    assert_eq!(operator.run(&["lanes", "resume", &lane]).code, Some(0));
    assert_eq!(client.wait(waiting.id, SOON).await.unwrap().state, JobState::Succeeded);

    let workers = operator.documents(&["workers", "list"]);
    let id = workers[0]["id"].as_str().unwrap();
    assert!(operator.run(&["workers", "show", id]).text().contains(&lane));
    assert_eq!(operator.run(&["workers", "drain", id]).code, Some(0));
    assert!(worker.exited().await.success());
    assert_eq!(operator.documents(&["workers", "list"]), Vec::<Value>::new());
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_rotated_and_revoked_at_the_command_line() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let operator = Operator::of(&deployment).await;
    let made =
        operator.run(&["tenants", "create", "acme", "--max-queued", "5", "--requests-per-minute", "600"]);
    assert!(made.text().contains("at most 600 a minute"), "{made:?}");
    let changed = operator.documents(&["tenants", "limit", "acme", "--max-queued", "none"]);
    assert_eq!(changed[0]["limits"]["max_queued"], Value::Null);
    assert_eq!(changed[0]["limits"]["requests_per_minute"], 600);
    let key = operator.documents(&["keys", "create", "--tenant", "acme", "--name", "shop"]).remove(0);
    let works = async |key: &Value| {
        let client = Client::new(&deployment.url, key["key"].as_str().unwrap()).unwrap();
        client.models().await.is_ok()
    };
    let id = key["id"].as_str().unwrap();
    let successor = operator.documents(&["keys", "rotate", id]).remove(0);
    assert!(works(&key).await && works(&successor).await, "both work during the overlap");
    assert_eq!(operator.run(&["keys", "revoke", id, "--yes"]).code, Some(0));
    darkroom_e2e::until("the old key is refused", SOON, || async { (!works(&key).await).then_some(()) })
        .await;
    assert!(works(&successor).await);
    let strange = Operator {
        variables: [
            operator.variables[0].clone(),
            ("DARKROOM_ADMIN_KEY", successor["key"].as_str().unwrap().to_owned()),
        ],
        command_line: CommandLine::new(&deployment.url, ""),
    };
    assert_eq!(strange.run(&["tenants", "list"]).code, Some(4), "a tenant's key opens nothing here");
    deployment.end().await;
}
