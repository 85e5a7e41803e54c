//! What would become of a batch, without one.

use std::collections::BTreeSet;

use anyhow::Context as _;
use darkroom_client::DryRun;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::AT_ONCE;
use super::input::{Input, Line};
use crate::failure::{Outcome, complain, explain};
use crate::image::read_image;
use crate::session::{Form, Session, print_line};
use crate::show::total;

/// What the service says of a line that it would accept.
#[derive(Serialize)]
struct Tried {
    line: usize,
    #[serde(flatten)]
    answer: DryRun,
}

/// Has the service check every line, and says what is wrong with which, and what the others would cost.
pub(crate) async fn try_out(session: &Session, input: &Input) -> anyhow::Result<Outcome> {
    let trying =
        input.lines.iter().map(|(number, line)| async move { (*number, try_line(session, line).await) });
    let mut answers = stream::iter(trying).buffered(AT_ONCE);
    let (mut tried, mut outcome) = (Vec::new(), Outcome::Done);
    while let Some((line, answer)) = answers.next().await {
        match answer {
            Ok(answer) => {
                let answer = Tried { line, answer };
                if session.form == Form::Json {
                    session.print(String::new, &answer)?;
                }
                tried.push(answer.answer);
            }
            // The others will fare no better where it is not the line.
            Err(error) if Outcome::of_error(&error) != Outcome::Refused => {
                return Err(error).with_context(|| format!("line {line}"));
            }
            Err(error) => {
                complain(format_args!("line {line}: {}", explain(&error)));
                outcome = Outcome::Refused;
            }
        }
    }
    if session.form == Form::Text {
        print_line(&text(&tried, input.lines.len()))?;
    }
    Ok(outcome)
}

async fn try_line(session: &Session, line: &Line) -> anyhow::Result<DryRun> {
    let document = line.document(None);
    let Some(picture) = &line.picture else { return Ok(session.client.dry_run(&document).await?) };
    let (bytes, name) = read_image(picture).await?;
    Ok(session.client.dry_run_with_image(&document, bytes, &name).await?)
}

fn text(tried: &[DryRun], lines: usize) -> String {
    let price = total(tried.iter().filter_map(|tried| tried.price.as_ref()));
    let price = if price.is_empty() { price } else { format!(", for {price}") };
    let unpriced = tried.iter().filter(|tried| tried.price.is_none()).count();
    let unpriced =
        if unpriced == 0 { String::new() } else { format!(" and the price of {unpriced} unseen pictures") };
    let first = tried.iter().find_map(|tried| tried.queue?.estimated_wait_seconds);
    let wait = first.map(|seconds| format!("\nthe first would wait about {seconds:.0} s"));
    let reasons: BTreeSet<&str> = tried.iter().filter_map(|tried| tried.blocked_reason.as_deref()).collect();
    let blocked = reasons.iter().map(|reason| format!("\nsome are blocked: {}", reason.replace('_', " ")));
    let blocked: String = blocked.collect();
    format!(
        "{} of {lines} lines would be accepted{price}{unpriced}{}{blocked}",
        tried.len(),
        wait.unwrap_or_default()
    )
}
