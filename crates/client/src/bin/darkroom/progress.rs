//! Progress of jobs on a terminal: a bar for each of a few, one for all of many.

use std::time::Duration;

use darkroom_client::{Job, JobState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::show::{clip, standing};

/// More jobs than this share one bar.
const BARS: usize = 8;
const LABEL_CHARS: usize = 32;
const TICK: Duration = Duration::from_millis(120);

/// The bars on the terminal, if anybody watches.
#[derive(Debug)]
pub(crate) struct Board {
    bars: MultiProgress,
    lively: bool,
    /// Shared by all jobs when they are many.
    total: Option<ProgressBar>,
}

/// One job's place on the board.
#[derive(Debug)]
pub(crate) struct Place {
    bar: ProgressBar,
    owner: Owner,
}

#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Job,
    All,
}

impl Board {
    /// A board for so many jobs.
    pub(crate) fn new(jobs: usize, lively: bool) -> Self {
        let bars = MultiProgress::new();
        let total = (lively && jobs > BARS).then(|| {
            let bar = bars.add(ProgressBar::new(jobs as u64));
            bar.set_style(style("{spinner} {pos} of {len} jobs {wide_bar} {elapsed}"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bars, lively, total }
    }

    /// A place for the job called `label`.
    pub(crate) fn place(&self, label: &str) -> Place {
        if let Some(total) = &self.total {
            return Place { bar: total.clone(), owner: Owner::All };
        }
        if !self.lively {
            return Place { bar: ProgressBar::hidden(), owner: Owner::Job };
        }
        let bar = self.bars.add(ProgressBar::new(1));
        bar.set_style(style("{spinner} {prefix}  {msg}"));
        bar.set_prefix(clip(label, LABEL_CHARS));
        bar.set_message("submitting");
        bar.enable_steady_tick(TICK);
        Place { bar, owner: Owner::Job }
    }

    /// Prints or asks something while no bar is in the way.
    pub(crate) fn suspend<T>(&self, body: impl FnOnce() -> T) -> T {
        self.bars.suspend(body)
    }

    /// Takes the bars away for as long as something else is on the terminal.
    pub(crate) fn hide(&self) {
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Puts them back.
    pub(crate) fn unhide(&self) {
        self.bars.set_draw_target(ProgressDrawTarget::stderr());
    }
}

impl Place {
    /// Whether somebody sees how long the job will wait.
    pub(crate) fn shows_waiting(&self, job: &Job) -> bool {
        self.owner == Owner::Job && job.state == JobState::Queued && !self.bar.is_hidden()
    }

    /// Shows where the job stands.
    pub(crate) fn show(&self, job: &Job) {
        if self.owner == Owner::All {
            return;
        }
        match (job.state, job.progress) {
            (JobState::Running, Some(progress)) => {
                let steps = u64::from(progress.steps);
                self.bar.set_style(style("{spinner} {prefix}  {bar:24} {msg}"));
                self.bar.set_length(u64::from(progress.images) * steps);
                self.bar.set_position(u64::from(progress.image) * steps + u64::from(progress.step));
                let step = format!("step {} of {}", progress.step, progress.steps);
                self.bar.set_message(match progress.images {
                    1 => step,
                    images => format!("picture {} of {images}, {step}", progress.image + 1),
                });
            }
            // The latest progress stays on the bar until there is news.
            (JobState::Running, None) if self.bar.position() > 0 => {}
            _ => self.bar.set_message(standing(job)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.owner {
            Owner::Job => self.bar.finish_and_clear(),
            Owner::All => self.bar.inc(1),
        }
    }
}

/// A bar for the lines of a batch.
#[derive(Debug)]
pub(crate) struct Tally {
    bar: ProgressBar,
    lively: bool,
}

impl Tally {
    /// A bar for so many lines, if anybody watches.
    pub(crate) fn new(lines: usize, lively: bool) -> Self {
        let bar = if lively { ProgressBar::new(lines as u64) } else { ProgressBar::hidden() };
        bar.set_style(style("{spinner} {pos} of {len} lines {wide_bar} {msg}  {elapsed}"));
        if lively {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, lively }
    }

    /// Shows how many have ended, and what there is to say.
    pub(crate) fn show(&self, ended: usize, message: &str) {
        self.bar.set_position(ended as u64);
        self.bar.set_message(message.to_owned());
    }

    /// Takes the bar away for as long as something else is on the terminal.
    pub(crate) fn hide(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Puts it back.
    pub(crate) fn unhide(&self) {
        if self.lively {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes it away for good.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
