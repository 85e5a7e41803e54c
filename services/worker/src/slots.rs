//! Slots, and the carriers that take turns with them.
//!
//! A carrier leases a job, carries it through, and leases again. It has a slot from before it leases until the
//! device has done its part. Results that are stored after that, and the settlement, need none: another carrier
//! has the slot by then, and its job is on the device meanwhile. There is one carrier more than there are slots,
//! and so at most one attempt more.

use std::sync::Arc;

use darkroom_queue::Ticket;
use tokio::sync::OwnedSemaphorePermit;

use crate::attempt;
use crate::measure;
use crate::wake::Wake;
use crate::worker::Worker;

/// Carriers for so many slots.
pub(crate) fn carriers(slots: u16) -> u16 {
    slots + 1
}

/// A share of the device, from the lease until the device has done its part.
pub(crate) type Slot = OwnedSemaphorePermit;

/// Runs one carrier until the worker is stopping and the carrier's attempt has ended.
pub(crate) async fn carry(worker: Arc<Worker>, wake: Arc<Wake>) {
    // Jobs may have waited for this worker to start, or for the slot: look before the first ticket.
    while let Some(slot) = worker.free_slot().await {
        let ticket = wake.ready_ticket().await;
        if carry_next(&worker, &wake, slot, ticket).await.is_none() {
            return;
        }
    }
}

/// Waits for a job and carries it through; `None` when the worker is stopping. A ticket is acknowledged after the
/// attempt that was found on its account is settled.
async fn carry_next(worker: &Worker, wake: &Wake, slot: Slot, mut ticket: Option<Ticket>) -> Option<()> {
    while !worker.shutdown.soft.is_cancelled() {
        if let Some(leased) = worker.lease().await {
            wake.wake_another();
            attempt::run(worker, leased, slot).await;
            acknowledge(ticket, "work").await;
            return Some(());
        }
        acknowledge(ticket, "nothing").await;
        ticket = wake.next(&worker.chance).await?.ticket;
    }
    None
}

async fn acknowledge(ticket: Option<Ticket>, found: &'static str) {
    if let Some(ticket) = ticket {
        measure::ticket(found);
        ticket.ack().await;
    }
}
