//! Following jobs to their end, several at once.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use darkroom_client::Previews::{Hidden, Shown};
use darkroom_client::{Job, JobEvent};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ask::{Answer, ask};
use crate::failure::{Outcome, complain, explain, is_broken_pipe};
use crate::interrupt::Interrupts;
use crate::previews::Previews;
use crate::progress::{Board, Place};
use crate::session::Session;
use crate::show::left;
use crate::wanted::Wanted;

/// Submissions at once; pictures are read into memory for them.
const SUBMISSIONS: usize = 8;
/// Jobs followed at once, each over a connection of its own. The others are looked at when one of them has ended.
const STREAMS: usize = 64;
/// How often the place in the queue is asked for, which is no event.
const PLACE_AGAIN: Duration = Duration::from_secs(2);
/// Where there are no events: how long the service may hold an answer back, and the pause before the next question.
const HOLD: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// After an interrupt: how long submissions under way may take, so that no job is left that nobody knows of.
const LAST_SUBMISSIONS: Duration = Duration::from_secs(10);

/// Follows each of `wanted` to its end and says on stderr what did not go well.
///
/// As soon as a job is final, `finish` is called for it, side by side with the others; then, in the order of
/// `wanted`, `report` with what it returned. Meanwhile `previews` are saved, if there is a place for them.
pub(crate) async fn follow<T>(
    session: &Session,
    wanted: &[Wanted],
    previews: Option<&Previews>,
    finish: impl AsyncFn(usize, &Job) -> anyhow::Result<T>,
    mut report: impl FnMut(usize, &Job, T) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let mut interrupts = Interrupts::listen()?;
    let watch = Watch::new(session, previews, wanted.len());
    let following = wanted.iter().enumerate().map(|(index, wanted)| {
        let (watch, finish) = (&watch, &finish);
        async move {
            let Some(job) = watch.follow(index, wanted).await? else { return Ok(None) };
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
    previews: Option<&'a Previews>,
    board: Board,
    stop: CancellationToken,
    submissions: Semaphore,
    streams: Semaphore,
    accepted: Mutex<BTreeSet<Uuid>>,
    ended: Mutex<usize>,
}

impl<'a> Watch<'a> {
    fn new(session: &'a Session, previews: Option<&'a Previews>, jobs: usize) -> Self {
        Self {
            session,
            previews,
            board: Board::new(jobs, session.lively),
            stop: CancellationToken::new(),
            submissions: Semaphore::new(SUBMISSIONS),
            streams: Semaphore::new(STREAMS),
            accepted: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// The job once it is final; `None` when this was stopped first.
    async fn follow(&self, number: usize, wanted: &Wanted) -> anyhow::Result<Option<Job>> {
        let ended = CountDropped(&self.ended);
        let label = wanted.label();
        let place = self.board.place(&label);
        let Some(job) = self.submit(wanted).await.with_context(|| label.clone())? else {
            return Ok(None);
        };
        self.with_accepted(|accepted| accepted.insert(job.id));
        place.show(&job);
        let id = job.id;
        let job = tokio::select! {
            end = self.until_final(number, job, &place) => end.with_context(|| format!("lost sight of job {id}"))?,
            () = self.stop.cancelled() => return Ok(None),
        };
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

    /// The job at its end. A service that has no events for it is asked time and again.
    async fn until_final(&self, number: usize, mut job: Job, place: &Place) -> anyhow::Result<Job> {
        if job.state.is_final() {
            return Ok(job);
        }
        let _permit = self.streams.acquire().await?;
        let client = &self.session.client;
        let shown = if self.previews.is_some() { Shown } else { Hidden };
        let mut events = pin!(client.follow(job.id, shown));
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sleep(PLACE_AGAIN), if place.shows_waiting(&job) => {
                    if let Ok(now) = client.job(job.id).await {
                        place.show(&now);
                    }
                    continue;
                }
            };
            match event {
                Some(Ok(JobEvent::Job(now))) => job = *now,
                Some(Ok(JobEvent::Progress(progress))) => job.progress = Some(progress),
                Some(Ok(JobEvent::Preview(preview))) => {
                    self.previews.into_iter().for_each(|previews| previews.save(number, &job, &preview));
                }
                Some(Ok(JobEvent::Other)) => {}
                Some(Err(_)) | None => return self.ask_until_final(job.id, place).await,
            }
            if job.state.is_final() {
                return Ok(job);
            }
            place.show(&job);
        }
    }

    async fn ask_until_final(&self, id: Uuid, place: &Place) -> anyhow::Result<Job> {
        loop {
            let job = self.session.client.job_within(id, HOLD).await?;
            if job.state.is_final() {
                return Ok(job);
            }
            place.show(&job);
            sleep(ASK_AGAIN).await;
        }
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
pub(crate) struct Summary {
    pub(crate) outcome: Outcome,
    said: BTreeSet<String>,
}

impl Default for Summary {
    fn default() -> Self {
        Self { outcome: Outcome::Done, said: BTreeSet::new() }
    }
}

impl Summary {
    /// Says what went wrong, but nothing twice: a hundred jobs may fail for one reason.
    pub(crate) fn add(&mut self, reported: anyhow::Result<Outcome>) {
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
