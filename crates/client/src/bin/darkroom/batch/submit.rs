//! Submitting what was not yet submitted, once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use darkroom_client::{AcceptedBatch, Error, Failure, Missteps, Problem};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::input::Line;
use super::journal::Chunk;
use super::results::Ended;
use super::{AT_ONCE, PATIENCE, Run, TRY_AGAIN, patiently};
use crate::image::read_image;

/// Most jobs that the service takes at once.
const MAX_LINES: usize = 1_000;
/// Less than the largest document it takes. One that is larger, for a picture that is in it, goes alone.
const MAX_BYTES: usize = 1_000_000;
/// After so long the service knows of a submission that it did not answer, or never will.
const OUTCOME_KNOWN: Duration = Duration::from_secs(10);
/// Most pictures that it should fetch before it answers.
const MAX_URLS: usize = 100;

/// What becomes of a chunk that was refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// These lines cannot be jobs; the others can.
    Lines(BTreeMap<usize, Failure>),
    /// It is more than the service takes at once.
    TooMuch,
    /// It is more than there is room for now.
    NoRoom,
    /// The service cannot answer now.
    Passes,
    /// There is no use in going on.
    Final,
}

impl Run<'_> {
    /// Submits every line that has no job.
    pub(super) async fn submit_all(&self) -> anyhow::Result<()> {
        let mut max_lines = MAX_LINES;
        while !self.stop.is_cancelled() {
            let pending = self.with_journal(|journal| journal.pending.clone());
            let chunk = match pending {
                Some(chunk) => chunk,
                None => match self.next_chunk(max_lines).await? {
                    Some(chunk) => chunk,
                    None => break,
                },
            };
            if self.stop.is_cancelled() {
                break;
            }
            max_lines = match self.submit(&chunk).await? {
                Some(fewer) => fewer,
                None => (2 * max_lines).min(MAX_LINES),
            };
            self.news.notify_waiters();
        }
        Ok(())
    }

    /// The lines that are next, with their pictures sent.
    async fn next_chunk(&self, max_lines: usize) -> anyhow::Result<Option<Chunk>> {
        loop {
            let mut lines = self.next_lines(max_lines);
            if lines.is_empty() {
                return Ok(None);
            }
            let pictures = lines.iter().filter_map(|line| {
                let picture = self.input.lines[line].picture.as_deref()?;
                Some(self.send_picture(*line, picture))
            });
            let sent: Vec<Result<(usize, Uuid), Ended>> =
                stream::iter(pictures).buffered(AT_ONCE).try_collect().await?;
            let mut files = BTreeMap::new();
            for sent in sent {
                match sent {
                    Ok((line, file)) => drop(files.insert(line, file)),
                    Err(refused) => {
                        lines.retain(|line| *line != refused.line);
                        self.with_journal(|journal| journal.end(vec![refused]))?;
                    }
                }
            }
            if !lines.is_empty() {
                return self.with_journal(|journal| journal.begin(lines, files)).map(Some);
            }
        }
    }

    fn next_lines(&self, max_lines: usize) -> Vec<usize> {
        let placed = self.with_journal(|journal| journal.placed());
        fitting(self.input.lines.iter().filter(|(number, _)| !placed.contains(number)), max_lines)
    }

    /// Sends a line's picture, unless the same bytes were sent for another line.
    async fn send_picture(
        &self,
        line: usize,
        picture: &Path,
    ) -> anyhow::Result<Result<(usize, Uuid), Ended>> {
        let (bytes, _) = read_image(picture).await?;
        let failed = || format!("line {line}: failed to send {}", picture.display());
        let sent = self.with_sent(|sent| sent.entry(Sha256::digest(&bytes).into()).or_default().clone());
        let send = async || patiently(async || self.session.client.upload(bytes.clone()).await).await;
        match sent.get_or_try_init(async || Ok(send().await?.id)).await {
            Ok(file) => Ok(Ok((line, *file))),
            Err(Error::Problem(problem)) if matches!(problem.status, 400 | 413 | 422) => {
                Ok(Err(Ended::refused(line, Failure { code: problem.code, message: problem.detail })))
            }
            Err(error) => Err(error).with_context(failed),
        }
    }

    /// Submits a chunk until it is accepted or refused. Returns how many lines are to be submitted at once from then
    /// on, where it was too many.
    async fn submit(&self, chunk: &Chunk) -> anyhow::Result<Option<usize>> {
        let document = |line: &usize| self.input.lines[line].document(chunk.files.get(line).copied());
        let documents: Vec<Value> = chunk.lines.iter().map(document).collect();
        let key = self.with_journal(|journal| journal.key(chunk));
        let (begun, mut unanswered) = (Instant::now(), None::<Instant>);
        loop {
            let client = &self.session.client;
            let call = client.submit_batch(&documents, None, Missteps::AcceptOthers, Some(&key));
            self.under_way.store(true, Ordering::Relaxed);
            let error = match call.await {
                Ok(accepted) => {
                    self.under_way.store(false, Ordering::Relaxed);
                    return self.accepted(chunk, accepted).map(|()| None);
                }
                Err(error) => error,
            };
            let busy = !self.open().is_empty();
            let refused = |lines| self.with_journal(|journal| journal.refuse(chunk.number, lines));
            let (refusal, several) = (refusal(&error, &chunk.lines), chunk.lines.len() > 1);
            if refusal == Refusal::Passes {
                unanswered = Some(Instant::now());
            } else {
                self.under_way.store(false, Ordering::Relaxed);
            }
            match refusal {
                Refusal::Lines(lines) => return refused(lines).map(|()| None),
                // A try before may be accepted yet, and its lines are not to be submitted again under another key.
                Refusal::NoRoom if unanswered.is_some_and(|at| at.elapsed() < OUTCOME_KNOWN) => {
                    self.wait(TRY_AGAIN).await;
                }
                // There will be room when jobs have ended.
                Refusal::NoRoom | Refusal::Passes if busy => self.wait(TRY_AGAIN).await,
                Refusal::TooMuch | Refusal::NoRoom if several => {
                    refused(BTreeMap::new())?;
                    return Ok(Some(chunk.lines.len().div_ceil(2)));
                }
                Refusal::NoRoom | Refusal::Passes if begun.elapsed() < PATIENCE => sleep(TRY_AGAIN).await,
                _ => return Err(error).context("failed to submit"),
            }
            if self.stop.is_cancelled() {
                return Ok(None);
            }
        }
    }

    fn accepted(&self, chunk: &Chunk, accepted: AcceptedBatch) -> anyhow::Result<()> {
        ensure!(
            accepted.jobs.len() == chunk.lines.len(),
            "the service tells of {} jobs, and {} were submitted",
            accepted.jobs.len(),
            chunk.lines.len()
        );
        let (mut jobs, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for (line, item) in chunk.lines.iter().zip(accepted.jobs) {
            match (item.id, item.error) {
                (Some(id), _) => drop(jobs.insert(id, *line)),
                (None, error) => drop(refused.insert(*line, failure(error.unwrap_or_default()))),
            }
        }
        self.with_journal(|journal| journal.accept(chunk.number, accepted.batch.id, jobs, refused))
    }
}

