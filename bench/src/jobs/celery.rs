//! Celery, doing the same work on the same servers.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use crate::deployed::{Deployed, REST};
use crate::variable;

const PROGRAM: &str = include_str!("celery_side.py");
/// How long a worker has to end by itself.
const END_BOUND: Duration = Duration::from_secs(15);

/// A worker, which ends with this value, and what submits to it.
pub(crate) struct Celery {
    python: PathBuf,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    worker: Child,
}

impl Celery {
    /// Starts a worker with so many processes, whose tasks store `picture`.
    pub(crate) fn start(on: &Deployed, picture: &[u8], processes: usize) -> Result<Self> {
        let python = PathBuf::from(variable("BENCH_CELERY")?);
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("celery_side.py"), PROGRAM)?;
        fs::write(folder.path().join("picture.png"), picture)?;
        let mut variables = vec![
            ("BENCH_DATABASE_URL", on.database_url().to_owned()),
            ("BENCH_PICTURE", folder.path().join("picture.png").display().to_string()),
            ("BENCH_QUEUE", format!("celery-{}", Uuid::now_v7().simple())),
        ];
        let shared = [
            ("BENCH_AMQP_URL", "AMQP_URL"),
            ("BENCH_S3_ENDPOINT", "S3_ENDPOINT"),
            ("BENCH_S3_REGION", "S3_REGION"),
            ("BENCH_S3_BUCKET", "S3_BUCKET"),
            ("BENCH_S3_ACCESS_KEY_ID", "S3_ACCESS_KEY_ID"),
            ("BENCH_S3_SECRET_ACCESS_KEY", "S3_SECRET_ACCESS_KEY"),
        ];
        variables.extend(shared.map(|(name, setting)| (name, on.setting(setting).to_owned())));
        let mut command = command(&python, &folder, &variables);
        command.args([
            "-m",
            "celery",
            "-A",
            "celery_side",
            "worker",
            "--pool",
            "prefork",
            "--loglevel",
            "WARNING",
        ]);
        command.args(["--concurrency", &processes.to_string()]);
        command.args(["--without-gossip", "--without-mingle", "--without-heartbeat"]);
        let log = File::create(folder.path().join("worker.log"))?;
        let worker =
            command.stdout(log.try_clone()?).stderr(log).spawn().context("failed to start Celery")?;
        Ok(Self { python, folder, variables, worker })
    }

    /// Jobs a second, from the first submission to the last result.
    pub(crate) fn rate(&self, jobs: usize) -> Result<f64> {
        self.measure(&["rate", &jobs.to_string()])
    }

    /// Milliseconds from the answer to a submission to the sight of its result, for jobs one after another.
    pub(crate) fn latencies_idle(&self, jobs: usize) -> Result<Vec<f64>> {
        self.measure(&["idle", &jobs.to_string(), &REST.as_secs_f64().to_string()])
    }

    /// The same for jobs that are submitted one each `interval`, whatever became of those before.
    pub(crate) fn latencies_loaded(&self, jobs: usize, interval: Duration) -> Result<Vec<f64>> {
        self.measure(&["loaded", &jobs.to_string(), &interval.as_secs_f64().to_string()])
    }

    fn measure<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut command = command(&self.python, &self.folder, &self.variables);
        let output =
            command.arg("celery_side.py").args(arguments).output().context("failed to run Python")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let log = fs::read_to_string(self.folder.path().join("worker.log")).unwrap_or_default();
            bail!("Celery's side failed: {}\n{said}\nIts worker said:\n{log}", output.status);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Celery {
    /// Lets the worker end its processes before it ends itself.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.worker), Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < END_BOUND {
            if !matches!(self.worker.try_wait(), Ok(None)) {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread")]
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// Python in the folder of the program, with nothing of the caller's environment that could lead elsewhere.
fn command(python: &PathBuf, folder: &TempDir, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(python);
    command.current_dir(folder.path()).env_clear().env("HOME", folder.path()).env("PATH", "/usr/bin:/bin");
    // A worker that runs as root is warned of, and nothing else.
    command.env("C_FORCE_ROOT", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}
