//! pgbench with the statement by which the API accepts a job.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tempfile::TempDir;
use uuid::Uuid;

use crate::database::Database;
use crate::load::Rate;
use crate::{statement, variable};

/// The statement, and the values of an accepted job for its parameters.
pub(super) struct Pgbench {
    url: String,
    script: String,
    variables: Vec<(String, String)>,
    folder: TempDir,
}

/// The parameters in their order: a column of the job, or what else stands there.
const PARAMETERS: [Parameter; 23] = [
    Parameter::Id,
    Parameter::Of("j.tenant_id"),
    Parameter::Of("j.lane"),
    Parameter::Of("j.class"),
    Parameter::Of("j.max_attempts"),
    Parameter::Of("j.units"),
    Parameter::Of("j.price"),
    Parameter::Of("j.currency"),
    Parameter::Null("text"),
    Parameter::Of("extract(epoch from j.deadline - j.created_at)::float8"),
    Parameter::Of("extract(epoch from j.expires_at - j.created_at)::float8"),
    Parameter::Of("r.task"),
    Parameter::Of("r.metadata"),
    Parameter::Of("r.request_hash"),
    Parameter::Null("text"),
    Parameter::Of("j.api_key_id"),
    Parameter::Null("text"),
    Parameter::Null("text"),
    Parameter::Of("'{}'"),
    Parameter::Null("uuid"),
    Parameter::Of("86400"),
    Parameter::Of("j.told_early"),
    Parameter::Null("bytea"),
];

