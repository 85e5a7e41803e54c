//! How much more is done by more workers, with jobs that only wait: what the rest costs has to stay out of the way.

use std::time::Duration;

use anyhow::Result;

use crate::deployed::Deployed;
use crate::figure::{Figure, Target};
use crate::report::note;
use crate::samples::Samples;

/// How long each job waits.
const STEP: Duration = Duration::from_millis(200);
/// Of each worker.
const JOBS: usize = 30;
const WORKERS: [usize; 4] = [1, 2, 4, 8];
const SHARE: f64 = 0.95;

/// `rounds` times each.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let mut deployed = Deployed::start(STEP)?;
    let mut rates = WORKERS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (workers, rates) in WORKERS.into_iter().zip(&mut rates) {
            note(format!("{workers} of 8 workers"));
            deployed.set_workers(workers)?;
            rates.push(deployed.rate(JOBS * workers)?);
        }
    }
    let [one, more @ ..] = rates;
    let figures = WORKERS[1..].iter().zip(more).map(|(workers, rates)| {
        let times = one.iter().map(|rate| rate * *workers as f64).collect();
        figure(*workers, Samples::new(rates), Samples::new(times))
    });
    Ok(figures.collect())
}

fn figure(workers: usize, ours: Samples, times: Samples) -> Figure {
    Figure {
        name: format!("jobs a second of {workers} workers, each job waits 200 ms"),
        unit: "1/s",
        ours,
        reference: Some((format!("{workers} × one worker"), times)),
        target: Some(Target::RatioAtLeast(SHARE)),
    }
}
