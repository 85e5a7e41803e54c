//! The broker under test, and a way to cut the line to it.

use std::time::Duration;

use darkroom_jobs::{Lane, Pipeline};
use darkroom_queue::{QueueConfig, queue_name};
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;
use uuid::Uuid;

/// The longest anything in these tests may take that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The broker's URL.
pub(crate) fn amqp_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    std::env::var("TEST_AMQP_URL").expect("run through `cargo xtask test`")
}

pub(crate) fn config() -> QueueConfig {
    QueueConfig { amqp_url: amqp_url().into() }
}

/// A test's own view of the broker. Its lanes are nobody else's.
pub(crate) struct Broker {
    connection: Connection,
    channel: Channel,
    lanes: Vec<Lane>,
    pub(crate) stop: CancellationToken,
    _stop: DropGuard,
}

impl Broker {
    pub(crate) async fn new() -> Self {
        let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Self { connection, channel, lanes: Vec::new(), stop, _stop: guard }
    }

    pub(crate) fn lane(&mut self) -> Lane {
        let lane = Lane::new(Pipeline::TextToImage, format!("test/{}", Uuid::new_v4())).unwrap();
        self.lanes.push(lane.clone());
        lane
    }

    /// Puts anything at all into the lane's queue.
    pub(crate) async fn put(&self, lane: &Lane, body: &[u8]) {
        let queue = queue_name(lane);
        let publish = self.channel.basic_publish(
            "".into(),
            queue.as_str().into(),
            BasicPublishOptions::default(),
            body,
            Default::default(),
        );
        publish.await.unwrap();
    }

    /// Takes the next message out of the lane's queue, waiting for it.
    pub(crate) async fn get(&self, lane: &Lane) -> lapin::message::Delivery {
        let queue = queue_name(lane);
        eventually(async || {
            let get = self.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
            get.await.unwrap().map(|message| message.delivery)
        })
        .await
    }

    /// Declares the lane's queue with some arguments.
    pub(crate) async fn declare(&self, lane: &Lane, arguments: FieldTable) -> lapin::Result<lapin::Queue> {
        let channel = self.connection.create_channel().await.unwrap();
        let queue = queue_name(lane);
        channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), arguments).await
    }

    pub(crate) async fn delete(&self, lane: &Lane) {
        let queue = queue_name(lane);
        self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Stops what the test started and deletes its queues.
    pub(crate) async fn clean(self) {
        self.stop.cancel();
        for lane in &self.lanes {
            self.delete(lane).await;
        }
        self.connection.close(200, "bye".into()).await.unwrap();
    }
}

/// Asks until there is an answer, for ten seconds at most.
pub(crate) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(SOON, asking).await.expect("did not come about in time")
}

/// A way to the broker that can be cut.
pub(crate) struct Line {
    pub(crate) config: QueueConfig,
    port: u16,
    task: AbortHandle,
}

impl Line {
    pub(crate) async fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut url = Url::parse(&amqp_url()).unwrap();
        let broker = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5672));
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        let task = tokio::spawn(relay(listener, broker)).abort_handle();
        Self { config: QueueConfig { amqp_url: url.as_str().into() }, port, task }
    }

    /// Ends all connections, and takes no new ones.
    pub(crate) fn cut(&self) {
        self.task.abort();
    }

    /// Takes connections again.
    pub(crate) async fn mend(&mut self) {
        let url = Url::parse(&amqp_url()).unwrap();
        let broker = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5672));
        let port = self.port;
        let listener = eventually(async || TcpListener::bind(("127.0.0.1", port)).await.ok()).await;
        self.task = tokio::spawn(relay(listener, broker)).abort_handle();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(listener: TcpListener, broker: (String, u16)) {
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let broker = broker.clone();
        connections.spawn(async move {
            let mut far = TcpStream::connect(broker).await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
