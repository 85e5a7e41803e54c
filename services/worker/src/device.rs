//! The way to the device: commands over a bounded channel, answers over a channel of each.

use std::sync::Arc;
use std::time::Duration;

use darkroom_jobs::Lane;
use darkroom_models::{Error, Output, Preview, Request, Warning};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::device_thread::DeviceThread;
use crate::models::{LoadError, Setup};
use crate::running::RunningAttempt;

/// Why the device did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The model could not be loaded.
    #[error("failed to load the model")]
    Load(#[source] LoadError),
    /// The model failed, or was canceled.
    #[error("failed to run the model")]
    Run(#[source] Error),
    /// The model panicked. Every model is dropped, and a new thread takes over.
    #[error("the model panicked: {0}")]
    Panicked(String),
    /// The device has no thread any more.
    #[error("the device's thread has ended")]
    Gone,
}

/// An attempt's share of the device.
pub(crate) struct Work {
    /// Whose model.
    pub(crate) lane: Lane,
    /// What to run.
    pub(crate) request: Request,
    /// Hears of each step, and says when to stop.
    pub(crate) attempt: Arc<RunningAttempt>,
    /// Takes what the model says. While it is full, the device waits.
    pub(crate) said: mpsc::Sender<Said>,
}

/// What a model says while it runs.
#[derive(Debug)]
pub(crate) enum Said {
    /// A result.
    Output(Output),
    /// What the caller should know beside.
    Warning(Warning),
    /// What a picture in work looks like.
    Preview(Preview),
}

/// How an attempt's work on the device went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    /// When the device began with it.
    pub(crate) taken: Instant,
    /// When the model was loaded and inference began.
    pub(crate) started: Instant,
    /// When the last step was made and the last result ready.
    pub(crate) ended: Instant,
    /// Time in between that the device waited for results to be taken.
    pub(crate) held_up: Duration,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Trouble>>;

pub(crate) enum Command {
    Load(Lane, Answer<()>),
    Run(Box<Work>, tracing::Span, Answer<Ran>),
}

/// The way to a device. Its thread ends when this is dropped and its last command is done.
pub(crate) struct Device {
    commands: mpsc::Sender<Command>,
    loaded: watch::Receiver<Vec<Lane>>,
    restarts: watch::Receiver<u64>,
    broken: CancellationToken,
}

impl Device {
    /// Starts the device's thread.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub(crate) fn start(setup: Setup, capacity: usize) -> std::io::Result<Self> {
        let (commands, receiver) = mpsc::channel(capacity);
        let loaded = setup.loaded.subscribe();
        let (restarted, restarts) = watch::channel(0);
        let broken = CancellationToken::new();
        DeviceThread { setup, commands: receiver, restarted, broken: broken.clone() }.spawn()?;
        Ok(Self { commands, loaded, restarts, broken })
    }

    /// Asks for an attempt's work. The receiver answers when it is done.
    pub(crate) async fn submit(&self, work: Work) -> oneshot::Receiver<Result<Ran, Trouble>> {
        let (answer, answered) = oneshot::channel();
        // An answer that is dropped with its command reads as a thread that is gone, which is the case.
        let _ = self.commands.send(Command::Run(Box::new(work), tracing::Span::current(), answer)).await;
        answered
    }

    /// Loads a model unless it is loaded.
    pub(crate) async fn load(&self, lane: &Lane) -> Result<(), Trouble> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Load(lane.clone(), answer)).await;
        answered.await.unwrap_or(Err(Trouble::Gone))
    }

    /// Lanes whose model is loaded.
    pub(crate) fn loaded(&self) -> Vec<Lane> {
        self.loaded.borrow().clone()
    }

    /// Changes whenever a new thread took over, with no model loaded.
    pub(crate) fn restarts(&self) -> watch::Receiver<u64> {
        self.restarts.clone()
    }

    /// Canceled when only a new process can bring the device back.
    pub(crate) fn broken(&self) -> &CancellationToken {
        &self.broken
    }
}
