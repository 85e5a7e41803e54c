//! What would become of jobs, without any.

use darkroom_client::{DryRun, QueuePlace};
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::failure::Outcome;
use crate::follow::Summary;
use crate::session::{Form, Session, print_line};
use crate::show::{clip, money, table, total};
use crate::wanted::Wanted;

/// Questions at once.
const AT_ONCE: usize = 8;
const LABEL_CHARS: usize = 40;

/// What the service says of a job that it would accept.
#[derive(Serialize)]
struct Tried {
    subject: String,
    #[serde(flatten)]
    answer: DryRun,
}

/// Has the service check each of `wanted`, and prints what those that it would accept would cost and how long they
/// would wait.
pub(crate) async fn try_out(session: &Session, wanted: &[Wanted]) -> anyhow::Result<Outcome> {
    let mut summary = Summary::default();
    let trying = wanted.iter().map(|wanted| async {
        let subject = wanted.label();
        match wanted.try_out(&session.client).await {
            Ok(answer) => Ok(Tried { subject, answer }),
            Err(error) => Err(error.context(subject)),
        }
    });
    let mut answers = futures_util::stream::iter(trying).buffered(AT_ONCE);
    let mut tried: Vec<Tried> = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => tried.push(answer),
            Err(error) => summary.add(Err(error)),
        }
    }
    match session.form {
        Form::Json => tried.iter().try_for_each(|tried| session.print(String::new, tried))?,
        Form::Text if tried.is_empty() => {}
        Form::Text => print_line(&text(&tried))?,
    }
    Ok(summary.outcome)
}

fn text(tried: &[Tried]) -> String {
    let row = |tried: &Tried| {
        let DryRun { model, price, queue, blocked_reason, .. } = &tried.answer;
        vec![
            clip(&tried.subject, LABEL_CHARS),
            model.clone(),
            price.as_ref().map_or_else(|| "not known".to_owned(), money),
            queue.map(|place| place.position.to_string()).unwrap_or_default(),
            queue.map(wait).unwrap_or_default(),
            blocked_reason.as_deref().unwrap_or_default().replace('_', " "),
        ]
    };
    let prices = tried.iter().filter_map(|tried| tried.answer.price.as_ref());
    let sum = (tried.len() > 1)
        .then(|| [vec!["total".to_owned(), String::new(), total(prices)], vec![String::new(); 3]].concat());
    table(&["JOB", "MODEL", "PRICE", "IN LINE", "WAIT", "BLOCKED"], tried.iter().map(row).chain(sum))
}

fn wait(place: QueuePlace) -> String {
    place
        .estimated_wait_seconds
        .map_or_else(|| "not known".to_owned(), |seconds| format!("about {seconds:.0} s"))
}
