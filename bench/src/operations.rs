//! Where the time of a pass of a U-Net goes, kernel by kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::figure::Figure;
use crate::models::{self, Name};
use crate::report::print;
use crate::samples::Samples;
use crate::stage::Stage;

/// The first argument of the process whose time it is.
pub(crate) const ROLE: &str = "kernels";

const PASS: &str = "a pass";
const REST: &str = "everything else";
const PASSES: usize = 3;

/// Of Stable Diffusion 1.5, without guidance.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    models::ensure(Name::Sd15)?;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        let done = models::ours(ROLE)?.arg(models::folder()?).output()?;
        ensure!(done.status.success(), "{ROLE} failed: {}", String::from_utf8_lossy(&done.stderr));
        for (name, seconds) in serde_json::from_slice::<BTreeMap<String, f64>>(&done.stdout)? {
            times.entry(name).or_default().push(seconds);
        }
    }
    let passes = times.remove(PASS).context("no pass was measured")?;
    let mut figures = vec![figure(PASS, "s", passes.clone())];
    let mut shares: Vec<_> = times
        .into_iter()
        .map(|(name, seconds)| {
            let shares = seconds.iter().zip(&passes).map(|(seconds, pass)| 100.0 * seconds / pass);
            figure(&name, "%", shares.collect())
        })
        .collect();
    shares.sort_by(|one, other| other.ours.median().total_cmp(&one.ours.median()));
    figures.append(&mut shares);
    Ok(figures)
}

fn figure(name: &str, unit: &'static str, values: Vec<f64>) -> Figure {
    let name = format!("SD 1.5 U-Net, batch 1: {name}");
    Figure { name, unit, ours: Samples::new(values), reference: None, target: None }
}

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(value_parser = [ROLE])]
    role: String,
    models: PathBuf,
}

/// Prints the seconds of a pass, and those of each kernel in it.
pub(crate) fn run() -> Result<()> {
    let pass = Stage::UnetOnce.load(&Arguments::parse().models)?;
    pass()?;
    let kernels = Kernels::default();
    let times = kernels.times.clone();
    tracing::subscriber::set_global_default(kernels)?;
    let started = Instant::now();
    for _ in 0..PASSES {
        pass()?;
    }
    let all = started.elapsed();
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = |time: Duration| time.as_secs_f64() / PASSES as f64;
    let rest = all.saturating_sub(times.own.values().sum());
    let mut told: BTreeMap<_, _> = times.own.iter().map(|(name, own)| (*name, seconds(*own))).collect();
    told.extend([(PASS, seconds(all)), (REST, seconds(rest))]);
    print(serde_json::to_string(&told)?);
    Ok(())
}

/// Sums up the time between begin and end of spans of the models' kernels, which one thread starts one after another.
#[derive(Default)]
struct Kernels {
    times: Arc<Mutex<Times>>,
}

#[derive(Default)]
struct Times {
    names: Vec<&'static str>,
    /// Those that have begun, and the time of those within.
    begun: Vec<(Instant, Duration)>,
    /// Without those within.
    own: BTreeMap<&'static str, Duration>,
}

impl Kernels {
    fn with<T>(&self, change: impl FnOnce(&mut Times) -> T) -> T {
        change(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Kernels {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("darkroom_models::kernels")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.with(|times| {
            let name = span.metadata().name();
            let index = times.names.iter().position(|known| *known == name).unwrap_or_else(|| {
                times.names.push(name);
                times.names.len() - 1
            });
            Id::from_u64(index as u64 + 1)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {
        self.with(|times| times.begun.push((Instant::now(), Duration::ZERO)));
    }

    fn exit(&self, span: &Id) {
        self.with(|times| {
            let Some((begun, within)) = times.begun.pop() else { return };
            let time = begun.elapsed();
            let name = times.names[span.into_u64() as usize - 1];
            *times.own.entry(name).or_default() += time - within;
            if let Some((_, within)) = times.begun.last_mut() {
                *within += time;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_within_counts_once() {
        let kernels = Kernels::default();
        let times = kernels.times.clone();
        tracing::subscriber::with_default(kernels, || {
            let outer = tracing::trace_span!(target: "darkroom_models::kernels", "outer").entered();
            let inner = tracing::trace_span!(target: "darkroom_models::kernels", "inner").entered();
            drop(inner);
            drop(outer);
            tracing::trace_span!("another").in_scope(|| {});
        });
        let times = times.lock().unwrap();
        assert_eq!(times.own.keys().collect::<Vec<_>>(), [&"inner", &"outer"]);
        assert!(times.begun.is_empty());
    }
}
