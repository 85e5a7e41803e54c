//! `darkroom usage`.

use chrono::NaiveDate;
use clap::Args;
use darkroom_client::{UsageCounts, UsageDay, UsageFilter};

use crate::failure::Outcome;
use crate::session::Session;
use crate::show::{money, table};

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// First day, in UTC; the last 30 days unless given
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<NaiveDate>,

    /// Last day, in UTC; today unless given
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<NaiveDate>,
}

impl Usage {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let usage = session.client.usage(&UsageFilter { from: self.from, to: self.to }).await?;
        session.print(|| text(&usage), &usage)?;
        Ok(Outcome::Done)
    }
}

/// Usage as people read it.
pub(super) fn text(usage: &darkroom_client::Usage) -> String {
    let head = ["DAY", "MODEL", "SUCCEEDED", "FAILED", "CANCELED", "EXPIRED", "RESULTS", "PIXELS", "COST"];
    let costs: Vec<String> = usage.total.costs.iter().map(money).collect();
    let total = cells("total", "", &usage.total.counts, costs.join(" + "));
    table(&head, usage.days.iter().map(day).chain([total]))
}

fn day(day: &UsageDay) -> Vec<String> {
    cells(&day.date.to_string(), &day.model, &day.counts, money(&day.cost))
}

fn cells(date: &str, model: &str, counts: &UsageCounts, cost: String) -> Vec<String> {
    let UsageCounts { succeeded, failed, canceled, expired, artifacts, units } = *counts;
    let counts = [succeeded, failed, canceled, expired, artifacts, units].map(|count| count.to_string());
    [date.to_owned(), model.to_owned()].into_iter().chain(counts).chain([cost]).collect()
}
