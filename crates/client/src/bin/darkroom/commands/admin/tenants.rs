//! `darkroom admin tenants`.

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use darkroom_client::UsageFilter;
use darkroom_client::admin::{LimitChanges, NewTenant, Tenant};

use super::{Desk, limit, lines};
use crate::commands::usage;
use crate::show::{plain, time};

#[derive(Debug, Subcommand)]
pub(super) enum Tenants {
    /// List the tenants
    List,
    /// Show a tenant
    Show {
        /// Its id or name
        tenant: String,
    },
    /// Make a tenant
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change limits of a tenant
    Limit {
        /// Its id or name
        tenant: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Show what a tenant used and what it cost, by day
    Usage {
        /// Its id or name
        tenant: String,
        /// First day, in UTC; the last 30 days unless given
        #[arg(long, value_name = "YYYY-MM-DD")]
        from: Option<NaiveDate>,
        /// Last day, in UTC; today unless given
        #[arg(long, value_name = "YYYY-MM-DD")]
        to: Option<NaiveDate>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Most queued jobs at once, or none
    #[arg(long, value_name = "JOBS", value_parser = parse_count)]
    max_queued: Option<Limit<u32>>,
    /// Most running jobs at once, or none
    #[arg(long, value_name = "JOBS", value_parser = parse_count)]
    max_running: Option<Limit<u32>>,
    /// Most that the jobs of one UTC day may cost, or none
    #[arg(long, value_name = "AMOUNT", value_parser = parse_amount)]
    max_daily_cost: Option<Limit<String>>,
    /// Most requests a minute to one API process, or none
    #[arg(long, value_name = "REQUESTS", value_parser = parse_count)]
    requests_per_minute: Option<Limit<u32>>,
}

/// A limit, or that there is none.
#[derive(Debug, Clone)]
struct Limit<T>(Option<T>);

fn parse_count(text: &str) -> Result<Limit<u32>, String> {
    match text {
        "none" => Ok(Limit(None)),
        text => {
            text.parse().map(|count| Limit(Some(count))).map_err(|_| "expected a number, or none".to_owned())
        }
    }
}

fn parse_amount(text: &str) -> Result<Limit<String>, String> {
    Ok(Limit((text != "none").then(|| text.to_owned())))
}

impl From<Limits> for LimitChanges {
    fn from(limits: Limits) -> Self {
        Self {
            max_queued: limits.max_queued.map(|limit| limit.0),
            max_running: limits.max_running.map(|limit| limit.0),
            max_daily_cost: limits.max_daily_cost.map(|limit| limit.0),
            requests_per_minute: limits.requests_per_minute.map(|limit| limit.0),
        }
    }
}

impl Tenants {
    pub(super) async fn run(self, desk: &Desk) -> anyhow::Result<()> {
        let tenant = match self {
            Self::List => {
                let head = ["TENANT", "ID", "QUEUED", "RUNNING", "DAILY COST", "REQUESTS A MINUTE"];
                return desk.list(&head, &desk.admin.tenants().await?, row);
            }
            Self::Usage { tenant, from, to } => {
                let used = desk.admin.usage(&tenant, &UsageFilter { from, to }).await?;
                return desk.form.print(|| usage::text(&used), &used);
            }
            Self::Show { tenant } => desk.admin.tenant(&tenant).await?,
            Self::Create { name, limits } => {
                desk.admin.create_tenant(&NewTenant { name, limits: limits.into() }).await?
            }
            Self::Limit { tenant, limits } => desk.admin.change_limits(&tenant, &limits.into()).await?,
        };
        desk.form.print(|| details(&tenant), &tenant)
    }
}

fn row(tenant: &Tenant) -> Vec<String> {
    let limits = &tenant.limits;
    vec![
        plain(&tenant.name),
        tenant.id.to_string(),
        limit(limits.max_queued),
        limit(limits.max_running),
        limit(limits.max_daily_cost.as_ref()),
        limit(limits.requests_per_minute),
    ]
}

fn details(tenant: &Tenant) -> String {
    let limits = &tenant.limits;
    let text = lines([
        ("tenant", plain(&tenant.name)),
        ("id", tenant.id.to_string()),
        ("created", time(tenant.created_at)),
        ("queued", format!("at most {}", limit(limits.max_queued))),
        ("running", format!("at most {}", limit(limits.max_running))),
        ("daily cost", format!("at most {}", limit(limits.max_daily_cost.as_ref()))),
        ("requests", format!("at most {} a minute", limit(limits.requests_per_minute))),
    ]);
    match tenant.unfinished {
        Some(now) => text + &format!("\n{:<14}{} queued, {} running", "now", now.queued, now.running),
        None => text,
    }
}
