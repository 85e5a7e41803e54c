//! The services that `process` runs. Alone they do nothing.

use std::{convert::Infallible, process};

use clap::Parser;
use darkroom_ops::{Context, OpsConfig, run};

/// What the process is to be; without it, it is a test run.
pub(crate) const ROLE: &str = "TEST_OPS_ROLE";

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    ops: OpsConfig,
}

#[test]
fn service() {
    #[expect(clippy::disallowed_methods, reason = "the one way to reach a test in another process")]
    let Ok(role) = std::env::var(ROLE) else { return };
    let settings = Settings::parse_from(["service", "--ops-listen=127.0.0.1:0", "--log-format=json"]);
    let code = run("test-service", &settings.ops, async |context: Context| serve(&role, context).await);
    process::exit(if code == process::ExitCode::SUCCESS { 0 } else { 1 });
}

async fn serve(role: &str, context: Context) -> anyhow::Result<()> {
    let Context { shutdown, readiness, tasks, .. } = context;
    let soft = shutdown.soft.clone();
    match role {
        "orderly" => {
            readiness.add("nothing", || async { Ok::<_, Infallible>(()) });
            tasks.spawn("loop", async move {
                soft.cancelled().await;
                Ok(())
            });
            shutdown.soft.cancelled().await;
        }
        "stubborn" => {
            shutdown.soft.cancelled().await;
            tracing::info!("finishing what runs");
            shutdown.hard.cancelled().await;
        }
        "failing" => {
            return Err(anyhow::anyhow!("connection refused").context("failed to connect to Postgres"));
        }
        "panicking" => {
            tasks.spawn("loop", async { panic!("out of paper") });
            shutdown.soft.cancelled().await;
        }
        other => anyhow::bail!("no role {other}"),
    }
    Ok(())
}
