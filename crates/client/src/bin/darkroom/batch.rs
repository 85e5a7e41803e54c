//! Many documents, as batches of the service, and their results in a folder: to be interrupted and taken up again.

mod dry_run;
mod input;
mod journal;
mod results;
mod submit;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use darkroom_client::Error;
use futures_util::StreamExt as _;
use futures_util::future::try_join;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use dry_run::try_out;
pub(crate) use input::Input;

use crate::ask::{Answer, ask};
use crate::failure::{Outcome, complain, explain};
use crate::interrupt::Interrupts;
use crate::progress::Tally;
use crate::session::Session;
use journal::Journal;
use results::Ended;

/// What is written into the folder besides pictures.
pub(crate) const OWN_FILES: [&str; 2] = [journal::NAME, results::NAME];
/// How long the service may be away before the run ends.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// After an interrupt: how long the submission under way may take. Who goes on later finds what became of it.
const LAST_SUBMISSION: Duration = Duration::from_secs(10);
/// Calls at once.
const AT_ONCE: usize = 8;

/// One call that works on a batch.
pub(crate) struct Run<'a> {
    session: &'a Session,
    input: Input,
    folder: PathBuf,
    journal: Mutex<Journal>,
    /// Lines of which nothing is to be had for now, and that are looked at again by the next call.
    lost: Mutex<BTreeMap<usize, Ended>>,
    /// Files of the service by the SHA-256 of pictures that were sent, or are just being sent.
    sent: Mutex<HashMap<[u8; 32], Arc<OnceCell<Uuid>>>>,
    tally: Tally,
    stop: CancellationToken,
    /// A batch was accepted, or a job has ended.
    news: Notify,
    submitted: AtomicBool,
    /// A submission was sent of which it is not known what became of it.
    under_way: AtomicBool,
}

impl<'a> Run<'a> {
    /// Begins with the results in `folder`, or goes on.
    ///
    /// # Errors
    /// When the folder has the results of another input, or is in use.
    pub(crate) fn new(session: &'a Session, input: Input, folder: PathBuf) -> anyhow::Result<Self> {
        let journal = Journal::open(&folder, &input)?;
        let (lines, ended) = (input.lines.len(), journal.ended.len());
        if ended > 0 && ended < lines {
            complain(format_args!("{ended} of {lines} lines have ended before"));
        }
        let tally = Tally::new(lines, session.lively);
        Ok(Self {
            session,
            input,
            folder,
            journal: Mutex::new(journal),
            lost: Mutex::default(),
            sent: Mutex::default(),
            tally,
            stop: CancellationToken::new(),
            news: Notify::new(),
            submitted: AtomicBool::new(false),
            under_way: AtomicBool::new(false),
        })
    }

    /// Submits what is not yet, waits for all of it and fetches the results.
    pub(crate) async fn run(self) -> anyhow::Result<Outcome> {
        let mut interrupts = Interrupts::listen()?;
        let mut work = pin!(self.work());
        let (done, answer) = loop {
            tokio::select! {
                done = &mut work => break (done, None),
                () = interrupts.next() => {
                    self.tally.hide();
                    let unfinished = self.input.lines.len() - self.counts().0;
                    match ask(unfinished, &mut interrupts).await {
                        Answer::GoOn => self.tally.unhide(),
                        answer => {
                            self.stop.cancel();
                            let done = tokio::select! {
                                done = timeout(LAST_SUBMISSION, &mut work) => done.unwrap_or(Ok(())),
                                () = interrupts.next() => Ok(()),
                            };
                            break (done, Some(answer));
                        }
                    }
                }
            }
        };
        self.tally.clear();
        if answer == Some(Answer::Cancel) {
            self.cancel().await;
        }
        let concluded = self.conclude();
        if answer.is_some() || done.is_err() {
            complain("the same command goes on where this one ended");
        }
        done?;
        concluded.map(|outcome| if answer.is_some() { Outcome::Interrupted } else { outcome })
    }

    async fn work(&self) -> anyhow::Result<()> {
        let submitting = async {
            self.submit_all().await?;
            self.submitted.store(true, Ordering::Relaxed);
            self.news.notify_waiters();
            Ok(())
        };
        let watching = async {
            tokio::select! {
                watched = self.watch_all() => watched,
                () = self.stop.cancelled() => Ok(()),
            }
        };
        try_join(submitting, watching).await.map(drop)
    }

    async fn cancel(&self) {
        let open = self.with_journal(|journal| {
            let open = journal.accepted.iter().filter(|accepted| !accepted.open.is_empty());
            open.map(|accepted| accepted.batch).collect::<Vec<_>>()
        });
        let cancel = async |id| match self.session.client.cancel_batch(id).await {
            Ok(_) => complain(format_args!("batch {id} is canceled")),
            Err(error) => complain(format_args!("batch {id}: {}", explain(&error.into()))),
        };
        futures_util::stream::iter(open).for_each_concurrent(AT_ONCE, cancel).await;
        if self.under_way.load(Ordering::Relaxed) {
            complain("the last submission was not answered: its jobs, if there are any, were not canceled");
        }
    }

    /// Waits for news, but not for long.
    async fn wait(&self, bound: Duration) {
        tokio::select! {
            () = self.news.notified() => {}
            () = self.stop.cancelled() => {}
            () = sleep(bound) => {}
        }
    }

    fn with_journal<T>(&self, body: impl FnOnce(&mut Journal) -> T) -> T {
        body(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_lost<T>(&self, body: impl FnOnce(&mut BTreeMap<usize, Ended>) -> T) -> T {
        body(&mut self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_sent<T>(&self, body: impl FnOnce(&mut HashMap<[u8; 32], Arc<OnceCell<Uuid>>>) -> T) -> T {
        body(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Calls until there is an answer, for as long as the service may be away.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(error) if error.passes() && begun.elapsed() < PATIENCE => sleep(TRY_AGAIN).await,
            answer => return answer,
        }
    }
}
