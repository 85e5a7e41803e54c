//! What a consumer gets, and what becomes of what it does not ack.

use std::slice::from_ref;

use darkroom_jobs::Lane;
use darkroom_queue::{Publisher, Subscription, Ticket, Tickets};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, SOON, config, eventually};

fn consume(lanes: &[Lane], prefetch: u16, stop: &CancellationToken) -> Tickets {
    Tickets::start(&config(), Subscription { lanes: lanes.to_vec(), prefetch }, stop.clone())
}

async fn next(tickets: &mut Tickets) -> Ticket {
    timeout(SOON, tickets.recv()).await.expect("no ticket in time").expect("stopped")
}

async fn consuming(tickets: &Tickets) {
    eventually(async || tickets.is_consuming().then_some(())).await;
}

#[tokio::test]
async fn published_tickets_arrive_on_their_lanes() {
    let mut broker = Broker::new().await;
    let lanes = [broker.lane(), broker.lane()];
    let mut tickets = consume(&lanes, 2, &broker.stop);
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(&[lanes[0].clone(), lanes[1].clone(), lanes[0].clone()]).await, [true; 3]);

    let mut arrived = Vec::new();
    for _ in 0..3 {
        let ticket = next(&mut tickets).await;
        arrived.push(ticket.lane.clone());
        ticket.ack().await;
    }
    arrived.sort();
    let mut expected = vec![lanes[0].clone(), lanes[0].clone(), lanes[1].clone()];
    expected.sort();
    assert_eq!(arrived, expected);
    assert!(tickets.is_consuming());
    broker.clean().await;
}

#[tokio::test]
async fn no_more_than_prefetch_tickets_of_a_lane_are_held() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(&vec![lane.clone(); 3]).await, [true; 3]);
    let mut tickets = consume(from_ref(&lane), 2, &broker.stop);
    let first = next(&mut tickets).await;
    let _second = next(&mut tickets).await;

    // What the broker has not sent yet, somebody else gets.
    broker.get(&lane).await;
    first.ack().await;
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    next(&mut tickets).await.ack().await;
    broker.clean().await;
}

#[tokio::test]
async fn deleted_queue_is_consumed_again() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let mut tickets = consume(from_ref(&lane), 1, &broker.stop);
    consuming(&tickets).await;
    broker.delete(&lane).await;
    eventually(async || (!tickets.is_consuming()).then_some(())).await;
    consuming(&tickets).await;

    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    next(&mut tickets).await.ack().await;
    broker.clean().await;
}

#[tokio::test]
async fn unacked_ticket_goes_to_another_consumer() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    let mut first = consume(from_ref(&lane), 1, &broker.stop);
    let ticket = next(&mut first).await;
    let mut second = consume(from_ref(&lane), 1, &broker.stop);
    drop(first);
    drop(ticket);

    next(&mut second).await.ack().await;
    broker.clean().await;
}

#[tokio::test]
async fn stopped_consumer_gives_back_what_waits_and_may_ack_what_it_holds() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(&vec![lane.clone(); 2]).await, [true; 2]);
    let stop = broker.stop.child_token();
    let mut tickets = consume(from_ref(&lane), 2, &stop);
    let held = next(&mut tickets).await;

    stop.cancel();
    assert!(tickets.recv().await.is_none());
    timeout(SOON, tickets.stopped()).await.unwrap();
    broker.get(&lane).await;
    held.ack().await;

    // Were it not acked, it would come back as its connection ends.
    let mut other = consume(from_ref(&lane), 2, &broker.stop);
    consuming(&other).await;
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);
    let fresh = next(&mut other).await;
    let another = timeout(std::time::Duration::from_millis(500), other.recv()).await;
    assert!(another.is_err(), "the held ticket was acked: {another:?}");
    fresh.ack().await;
    broker.clean().await;
}

#[tokio::test]
async fn malformed_tickets_are_acked_and_the_consumer_lives() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let mut tickets = consume(from_ref(&lane), 1, &broker.stop);
    consuming(&tickets).await;
    broker.put(&lane, b"hello").await;
    broker.put(&lane, b"").await;
    broker.put(&lane, br#"{"v":99,"anything":true}"#).await;
    broker.put(&lane, br#"{"v":1,"lane":"text-to-image:some/other"}"#).await;
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(from_ref(&lane)).await, [true]);

    // With a prefetch of one it arrives only when those before it are acked.
    next(&mut tickets).await.ack().await;
    broker.clean().await;
}