/// As many of the lines as the service takes at once, and at least one.
fn fitting<'a>(lines: impl Iterator<Item = (&'a usize, &'a Line)>, max_lines: usize) -> Vec<usize> {
    let (mut bytes, mut urls) = (0, 0);
    let fitting = lines.enumerate().take_while(|(taken, (_, line))| {
        // Every id of a file is as long as this one.
        bytes += line.document(line.picture.as_ref().map(|_| Uuid::nil())).to_string().len() + 1;
        urls += usize::from(line.has_url());
        *taken == 0 || (*taken < max_lines && bytes <= MAX_BYTES && urls <= MAX_URLS)
    });
    fitting.map(|(_, (number, _))| *number).collect()
}

/// What a refusal means for the chunk with these lines.
fn refusal(error: &Error, lines: &[usize]) -> Refusal {
    let problem = match error {
        Error::Problem(problem) => problem,
        error if error.passes() => return Refusal::Passes,
        _ => return Refusal::Final,
    };
    match problem.code.as_str() {
        "queue_limit" | "interactive_limit" => Refusal::NoRoom,
        // A day is longer than anybody wants to look on.
        "daily_cost_limit" => Refusal::Final,
        "too_large" if lines.len() > 1 => Refusal::TooMuch,
        "too_large" => Refusal::Lines(lines.iter().map(|line| (*line, whole(problem))).collect()),
        "invalid_request" => match refused_lines(problem, lines) {
            refused if !refused.is_empty() => Refusal::Lines(refused),
            // The pictures take too long to fetch.
            _ if problem.errors.iter().any(|error| error.code == "fetch") => Refusal::TooMuch,
            _ => Refusal::Final,
        },
        _ if error.passes() => Refusal::Passes,
        _ => Refusal::Final,
    }
}

/// The lines that are to blame, of which the service names the first hundred mistakes.
fn refused_lines(problem: &Problem, lines: &[usize]) -> BTreeMap<usize, Failure> {
    let mut refused: BTreeMap<usize, Failure> = BTreeMap::new();
    for error in &problem.errors {
        let Some((index, rest)) = error.pointer.as_deref().and_then(split) else { continue };
        let Some(line) = lines.get(index) else { continue };
        let mistake = format!("{rest}: {}", error.detail);
        let code = problem.code.clone();
        let failure = refused.entry(*line).or_insert_with(|| Failure { code, message: String::new() });
        let gap = if failure.message.is_empty() { "" } else { "; " };
        failure.message = format!("{}{gap}{mistake}", failure.message);
    }
    refused
}

