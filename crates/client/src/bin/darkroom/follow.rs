//! Following jobs to their end, several at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use darkroom_client::Job;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ask::{Answer, ask};
use crate::failure::{Outcome, complain, explain, is_broken_pipe};
use crate::interrupt::Interrupts;
use crate::progress::Board;
use crate::session::Session;
use crate::show::left;
use crate::wanted::Wanted;

/// Submissions at once; pictures are read into memory for them.
const SUBMISSIONS: usize = 8;
/// Jobs asked after at once.
const CALLS: usize = 64;
/// How long the service may hold an answer back: progress is seen at least so often.
const HOLD: Duration = Duration::from_secs(1);
/// Least time between two questions after one job.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// After an interrupt: how long submissions under way may take, so that no job is left that nobody knows of.
const LAST_SUBMISSIONS: Duration = Duration::from_secs(10);

/// Follows each of `wanted` to its end and says on stderr what did not go well.
///
/// As soon as a job is final, `finish` is called for it, side by side with the others; then, in the order of
/// `wanted`, `report` with what it returned.
pub(crate) async fn follow<T>(
    session: &Session,
    wanted: &[Wanted],
    finish: impl AsyncFn(usize, &Job) -> anyhow::Result<T>,
    mut report: impl FnMut(usize, &Job, T) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let mut interrupts = Interrupts::listen()?;
    let watch = Watch::new(session, wanted.len());
    let following = wanted.iter().enumerate().map(|(index, wanted)| {
        let (watch, finish) = (&watch, &finish);
        async move {
            let Some(job) = watch.follow(wanted).await? else { return Ok(None) };
            let finished = finish(index, &job).await?;
            anyhow::Ok(Some((index, job, finished)))
        }
    });
    let mut ends: FuturesOrdered<_> = following.collect();
    let mut summary = Summary::default();
    let mut take = |end: anyhow::Result<Option<(usize, Job, T)>>| {
        let reported = end.and_then(|end| match end {
            Some((index, job, finished)) => watch.board.suspend(|| report(index, &job, finished)),
            None => Ok(Outcome::Done),
        });
        watch.board.suspend(|| summary.add(reported));
    };
    let answer = loop {
        tokio::select! {
            () = interrupts.next() => {
                watch.board.hide();
                match ask(watch.unfinished(wanted.len()), &mut interrupts).await {
                    Answer::GoOn => watch.board.unhide(),
                    answer => break answer,
                }
            }
            end = ends.next() => match end {
                Some(end) => take(end),
                None => {
                    // Those it lost sight of.
                    watch.settle(Answer::Leave).await;
                    return Ok(summary.outcome);
                }
            },
        }
    };
    watch.stop.cancel();
    let last = timeout(LAST_SUBMISSIONS, async {
        while let Some(end) = ends.next().await {
            take(end);
        }
    });
    tokio::select! {
        _ = last => {}
        () = interrupts.next() => {}
    }
    watch.settle(answer).await;
    Ok(Outcome::Interrupted)
}

/// What is known of the jobs of one call.
struct Watch<'a> {
    session: &'a Session,
    board: Board,
    stop: CancellationToken,
    submissions: Semaphore,
    calls: Semaphore,
    /// How long an answer about one job may be held back: not at all when others wait for the connection.
    hold: Duration,
    accepted: Mutex<BTreeSet<Uuid>>,
    ended: Mutex<usize>,
}

impl<'a> Watch<'a> {
    fn new(session: &'a Session, jobs: usize) -> Self {
        Self {
            session,
            board: Board::new(jobs, session.lively),
            stop: CancellationToken::new(),
            submissions: Semaphore::new(SUBMISSIONS),
            calls: Semaphore::new(CALLS),
            hold: if jobs <= CALLS { HOLD } else { Duration::ZERO },
            accepted: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// The job once it is final; `None` when this was stopped first.
    async fn follow(&self, wanted: &Wanted) -> anyhow::Result<Option<Job>> {
        let ended = CountDropped(&self.ended);
        let label = wanted.label();
        let place = self.board.place(&label);
        let Some(mut job) = self.submit(wanted).await.with_context(|| label.clone())? else {
            return Ok(None);
        };
        self.with_accepted(|accepted| accepted.insert(job.id));
        while !job.state.is_final() {
            place.show(&job);
            job = tokio::select! {
                later = self.look(job.id) => later.with_context(|| format!("lost sight of job {}", job.id))?,
                () = self.stop.cancelled() => return Ok(None),
            };
        }
        self.with_accepted(|accepted| accepted.remove(&job.id));
        drop((place, ended));
        Ok(Some(job))
    }

    /// A submission that was begun is seen to its end.
    async fn submit(&self, wanted: &Wanted) -> anyhow::Result<Option<Job>> {
        let _permit = tokio::select! {
            permit = self.submissions.acquire() => permit?,
            () = self.stop.cancelled() => return Ok(None),
        };
        wanted.submit(&self.session.client).await.map(Some)
    }

    async fn look(&self, id: Uuid) -> anyhow::Result<Job> {
        let again = Instant::now() + if self.hold.is_zero() { HOLD } else { ASK_AGAIN };
        let permit = self.calls.acquire().await?;
        let job = self.session.client.job_within(id, self.hold).await?;
        drop(permit);
        if !job.state.is_final() {
            sleep_until(again).await;
        }
        Ok(job)
    }

    /// How many of `jobs` jobs have not ended.
    fn unfinished(&self, jobs: usize) -> usize {
        jobs - *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does with the unfinished jobs what the answer said.
    async fn settle(&self, answer: Answer) {
        let unfinished: Vec<Uuid> = self.with_accepted(|accepted| accepted.iter().copied().collect());
        if unfinished.is_empty() {
            return;
        }
        if answer != Answer::Cancel {
            return complain(left(&unfinished));
        }
        let cancel = async |id: Uuid| match self.session.client.cancel(id).await {
            Ok(_) => complain(format_args!("job {id} is canceled")),
            Err(error) => complain(format_args!("job {id}: {}", explain(&error.into()))),
        };
        futures_util::stream::iter(unfinished).for_each_concurrent(SUBMISSIONS, cancel).await;
    }

    fn with_accepted<T>(&self, body: impl FnOnce(&mut BTreeSet<Uuid>) -> T) -> T {
        body(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts when it is dropped, however that comes.
struct CountDropped<'a>(&'a Mutex<usize>);

impl Drop for CountDropped<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

/// What the call comes to so far.
struct Summary {
    outcome: Outcome,
    said: BTreeSet<String>,
}

impl Default for Summary {
    fn default() -> Self {
        Self { outcome: Outcome::Done, said: BTreeSet::new() }
    }
}

impl Summary {
    /// Says what went wrong, but nothing twice: a hundred jobs may fail for one reason.
    fn add(&mut self, reported: anyhow::Result<Outcome>) {
        let outcome = reported.unwrap_or_else(|error| {
            if is_broken_pipe(&error) {
                return Outcome::Done;
            }
            if self.said.insert(format!("{:#}", error.root_cause())) {
                complain(explain(&error));
            }
            Outcome::of_error(&error)
        });
        self.outcome = self.outcome.then(outcome);
    }
}
