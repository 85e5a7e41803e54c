//! Seeds of random tests: printed when one fails, and taken from the environment.

use std::fmt;

use proptest::test_runner::{Config, RngSeed, contextualize_config};
use uuid::Uuid;

/// How to repeat a run: an assignment for the shell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed {
    value: u64,
    cases: u32,
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PROPTEST_RNG_SEED={} PROPTEST_CASES={}", self.value, self.cases)
    }
}

/// Settings of a random test of so many cases, unless `PROPTEST_CASES` says otherwise. The seed is
/// `PROPTEST_RNG_SEED`, or a new one.
pub(crate) fn config(cases: u32) -> (Config, Seed) {
    let plain = Config { cases, failure_persistence: None, max_shrink_iters: 1000, ..Config::default() };
    let config = contextualize_config(plain);
    let value = match config.rng_seed {
        RngSeed::Fixed(value) => value,
        RngSeed::Random => Uuid::new_v4().as_u64_pair().1,
    };
    let seed = Seed { value, cases: config.cases };
    (Config { rng_seed: RngSeed::Fixed(value), ..config }, seed)
}