/// The problem of one document of a batch that was accepted, with pointers into the document.
fn failure(problem: Value) -> Failure {
    match serde_json::from_value::<Problem>(problem) {
        Ok(problem) => {
            let fields = problem.errors.iter().map(|error| {
                let pointer = error.pointer.as_deref().unwrap_or_default();
                format!("{}: {}", split(pointer).map_or(pointer, |(_, rest)| rest), error.detail)
            });
            let message = fields.collect::<Vec<_>>().join("; ");
            Failure { message: if message.is_empty() { problem.detail } else { message }, code: problem.code }
        }
        Err(_) => Failure { code: "refused".to_owned(), message: "the service did not say why".to_owned() },
    }
}

fn whole(problem: &Problem) -> Failure {
    Failure { code: problem.code.clone(), message: problem.detail.clone() }
}

/// `/jobs/3/input/steps` as 3 and `/input/steps`.
fn split(pointer: &str) -> Option<(usize, &str)> {
    let rest = pointer.strip_prefix("/jobs/")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some((rest[..end].parse().ok()?, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::input::Input;
    use super::*;

    fn problem(status: u16, code: &str, errors: Value) -> Error {
        let problem = json!({"status": status, "code": code, "title": "", "detail": "no", "errors": errors});
        Error::Problem(Box::new(serde_json::from_value(problem).unwrap()))
    }

    fn error(pointer: &str, code: &str) -> Value {
        json!({"pointer": pointer, "detail": "expected a number", "code": code})
    }

    fn fitting_of(lines: &[Value], max_lines: usize) -> usize {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        let input = Input::parse(text.join("\n").as_bytes(), Path::new("")).unwrap();
        fitting(input.lines.iter(), max_lines).len()
    }

    #[test]
    fn batches_are_no_larger_than_the_service_takes() {
        let small = json!({"pipeline": "text-to-image"});
        assert_eq!(fitting_of(&vec![small.clone(); 1_200], MAX_LINES), 1_000);
        assert_eq!(fitting_of(&vec![small.clone(); 20], 7), 7);
        let long = json!({"input": {"prompt": "x".repeat(9_000)}});
        assert_eq!(fitting_of(&vec![long; 200], MAX_LINES), 110);
        let url = json!({"input": {"image_url": "https://shop.example/a.png"}});
        assert_eq!(fitting_of(&vec![url; 200], MAX_LINES), MAX_URLS);
        let huge = json!({"input": {"image_url": "x".repeat(MAX_BYTES)}});
        assert_eq!(fitting_of(&[small.clone(), huge.clone()], MAX_LINES), 1);
        assert_eq!(fitting_of(&[huge, small], MAX_LINES), 1, "it goes alone");
    }

    #[test]
    fn lines_that_are_to_blame_are_found() {
        let errors =
            [error("/jobs/1/input/width", "x"), error("/jobs/1/input/steps", "x"), error("/jobs/9", "x")];
        let Refusal::Lines(lines) = refusal(&problem(422, "invalid_request", errors.into()), &[4, 7, 8])
        else {
            panic!("lines are to blame")
        };
        assert_eq!(lines.keys().copied().collect::<Vec<_>>(), [7]);
        assert_eq!(lines[&7].message, "/input/width: expected a number; /input/steps: expected a number");
        assert_eq!(split("/jobs/12"), Some((12, "")));
        assert_eq!(split("/jobs"), None);
    }

    #[test]
    fn refusals_of_the_whole_say_what_to_do() {
        let of = |status, code: &str, errors| refusal(&problem(status, code, errors), &[1, 2]);
        assert_eq!(of(422, "invalid_request", json!([error("/jobs", "fetch")])), Refusal::TooMuch);
        assert_eq!(of(413, "too_large", json!([])), Refusal::TooMuch);
        assert_eq!(of(429, "queue_limit", json!([])), Refusal::NoRoom);
        assert_eq!(of(429, "daily_cost_limit", json!([])), Refusal::Final);
        assert_eq!(of(503, "overloaded", json!([])), Refusal::Passes);
        assert_eq!(of(422, "idempotency_key_reused", json!([])), Refusal::Final);
        assert_eq!(of(401, "unauthorized", json!([])), Refusal::Final);
        let alone = refusal(&problem(413, "too_large", json!([])), &[3]);
        assert!(matches!(alone, Refusal::Lines(lines) if lines[&3].message == "no"));
    }
}
