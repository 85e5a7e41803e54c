//! A worker's life: start, serve, drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use darkroom_blobs::Blobs;
use darkroom_ops::{Context, Readiness};
use darkroom_queue::{Subscription, Tickets};
use darkroom_store::{NewWorker, Store, StoreConfig};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::{self, bounded};
use crate::device::Device;
use crate::library::Library;
use crate::model_store::ModelStore;
use crate::models::Setup;
use crate::served::Served;
use crate::wake::Wake;
use crate::worker::{Parts, Worker};
use crate::{DeviceChoice, Settings, WorkerConfig, measure, memory, slots};

/// How long carriers have to settle what they give back.
const GIVE_BACK_BOUND: Duration = Duration::from_secs(8);

/// Runs a worker until it is asked to stop, or cannot go on.
///
/// # Errors
/// When a setting cannot be used, the schema is too old, or the device hangs or fails for good. A database,
/// broker or blob store that is away is waited for.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    measure::describe();
    let soft = &context.shutdown.soft;
    let threads = darkroom_models::start_threads().context("failed to start the threads of inference")?;
    tracing::info!(threads, "inference on the processor");
    let (device, budget_bytes) = open_device(&settings.worker)?;
    let served = Arc::new(Served::read(&settings.worker, device.usual_dtype())?);
    let blobs = Blobs::connect(&settings.blobs);
    let model_store = ModelStore::new(settings.worker.model_store(), blobs.clone());
    let model_store = model_store.context("failed to prepare for HF_ENDPOINT")?;
    let library = Arc::new(Library::new(&served, &model_store));
    let (loaded, _) = watch::channel(Vec::new());
    let setup = Setup { served: served.clone(), library: library.clone(), device, budget_bytes, loaded };
    let device = Device::start(setup, usize::from(settings.worker.slots));
    let device = device.context("failed to start the device's thread")?;
    let Some(store) = connect(&settings.store, soft).await? else { return Ok(()) };
    let worker = Arc::new(Worker::new(Parts {
        store,
        blobs,
        served,
        library,
        model_store,
        device,
        slots: settings.worker.slots,
        stall: Duration::from_secs(settings.worker.stall_seconds),
        shutdown: context.shutdown.clone(),
    }));
    add_checks(&context.readiness, &worker);

    let over = CancellationToken::new();
    let warm = start_loops(&context, &worker, &settings.worker, &over);
    tokio::select! {
        () = warm.cancelled() => {}
        () = soft.cancelled() => {}
        () = worker.device.broken().cancelled() => {}
    }
    let served = serve(&worker, &settings).await;
    // The last heartbeat would bring the row back.
    soft.cancel();
    over.cancel();
    if let Err(error) = bounded(worker.store.worker_gone(worker.id)).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "failed to sign off");
    }
    served
}

/// The device, and how many bytes of weights it may hold.
fn open_device(config: &WorkerConfig) -> anyhow::Result<(darkroom_models::Device, u64)> {
    let device = config.device.open();
    let device = device.with_context(|| format!("DARKROOM_DEVICE {} cannot be used", config.device))?;
    let budget_bytes = match config.device {
        DeviceChoice::Cpu => memory::cpu_budget(),
        DeviceChoice::Cuda(_) => u64::MAX,
    };
    Ok((device, config.memory_budget_bytes.unwrap_or(budget_bytes)))
}

/// Connects to the database, however long that takes; `None` when asked to stop meanwhile.
async fn connect(config: &StoreConfig, soft: &CancellationToken) -> anyhow::Result<Option<Store>> {
    for delay in database::delay_iter() {
        let connected = async {
            let store = bounded(Store::connect(config, "darkroom-worker")).await?;
            bounded(store.check_schema()).await?;
            Ok(store)
        };
        let error: database::Error = match connected.await {
            Ok(store) => return Ok(Some(store)),
            Err(error) => error,
        };
        if !error.is_transient() {
            return Err(error)
                .with_context(|| format!("failed to connect to DATABASE_URL at {}", config.address()));
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            address = config.address(),
            "waiting for the database"
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = soft.cancelled() => break,
        }
    }
    Ok(None)
}

fn add_checks(readiness: &Readiness, worker: &Arc<Worker>) {
    let checked = worker.clone();
    readiness.add("database", move || {
        let worker = checked.clone();
        async move { worker.store.ping().await }
    });
    let checked = worker.clone();
    readiness.add("blobs", move || {
        let worker = checked.clone();
        async move { worker.blobs.ping().await }
    });
    let checked = worker.clone();
    readiness.add("models", move || std::future::ready(checked.check_models()));
}

