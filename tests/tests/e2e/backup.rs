use darkroom_client::JobState;
use darkroom_e2e::{Catalog, Deployment};

use crate::documents::{commands, document, shell};
use crate::verify::{artifacts_match, request, succeeded};

/// The bucket is left as it is: only the database is backed up and restored here.
const NO_BUCKET: &str = "aws() { :; }\n";

/// The commands of docs/operations.md that mention `tool`.
fn documented(tool: &str) -> String {
    let commands = commands(&document("docs/operations.md"));
    let found = commands.into_iter().find(|block| block.contains(tool));
    NO_BUCKET.to_owned() + &found.unwrap_or_else(|| panic!("docs/operations.md does not mention {tool}"))
}

/// `pg_dump` refuses servers that are newer than itself.
async fn is_too_old(deployment: &Deployment) -> bool {
    let server = "select current_setting('server_version_num')::bigint / 10000";
    let server = deployment.database.count(server).await;
    let tool = shell("pg_dump --version | grep -oE '[0-9]+' | head -n 1\n", ".".as_ref(), &[]);
    tool.trim().parse::<i64>().unwrap() < server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_back_what_was_there_when_it_was_made() {
    let mut deployment = Deployment::start(&Catalog::fake(1)).await;
    if is_too_old(&deployment).await {
        println!("not tried: pg_dump on this machine is older than the server");
        return deployment.end().await;
    }
    let client = deployment.tenant("a").await;
    let mut worker = deployment.worker().await;
    let kept = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    let kept = succeeded(&client, &kept).await;

    let folder = tempfile::tempdir().unwrap();
    // The parameters of a connection are for the services.
    let database_url = deployment.database.url().split('?').next().unwrap().to_owned();
    let run = |deployment: &Deployment, tool| {
        let variables = [&deployment.settings()[..], &[("DATABASE_URL", &database_url)]].concat();
        shell(&documented(tool), folder.path(), &variables)
    };
    run(&deployment, "pg_dump");

    client.delete(kept.id).await.unwrap();
    let later = client.submit_text_to_image(&request("a blue square", 1)).await.unwrap();
    succeeded(&client, &later).await;
    for service in [&mut deployment.api, &mut deployment.dispatcher, &mut worker] {
        service.terminate();
        assert!(service.exited().await.success(), "{}", service.log());
    }

    run(&deployment, "pg_restore");
    deployment.restart_api().await;
    deployment.dispatcher = deployment.spawn("darkroom-dispatcher", &[], &[]);
    deployment.dispatcher.ready().await;
    let restored = client.job(kept.id).await.unwrap();
    assert_eq!(restored.state, JobState::Succeeded);
    artifacts_match(&client, &restored).await;
    assert_eq!(client.job(later.id).await.unwrap_err().code(), Some("not_found"));
    let worker = deployment.worker().await;
    let new = client.submit_text_to_image(&request("a green star", 1)).await.unwrap();
    succeeded(&client, &new).await;
    drop(worker);
    deployment.end().await;
}
