//! Ids, seeds and keys: everything the service draws by chance.

use std::sync::{Arc, Mutex, PoisonError};

use darkroom_jobs::JobId;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::Uuid;

/// Draws what has to be new. Clones share the generator.
#[derive(Debug, Clone)]
pub struct Mint {
    rng: Arc<Mutex<StdRng>>,
}

impl Mint {
    /// Draws from `rng`.
    pub fn new(rng: StdRng) -> Self {
        Self { rng: Arc::new(Mutex::new(rng)) }
    }

    /// Draws from a generator seeded by the operating system.
    pub fn from_os() -> Self {
        Self::new(StdRng::from_os_rng())
    }

    /// A job's id. Later ids sort behind earlier ones.
    pub fn job_id(&self) -> JobId {
        JobId::from_uuid(self.uuid())
    }

    /// A UUIDv7.
    pub fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// A seed for a job that names none.
    pub fn seed(&self) -> u32 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u32()
    }

    /// 256 random bits.
    pub fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }
}
