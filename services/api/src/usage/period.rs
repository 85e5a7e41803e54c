//! The days a caller asks about.

use chrono::{Days, NaiveDate};

use crate::{ProblemField, query};

const DEFAULT_DAYS: u64 = 30;
const MAX_DAYS: i64 = 366;
const PARAMETERS: [&str; 2] = ["from", "to"];

/// UTC days from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: NaiveDate,
    pub(super) to: NaiveDate,
}

/// What of a period was given.
#[derive(Debug, Default)]
struct Given {
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
}

/// Reads the query.
pub(super) fn parse(query: &str, today: NaiveDate) -> Result<Period, Vec<ProblemField>> {
    let mut dates = Given::default();
    let mut errors = query::read(query, |name, value| set(&mut dates, name, value));
    let readable = errors.iter().all(|error| !PARAMETERS.contains(&error.place()));
    let period = dates.or_default(today);
    if readable {
        errors.extend(period.check().err());
    }
    if errors.is_empty() { Ok(period) } else { Err(errors) }
}

fn set(dates: &mut Given, name: &str, value: &str) -> Result<(), ProblemField> {
    let date = match name {
        "from" => &mut dates.from,
        "to" => &mut dates.to,
        _ => return Err(query::unknown(name, &PARAMETERS)),
    };
    let expected = "expected a date as YYYY-MM-DD";
    *date = Some(read(value).ok_or_else(|| ProblemField::parameter(name, "date", expected))?);
    Ok(())
}

fn read(value: &str) -> Option<NaiveDate> {
    let date = NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?;
    // The parser is content with less, such as `2026-1-1`.
    (date.to_string() == value).then_some(date)
}

impl Given {
    fn or_default(self, today: NaiveDate) -> Period {
        let to = self.to.unwrap_or(today);
        let from = self.from.unwrap_or_else(|| to - Days::new(DEFAULT_DAYS - 1));
        Period { from, to }
    }
}

impl Period {
    fn check(self) -> Result<(), ProblemField> {
        let wrong = |expected: String| Err(ProblemField::parameter("from", "range", expected));
        match (self.to - self.from).num_days() {
            ..0 => wrong(format!("must not be after {}, the last day", self.to)),
            0..MAX_DAYS => Ok(()),
            _ => wrong(format!("must not be more than {MAX_DAYS} days up to {}, the last day", self.to)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn period(query: &str) -> Result<Period, String> {
        parse(query, date("2026-03-15")).map_err(|errors| {
            let lines = errors.iter().map(|e| format!("{} [{}] {}", e.place(), e.code, e.detail));
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn the_last_thirty_days_are_the_default() {
        for (query, from, to) in [
            ("", "2026-02-14", "2026-03-15"),
            ("from=2026-03-15", "2026-03-15", "2026-03-15"),
            ("to=2026-01-30", "2026-01-01", "2026-01-30"),
            ("from=2024-01-01&to=2024-12-31", "2024-01-01", "2024-12-31"),
            ("to=2026-04-01&from=2026-04-01", "2026-04-01", "2026-04-01"),
        ] {
            assert_eq!(period(query), Ok(Period { from: date(from), to: date(to) }), "{query}");
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        insta::assert_snapshot!(period("from=2026-1-1&to=&to=2026-01-01&day=1&x").unwrap_err(), @"
        from [date] expected a date as YYYY-MM-DD
        to [date] expected a date as YYYY-MM-DD
        to [repeated] give it once
        day [unknown] unknown parameter: expected one of from, to
        x [unknown] unknown parameter: expected one of from, to
        ");
        for wrong in ["2026-02-29", "+2026-02-01", "20260201", " 2026-02-01", "2026-02-01T00:00:00Z", "today"]
        {
            assert!(period(&format!("from={wrong}")).unwrap_err().starts_with("from [date]"), "{wrong}");
        }
    }

    #[test]
    fn a_period_has_1_to_366_days() {
        insta::assert_snapshot!(period("from=2026-03-16&x=1").unwrap_err(), @"
        x [unknown] unknown parameter: expected one of from, to
        from [range] must not be after 2026-03-15, the last day
        ");
        insta::assert_snapshot!(
            period("from=2024-01-01&to=2025-01-01").unwrap_err(),
            @"from [range] must not be more than 366 days up to 2025-01-01, the last day"
        );
    }
}
