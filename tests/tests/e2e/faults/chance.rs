//! What is left to chance, reproducibly.

use std::time::Duration;

use darkroom_e2e::{fault_rounds, fault_seed};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A source of chance for one row, the same for the same seed.
pub(crate) struct Chance {
    rng: StdRng,
    rounds: Option<u32>,
}

impl Chance {
    /// Of a row. Prints the seed, which a failed test shows.
    pub(crate) fn of(row: u32) -> Self {
        let seed = fault_seed().unwrap_or_else(|| StdRng::from_os_rng().random_range(0..1_000_000));
        println!("row {row} draws from seed {seed}: cargo xtask test faults --seed {seed}");
        Self { rng: StdRng::seed_from_u64(seed ^ (u64::from(row) << 32)), rounds: fault_rounds() }
    }

    /// How often the row is run.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(1)
    }

    /// Whether everything is to last as long as it may.
    pub(crate) fn is_long(&self) -> bool {
        self.rounds.is_some()
    }

    /// How long an outage lasts: `full` at most in a long run, and some 10 s in a short one.
    pub(crate) fn outage(&mut self, full: Duration) -> Duration {
        match self.rounds {
            Some(_) => self.between(Duration::from_secs(10).min(full), full),
            None => Duration::from_secs(10).min(full),
        }
    }

    /// Some time from `least` to `most`.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        if least >= most { least } else { self.rng.random_range(least..most) }
    }

    /// A number from 0 to `end`, that one excluded.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end)
    }
}
