use darkroom_jobs::{Lane, Pipeline};
use darkroom_queue::check_body;
use serde::Deserialize;

/// What a ticket says. Members that nobody reads may hold what would not do elsewhere: texts that are no UTF-8, numbers
/// that are too large.
#[derive(Deserialize)]
struct Said {
    v: u32,
    lane: String,
}

/// The body of a delivery in the queue of a lane.
///
/// # Panics
/// When one is taken that is no ticket of that lane.
pub fn ticket(bytes: &[u8]) {
    let lane = Lane::new(Pipeline::TextToImage, "owner/name").expect("the lane is right");
    if check_body(bytes, &lane).is_ok() {
        let said: Said = serde_json::from_slice(bytes).expect("a ticket is JSON");
        assert_eq!((said.v, said.lane), (1, lane.to_string()));
    }
}
