//! What every part of the worker shares.

use std::sync::Arc;
use std::time::Duration;

use darkroom_blobs::Blobs;
use darkroom_jobs::WorkerId;
use darkroom_ops::Shutdown;
use darkroom_store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::device::Device;
use crate::inputs;
use crate::lanes::Lanes;
use crate::library::Library;
use crate::model_store::ModelStore;
use crate::running::Running;
use crate::served::Served;
use crate::slots::Slot;

/// A worker process.
pub(crate) struct Worker {
    /// This run of the process.
    pub(crate) id: WorkerId,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) served: Arc<Served>,
    pub(crate) library: Arc<Library>,
    pub(crate) model_store: ModelStore,
    pub(crate) device: Device,
    pub(crate) lanes: Lanes,
    pub(crate) running: Running,
    pub(crate) chance: Chance,
    /// Shares of the device that no carrier has.
    pub(crate) slots: Arc<Semaphore>,
    /// Bounds the pictures that are decoded at a time, and so their memory.
    pub(crate) decoders: Arc<Semaphore>,
    /// No step for this long is a hang.
    pub(crate) stall: Duration,
    /// Requests to stop.
    pub(crate) shutdown: Shutdown,
    /// Canceled when what runs has to be given back now.
    pub(crate) giving_back: CancellationToken,
    /// Canceled when the device hangs: the process must end.
    pub(crate) hung: CancellationToken,
}

/// The outside of a worker.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) served: Arc<Served>,
    pub(crate) library: Arc<Library>,
    pub(crate) model_store: ModelStore,
    pub(crate) device: Device,
    pub(crate) slots: u16,
    pub(crate) stall: Duration,
    pub(crate) shutdown: Shutdown,
}

impl Worker {
    /// A worker with nothing running.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { store, blobs, served, library, model_store, device, slots, stall, shutdown } = parts;
        let chance = Chance::from_os();
        Self {
            id: WorkerId::from_uuid(chance.uuid()),
            lanes: Lanes::new(served.lanes()),
            running: Running::default(),
            slots: Arc::new(Semaphore::new(slots.into())),
            decoders: Arc::new(Semaphore::new(inputs::DECODERS)),
            giving_back: shutdown.hard.child_token(),
            hung: CancellationToken::new(),
            store,
            blobs,
            served,
            library,
            model_store,
            device,
            chance,
            stall,
            shutdown,
        }
    }

    /// Waits for a slot; `None` when the worker is stopping.
    pub(crate) async fn free_slot(&self) -> Option<Slot> {
        tokio::select! {
            biased;
            () = self.shutdown.soft.cancelled() => None,
            slot = self.slots.clone().acquire_owned() => slot.ok(),
        }
    }
}
