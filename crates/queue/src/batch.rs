//! Which messages of a batch were taken.
//!
//! A message that no queue takes is returned, and then acked all the same. lapin attaches a returned message
//! to whichever confirm completes next on the channel, and with several messages under way that is often
//! another message's. So what came back is told by its routing key, over the batch as a whole.

use std::collections::HashSet;

/// The broker's word on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Acked, not nacked.
    pub(crate) acked: bool,
    /// Routing key of a returned message, not necessarily of this one.
    pub(crate) returned: Option<String>,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In a queue, on disk.
    Taken,
    /// There is no such queue.
    Returned,
    /// Unknown or refused: not taken.
    Lost,
}

/// The outcome of each message, from the queues they were sent to and the answers, `None` where there was none
/// in time.
///
/// The broker returns a message before it acks it, so once all answers are there all returned messages are
/// known. While one is missing, a returned message may still wait to be attached to it; but then some other
/// return has been attached to the ack it belongs with. So with an answer missing and anything returned,
/// nothing counts as taken: the price is a duplicate ticket.
pub(crate) fn outcomes(queues: &[String], answers: &[Option<Answer>]) -> Vec<Outcome> {
    let returned: HashSet<&str> =
        answers.iter().flatten().filter_map(|answer| answer.returned.as_deref()).collect();
    let certain = returned.is_empty() || answers.iter().all(Option::is_some);
    let outcome = |(queue, answer): (&String, &Option<Answer>)| match answer {
        Some(_) if returned.contains(queue.as_str()) => Outcome::Returned,
        Some(Answer { acked: true, .. }) if certain => Outcome::Taken,
        _ => Outcome::Lost,
    };
    queues.iter().zip(answers).map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::{Outcome::*, *};

    fn queues(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn ack(returned: Option<&str>) -> Option<Answer> {
        Some(Answer { acked: true, returned: returned.map(str::to_owned) })
    }

    #[test]
    fn acked_is_taken_and_nacked_is_lost() {
        let nack = Some(Answer { acked: false, returned: None });
        assert_eq!(outcomes(&queues(&["a", "b"]), &[ack(None), nack]), [Taken, Lost]);
    }

    #[test]
    fn message_returned_with_the_confirm_of_another_is_still_the_returned_one() {
        let answers = [ack(Some("b")), ack(None)];
        assert_eq!(outcomes(&queues(&["a", "b"]), &answers), [Taken, Returned]);
    }

    #[test]
    fn nothing_is_taken_while_it_is_not_known_what_came_back() {
        // `b` came back as well, and waits to be attached to the confirm that `c` never got.
        let answers = [ack(None), ack(Some("c")), None];
        assert_eq!(outcomes(&queues(&["a", "b", "c"]), &answers), [Lost, Lost, Lost]);
        assert_eq!(outcomes(&queues(&["a", "b"]), &[ack(None), None]), [Taken, Lost]);
    }
}
