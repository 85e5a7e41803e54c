//! A service as a process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::environment::program;
use crate::wait::until;

/// Building a debug program's first answer takes a moment on a busy machine.
const START_BOUND: Duration = Duration::from_secs(60);
const EXIT_BOUND: Duration = Duration::from_secs(60);

/// A running service. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts a program with nothing but these settings, on free ports, with its log in `folder`.
    pub fn spawn(name: &str, arguments: &[&str], settings: &[(String, String)], folder: &Path) -> Self {
        let log = folder.join(format!("{name}-{}.log", uuid::Uuid::now_v7().simple()));
        let file = std::fs::File::create(&log).expect("the test's folder is writable");
        let child = Command::new(program(name))
            .args(arguments)
            .env_clear()
            .env("DARKROOM_OPS_LISTEN", "127.0.0.1:0")
            .env("DARKROOM_LOG_FORMAT", "json")
            .env("RUST_BACKTRACE", "1")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the file can be shared"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A field of the first log line with this message.
    pub async fn logged(&mut self, message: &str, field: &str) -> String {
        let found = until(&format!("{} logs `{message}`", self.name), START_BOUND, || {
            let exited = self.child.try_wait().ok().flatten();
            assert!(exited.is_none(), "{} ended: {exited:?}\n{}", self.name, self.log());
            let value = self.field(message, field);
            async move { value }
        })
        .await;
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    }

    fn field(&self, message: &str, field: &str) -> Option<Value> {
        self.log().lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then(|| line[field].clone())
        })
    }

    /// Waits until it is ready, by its own operations port.
    pub async fn ready(&mut self) {
        self.ready_within(START_BOUND).await;
    }

    /// The same, for a worker that has much to fetch and to load first.
    pub async fn ready_within(&mut self, bound: Duration) {
        let address = self.logged("starting", "address").await;
        let url = format!("http://{address}/readyz");
        until(&format!("{} is ready", self.name), bound, || {
            let exited = self.child.try_wait().ok().flatten();
            assert!(exited.is_none(), "{} ended: {exited:?}\n{}", self.name, self.log());
            let probe = get(url.clone());
            async move { probe.await.ok().filter(|answer| answer.status().is_success()) }
        })
        .await;
    }

    /// Where its operations port answers.
    ///
    /// # Panics
    /// When it has not started.
    pub fn operations_url(&self) -> String {
        let address = self.field("starting", "address").expect("the service has started");
        format!("http://{}", address.as_str().unwrap_or_default())
    }

    /// Its metrics, as Prometheus would read them.
    pub async fn metrics(&self) -> String {
        let answer = get(format!("{}/metrics", self.operations_url())).await.expect("the port answers");
        answer.text().await.expect("metrics are text")
    }

    /// The most memory it has held at once, as the kernel counts (`VmHWM`).
    pub fn peak_memory_bytes(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, field: &str) -> u64 {
        let line = self.status(field).expect("the service runs, and the kernel counts it");
        let kib = line.trim().trim_end_matches("kB").trim_end();
        kib.parse::<u64>().expect("a number of KiB") * 1024
    }

    /// What the kernel says of it under this name.
    fn status(&self, field: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned)
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stands still until it is continued.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is ours");
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Whether the kernel has it stopped.
    pub fn is_frozen(&self) -> bool {
        self.status("State:").is_some_and(|state| state.trim_start().starts_with(['T', 't']))
    }

    /// Memory that it holds now, as the kernel counts (`VmRSS`).
    pub fn memory_bytes(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// Time that its threads have spent on processors.
    pub fn processor_time(&self) -> Duration {
        /// Clock ticks a second, for programs: the same on every Linux.
        const TICKS: f64 = 100.0;
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("the service runs, on Linux");
        // The second field, a name in brackets, may hold spaces.
        let (_, fields) = stat.rsplit_once(')').expect("the kernel brackets the name");
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(|field| field.parse::<f64>());
        Duration::from_secs_f64(ticks.map(|ticks| ticks.expect("a number of ticks")).sum::<f64>() / TICKS)
    }

    /// Files and sockets that it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("the service runs, on Linux")
            .count()
    }

    /// Waits for the end.
    pub async fn exited(&mut self) -> ExitStatus {
        until(&format!("{} ends", self.name), EXIT_BOUND, || {
            let exited = self.child.try_wait().ok().flatten();
            async move { exited }
        })
        .await
    }
}

async fn get(url: String) -> reqwest::Result<reqwest::Response> {
    // The provider can be installed once in a process; afterwards it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(url).await
}

impl Drop for Service {
    #[expect(clippy::print_stdout, reason = "the runner shows it with the failed test")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            println!("--- {} ---\n{}", self.name, tail.join("\n"));
        }
    }
}
