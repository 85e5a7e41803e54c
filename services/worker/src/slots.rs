//! Slots: each leases a job, carries it through, and leases again.

use std::sync::Arc;

use darkroom_queue::Ticket;

use crate::attempt;
use crate::measure;
use crate::wake::Wake;
use crate::worker::Worker;

/// Runs one slot until the worker is stopping and the slot's attempt has ended.
pub(crate) async fn run(worker: Arc<Worker>, wake: Arc<Wake>) {
    // Jobs may have waited for this worker to start: look before the first ticket.
    drain(&worker, &wake, None).await;
    while let Some(woken) = wake.next(&worker.chance).await {
        drain(&worker, &wake, woken.ticket).await;
    }
}

/// Leases and carries through one job after another until none is left. A ticket is acknowledged after the
/// attempt that was found on its account is settled.
async fn drain(worker: &Worker, wake: &Wake, mut ticket: Option<Ticket>) {
    while !worker.shutdown.soft.is_cancelled() {
        let Some(leased) = worker.lease().await else {
            return acknowledge(ticket, "nothing").await;
        };
        wake.wake_another();
        attempt::run(worker, leased).await;
        acknowledge(ticket.take(), "work").await;
        ticket = wake.ready_ticket().await;
    }
}

async fn acknowledge(ticket: Option<Ticket>, found: &'static str) {
    if let Some(ticket) = ticket {
        measure::ticket(found);
        ticket.ack().await;
    }
}
