//! `darkroom webhooks`.

use clap::{Args, Subcommand};
use darkroom_client::{Delivery, DeliveryFilter, Webhook, WebhookSettings};
use serde_json::json;
use uuid::Uuid;

use super::each;
use crate::failure::Outcome;
use crate::session::{Form, Session, print_line};
use crate::show::{plain, table, time};

/// Most deliveries of one page.
const PAGE: u32 = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Webhooks {
    /// Make a webhook and print its secret, which is not shown again
    Create(Create),
    /// List webhooks
    List,
    /// Show webhooks
    Show {
        /// Ids of webhooks
        #[arg(required = true, value_name = "WEBHOOK")]
        ids: Vec<Uuid>,
    },
    /// Print the secret that signs the messages that jobs ask for themselves
    Secret,
    /// Change webhooks, or enable or disable them
    Update(Update),
    /// Give a webhook another secret and print it; the one before signs for another 24 hours
    RotateSecret {
        /// Id of the webhook; the secret of the messages that jobs ask for themselves unless given
        #[arg(value_name = "WEBHOOK")]
        id: Option<Uuid>,
    },
    /// Delete webhooks
    Delete {
        /// Ids of webhooks
        #[arg(required = true, value_name = "WEBHOOK")]
        ids: Vec<Uuid>,
    },
    /// Send a test message and print its id
    Test {
        /// Id of the webhook
        #[arg(value_name = "WEBHOOK")]
        id: Uuid,
    },
    /// List what was sent to a webhook, newest first
    Deliveries(Deliveries),
    /// Send messages again
    Resend(Resend),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Where messages are posted to
    // Not `url`, which is the service's, and an option of every command.
    #[arg(value_name = "URL")]
    endpoint: String,

    /// Event to tell: job.succeeded, job.failed, job.canceled or job.expired; give it once for each, or not at all
    /// for all of them
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Id of the webhook
    #[arg(value_name = "WEBHOOK")]
    id: Uuid,

    /// Where messages are posted to
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// Event to tell, once for each
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Send messages again, whyever none were sent
    #[arg(long, conflicts_with = "disable")]
    enable: bool,

    /// Send nothing until it is enabled
    #[arg(long)]
    disable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resend {
    /// Id of the webhook
    #[arg(value_name = "WEBHOOK", required_unless_present = "job")]
    webhook: Option<Uuid>,

    /// Ids of deliveries
    #[arg(value_name = "DELIVERY", required_unless_present = "job")]
    deliveries: Vec<Uuid>,

    /// Id of a job, in place of the webhook: send messages to its own webhook again
    #[arg(long, value_name = "JOB")]
    job: Option<Uuid>,
}

#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    /// Id of the webhook
    #[arg(value_name = "WEBHOOK", required_unless_present = "job", conflicts_with = "job")]
    id: Option<Uuid>,

    /// What was sent to this job's own webhook
    #[arg(long, value_name = "JOB")]
    job: Option<Uuid>,

    /// Only deliveries in this state: pending, delivered or failed
    #[arg(long)]
    state: Option<String>,

    /// Show at most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: u32,
}

impl Webhooks {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self {
            Self::Create(create) => create.run(session).await?,
            Self::List => list(session).await?,
            Self::Show { ids } => return Ok(show(session, &ids).await),
            Self::Secret => {
                let secret = session.client.job_webhook_secret().await?;
                session.print(|| secret.secret.clone(), &secret)?;
            }
            Self::Update(update) => update.run(session).await?,
            Self::RotateSecret { id: None } => {
                let secret = session.client.rotate_job_webhook_secret().await?;
                session.print(|| secret.secret.clone(), &secret)?;
            }
            Self::RotateSecret { id: Some(id) } => {
                let webhook = session.client.rotate_webhook_secret(id).await?;
                session.print(|| webhook.secret.clone().unwrap_or_default(), &webhook)?;
            }
            Self::Delete { ids } => return Ok(delete(session, &ids).await),
            Self::Test { id } => {
                let delivery = session.client.test_webhook(id).await?;
                session.print(|| delivery.id.to_string(), &delivery)?;
            }
            Self::Deliveries(deliveries) => deliveries.run(session).await?,
            Self::Resend(resend) => return resend.run(session).await,
        }
        Ok(Outcome::Done)
    }
}

impl Create {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let settings = WebhookSettings {
            url: Some(self.endpoint),
            events: some(self.events),
            description: self.description,
            enabled: None,
        };
        let webhook = session.client.create_webhook(&settings).await?;
        // The id in the first column, as in lists.
        session
            .print(|| format!("{}  {}", webhook.id, webhook.secret.as_deref().unwrap_or_default()), &webhook)
    }
}

