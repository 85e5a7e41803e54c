//! Jobs and lists as people read them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use comfy_table::{Table, presets};
use darkroom_client::{Job, JobState, Money, QueuePlace};
use rust_decimal::Decimal;

/// Rows under a head, in aligned columns.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A text on one line, without characters that steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    let spaced = text.replace(char::is_whitespace, " ");
    spaced.chars().filter(|character| !character.is_control()).collect()
}

/// The first `chars` characters, marked where something was cut.
pub(crate) fn clip(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// What a job is about: its prompt, or the picture it describes.
pub(crate) fn subject(job: &Job) -> String {
    let prompt = plain(job.input["prompt"].as_str().unwrap_or_default());
    let image = &job.input["image"];
    match (image["width"].as_u64(), image["height"].as_u64()) {
        (Some(width), Some(height)) if prompt.is_empty() => format!("a picture of {width} × {height}"),
        (Some(width), Some(height)) => format!("{prompt} (a picture of {width} × {height})"),
        _ => prompt,
    }
}

/// How the job stands, in a few words.
pub(crate) fn standing(job: &Job) -> String {
    match (&job.error, job.progress) {
        (Some(failure), _) => format!("{}: {}", job.state, failure.message),
        (None, Some(progress)) => format!(
            "{}, picture {} of {}, step {} of {}",
            job.state,
            progress.image + 1,
            progress.images,
            progress.step,
            progress.steps
        ),
        (None, None) => match (&job.blocked_reason, job.queue) {
            (Some(reason), _) => format!("{}: {}", job.state, reason.replace('_', " ")),
            (None, Some(place)) => waiting(job.state, place),
            (None, None) => job.state.to_string(),
        },
    }
}

fn waiting(state: JobState, place: QueuePlace) -> String {
    let wait = place.estimated_wait_seconds.map(|seconds| format!(", about {seconds:.0} s to go"));
    format!("{state}, number {} in line{}", place.position, wait.unwrap_or_default())
}

/// Everything there is to say about a job, a line each.
pub(crate) fn details(job: &Job) -> String {
    let took = job.started_at.zip(job.finished_at).map(|(from, to)| (to - from).as_seconds_f64());
    let mut lines = vec![
        ("job", job.id.to_string()),
        ("state", standing(job)),
        ("pipeline", job.pipeline.clone()),
        ("model", job.model.clone()),
        ("subject", subject(job)),
        ("priority", job.priority.clone()),
        ("attempts", job.attempts.to_string()),
        ("created", time(job.created_at)),
    ];
    lines.extend(job.started_at.map(|at| ("started", time(at))));
    lines.extend(job.finished_at.map(|at| ("finished", time(at))));
    lines.extend(took.map(|seconds| ("took", format!("{seconds:.1} s"))));
    lines.push(("kept until", time(job.expires_at)));
    lines.push(match &job.cost {
        Some(cost) => ("cost", money(cost)),
        None => ("price", money(&job.price)),
    });
    lines.extend(job.batch_id.map(|id| ("batch", id.to_string())));
    lines.extend(job.replay_of.map(|id| ("replay of", id.to_string())));
    lines.extend(job.replayed_by.map(|id| ("run again", format!("by job {id}"))));
    lines.extend(job.metadata.iter().map(|(name, value)| ("metadata", format!("{name}={}", plain(value)))));
    lines.extend(job.warnings.iter().map(|warning| ("warning", plain(&warning.message))));
    for artifact in &job.artifacts {
        lines.push(("result", artifact.url.clone()));
        lines.extend(artifact.text.as_deref().map(|text| ("caption", plain(text))));
        lines.extend(artifact.seed.map(|seed| ("seed", seed.to_string())));
    }
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<11}{value}")).collect();
    lines.join("\n")
}

/// A list of jobs.
pub(crate) fn jobs(jobs: &[Job]) -> String {
    const SUBJECT_CHARS: usize = 48;
    let rows = jobs.iter().map(|job| {
        vec![
            job.id.to_string(),
            job.state.to_string(),
            time(job.created_at),
            job.model.clone(),
            clip(&subject(job), SUBJECT_CHARS),
        ]
    });
    table(&["JOB", "STATE", "CREATED (UTC)", "MODEL", "SUBJECT"], rows)
}

/// What to do about jobs that were left to themselves.
pub(crate) fn left(ids: &[uuid::Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let ids = ids.join(" ");
    format!("they go on without you:\n  darkroom watch {ids}\n  darkroom cancel {ids}")
}

/// What became of a job that did not succeed.
pub(crate) fn ending(job: &Job) -> String {
    let kept = match (job.state, job.artifacts.len()) {
        (JobState::Succeeded, _) | (_, 0) => String::new(),
        (_, count) => format!(" ({count} of its pictures were finished)"),
    };
    format!("job {} is {}{kept}", job.id, standing(job))
}

/// What a job did not fail for.
pub(crate) fn warnings(job: &Job) -> impl Iterator<Item = String> {
    job.warnings.iter().map(|warning| format!("job {}: warning: {}", job.id, plain(&warning.message)))
}

/// Seconds are enough for people.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// An amount with its currency.
pub(crate) fn money(money: &Money) -> String {
    format!("{} {}", money.amount, money.currency)
}

/// All of the amounts together, by currency.
pub(crate) fn total<'a>(amounts: impl Iterator<Item = &'a Money>) -> String {
    let mut sums: BTreeMap<&str, Decimal> = BTreeMap::new();
    for amount in amounts {
        *sums.entry(&amount.currency).or_default() += amount.amount.parse::<Decimal>().unwrap_or_default();
    }
    let sums: Vec<String> =
        sums.iter().map(|(currency, sum)| format!("{} {currency}", sum.normalize())).collect();
    sums.join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_the_text_does() {
        let rows =
            [vec!["a".to_owned(), "ü".to_owned(), String::new()], vec!["bcd".into(), "e".into(), "f".into()]];
        insta::assert_snapshot!(table(&["X", "Y", "Z"], rows), @r"
        X    Y  Z
        a    ü
        bcd  e  f
        ");
    }

    #[test]
    fn texts_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\nred \u{1b}[31mcircle\u{7}"), "a red [31mcircle");
    }

    #[test]
    fn amounts_of_one_currency_are_added_up() {
        let money =
            |amount: &str, currency: &str| Money { amount: amount.to_owned(), currency: currency.to_owned() };
        let amounts = [money("0.10", "USD"), money("1", "EUR"), money("0.000000000002", "USD")];
        assert_eq!(total(amounts.iter()), "1 EUR + 0.100000000002 USD");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(clip("größer", 6), "größer");
        assert_eq!(clip("größer", 4), "grö…");
    }
}
