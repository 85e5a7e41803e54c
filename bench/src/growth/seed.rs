//! Many jobs in little time: one that ran, copied.

use anyhow::{Context as _, Result, bail};
use darkroom_jobs::{
    ImageSize, JobId, JobOptions, Loras, PictureOutput, Priority, Prompt, Submission, Task, TenantId,
    TextToImage,
};
use darkroom_store::{Accepted, NewJob};
use uuid::Uuid;

use crate::database::{Database, Tenant};
use crate::worker::{Worker, lanes};

/// How many jobs there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) finished: usize,
    pub(crate) queued: usize,
}

/// Fills a database that has no queued jobs, evenly over tenants and lanes, and lets Postgres look at what there is.
pub(crate) async fn fill(database: &Database, tenants: &[Tenant], size: Size) -> Result<()> {
    let template = template(database, tenants[0].id).await?;
    copy(database, tenants, template, size).await?;
    database.execute("vacuum analyze").await?;
    database.execute("checkpoint").await
}

/// Adds copies of a job.
pub(crate) async fn copy(database: &Database, tenants: &[Tenant], template: JobId, size: Size) -> Result<()> {
    let list = |items: Vec<String>| format!("{{{}}}", items.join(","));
    let lanes = lanes()?;
    let values = [
        ("{finished}", size.finished.to_string()),
        ("{queued}", size.queued.max(1).to_string()),
        ("{tenants}", list(tenants.iter().map(|tenant| tenant.id.to_string()).collect())),
        ("{tenant_count}", tenants.len().to_string()),
        ("{lanes}", list(lanes.iter().map(ToString::to_string).collect())),
        ("{lane_count}", lanes.len().to_string()),
        ("{template}", template.to_string()),
    ];
    let script = include_str!("seed.sql").to_owned();
    let script = values.iter().fold(script, |script, (name, value)| script.replace(name, value));
    database.execute(script).await
}

/// A job that ran.
pub(crate) async fn template(database: &Database, tenant: TenantId) -> Result<JobId> {
    let job = match database.store.accept(&new_job(tenant)?).await? {
        Accepted::Created(job) => job.id,
        other => bail!("the first job was not accepted: {other:?}"),
    };
    let worker = Worker::new()?;
    let leased = worker.lease(&database.store).await?;
    worker.finish(&database.store, &leased.lease).await?;
    Ok(job)
}

fn new_job(tenant: TenantId) -> Result<NewJob> {
    let task = Task::TextToImage(TextToImage {
        prompt: Prompt::new("a lighthouse on a cliff at dusk, oil on canvas")?,
        negative_prompt: None,
        size: ImageSize::new(512, 512).context("pictures may have 512 × 512 pixels")?,
        steps: 25,
        guidance_scale: 7.5,
        seed: 7,
        images: 1,
        scheduler: None,
        loras: Loras::default(),
        safety_check: false,
        output: PictureOutput::default(),
    });
    let options = JobOptions {
        priority: Priority::Normal,
        deadline: None,
        retention: JobOptions::MAX_RETENTION,
        metadata: [].into(),
        webhook: None,
    };
    Ok(NewJob {
        id: JobId::from_uuid(Uuid::now_v7()),
        tenant,
        api_key: None,
        submission: Submission { lane: lanes()?.remove(0), task, options },
        file: None,
        max_attempts: 4,
        price: "0.00262144".parse()?,
        currency: "USD".to_owned(),
        idempotency_key: None,
        request_hash: [7; 32],
        traceparent: None,
        fingerprint: None,
    })
}
