//! No statement changes a state in a way that the state machine does not know: a trigger refuses it.

use std::fmt::Display;

use darkroom_jobs::{AttemptState, JobState};

/// Statements that put the trigger on jobs and attempts, with nothing of it in the schema `public`.
pub(super) fn guard() -> String {
    let jobs = guarded("jobs", &changes(JobState::ALL, JobState::may_become));
    let attempts = guarded("attempts", &changes(AttemptState::ALL, AttemptState::may_become));
    format!("create schema guard; {jobs} {attempts}")
}

fn changes<S: Copy + Display>(states: &[S], may_become: fn(S, S) -> bool) -> String {
    let pairs = states.iter().flat_map(|&old| states.iter().map(move |&new| (old, new)));
    let allowed = pairs.filter(|&(old, new)| may_become(old, new));
    allowed.map(|(old, new)| format!("('{old}', '{new}')")).collect::<Vec<_>>().join(", ")
}

fn guarded(table: &str, allowed: &str) -> String {
    format!(
        "create function guard.{table}() returns trigger language plpgsql as $$
         begin
             if (old.state, new.state) in ({allowed}) then
                 return new;
             end if;
             raise exception '{table}: the state machine leads nowhere from % to %', old.state, new.state;
         end $$;
         create trigger guard after update of state on {table}
             for each row when (old.state <> new.state) execute function guard.{table}();"
    )
}
