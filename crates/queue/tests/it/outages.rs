//! Connections that end.

use std::slice::from_ref;

use darkroom_queue::{Publisher, Subscription, Tickets};
use tokio::time::timeout;

use crate::broker::{Broker, Line, SOON, config, eventually};

#[tokio::test]
async fn both_ends_recover_from_a_lost_connection() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let mut line = Line::lay().await;
    let publisher = Publisher::start(&line.config, broker.stop.clone());
    let subscription = Subscription { lanes: vec![lane.clone()], prefetch: 1 };
    let mut tickets = Tickets::start(&line.config, subscription, broker.stop.clone());
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    let ticket = timeout(SOON, tickets.recv()).await.unwrap().unwrap();

    line.cut();
    eventually(async || (!publisher.is_connected() && !tickets.is_consuming()).then_some(())).await;
    assert_eq!(publisher.publish(from_ref(&lane)).await, [false]);
    timeout(SOON, ticket.ack()).await.expect("an ack on a dead connection returns");

    line.mend().await;
    eventually(async || (publisher.is_connected() && tickets.is_consuming()).then_some(())).await;
    let redelivered = timeout(SOON, tickets.recv()).await.unwrap().unwrap();
    redelivered.ack().await;
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    timeout(SOON, tickets.recv()).await.unwrap().unwrap().ack().await;
    broker.clean().await;
}

#[tokio::test]
async fn both_ends_may_meet_at_new_queues() {
    let mut broker = Broker::new().await;
    for _ in 0..5 {
        let lanes: Vec<_> = (0..4).map(|_| broker.lane()).collect();
        let publisher = Publisher::start(&config(), broker.stop.clone());
        let subscription = Subscription { lanes: lanes.clone(), prefetch: 1 };
        let mut tickets = Tickets::start(&config(), subscription, broker.stop.clone());
        assert_eq!(publisher.publish(&lanes).await, [true; 4]);
        for _ in &lanes {
            timeout(SOON, tickets.recv()).await.unwrap().unwrap().ack().await;
        }
    }
    broker.clean().await;
}