#[derive(Debug, Clone, Copy)]
enum Parameter {
    Id,
    Of(&'static str),
    /// Of this type. Computed when the statement is run: a constant would let it be planned for less.
    Null(&'static str),
}

impl Parameter {
    /// What the script has in its place.
    fn text(self, number: usize) -> String {
        match self {
            // Ids of version 7 sort by time. The name of the run makes those of two runs differ.
            Self::Id => "(:run || lpad(to_hex(:n::bigint * 65536 + :client_id), 12, '0'))::uuid".to_owned(),
            Self::Of(_) => format!(":p{number}"),
            Self::Null(of) => format!("nullif(:nothing, '-')::{of}"),
        }
    }
}

impl Pgbench {
    /// With the values of the job `id`.
    pub(super) async fn of_job(database: &Database, id: Uuid) -> Result<Self> {
        let columns = PARAMETERS.iter().map(|parameter| match parameter {
            Parameter::Of(column) => format!("({column})::text"),
            Parameter::Id | Parameter::Null(_) => "''".to_owned(),
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let query =
            format!("select {columns} from jobs j join job_requests r on r.job_id = j.id where j.id = $1");
        let mut connection = database.connection().await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_one(&mut connection).await?;
        let mut variables = vec![("n".to_owned(), "0".to_owned()), ("nothing".to_owned(), "-".to_owned())];
        variables.extend(values(&row)?);
        let script = format!("\\set n :n + 1\n{};\n", substituted(statement::accept()));
        Ok(Self { url: database.url.clone(), script, variables, folder: tempfile::tempdir()? })
    }

    /// Runs the statement with so many clients, on a database without jobs.
    pub(super) async fn run(&self, database: &Database, clients: usize, duration: Duration) -> Result<Rate> {
        let script = self.folder.path().join("accept.sql");
        std::fs::write(&script, &self.script)?;
        let run = Uuid::now_v7().to_string();
        let log = self.folder.path().join(format!("log-{run}"));
        let mut command = Command::new(Path::new(&variable("BENCH_POSTGRES")?).join("pgbench"));
        command.args(["--no-vacuum", "--protocol=prepared", "--log"]).arg("--log-prefix").arg(&log);
        command.args([format!("--client={clients}"), format!("--jobs={}", clients.min(2))]);
        command.arg(format!("--time={}", duration.as_secs())).arg("--file").arg(&script);
        for (name, value) in &self.variables {
            command.arg("--define").arg(format!("{name}={value}"));
        }
        // The first of its five groups is of the time, and so is the second.
        command.arg("--define").arg(format!("run={}-7000-8000-", &run[..13]));
        let output = command.arg(&self.url).stdin(Stdio::null()).output().context("failed to run pgbench")?;
        if !output.status.success() {
            bail!("pgbench failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(self.folder.path())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("log-{run}")) {
                lines.extend(
                    std::fs::read_to_string(entry.path())?
                        .lines()
                        .map(transaction)
                        .collect::<Result<Vec<_>>>()?,
                );
                std::fs::remove_file(entry.path())?;
            }
        }
        // The statement does nothing, in little time, where an id is taken.
        let mut connection = database.connection().await?;
        let made = sqlx::query("select count(*) from jobs")
            .fetch_one(&mut connection)
            .await?
            .try_get::<i64, _>(0)?;
        ensure!(made == lines.len() as i64, "pgbench made {made} jobs in {} transactions", lines.len());
        rate(&lines, duration)
    }
}

fn values(row: &PgRow) -> Result<Vec<(String, String)>> {
    let of = PARAMETERS.iter().enumerate().filter(|(_, parameter)| matches!(parameter, Parameter::Of(_)));
    of.map(|(index, _)| Ok((format!("p{}", index + 1), row.try_get(index)?))).collect()
}

/// The statement with the names of variables where its parameters are.
fn substituted(statement: &str) -> String {
    // From the last on: `$1` begins `$10` as well.
    let numbered = PARAMETERS.iter().enumerate().rev();
    numbered.fold(statement.to_owned(), |text, (index, parameter)| {
        let number = index + 1;
        text.replace(&format!("${number}"), &parameter.text(number))
    })
}

/// A line of pgbench's log.
struct Transaction {
    taken_us: f64,
    ended: Duration,
}

/// `client number time_us script epoch_s epoch_us`
fn transaction(line: &str) -> Result<Transaction> {
    let fields: Vec<u64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
    let [_, _, taken_us, _, seconds, micros, ..] = fields[..] else { bail!("pgbench logged `{line}`") };
    Ok(Transaction {
        taken_us: taken_us as f64,
        ended: Duration::from_secs(seconds) + Duration::from_micros(micros),
    })
}

fn rate(transactions: &[Transaction], duration: Duration) -> Result<Rate> {
    let begins =
        transactions.iter().map(|it| it.ended.saturating_sub(Duration::from_micros(it.taken_us as u64)));
    let began = begins.min().context("pgbench did nothing")?;
    let counted = transactions.iter().filter(|it| Rate::counts(it.ended.saturating_sub(began), duration));
    Ok(Rate::of(counted.map(|it| it.taken_us / 1e3).collect(), Rate::counted(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_place() {
        let highest = PARAMETERS.len();
        let statement = statement::accept();
        for number in 1..=highest {
            assert!(statement.contains(&format!("${number}")), "${number}");
        }
        assert!(!statement.contains(&format!("${}", highest + 1)));
        let text = substituted(statement);
        assert!(!text.contains('$'), "{text}");
        assert!(
            text.contains(":p10::float8") && text.contains("select from known") && text.contains(":run ||")
        );
    }

    #[test]
    fn rates_are_of_what_ends_after_the_warm_up() {
        let lines = ["0 1 2000 0 100 2000", "1 1 4000 0 101 0", "0 2 6000 0 101 500000", "0 3 9000 0 103 0"];
        let transactions: Vec<_> = lines.iter().map(|line| transaction(line).unwrap()).collect();
        let rate = rate(&transactions, Duration::from_secs(3)).unwrap();
        assert_eq!((rate.per_second * Rate::counted(Duration::from_secs(3)).as_secs_f64()).round(), 2.0);
        assert_eq!(rate.p50_ms, 5.0);
        assert!(transaction("pgbench: error").is_err());
    }
}
