//! The life of a service, from the first log line to the exit code.

use std::{num::NonZeroUsize, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::{net::TcpListener, runtime};
use tokio_util::sync::CancellationToken;

use crate::{
    OpsConfig, Readiness, Routes, Shutdown, Tasks, files, readiness,
    server::{self, Probes},
    shutdown, telemetry,
};

/// How long the loops have to end after the service's own work has.
const TASKS_BOUND: Duration = Duration::from_secs(10);

/// How long blocking threads, which nothing can interrupt, may hold up the exit.
const THREADS_BOUND: Duration = Duration::from_secs(1);

/// What a service is given to run with.
#[derive(Clone)]
pub struct Context {
    /// The requests to stop. A service stops itself by cancelling `soft`.
    pub shutdown: Shutdown,
    /// Where the service registers what it cannot work without.
    pub readiness: Readiness,
    /// Where the service's loops run.
    pub tasks: Tasks,
    /// Files that the process may have open at once, connections among them.
    pub open_files: u64,
    /// What the service answers on the operations port.
    pub routes: Routes,
}

/// Runs `service` with logs, metrics, signals and the operations port in place, and returns the exit code:
/// success after an orderly stop, failure when the service or one of its loops failed. An error is printed
/// on stderr with its causes.
///
/// `service` returns when it is done, which asks the loops it spawned to stop; they have ten seconds.
pub fn run<S>(name: &'static str, config: &OpsConfig, service: S) -> ExitCode
where
    S: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    exit_code(name, start(name, config, runtime::Builder::new_multi_thread(), service))
}

/// Runs `service` as [`run`] does, on so many threads in place of one for each processor: for a service that
/// leaves the processors to threads of its own.
pub fn run_on<S>(threads: NonZeroUsize, name: &'static str, config: &OpsConfig, service: S) -> ExitCode
where
    S: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    let mut runtime = runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads.get());
    exit_code(name, start(name, config, runtime, service))
}

fn exit_code(name: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(name, &error);
            ExitCode::FAILURE
        }
    }
}

fn start<S>(
    name: &'static str,
    config: &OpsConfig,
    mut runtime: runtime::Builder,
    service: S,
) -> anyhow::Result<()>
where
    S: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    let metrics = telemetry::init(config)?;
    // Fails only where a provider is already installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let open_files = files::raise_limit();
    let runtime = runtime.enable_all().build().context("failed to start threads")?;
    let outcome = runtime.block_on(async {
        let shutdown = shutdown::listen().context("failed to listen for signals")?;
        let readiness = Readiness::new(shutdown.soft.clone());
        let tasks = Tasks::new(shutdown.soft.clone());
        let address = config.ops_listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on DARKROOM_OPS_LISTEN {address}"))?;
        let address = listener.local_addr().context("failed to read the operations address")?;
        tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), %address, "starting");

        let served = CancellationToken::new();
        let routes = Routes::default();
        let probes = Probes { readiness: readiness.clone(), metrics, routes: routes.clone() };
        let server = tokio::spawn(server::serve(listener, probes, served.clone()));
        let context =
            Context { shutdown: shutdown.clone(), readiness, tasks: tasks.clone(), open_files, routes };
        tasks.spawn("readiness", readiness::tell(context.readiness.clone(), shutdown.soft.clone()));
        let outcome = service(context).await;
        shutdown.soft.cancel();
        let finished = tasks.finish(TASKS_BOUND).await;
        served.cancel();
        server.await.context("the operations port ended abnormally")??;
        // The service's own error comes first: a loop that fails often only follows it.
        outcome.and(finished)
    });
    runtime.shutdown_timeout(THREADS_BOUND);
    if outcome.is_ok() {
        tracing::info!(service = name, "stopped");
    }
    outcome
}

#[expect(clippy::print_stderr, reason = "the last word of a failing process, whatever the log filter says")]
fn report(name: &str, error: &anyhow::Error) {
    tracing::error!(service = name, error = format!("{error:#}"), "failed");
    eprintln!("{name}: {error:#}");
}
