//! One lane's consumer on one connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use darkroom_jobs::Lane;
use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Ticket,
    backoff::Backoff,
    body::{BodyError, check_body},
    link::{Link, LinkError},
    queue_name, queues,
};

/// For the broker to stop delivering, at the end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Where tickets go, and until when.
pub(crate) struct Output {
    pub(crate) tickets: mpsc::Sender<Ticket>,
    /// How many lanes have a consumer.
    pub(crate) consuming: Arc<AtomicUsize>,
    pub(crate) stop: CancellationToken,
}

pub(crate) struct Consumer<'a> {
    pub(crate) link: Arc<Link>,
    pub(crate) lane: &'a Lane,
    pub(crate) prefetch: u16,
    /// The connection has ended, or it is time to stop.
    pub(crate) ended: CancellationToken,
}

impl Consumer<'_> {
    /// Consumes, again and again, until the connection ends or it is time to stop.
    pub(crate) async fn run(self, output: &Output) {
        let mut backoff = Backoff::new();
        while !self.ended.is_cancelled() {
            let began = Instant::now();
            match self.subscribe().await {
                Ok((channel, deliveries)) => {
                    output.consuming.fetch_add(1, Ordering::Relaxed);
                    self.forward(&channel, deliveries, output).await;
                    output.consuming.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(lane = %self.lane, error, "failed to consume");
                }
            }
            backoff.pause(began, &self.ended).await;
        }
    }

    async fn subscribe(&self) -> Result<(Channel, lapin::Consumer), LinkError> {
        queues::declare(&self.link, self.lane).await?;
        let channel = self.link.channel().await?;
        // Per consumer; without it one worker would hold the whole queue.
        self.link.answer(channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let queue = queue_name(self.lane);
        let consume = channel.basic_consume(
            queue.as_str().into(),
            // The broker makes up a tag.
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = self.link.answer(consume).await?;
        Ok((channel, deliveries))
    }

    async fn forward(&self, channel: &Channel, mut deliveries: lapin::Consumer, output: &Output) {
        loop {
            let delivery = tokio::select! {
                () = self.ended.cancelled() => break,
                delivery = deliveries.next() => delivery,
            };
            match delivery {
                Some(Ok(delivery)) => self.deliver(delivery, channel, output).await,
                Some(Err(error)) => {
                    tracing::warn!(lane = %self.lane, %error, "consumer ended");
                    return;
                }
                // How lapin shows that the broker cancelled it: the queue was deleted, or moved.
                None => {
                    tracing::warn!(lane = %self.lane, "consumer cancelled by the broker");
                    return;
                }
            }
        }
        self.cancel(channel, deliveries).await;
    }

    async fn deliver(&self, delivery: Delivery, channel: &Channel, output: &Output) {
        let ticket = Ticket::new(self.lane.clone(), delivery.acker, channel.clone(), self.link.clone());
        if let Err(error) = check_body(&delivery.data, self.lane) {
            self.complain(&error);
            ticket.ack().await;
            return;
        }
        metrics::counter!("darkroom_tickets_delivered_total").increment(1);
        tokio::select! {
            // Either way a ticket that finds no taker goes back as it is dropped.
            () = self.ended.cancelled() => {}
            _ = output.tickets.send(ticket) => {}
        }
    }

    fn complain(&self, error: &BodyError) {
        metrics::counter!("darkroom_tickets_malformed_total").increment(1);
        let error: &dyn std::error::Error = error;
        tracing::warn!(lane = %self.lane, error, "threw away a malformed ticket");
    }

    /// Stops deliveries. Those that have arrived and not been looked at go back.
    async fn cancel(&self, channel: &Channel, mut deliveries: lapin::Consumer) {
        if !self.link.is_connected() {
            return;
        }
        let cancel = async {
            channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default()).await?;
            while let Some(delivery) = deliveries.next().await {
                let Delivery { acker, .. } = delivery?;
                drop(Ticket::new(self.lane.clone(), acker, channel.clone(), self.link.clone()));
            }
            Ok::<_, lapin::Error>(())
        };
        match timeout(CANCEL_TIMEOUT, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(lane = %self.lane, %error, "failed to cancel the consumer"),
            Err(_) => tracing::debug!(lane = %self.lane, "consumer not cancelled in time"),
        }
    }
}