impl Update {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let settings = WebhookSettings {
            url: self.endpoint,
            events: some(self.events),
            description: self.description,
            enabled: (self.enable || self.disable).then_some(self.enable),
        };
        let webhook = session.client.update_webhook(self.id, &settings).await?;
        session.print(|| list_of(std::slice::from_ref(&webhook)), &webhook)
    }
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let webhooks = session.client.webhooks().await?;
    match session.form {
        Form::Text => print_line(&list_of(&webhooks)),
        Form::Json => webhooks.iter().try_for_each(|webhook| session.print(String::new, webhook)),
    }
}

async fn show(session: &Session, ids: &[Uuid]) -> Outcome {
    let show = async |_, id| {
        let webhook = session.client.webhook(id).await?;
        session.print(|| list_of(std::slice::from_ref(&webhook)), &webhook)
    };
    each("webhook", ids, show).await
}

async fn delete(session: &Session, ids: &[Uuid]) -> Outcome {
    let delete = async |_, id| {
        session.client.delete_webhook(id).await?;
        session.print(|| format!("webhook {id} is deleted"), &json!({"id": id, "deleted": true}))
    };
    each("webhook", ids, delete).await
}

impl Resend {
    async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let Self { webhook, deliveries, job } = self;
        // With a job there is no webhook, and so every id is one of a delivery.
        let (webhook, first) = if job.is_some() { (None, webhook) } else { (webhook, None) };
        let ids: Vec<Uuid> = first.into_iter().chain(deliveries).collect();
        let resend = async |_, id| {
            let delivery = match (job, webhook) {
                (Some(job), _) => session.client.resend_job_delivery(job, id).await?,
                (None, Some(webhook)) => session.client.resend_delivery(webhook, id).await?,
                (None, None) => return Ok(()),
            };
            session.print(|| format!("delivery {id} is {}", delivery.state), &delivery)
        };
        Ok(each("delivery", &ids, resend).await)
    }
}

impl Deliveries {
    async fn run(self, session: &Session) -> anyhow::Result<()> {
        let mut filter = DeliveryFilter { state: self.state, ..DeliveryFilter::default() };
        let mut left = self.limit;
        let mut found = Vec::new();
        while left > 0 {
            filter.limit = Some(left.min(PAGE));
            let page = match (self.job, self.id) {
                (Some(job), _) => session.client.job_deliveries(job, &filter).await?,
                (None, Some(webhook)) => session.client.deliveries(webhook, &filter).await?,
                (None, None) => break,
            };
            left = left.saturating_sub(u32::try_from(page.deliveries.len()).unwrap_or(left));
            found.extend(page.deliveries);
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                break;
            }
        }
        match session.form {
            Form::Text => {
                let head = ["DELIVERY", "EVENT", "STATE", "CREATED (UTC)", "ATTEMPTS", "JOB", "LAST"];
                print_line(&table(&head, found.iter().map(delivery)))
            }
            Form::Json => found.iter().try_for_each(|delivery| session.print(String::new, delivery)),
        }
    }
}

/// No event at all stands for no wish.
fn some(events: Vec<String>) -> Option<Vec<String>> {
    Some(events).filter(|events| !events.is_empty())
}

fn list_of(webhooks: &[Webhook]) -> String {
    let rows = webhooks.iter().map(|webhook| {
        let standing = match (&webhook.disabled_reason, webhook.failing_since) {
            (Some(reason), _) => format!("disabled: {reason}"),
            (None, Some(since)) => format!("failing since {}", time(since)),
            (None, None) => "enabled".to_owned(),
        };
        let events = webhook.events.iter().map(|event| event.trim_start_matches("job."));
        vec![
            webhook.id.to_string(),
            standing,
            events.collect::<Vec<_>>().join(", "),
            plain(&webhook.url),
            plain(&webhook.description),
        ]
    });
    table(&["WEBHOOK", "STATE", "EVENTS", "URL", "DESCRIPTION"], rows)
}

fn delivery(delivery: &Delivery) -> Vec<String> {
    let last = delivery.attempts.last().map(|attempt| match (attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, error) => plain(error.as_deref().unwrap_or_default()),
    });
    vec![
        delivery.id.to_string(),
        delivery.event.clone(),
        delivery.state.clone(),
        time(delivery.created_at),
        delivery.attempts.len().to_string(),
        delivery.job.map(|job| job.to_string()).unwrap_or_default(),
        last.unwrap_or_default(),
    ]
}
