//! `POST /v1/jobs?dry_run=true`: what would become of a submission.

use serde::Serialize;
use utoipa::ToSchema;

use crate::intake::{Picture, Trial};
use crate::jobs::Jobs;
use crate::jobs::queue::QueueView;
use crate::jobs::resource::{InputView, Money};
use crate::openapi::words;
use crate::{Error, ProblemField, query};

/// The query parameters of a submission.
const PARAMETERS: [&str; 1] = ["dry_run"];

/// What is done with a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Accept,
    DryRun,
}

/// Reads the query of a submission.
///
/// # Errors
/// [`Error::Fields`] with every parameter that cannot be used: whoever misspells this one wants no job.
pub(super) fn mode(query: &str) -> Result<Mode, Error> {
    let mut mode = Mode::Accept;
    let errors = query::read(query, |name, value| {
        mode = match (name, value) {
            ("dry_run", "true") => Mode::DryRun,
            ("dry_run", "false") => Mode::Accept,
            ("dry_run", _) => {
                return Err(ProblemField::parameter(name, "choice", "expected one of true, false"));
            }
            _ => return Err(query::unknown(name, &PARAMETERS)),
        };
        Ok(())
    });
    if errors.is_empty() { Ok(mode) } else { Err(Error::Fields(errors)) }
}

/// A submission that would be accepted now, and was not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub(crate) struct DryRunView {
    /// Always true.
    dry_run: bool,
    /// `text-to-image` or `image-to-text`.
    #[schema(value_type = words::Pipeline)]
    pipeline: &'static str,
    /// Id of the model in the catalog.
    model: String,
    /// The parameters it would run with, every default filled in.
    input: InputView,
    /// What it would cost if it succeeded; null where that goes by a picture at a URL, which is not fetched.
    price: Option<Money>,
    /// Where it would stand in the queue; null while that is not known.
    queue: Option<QueueView>,
    /// Why it could not start at the moment, as a queued job says it.
    blocked_reason: Option<&'static str>,
}

impl Jobs {
    /// What would become of a job that was tried.
    pub(super) async fn dry_run(&self, trial: Trial) -> DryRunView {
        let Trial { job, picture } = trial;
        let standing = self.standing_of_new(&job).await;
        let price = Money { amount: job.price.normalize().to_string(), currency: job.currency };
        let mut input = InputView::from(job.submission.task);
        if let (InputView::ImageToText(input), Picture::Unseen) = (&mut input, picture) {
            input.image = None;
        }
        DryRunView {
            dry_run: true,
            pipeline: job.submission.lane.pipeline().as_str(),
            model: job.submission.lane.model().to_owned(),
            input,
            price: (picture == Picture::Seen).then_some(price),
            queue: standing.map(|standing| standing.queue()),
            blocked_reason: standing.and_then(|standing| standing.reason()),
        }
    }
}
