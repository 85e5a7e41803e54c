use darkroom_jobs::{Lane, Pipeline};
use darkroom_queue::check_body;
use serde_json::Value;

/// The body of a delivery in the queue of a lane.
///
/// # Panics
/// When one is taken that is no ticket of that lane.
pub fn ticket(bytes: &[u8]) {
    let lane = Lane::new(Pipeline::TextToImage, "owner/name").expect("the lane is right");
    if check_body(bytes, &lane).is_ok() {
        let body: Value = serde_json::from_slice(bytes).expect("a ticket is JSON");
        assert_eq!((&body["v"], &body["lane"]), (&1.into(), &lane.to_string().into()));
    }
}
