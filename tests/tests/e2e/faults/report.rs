//! What was seen of a fault, for the table in `docs/operations.md`.

use std::time::Duration;

/// Tells what was seen of `row`; `when` says at which moment the fault came. `cargo xtask test faults --record`
/// reads these lines.
pub(crate) fn seen(row: u32, fault: &str, when: &str, seen: &str) {
    println!("fault\t{row}\t{fault}\t{when}\t{seen}");
}

/// A duration in tenths of seconds.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
