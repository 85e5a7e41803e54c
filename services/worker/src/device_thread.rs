//! The one thread that owns a device and its models.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use darkroom_jobs::Lane;
use darkroom_models::{Error, Previews, Progress, Run};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::device::{Command, Ran, Said, Trouble, Work};
use crate::models::{LoadError, Models, Setup};
use crate::running::{Phase, RunningAttempt};

/// What a device's thread owns, and hands to its successor after a panic.
pub(crate) struct DeviceThread {
    pub(crate) setup: Setup,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) restarted: watch::Sender<u64>,
    /// Canceled when only a new process can help.
    pub(crate) broken: CancellationToken,
}

/// Whether this thread can go on after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    StartAnew,
}

impl DeviceThread {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        thread::Builder::new().name("device".to_owned()).spawn(move || self.serve()).map(drop)
    }

    fn serve(mut self) {
        let mut models = Models::new(self.setup.clone());
        while let Some(command) = self.commands.blocking_recv() {
            if self.execute(&mut models, command) == Next::StartAnew {
                return self.start_anew(models);
            }
        }
    }

    /// After a panic, nothing this thread holds can be trusted: models, thread-local state, device context.
    fn start_anew(self, models: Models) {
        tracing::warn!("restarting the device's thread");
        if catch_unwind(AssertUnwindSafe(|| drop(models))).is_err() {
            tracing::error!("panicked while dropping models");
        }
        // In this order: whoever hears of the restart must see that nothing is loaded.
        self.setup.loaded.send_replace(Vec::new());
        self.restarted.send_modify(|count| *count += 1);
        let broken = self.broken.clone();
        if let Err(error) = self.spawn() {
            tracing::error!(%error, "failed to restart the device's thread");
            broken.cancel();
        }
    }

    fn execute(&self, models: &mut Models, command: Command) -> Next {
        match command {
            Command::Load(lane, answer) => {
                let outcome = load(models, &lane);
                let next = self.after(&outcome);
                let _ = answer.send(outcome);
                next
            }
            Command::Run(work, span, answer) => {
                let _entered = span.entered();
                let attempt = work.attempt.clone();
                let outcome =
                    caught(|| run(models, *work)).unwrap_or_else(|panic| Err(Trouble::Panicked(panic)));
                attempt.enter(Phase::Away);
                let next = self.after(&outcome);
                let _ = answer.send(outcome);
                next
            }
        }
    }

    fn after<T>(&self, outcome: &Result<T, Trouble>) -> Next {
        let on_gpu = self.setup.device.to_string() != "cpu";
        match outcome {
            Err(Trouble::Panicked(_) | Trouble::Load(LoadError::Panicked(_))) => Next::StartAnew,
            // An error of a GPU may stick to its context; fresh models tell whether it does.
            Err(Trouble::Run(Error::Device(_))) if on_gpu => Next::StartAnew,
            Err(Trouble::Load(LoadError::Model(Error::Device(error)))) if on_gpu => {
                tracing::error!(%error, "the device fails to load models");
                self.broken.cancel();
                Next::GoOn
            }
            _ => Next::GoOn,
        }
    }
}

/// Runs `work`; a panic in it becomes an error with its message.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}

/// A panic of its own kind: unlike one in a run, it is no fault of the job.
fn load(models: &mut Models, lane: &Lane) -> Result<(), Trouble> {
    let outcome = caught(|| models.ensure(lane)).unwrap_or_else(|panic| Err(LoadError::Panicked(panic)));
    outcome.map_err(Trouble::Load)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

fn run(models: &mut Models, work: Work) -> Result<Ran, Trouble> {
    let Work { lane, request, attempt, said } = work;
    if attempt.why().is_some() {
        return Err(Trouble::Run(Error::Canceled));
    }
    let taken = Instant::now();
    attempt.enter(Phase::Loading(taken));
    load(models, &lane)?;
    let started = Instant::now();
    attempt.enter(Phase::Stepping(started));
    let handover = Handover {
        attempt: attempt.clone(),
        said,
        held_up: Cell::new(Duration::ZERO),
        ready: Cell::new(started),
    };
    let mut run = Run {
        canceled: attempt.canceled(),
        on_progress: &mut |progress| {
            attempt.step(stored(progress));
            darkroom_ops::crash_point("worker.stepped");
        },
        on_output: &mut |output| handover.give(Said::Output(output)),
        on_warning: &mut |warning| handover.give(Said::Warning(warning)),
        previews: Some(Previews {
            wanted: &|| attempt.wants_preview(),
            // Nobody is held up for one: where something else waits, it is left out.
            show: &mut |preview| drop(handover.said.try_send(Said::Preview(preview))),
        }),
    };
    models.run(&lane, &request, &mut run).map_err(Trouble::Run)?;
    Ok(Ran { taken, started, ended: handover.ready.get(), held_up: handover.held_up.get() })
}

/// Hands over what the model says, and measures how long that holds up the device.
struct Handover {
    attempt: Arc<RunningAttempt>,
    said: mpsc::Sender<Said>,
    held_up: Cell<Duration>,
    /// When the latest result was ready.
    ready: Cell<Instant>,
}

impl Handover {
    fn give(&self, said: Said) {
        let began = Instant::now();
        if matches!(said, Said::Output(_)) {
            self.ready.set(began);
        }
        self.attempt.enter(Phase::HandingOver);
        // Nobody listens any more only after the attempt was stopped: the model ends at its next step.
        let _ = self.said.blocking_send(said);
        let now = Instant::now();
        self.held_up.set(self.held_up.get() + (now - began));
        self.attempt.enter(Phase::Stepping(now));
    }
}

fn stored(progress: Progress) -> darkroom_store::Progress {
    let Progress { image, images, step, steps } = progress;
    darkroom_store::Progress { image, images, step, steps }
}
