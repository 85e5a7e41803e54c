//! One delivery.

use std::{fmt, sync::Arc, time::Duration};

use darkroom_jobs::Lane;
use futures_util::FutureExt;
use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::time::timeout;

use crate::link::Link;

/// For an ack to be written; the broker does not answer it.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// A delivered ticket: there may be work in `lane`. Ack it after the database commit that makes it obsolete,
/// or when there turns out to be nothing to do.
///
/// Delivery is at least once: the broker gives a ticket to another consumer when this one's connection ends,
/// and when the ticket is dropped without an ack.
pub struct Ticket {
    /// Where there may be work.
    pub lane: Lane,
    acker: Option<Acker>,
    /// An acker is of no use once its channel and connection are closed, which is when the last handle goes.
    _channel: Channel,
    _link: Arc<Link>,
}

impl Ticket {
    pub(crate) fn new(lane: Lane, acker: Acker, channel: Channel, link: Arc<Link>) -> Self {
        Self { lane, acker: Some(acker), _channel: channel, _link: link }
    }

    /// Tells the broker to forget the ticket. On a connection that has ended this does nothing: the broker
    /// will deliver the ticket again, for nothing.
    pub async fn ack(mut self) {
        let Some(acker) = self.acker.take() else { return };
        match timeout(ACK_TIMEOUT, acker.ack(BasicAckOptions::default())).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => tracing::debug!(lane = %self.lane, "ack not sent: the channel has ended"),
            Ok(Err(error)) => tracing::debug!(lane = %self.lane, %error, "ack not sent"),
            Err(_) => tracing::debug!(lane = %self.lane, "ack not sent in time"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            // The first poll hands the frame to the connection's thread; there is no answer to wait for.
            let _ = acker.nack(BasicNackOptions { requeue: true, ..Default::default() }).now_or_never();
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("lane", &self.lane).finish_non_exhaustive()
    }
}
