//! A whole Darkroom to measure: its services as processes with their default settings, on a database of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use darkroom_client::{Client, Job, JobState, TextToImageRequest};
use darkroom_e2e::{Catalog, Deployment, Service};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

/// Connections that submit at the same time.
const SUBMITTERS: usize = 16;
/// How long all jobs together may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause after each of jobs that are submitted one after another, in which everything comes to rest.
pub(crate) const REST: Duration = Duration::from_millis(20);

/// API, dispatcher and workers, which end with this value.
pub(crate) struct Deployed {
    runtime: Runtime,
    deployment: Deployment,
    client: Client,
    workers: Vec<Service>,
}

impl Deployed {
    /// API and dispatcher that serve a model without weights, whose one step takes `step`.
    pub(crate) fn start(step: Duration) -> Result<Self> {
        let runtime = Runtime::new().context("failed to start the runtime")?;
        let step_ms = u64::try_from(step.as_millis())?;
        let (deployment, client) = runtime.block_on(async {
            let deployment = Deployment::start(&Catalog::fake(step_ms)).await;
            // What a test database has beside the migrations.
            deployment.database.execute("drop schema guard cascade").await;
            let client = deployment.tenant("bench").await;
            (deployment, client)
        });
        Ok(Self { runtime, deployment, client, workers: Vec::new() })
    }

    /// The database, for those who are compared.
    pub(crate) fn database_url(&self) -> &str {
        // What follows is for sqlx alone.
        self.deployment.database.url().split('?').next().unwrap_or_default()
    }

    /// A setting of the services.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.deployment.setting(name)
    }

    /// Starts workers, or ends some, until so many are ready.
    pub(crate) fn set_workers(&mut self, count: usize) -> Result<()> {
        self.runtime.block_on(async {
            while self.workers.len() < count {
                self.workers.push(self.deployment.worker().await);
            }
            for mut worker in self.workers.drain(count..) {
                worker.terminate();
                let status = worker.exited().await;
                if !status.success() {
                    bail!("a worker ended with {status}:\n{}", worker.log());
                }
            }
            Ok(())
        })
    }

    /// The bytes that a job leaves in the blob store.
    pub(crate) fn picture(&self) -> Result<Vec<u8>> {
        self.runtime.block_on(async {
            let job = finished(&self.client).await?;
            let artifact = job.artifacts.first().context("the job has no picture")?;
            Ok(self.client.fetch_artifact(artifact).await?.to_vec())
        })
    }

    /// Jobs a second, from the first submission to the last settlement, by the database's clock.
    pub(crate) fn rate(&self, jobs: usize) -> Result<f64> {
        self.runtime.block_on(async {
            let before = submit_all(&self.client, SUBMITTERS).await?;
            self.all_settled().await?;
            let last = before.into_iter().max().context("there was nothing to submit")?;
            submit_all(&self.client, jobs).await?;
            self.all_settled().await?;
            let of_run = format!("from jobs where id > '{last}'");
            let succeeded = self.count(&format!("select count(*) {of_run} and state = 'succeeded'")).await;
            if usize::try_from(succeeded)? != jobs {
                bail!("{succeeded} of {jobs} jobs succeeded");
            }
            let took = "(extract(epoch from max(finished_at) - min(created_at)) * 1000000)::bigint";
            let microseconds = self.count(&format!("select {took} {of_run}")).await;
            Ok(jobs as f64 * 1e6 / microseconds as f64)
        })
    }

    /// Milliseconds from the answer to a submission to the sight of the job's end, for jobs one after another.
    pub(crate) fn latencies_idle(&self, jobs: usize) -> Result<Vec<f64>> {
        self.runtime.block_on(async {
            submit_all(&self.client, SUBMITTERS).await?;
            self.all_settled().await?;
            let mut latencies = Vec::with_capacity(jobs);
            for _ in 0..jobs {
                latencies.push(latency(&self.client).await?);
                sleep(REST).await;
            }
            Ok(latencies)
        })
    }

    /// The same for jobs that are submitted one each `interval`, whatever became of those before.
    pub(crate) fn latencies_loaded(&self, jobs: usize, interval: Duration) -> Result<Vec<f64>> {
        self.runtime.block_on(async {
            submit_all(&self.client, SUBMITTERS).await?;
            self.all_settled().await?;
            let began = Instant::now();
            let mut running = JoinSet::new();
            for number in 0..jobs {
                let (client, at) = (self.client.clone(), began + interval.mul_f64(number as f64));
                running.spawn(async move {
                    sleep_until(at).await;
                    latency(&client).await
                });
            }
            running.join_all().await.into_iter().collect()
        })
    }

    async fn all_settled(&self) -> Result<()> {
        let began = Instant::now();
        while self.count("select count(*) from jobs where state in ('queued', 'running')").await > 0 {
            if began.elapsed() > PATIENCE {
                bail!("jobs are left after {PATIENCE:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn count(&self, query: &str) -> i64 {
        self.deployment.database.count(query).await
    }
}

fn request() -> TextToImageRequest {
    TextToImageRequest {
        width: Some(64),
        height: Some(64),
        steps: Some(1),
        seed: Some(7),
        ..TextToImageRequest::new("nothing")
    }
}

/// Submits jobs over as many connections as there are, and returns their ids.
async fn submit_all(client: &Client, jobs: usize) -> Result<Vec<Uuid>> {
    let mut running = JoinSet::new();
    for submitter in 0..SUBMITTERS {
        let client = client.clone();
        running.spawn(async move {
            let mut ids = Vec::new();
            for _ in (submitter..jobs).step_by(SUBMITTERS) {
                ids.push(client.submit_text_to_image(&request()).await?.id);
            }
            Ok(ids)
        });
    }
    let ids: Result<Vec<Vec<Uuid>>> = running.join_all().await.into_iter().collect();
    Ok(ids?.concat())
}

async fn latency(client: &Client) -> Result<f64> {
    let job = client.submit_text_to_image(&request()).await?;
    let answered = Instant::now();
    wait(client, job.id).await?;
    Ok(answered.elapsed().as_secs_f64() * 1e3)
}

async fn finished(client: &Client) -> Result<Job> {
    let job = client.submit_text_to_image(&request()).await?;
    wait(client, job.id).await
}

async fn wait(client: &Client, id: Uuid) -> Result<Job> {
    let job = client.wait(id, PATIENCE).await?;
    if job.state != JobState::Succeeded {
        bail!("job {id} ended as {:?}", job.state);
    }
    Ok(job)
}
