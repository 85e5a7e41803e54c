//! The queues tickets lie in.

use darkroom_jobs::Lane;
use lapin::{
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, LongString},
};

use crate::link::{Link, LinkError};

/// The queue of a lane: `darkroom.v1.{lane}`. The `v1` is that of the queue's arguments, which can never be
/// changed: other arguments are another queue.
pub fn queue_name(lane: &Lane) -> String {
    format!("darkroom.v1.{lane}")
}

/// Creates the lane's queue unless it is there. Idempotent.
///
/// A queue that somebody made with other arguments is used as it is and complained about: tickets in it may
/// be lost when the broker crashes, and workers then find their work by probing.
pub(crate) async fn declare(link: &Link, lane: &Lane) -> Result<(), LinkError> {
    // A refusal closes the channel, so this is not done on one that is in use.
    let channel = link.channel().await?;
    let name = queue_name(lane);
    // Quorum, because only quorum queues have a message on disk before it is confirmed.
    let arguments = [("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")))];
    let arguments = FieldTable::from(std::collections::BTreeMap::from(arguments));
    let declare = channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments);
    match link.answer(declare).await {
        Ok(_) => {
            // Left open it would count against the connection's channels; closing needs no answer.
            drop(channel);
            Ok(())
        }
        Err(LinkError::Amqp(error)) if has_other_arguments(&error) => {
            tracing::error!(queue = name, %error, "queue exists with other arguments; delete it, it is then made anew");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn has_other_arguments(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        lapin::ErrorKind::ProtocolError(error)
            if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
    )
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Pipeline;

    use super::*;

    #[test]
    fn longest_lane_still_fits_a_queue_name() {
        let lane = Lane::new(Pipeline::TextToImage, "x".repeat(Lane::MAX_MODEL_BYTES)).unwrap();
        let name = queue_name(&lane);
        assert!(name.starts_with("darkroom.v1.text-to-image:xxx"));
        assert!(name.len() <= 255);
    }
}
