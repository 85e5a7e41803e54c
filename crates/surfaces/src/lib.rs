//! Jobs in the words of other systems: what the API answers on its surfaces, and what webhooks of the same form say.
//!
//! Every function here is a pure one of a job and of the links in it, so that an answer and a message about the same job
//! are the same. Without links, which a service may be unable to make, URLs are null.

pub mod fal;
pub mod replicate;

use darkroom_jobs::Lane;

/// The owner in the paths of models whose names have none.
pub const OWNER: &str = "darkroom";

/// A model's name with an owner in front, as some systems have it in their paths.
pub fn model_path(lane: &Lane) -> String {
    let name = lane.model();
    if name.contains('/') { name.to_owned() } else { format!("{OWNER}/{name}") }
}
