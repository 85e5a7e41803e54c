//! What a ticket says on the wire: `{"v":1,"lane":"text-to-image:owner/name"}`.

use darkroom_jobs::Lane;
use serde::{Deserialize, Serialize};

/// The version written. A reader that meets another one throws the ticket away: there is nothing in it to
/// lose, since a worker also probes for work.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Body {
    v: u32,
    lane: Lane,
}

/// Why a delivery is no ticket of ours.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Something else.
    #[error("not a ticket")]
    Form(#[from] serde_json::Error),
    /// Written by a later release.
    #[error("unknown version {0}")]
    Version(u32),
    /// In a queue where it does not belong.
    #[error("names lane {found}, found in the queue of {expected}")]
    Lane {
        /// The lane it names.
        found: Lane,
        /// The lane of the queue.
        expected: Lane,
    },
}

pub(crate) fn write(lane: &Lane) -> Vec<u8> {
    // A number and a string always serialise; an empty body would be acked as malformed.
    serde_json::to_vec(&Body { v: VERSION, lane: lane.clone() }).unwrap_or_default()
}

/// Checks that `bytes`, the body of any delivery, are a ticket for `lane`.
///
/// # Errors
/// [`BodyError`] when they are not.
pub fn check_body(bytes: &[u8], lane: &Lane) -> Result<(), BodyError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    // The version first: a later one may have other fields.
    let Version { v } = serde_json::from_slice(bytes)?;
    if v != VERSION {
        return Err(BodyError::Version(v));
    }
    let body: Body = serde_json::from_slice(bytes)?;
    if body.lane == *lane {
        Ok(())
    } else {
        Err(BodyError::Lane { found: body.lane, expected: lane.clone() })
    }
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::Pipeline;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let lane = Lane::new(Pipeline::TextToImage, "owner/name").unwrap();
        let body = write(&lane);
        assert_eq!(body, br#"{"v":1,"lane":"text-to-image:owner/name"}"#);
        check_body(&body, &lane).unwrap();
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let lane = Lane::new(Pipeline::TextToImage, "owner/name").unwrap();
        let refusal = |body: &str| check_body(body.as_bytes(), &lane).unwrap_err().to_string();
        assert_eq!(refusal("hello"), "not a ticket");
        assert_eq!(refusal(""), "not a ticket");
        assert_eq!(refusal(r#"{"v":2,"jobs":[]}"#), "unknown version 2");
        assert_eq!(
            refusal(r#"{"v":1,"lane":"image-to-text:a/b"}"#),
            "names lane image-to-text:a/b, found in the queue of text-to-image:owner/name"
        );
    }
}
