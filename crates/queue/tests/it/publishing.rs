//! What it means that a ticket was taken.

use std::time::Instant;

use darkroom_queue::{Publisher, QueueConfig};
use lapin::types::{AMQPValue, FieldTable, LongString};
use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, SOON, config, eventually};

#[tokio::test]
async fn taken_ticket_is_persistent_in_a_durable_quorum_queue() {
    let mut broker = Broker::new().await;
    let lane = broker.lane();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(std::slice::from_ref(&lane)).await, [true]);
    assert!(publisher.is_connected());

    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    broker.declare(&lane, quorum).await.expect("a durable quorum queue with no other arguments");

    let message = broker.get(&lane).await;
    assert_eq!(*message.properties.delivery_mode(), Some(2));
    assert_eq!(message.data, format!(r#"{{"v":1,"lane":"{lane}"}}"#).as_bytes());

    broker.stop.cancel();
    timeout(SOON, publisher.stopped()).await.unwrap();
    assert!(!publisher.is_connected());
    broker.clean().await;
}

#[tokio::test]
async fn nothing_to_publish_is_nothing_taken() {
    let publisher = Publisher::start(&config(), CancellationToken::new());
    assert_eq!(publisher.publish(&[]).await, [] as [bool; 0]);
}

#[tokio::test]
async fn deleted_queues_are_made_anew_and_every_ticket_arrives() {
    let mut broker = Broker::new().await;
    let lanes: Vec<_> = (0..12).map(|_| broker.lane()).collect();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(&lanes).await, [true; 12]);
    for lane in lanes.iter().step_by(3) {
        broker.delete(lane).await;
    }

    assert_eq!(publisher.publish(&lanes).await, [true; 12]);
    for (index, lane) in lanes.iter().enumerate() {
        broker.get(lane).await;
        if index % 3 != 0 {
            broker.get(lane).await;
        }
    }
    broker.clean().await;
}

#[tokio::test]
async fn queue_with_other_arguments_is_used_as_it_is() {
    let mut broker = Broker::new().await;
    let (odd, even) = (broker.lane(), broker.lane());
    broker.declare(&odd, FieldTable::default()).await.unwrap();
    let publisher = Publisher::start(&config(), broker.stop.clone());
    assert_eq!(publisher.publish(&[odd.clone(), even.clone()]).await, [true, true]);
    broker.get(&odd).await;
    broker.get(&even).await;
    broker.clean().await;
}

#[tokio::test]
async fn unreachable_broker_takes_nothing_within_the_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let lane = "text-to-image:a/b".parse().unwrap();

    let started = Instant::now();
    let config = QueueConfig { amqp_url: format!("amqp://{nobody}").into() };
    let publisher = Publisher::start(&config, CancellationToken::new());
    assert_eq!(publisher.publish(&[lane]).await, [false]);
    assert!(!publisher.is_connected());
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn broker_that_never_answers_is_hung_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let publisher = Publisher::start(&QueueConfig { amqp_url: url.into() }, stop.clone());
    let (mut socket, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();

    let started = Instant::now();
    assert_eq!(publisher.publish(&["text-to-image:a/b".parse().unwrap()]).await, [false]);
    assert!(started.elapsed() < SOON);

    let mut heard = Vec::new();
    timeout(SOON, socket.read_to_end(&mut heard)).await.expect("the connection was left open").unwrap();
    assert_eq!(heard, b"AMQP\x00\x00\x09\x01");
    stop.cancel();
    timeout(SOON, publisher.stopped()).await.unwrap();
    eventually(async || (!publisher.is_connected()).then_some(())).await;
}
