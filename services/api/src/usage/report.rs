//! Usage as the API shows it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use darkroom_store::DailyUsage;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::period::Period;
use crate::jobs::resource::Money;
use crate::openapi::words;

/// What a tenant used and what it cost. A job counts for the UTC day on which it ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageReport {
    /// The first day.
    from: NaiveDate,
    /// The last day.
    to: NaiveDate,
    /// By date, pipeline, model and currency; where nothing ended there is no entry.
    days: Vec<DayView>,
    /// All of it together.
    total: TotalView,
}

/// What was used of one model on one day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageDay)]
pub(crate) struct DayView {
    /// The UTC day on which the jobs ended.
    date: NaiveDate,
    /// Their pipeline.
    #[schema(value_type = words::Pipeline)]
    pipeline: &'static str,
    /// Id of their model.
    #[schema(example = "darkroom/shapes-sd")]
    model: String,
    #[serde(flatten)]
    counts: Counts,
    /// What they cost.
    cost: Money,
}

/// What was used on all of the days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageTotal)]
pub(crate) struct TotalView {
    #[serde(flatten)]
    counts: Counts,
    /// What it cost: an amount for each currency.
    costs: Vec<Money>,
}

/// Jobs by how they ended, and what those that succeeded made.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = UsageCounts)]
pub(crate) struct Counts {
    /// Jobs that succeeded. Only they cost something.
    succeeded: u64,
    /// Jobs that failed.
    failed: u64,
    /// Jobs that were canceled.
    canceled: u64,
    /// Jobs that expired.
    expired: u64,
    /// Results of the jobs that succeeded.
    artifacts: u64,
    /// Pixels billed to the jobs that succeeded: output pixels of text-to-image, input pixels of image-to-text.
    units: u64,
}

impl UsageReport {
    /// The report on `used`, which is what was used in `period`.
    pub(super) fn new(period: Period, used: &[DailyUsage]) -> Self {
        let mut counts = Counts::default();
        let mut costs: BTreeMap<&str, Decimal> = BTreeMap::new();
        for usage in used {
            counts.add(usage);
            *costs.entry(&usage.currency).or_default() += usage.cost;
        }
        let costs = costs.into_iter().map(|(currency, cost)| money(cost, currency)).collect();
        Self {
            from: period.from,
            to: period.to,
            days: used.iter().map(DayView::new).collect(),
            total: TotalView { counts, costs },
        }
    }
}

impl DayView {
    fn new(usage: &DailyUsage) -> Self {
        let mut counts = Counts::default();
        counts.add(usage);
        Self {
            date: usage.day,
            pipeline: usage.lane.pipeline().as_str(),
            model: usage.lane.model().to_owned(),
            counts,
            cost: money(usage.cost, &usage.currency),
        }
    }
}

impl Counts {
    fn add(&mut self, usage: &DailyUsage) {
        self.succeeded += usage.succeeded;
        self.failed += usage.failed;
        self.canceled += usage.canceled;
        self.expired += usage.expired;
        self.artifacts += usage.artifacts;
        self.units += usage.units;
    }
}

fn money(amount: Decimal, currency: &str) -> Money {
    Money { amount: amount.normalize().to_string(), currency: currency.to_owned() }
}
