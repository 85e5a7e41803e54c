//! A channel to publish on.

use std::{collections::HashSet, sync::Arc};

use darkroom_jobs::Lane;
use futures_util::{StreamExt, future::join_all, stream};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    batch::{Answer, Outcome, outcomes},
    body,
    link::{ANSWER_TIMEOUT, Link, LinkError},
    queue_name, queues,
};

/// Queues declared at the same time.
const DECLARATIONS: usize = 8;

/// How a message survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A channel in confirm mode and what is known about the queues behind it.
pub(crate) struct Session {
    link: Arc<Link>,
    channel: Channel,
    declared: HashSet<Lane>,
    /// An answer is missing, and what comes later could be taken for the answer to something else; or a message
    /// was nacked, and a channel that has met a queue without its leader may go on nacking.
    spoilt: bool,
}

impl Session {
    pub(crate) async fn open(link: Arc<Link>) -> Result<Self, LinkError> {
        if link.is_blocked() {
            return Err(LinkError::Blocked);
        }
        let channel = link.channel().await?;
        link.answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { link, channel, declared: HashSet::new(), spoilt: false })
    }

    /// May be used again.
    pub(crate) fn is_sound(&self) -> bool {
        !self.spoilt
            && self.channel.status().connected()
            && self.link.is_connected()
            && !self.link.is_blocked()
    }

    /// Publishes a ticket to each lane and tells which were taken. Declares the queue of a lane at its first
    /// ticket, and at the next one after it turned out to have gone.
    pub(crate) async fn publish(&mut self, lanes: &[Lane]) -> Vec<bool> {
        self.declare(lanes).await;
        let outcomes = self.send(lanes).await;
        for (lane, _) in lanes.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Returned) {
            self.declared.remove(lane);
        }
        outcomes.into_iter().map(|outcome| outcome == Outcome::Taken).collect()
    }

    /// Sends a ticket to each lane, all at once, and waits for the confirms.
    async fn send(&mut self, lanes: &[Lane]) -> Vec<Outcome> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let queues: Vec<_> = lanes.iter().map(queue_name).collect();
        let sent = lanes.iter().zip(&queues).map(|(lane, queue)| self.answer(lane, queue, deadline));
        let answers = join_all(sent).await;
        if answers.iter().any(Option::is_none) {
            // A connection that is neither blocked nor answers is dead, whatever the kernel says.
            self.link.sever_unless_blocked();
        }
        let outcomes = outcomes(&queues, &answers);
        self.spoilt = outcomes.contains(&Outcome::Lost);
        outcomes
    }

    async fn answer(&self, lane: &Lane, queue: &str, deadline: Instant) -> Option<Answer> {
        match timeout_at(deadline, self.confirm(lane, queue)).await {
            Ok(Ok(confirmation)) => Some(answer(confirmation)),
            Ok(Err(error)) => {
                tracing::debug!(%lane, %error, "ticket not sent");
                None
            }
            Err(_) => {
                tracing::debug!(%lane, "no confirm in time");
                None
            }
        }
    }

    async fn confirm(&self, lane: &Lane, queue: &str) -> lapin::Result<Confirmation> {
        // Without `mandatory` a message to a queue that is not there is confirmed and gone.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into());
        let body = body::write(lane);
        let publish = self.channel.basic_publish("".into(), queue.into(), options, &body, properties);
        publish.await?.await
    }

    async fn declare(&mut self, lanes: &[Lane]) {
        // Owned, since the compiler cannot tell that futures over borrowed lanes are `Send`.
        let new: HashSet<Lane> =
            lanes.iter().filter(|lane| !self.declared.contains(*lane)).cloned().collect();
        let declared: Vec<_> = stream::iter(new)
            .map(|lane| {
                let link = self.link.clone();
                async move {
                    let outcome = queues::declare(&link, &lane).await;
                    (lane, outcome)
                }
            })
            .buffer_unordered(DECLARATIONS)
            .collect()
            .await;
        for (lane, outcome) in declared {
            match outcome {
                Ok(()) => drop(self.declared.insert(lane)),
                // The queue may be there all the same; if it is not, the ticket is returned.
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(%lane, error, "failed to declare a queue");
                }
            }
        }
    }
}

fn answer(confirmation: Confirmation) -> Answer {
    let acked = confirmation.is_ack();
    let returned = confirmation.take_message().map(|message| message.delivery.routing_key.to_string());
    Answer { acked, returned }
}
