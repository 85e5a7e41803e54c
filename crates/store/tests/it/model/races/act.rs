//! What somebody may do while others do something else.

use darkroom_jobs::FailureClass;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::step::Ending;

/// One call. Numbers pick a job or a lease of those that are there then, and go round.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Accepts a job under a key that all others use too.
    Submit,
    Lease,
    /// For every lease the actor ever had, in this order or the opposite one.
    Beat(Order),
    Record(usize),
    Settle(usize, Ending),
    Cancel(usize),
    Reap,
    Expire,
    /// The lease under which a job runs is over, on the database's clock.
    LeaseEnds(usize),
    BackoffEnds(usize),
    DeadlinePasses(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Newest,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let ending = prop_oneof![
        2 => Just(Ending::Succeeded),
        3 => select(&[FailureClass::Infrastructure, FailureClass::OutOfMemory, FailureClass::InvalidInput][..])
            .prop_map(Ending::Failed),
        2 => Just(Ending::Released),
    ];
    let index = || 0..60_usize;
    prop_oneof![
        1 => Just(Act::Submit),
        8 => Just(Act::Lease),
        4 => select(&[Order::Oldest, Order::Newest][..]).prop_map(Act::Beat),
        4 => index().prop_map(Act::Record),
        6 => (index(), ending).prop_map(|(lease, ending)| Act::Settle(lease, ending)),
        1 => index().prop_map(Act::Cancel),
        4 => Just(Act::Reap),
        2 => Just(Act::Expire),
        4 => index().prop_map(Act::LeaseEnds),
        4 => index().prop_map(Act::BackoffEnds),
        1 => index().prop_map(Act::DeadlinePasses),
    ]
}
