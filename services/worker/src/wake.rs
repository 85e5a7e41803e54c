//! What wakes an idle slot.

use std::time::Duration;

use darkroom_queue::{Ticket, Tickets};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;

/// How often a worker with a free slot looks for work that no ticket announced.
const PROBE_PERIOD: Duration = Duration::from_secs(2);

/// Tickets, probes, and slots that wake each other. Idle slots queue up; the first of them waits here, so a
/// worker probes once per period however many slots it has.
pub(crate) struct Wake {
    tickets: Mutex<Tickets>,
    more: Notify,
    stop: CancellationToken,
}

/// A slot woke.
#[derive(Debug)]
pub(crate) struct Woken {
    /// The ticket that woke it. Without one it is time to look, or another slot has just found work and there
    /// may be more.
    pub(crate) ticket: Option<Ticket>,
}

impl Wake {
    /// Wakes slots until `stop` is canceled.
    pub(crate) fn new(tickets: Tickets, stop: CancellationToken) -> Self {
        Self { tickets: Mutex::new(tickets), more: Notify::new(), stop }
    }

    /// Waits for the next reason to lease; `None` when the worker is stopping.
    pub(crate) async fn next(&self, chance: &Chance) -> Option<Woken> {
        let mut tickets = tokio::select! {
            () = self.stop.cancelled() => return None,
            tickets = self.tickets.lock() => tickets,
        };
        tokio::select! {
            ticket = tickets.recv() => ticket.map(|ticket| Woken { ticket: Some(ticket) }),
            () = self.more.notified() => Some(Woken { ticket: None }),
            () = tokio::time::sleep(chance.around(PROBE_PERIOD)) => Some(Woken { ticket: None }),
        }
    }

    /// A ticket that lies ready, to be used up by work that was found without one.
    pub(crate) async fn ready_ticket(&self) -> Option<Ticket> {
        let mut tickets = self.tickets.try_lock().ok()?;
        tokio::select! {
            biased;
            ticket = tickets.recv() => ticket,
            () = std::future::ready(()) => None,
        }
    }

    /// Wakes the slot that waits, if there is one: work was found, there may be more of it.
    pub(crate) fn wake_another(&self) {
        self.more.notify_waiters();
    }

    /// Once the worker is stopping, gives tickets back that no slot has taken.
    pub(crate) async fn give_back(&self) {
        self.stop.cancelled().await;
        // Once stopped this returns at once, and what was delivered and not received goes back.
        let _ = self.tickets.lock().await.recv().await;
    }

    /// Waits until the broker knows that nothing is consumed here any more.
    pub(crate) async fn stopped(self) {
        self.tickets.into_inner().stopped().await;
    }
}