/// Starts what runs until the last attempt has ended. The returned token is canceled when every warm model
/// whose files are here was tried once.
fn start_loops(
    context: &Context,
    worker: &Arc<Worker>,
    config: &WorkerConfig,
    over: &CancellationToken,
) -> CancellationToken {
    let device = config.device.to_string();
    let me = NewWorker { id: worker.id, host: host(), device, lanes: worker.served.lanes() };
    tracing::info!(worker = %me.id, host = me.host, device = me.device, lanes = me.lanes.len(), "worker");
    let news = Arc::new(Notify::new());
    let warm = CancellationToken::new();
    let (beating, stop, told) = (worker.clone(), over.clone(), news.clone());
    context.tasks.spawn("heartbeat", async move {
        beating.beat(&me, &told, &stop).await;
        Ok(())
    });
    let (listening, stop) = (worker.clone(), over.clone());
    context.tasks.spawn("changes", async move {
        listening.listen(&news, &stop).await;
        Ok(())
    });
    let (announcing, stop) = (worker.clone(), over.clone());
    context.tasks.spawn("announcements", async move {
        announcing.store.announce(&stop).await;
        Ok(())
    });
    let (fetching, stop) = (worker.clone(), worker.shutdown.soft.clone());
    context.tasks.spawn("models' files", async move {
        fetching.fetch_models(&stop).await;
        Ok(())
    });
    let (warming, stop, warmed) = (worker.clone(), over.clone(), warm.clone());
    context.tasks.spawn("warm models", async move {
        warming.keep_warm(&warmed, &stop).await;
        Ok(())
    });
    warm
}

/// Leases and runs jobs until asked to stop, then drains.
async fn serve(worker: &Arc<Worker>, settings: &Settings) -> anyhow::Result<()> {
    let soft = &worker.shutdown.soft;
    let subscription = Subscription { lanes: worker.served.lanes(), prefetch: settings.worker.slots };
    let tickets = Tickets::start(&settings.queue, subscription, soft.clone());
    let wake = Arc::new(Wake::new(tickets, soft.clone()));
    let mut carriers = JoinSet::new();
    for _ in 0..slots::carriers(settings.worker.slots) {
        carriers.spawn(slots::carry(worker.clone(), wake.clone()));
    }
    let outcome = tokio::select! {
        biased;
        failure = beyond_help(worker) => Err(failure),
        () = soft.cancelled() => Ok(()),
        Some(ended) = carriers.join_next() => Err(anyhow!("a carrier ended: {ended:?}")),
    };
    soft.cancel();
    let grace = Duration::from_secs(settings.worker.grace_seconds);
    let drained = drain(worker, &mut carriers, if outcome.is_ok() { grace } else { Duration::ZERO });
    let (drained, ()) = tokio::join!(drained, wake.give_back());
    if let Some(wake) = Arc::into_inner(wake) {
        wake.stopped().await;
    }
    outcome.and(drained)
}

/// Waits for running attempts, then gives back what is left.
async fn drain(worker: &Worker, carriers: &mut JoinSet<()>, grace: Duration) -> anyhow::Result<()> {
    let running = worker.running.all().len();
    tracing::info!(running, ?grace, "draining");
    let finished = async { while carriers.join_next().await.is_some() {} };
    let mut outcome = Ok(());
    tokio::select! {
        () = finished => return Ok(()),
        () = tokio::time::sleep(grace) => {}
        () = worker.giving_back.cancelled() => {}
        failure = beyond_help(worker) => outcome = Err(failure),
    }
    tracing::info!(running = worker.running.all().len(), "giving back what runs");
    worker.giving_back.cancel();
    worker.running.close();
    let finished = async { while carriers.join_next().await.is_some() {} };
    if tokio::time::timeout(GIVE_BACK_BOUND, finished).await.is_err() {
        tracing::warn!("some attempts could not be given back; the reaper takes them");
        carriers.shutdown().await;
    }
    outcome
}

/// Waits until only a new process can help.
async fn beyond_help(worker: &Worker) -> anyhow::Error {
    tokio::select! {
        () = worker.hung.cancelled() => anyhow!("the device hangs in the middle of a step"),
        () = worker.device.broken().cancelled() => anyhow!("the device fails for good"),
    }
}

/// The name of this machine, for operators.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}
