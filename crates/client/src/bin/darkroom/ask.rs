//! The question that Ctrl-C asks.

use std::io::IsTerminal as _;

use tokio::sync::oneshot;

use crate::interrupt::Interrupts;

/// What to do with jobs that are not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Cancel them.
    Cancel,
    /// Stop watching, and let them run.
    Leave,
    /// It was a mistake: go on watching.
    GoOn,
}

/// Asks what to do with so many jobs. Where nobody can answer, they are left; a second Ctrl-C leaves them, too.
pub(crate) async fn ask(jobs: usize, interrupts: &mut Interrupts) -> Answer {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Answer::Leave;
    }
    let question = match jobs {
        1 => "The job is not finished. Cancel it".to_owned(),
        jobs => format!("{jobs} jobs are not finished. Cancel them"),
    };
    loop {
        prompt(&format!("\n{question}? [y]es, [n]o: leave it running, [w]ait on: "));
        let line = tokio::select! {
            line = read_line() => line,
            () = interrupts.next() => None,
        };
        match line.as_deref().map(parse) {
            None => return Answer::Leave,
            Some(Some(answer)) => return answer,
            Some(None) => {}
        }
    }
}

fn parse(line: &str) -> Option<Answer> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Cancel),
        "n" | "no" => Some(Answer::Leave),
        "w" | "wait" => Some(Answer::GoOn),
        _ => None,
    }
}

#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn prompt(text: &str) {
    eprint!("{text}");
}

/// A line from the terminal, `None` at its end. The thread stays behind when the question is dropped: a read
/// cannot be taken back.
async fn read_line() -> Option<String> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = sender.send(read.ok().filter(|bytes| *bytes > 0).map(|_| line));
    });
    receiver.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_words_or_their_first_letters() {
        assert_eq!(parse("Y\n"), Some(Answer::Cancel));
        assert_eq!(parse(" no \n"), Some(Answer::Leave));
        assert_eq!(parse("w"), Some(Answer::GoOn));
        assert_eq!(parse("\n"), None);
    }
}
