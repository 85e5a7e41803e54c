//! The process's one random generator.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::{Builder, Uuid};

/// Draws lease tokens and jitter.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<StdRng>);

impl Chance {
    /// Seeded by the operating system: tokens must not be guessable.
    pub(crate) fn from_os() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }

    /// Uniform in [0, 1).
    pub(crate) fn jitter(&self) -> f64 {
        self.with(|rng| rng.random())
    }

    /// A random UUID, version 4.
    pub(crate) fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Between three quarters and five quarters of `period`, so that workers do not act in step.
    pub(crate) fn around(&self, period: Duration) -> Duration {
        period.mul_f64(0.75 + self.jitter() / 2.0)
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
