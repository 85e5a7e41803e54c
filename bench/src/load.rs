//! As many requests as so many connections get answered, one after the other on each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::figure::{Figure, Target};
use crate::http::{Connection, Request};
use crate::samples::Samples;

/// Requests before this are answered, and not counted.
const WARM_UP: Duration = Duration::from_millis(700);

/// What is asked, of whom, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    /// The status of every answer.
    pub(crate) status: u16,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// What was measured under a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Rate {
    /// Of what took so many milliseconds each, within `duration`.
    pub(crate) fn of(milliseconds: Vec<f64>, duration: Duration) -> Self {
        let count = milliseconds.len();
        let samples = Samples::new(milliseconds);
        Self {
            per_second: count as f64 / duration.as_secs_f64(),
            p50_ms: samples.quantile(0.5),
            p99_ms: samples.quantile(0.99),
        }
    }

    /// The part of a run that counts: what ended after the warm-up.
    pub(crate) fn counts(ended: Duration, duration: Duration) -> bool {
        ended >= WARM_UP && ended < duration
    }

    /// How long is counted of a run.
    pub(crate) fn counted(duration: Duration) -> Duration {
        duration.saturating_sub(WARM_UP)
    }
}

impl Load {
    /// Puts the load on, from this thread alone.
    pub(crate) async fn run(&self) -> Result<Rate> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(self.address).await?);
        }
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for connection in connections {
            callers.spawn(self.clone().ask_until_the_end(connection, started));
        }
        let taken = callers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Rate::of(taken.concat(), Rate::counted(self.duration)))
    }

    async fn ask_until_the_end(self, mut connection: Connection, started: Instant) -> Result<Vec<f64>> {
        let mut taken = Vec::new();
        while started.elapsed() < self.duration {
            let asked = Instant::now();
            connection.ask(&self.request).await?.expect(self.status)?;
            if Rate::counts(started.elapsed(), self.duration) {
                taken.push(asked.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(taken)
    }
}

/// Rates of several rounds.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<Rate>);

impl Rates {
    pub(crate) fn push(&mut self, rate: Rate) {
        self.0.push(rate);
    }

    fn samples(&self, of: fn(&Rate) -> f64) -> Samples {
        Samples::new(self.0.iter().map(of).collect())
    }

    /// Rate and times of one answer. The target is that of the rate.
    pub(crate) fn figures(
        name: &str,
        target: Option<Target>,
        ours: Self,
        (other, reference): (&str, Self),
    ) -> Vec<Figure> {
        let figure = |what: &str, unit, target, of: fn(&Rate) -> f64| Figure {
            name: format!("{name}{what}"),
            unit,
            ours: ours.samples(of),
            reference: Some((other.to_owned(), reference.samples(of))),
            target,
        };
        vec![
            figure("", "1/s", target, |rate| rate.per_second),
            figure(": p50", "ms", None, |rate| rate.p50_ms),
            figure(": p99", "ms", None, |rate| rate.p99_ms),
        ]
    }
}
