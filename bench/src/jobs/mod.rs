//! Jobs without work, through everything around the work, beside Celery on the same servers.

mod celery;

use std::time::Duration;

use anyhow::Result;

use self::celery::Celery;
use crate::deployed::Deployed;
use crate::figure::{Figure, Target};
use crate::report::note;
use crate::samples::{Samples, in_turns};

/// Jobs whose rate is measured.
const MANY: usize = 1500;
/// Jobs one after another.
const ONE_BY_ONE: usize = 150;
/// How long jobs come at a fixed rate.
const LOADED: Duration = Duration::from_secs(15);

const REFERENCE: &str = "Celery";

/// `rounds` times each.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let mut ours = Deployed::start(Duration::ZERO)?;
    ours.set_workers(1)?;
    let picture = ours.picture()?;
    let mut figures = Vec::new();
    {
        let celery = Celery::start(&ours, &picture, 1)?;
        figures.push(rate("one worker process", rounds, &ours, &celery)?);
    }
    ours.set_workers(2)?;
    let celery = Celery::start(&ours, &picture, 2)?;
    let two = rate("two worker processes", rounds, &ours, &celery)?;
    let slower = two.reference.iter().map(|(_, samples)| samples.median()).fold(two.ours.median(), f64::min);
    figures.push(two);
    figures.extend(latencies(
        "idle, one after another",
        rounds,
        || ours.latencies_idle(ONE_BY_ONE),
        || celery.latencies_idle(ONE_BY_ONE),
        [Some(Target::AtMost(25.0)), None],
    )?);
    // Half of what the slower side can do, whole.
    let offered = (slower / 2.0).floor().max(1.0);
    let interval = Duration::from_secs_f64(1.0 / offered);
    let jobs = (LOADED.as_secs_f64() * offered) as usize;
    figures.extend(latencies(
        &format!("with {offered} jobs/s"),
        rounds,
        || ours.latencies_loaded(jobs, interval),
        || celery.latencies_loaded(jobs, interval),
        [Some(Target::RatioAtMost(0.5)); 2],
    )?);
    Ok(figures)
}

fn rate(workers: &str, rounds: u32, ours: &Deployed, celery: &Celery) -> Result<Figure> {
    note(format!("the rate of {workers}"));
    let (ours, reference) = in_turns(rounds, || ours.rate(MANY), || celery.rate(MANY))?;
    Ok(Figure {
        name: format!("jobs a second, {workers}"),
        unit: "1/s",
        ours,
        reference: Some((REFERENCE.to_owned(), reference)),
        target: Some(Target::RatioAtLeast(2.0)),
    })
}

/// Median and 99th percentile of each round.
fn latencies(
    how: &str,
    rounds: u32,
    mut ours: impl FnMut() -> Result<Vec<f64>>,
    mut reference: impl FnMut() -> Result<Vec<f64>>,
    targets: [Option<Target>; 2],
) -> Result<[Figure; 2]> {
    note(format!("latency {how}"));
    let (mut our_tails, mut their_tails) = (Vec::new(), Vec::new());
    let (our_medians, their_medians) =
        in_turns(rounds, || halve(ours()?, &mut our_tails), || halve(reference()?, &mut their_tails))?;
    let figure = |quantile: &str, ours: Samples, reference: Samples, target: Option<Target>| Figure {
        name: format!("from answer to result {how}, {quantile}"),
        unit: "ms",
        ours,
        reference: Some((REFERENCE.to_owned(), reference)),
        target,
    };
    Ok([
        figure("p50", our_medians, their_medians, targets[0]),
        figure("p99", Samples::new(our_tails), Samples::new(their_tails), targets[1]),
    ])
}

/// Returns the median, and keeps the 99th percentile.
fn halve(latencies: Vec<f64>, tails: &mut Vec<f64>) -> Result<f64> {
    let latencies = Samples::new(latencies);
    tails.push(latencies.quantile(0.99));
    Ok(latencies.median())
}
