//! A broker that restarts, forgets, blocks, and throws its consumers out; and tickets that lie.

use std::time::Duration;

use darkroom_e2e::{PrivateServers, Service, until};
use darkroom_queue::queue_name;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::{Load, Submitted};
use super::report::{seconds, seen};
use super::world::{RECOVERY, World};

/// Between two submissions of the load.
const PERIOD: Duration = Duration::from_millis(100);
/// How long after the broker is back everything must be published.
const DRAINED: Duration = Duration::from_secs(60);

/// A world with a broker of its own.
struct Broken {
    worker: Service,
    world: World,
    servers: PrivateServers,
    chance: Chance,
    queue: String,
}

impl Broken {
    async fn start(row: u32, step_ms: u64) -> Self {
        let servers = spawn_blocking(PrivateServers::broker).await.unwrap();
        let world = World::with_broker(&servers, step_ms).await;
        let worker = world.deployment.worker().await;
        let queue = queue_name(world.deployment.lane());
        let broken = Self { world, servers, worker, chance: Chance::of(row), queue };
        broken.consumed_within(Duration::from_secs(30)).await;
        broken
    }

    /// Does what takes its time to the broker.
    async fn torment<T: Send + 'static>(
        mut self,
        act: impl FnOnce(&PrivateServers) -> T + Send + 'static,
    ) -> (Self, T) {
        let servers = self.servers;
        let (servers, done) = spawn_blocking(move || {
            let done = act(&servers);
            (servers, done)
        })
        .await
        .unwrap();
        self.servers = servers;
        (self, done)
    }

    async fn rabbitmqctl(self, arguments: &'static [&'static str]) -> (Self, String) {
        self.torment(move |servers| servers.rabbitmqctl(arguments)).await
    }

    /// Waits until the lane's queue has a consumer.
    async fn consumed_within(&self, bound: Duration) -> Duration {
        let began = Instant::now();
        until("the queue has a consumer", bound, || async {
            let listed = self.servers.rabbitmqctl(&[
                "list_queues",
                "--quiet",
                "--no-table-headers",
                "name",
                "consumers",
            ]);
            let line = listed
                .lines()
                .find_map(|line| line.strip_prefix(&self.queue).map(str::trim).map(str::to_owned))?;
            (line == "1").then_some(())
        })
        .await;
        began.elapsed()
    }

    /// Waits until nothing is left to publish or to run.
    async fn drained(&self) -> Duration {
        let backlog =
            "select (select count(*) from outbox) + (select count(*) from jobs where state = 'queued')";
        let began = Instant::now();
        until("the backlog is drained", DRAINED, || async {
            (self.world.count(backlog).await < 5).then_some(())
        })
        .await;
        began.elapsed()
    }

    /// Nobody may have noticed: the API does not talk to the broker.
    fn unnoticed(submitted: &Submitted) {
        assert_eq!((submitted.refused, submitted.broken), (0, 0), "{submitted:?}");
    }

    async fn end(mut self, submitted: &Submitted) {
        assert!(self.world.deployment.dispatcher.is_running() && self.worker.is_running());
        invariants::hold(&self.world, submitted, Repeated::None, RECOVERY).await;
        drop(self.worker);
        self.world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_6_and_7_the_broker_goes_away_and_forgets() {
    let mut broken = Broken::start(6, 1).await;
    let mut submitted = Submitted::default();
    for _ in 0..broken.chance.rounds() {
        let load = Load::begin(&broken.world, PERIOD);
        sleep(Duration::from_secs(1)).await;
        broken.world.lines.broker.reset().await;
        let consuming = broken.consumed_within(RECOVERY).await;
        seen(
            6,
            "broker connections reset",
            "under load",
            &format!("consuming again after {}", seconds(consuming)),
        );

        (broken, _) = broken.torment(|servers| servers.stop("rabbitmq")).await;
        let outage = broken.chance.outage(Duration::from_secs(60));
        sleep(outage).await;
        (broken, _) = broken.torment(|servers| servers.restart("rabbitmq")).await;
        let drained = broken.drained().await;
        let more = load.end().await;
        Broken::unnoticed(&more);
        seen(
            6,
            "broker down",
            "under load",
            &format!(
                "{} jobs submitted, none refused; backlog drained {} after its return from {}",
                more.accepted.len(),
                seconds(drained),
                seconds(outage)
            ),
        );
        submitted.accepted.extend(more.accepted);

        let load = Load::begin(&broken.world, PERIOD / 2);
        sleep(Duration::from_secs(1)).await;
        (broken, _) = broken.torment(PrivateServers::wipe_broker).await;
        sleep(Duration::from_secs(2)).await;
        (broken, _) = broken.torment(|servers| servers.restart("rabbitmq")).await;
        let more = load.end().await;
        Broken::unnoticed(&more);
        let drained = broken.drained().await;
        broken.consumed_within(RECOVERY).await;
        seen(
            7,
            "broker loses all queues and messages",
            "jobs queued",
            &format!(
                "{} jobs submitted, none refused; drained {} after its return",
                more.accepted.len(),
                seconds(drained)
            ),
        );
        submitted.accepted.extend(more.accepted);
    }
    broken.end(&submitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_8_the_broker_blocks_publishers() {
    let mut broken = Broken::start(8, 1).await;
    let mut submitted = Submitted::default();
    for _ in 0..broken.chance.rounds() {
        let load = Load::begin(&broken.world, PERIOD);
        // The job that runs meanwhile needs its heartbeats: it takes longer than a lease.
        (broken, _) = broken.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
        let outage = broken.chance.outage(Duration::from_secs(60));
        let mut long = crate::verify::request("[fake:step_ms=100] a red circle", 1);
        long.steps = Some(60);
        let long = broken.world.client.submit_text_to_image(&long).await.unwrap();
        sleep(outage).await;
        let memory = broken.world.deployment.dispatcher.memory_bytes() >> 20;
        (broken, _) = broken.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        let more = load.end().await;
        Broken::unnoticed(&more);
        let drained = broken.drained().await;
        let (long, _) = broken.world.succeeds_within(&long, RECOVERY).await;
        assert_eq!(long.attempts, 1, "its lease was kept");
        seen(
            8,
            "memory alarm (blocked connection)",
            "under load",
            &format!("leases kept; dispatcher at {memory} MiB; drained {} after", seconds(drained)),
        );
        submitted.accepted.extend(more.accepted);
        submitted.accepted.push(long.id);
    }
    broken.end(&submitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_the_consumer_is_thrown_out() {
    let mut broken = Broken::start(9, 1).await;
    let mut submitted = Submitted::default();
    for _ in 0..broken.chance.rounds() {
        let queue = broken.queue.clone();
        (broken, _) = broken.torment(move |servers| servers.rabbitmqctl(&["delete_queue", &queue])).await;
        let deleted = broken.consumed_within(RECOVERY).await;
        seen(9, "queue deleted", "running consumer", &format!("consuming again after {}", seconds(deleted)));

        // The channel of an unacked ticket is closed with 406 after the consumer time-out, which the broker looks at
        // as often as it is told for channels opened from then on.
        let eval = "application:set_env(rabbit, consumer_timeout, 1000), \
                    application:set_env(rabbit, channel_tick_interval, 500).";
        (broken, _) = broken.torment(move |servers| servers.rabbitmqctl(&["eval", eval])).await;
        broken.world.lines.broker.reset().await;
        broken.consumed_within(RECOVERY).await;
        let mut long = crate::verify::request("[fake:step_ms=100] a red circle", 1);
        long.steps = Some(50);
        let long = broken.world.client.submit_text_to_image(&long).await.unwrap();
        until("the broker closes the channel", RECOVERY, || async {
            broken.worker.log().contains("PRECONDITION_FAILED").then_some(())
        })
        .await;
        let closed = broken.consumed_within(RECOVERY).await;
        let (long, _) = broken.world.succeeds_within(&long, RECOVERY).await;
        assert_eq!(long.attempts, 1, "the attempt goes on under its lease");
        submitted.accepted.push(long.id);
        seen(
            9,
            "channel closed with 406",
            "running consumer",
            &format!("consuming again after {}, the attempt went on", seconds(closed)),
        );
        let eval = "application:set_env(rabbit, consumer_timeout, 1800000).";
        (broken, _) = broken.torment(move |servers| servers.rabbitmqctl(&["eval", eval])).await;
    }
    broken.end(&submitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_tickets_lie() {
    let mut broken = Broken::start(10, 20).await;
    let mut submitted = Submitted::default();
    let mut malformed = 0;
    for _ in 0..broken.chance.rounds() {
        let job = broken.world.submit(10).await;
        submitted.accepted.push(job.id);
        let lane = broken.world.deployment.lane().to_string();
        let good = format!(r#"{{\"v\":1,\"lane\":\"{lane}\"}}"#);
        let bodies = [
            (good.clone(), 5),
            ("not json".to_owned(), 3),
            (r#"{\"v\":99,\"lane\":\"x\"}"#.to_owned(), 2),
            (good.replace(&lane, "text-to-image:somebody/else"), 1),
        ];
        for (body, times) in bodies {
            // As late as it may be: some arrive while the job runs and some after.
            let queue = broken.queue.clone();
            let eval = format!(
                "[rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<>>), <<\"{queue}\">>, [], <<\"{body}\">>) \
                 || _ <- lists:seq(1, {times})]."
            );
            (broken, _) = broken.torment(move |servers| servers.rabbitmqctl(&["eval", &eval])).await;
        }
        malformed += 6;
        let (job, _) = broken.world.succeeds_within(&job, RECOVERY).await;
        assert_eq!(job.attempts, 1);
        let expected = format!("darkroom_tickets_malformed_total {malformed}");
        until("the malformed ones are counted", RECOVERY, || async {
            broken.worker.metrics().await.contains(&expected).then_some(())
        })
        .await;
        let empty = "list_queues --quiet --no-table-headers messages";
        until("every ticket is acked", RECOVERY, || async {
            let arguments: Vec<&str> = empty.split(' ').collect();
            let left = broken.servers.rabbitmqctl(&arguments);
            left.lines().all(|line| line.trim() == "0").then_some(())
        })
        .await;
    }
    seen(
        10,
        "tickets duplicated five times, late, malformed, of an unknown version",
        "",
        "one attempt; the malformed were counted and acked, the consumer lives",
    );
    broken.end(&submitted).await;
}
