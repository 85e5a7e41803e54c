//! What changes the state of jobs and attempts: the one definition of the state machine.

use std::time::Duration;

use crate::{AttemptState, JobState, Retry};

/// Something that happens to a job. [`JobState::after`] and [`AttemptState::after`] say where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// A worker leased it, and a new attempt runs.
    Leased,
    /// Its attempt produced every artifact.
    Succeeded,
    /// Its attempt failed, and this is what the rules say about another one.
    Failed(Retry),
    /// The worker handed its attempt back unfinished.
    Released,
    /// The lease of its attempt expired, and this is what the rules say about another one.
    Lost(Retry),
    /// Its owner took it back.
    Canceled,
    /// Its deadline passed.
    Expired,
}

impl Transition {
    /// One of every kind, for whoever wants to know all that may happen.
    pub const KINDS: [Self; 11] = [
        Self::Leased,
        Self::Succeeded,
        Self::Failed(Retry::After(Duration::ZERO)),
        Self::Failed(Retry::Never),
        Self::Failed(Retry::Exhausted),
        Self::Released,
        Self::Lost(Retry::After(Duration::ZERO)),
        Self::Lost(Retry::Never),
        Self::Lost(Retry::Exhausted),
        Self::Canceled,
        Self::Expired,
    ];
}

impl JobState {
    /// The state of a job after `transition`; `None` where that does not happen, and nothing changes.
    pub fn after(self, transition: Transition) -> Option<Self> {
        match (self, transition) {
            (Self::Queued, Transition::Leased) => Some(Self::Running),
            (Self::Running, Transition::Succeeded) => Some(Self::Succeeded),
            (Self::Running, Transition::Released) => Some(Self::Queued),
            (Self::Running, Transition::Failed(retry) | Transition::Lost(retry)) => Some(match retry {
                Retry::After(_) => Self::Queued,
                Retry::Never | Retry::Exhausted => Self::Failed,
            }),
            (Self::Queued | Self::Running, Transition::Canceled) => Some(Self::Canceled),
            (Self::Queued | Self::Running, Transition::Expired) => Some(Self::Expired),
            _ => None,
        }
    }

    /// Whether anything that happens leads a job from this state to `next`. The changes that the store's
    /// statements make are held to it in every test.
    pub fn may_become(self, next: Self) -> bool {
        Transition::KINDS.iter().any(|&transition| self.after(transition) == Some(next))
    }
}

impl AttemptState {
    /// Whether the attempt stays in this state for ever.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }

    /// The state of a job's latest attempt after `transition`; `None` where it stays as it is. A lease changes no
    /// attempt: it makes a new one, which runs.
    pub fn after(self, transition: Transition) -> Option<Self> {
        match (self, transition) {
            (Self::Running, Transition::Succeeded) => Some(Self::Succeeded),
            (Self::Running, Transition::Failed(_)) => Some(Self::Failed),
            (Self::Running, Transition::Released) => Some(Self::Released),
            (Self::Running, Transition::Lost(_)) => Some(Self::Lost),
            (Self::Running, Transition::Canceled | Transition::Expired) => Some(Self::Canceled),
            _ => None,
        }
    }

    /// Whether anything that happens leads an attempt from this state to `next`.
    pub fn may_become(self, next: Self) -> bool {
        Transition::KINDS.iter().any(|&transition| self.after(transition) == Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_lead_nowhere() {
        for &state in JobState::ALL {
            let leads_on = JobState::ALL.iter().any(|&next| state.may_become(next));
            assert_eq!(leads_on, !state.is_final(), "{state}");
        }
        for &state in AttemptState::ALL {
            let leads_on = AttemptState::ALL.iter().any(|&next| state.may_become(next));
            assert_eq!(leads_on, !state.is_final(), "{state}");
        }
    }

    #[test]
    fn every_state_is_reached_from_the_first_one() {
        for &state in JobState::ALL {
            assert!(state == JobState::Queued || JobState::ALL.iter().any(|from| from.may_become(state)));
        }
        for &state in AttemptState::ALL {
            assert!(state == AttemptState::Running || AttemptState::Running.may_become(state));
        }
    }

    #[test]
    fn whatever_ends_a_running_job_ends_its_attempt() {
        for transition in Transition::KINDS {
            let job = JobState::Running.after(transition);
            assert_eq!(AttemptState::Running.after(transition).is_some(), job.is_some(), "{transition:?}");
            assert_ne!(job, Some(JobState::Running), "{transition:?}");
        }
    }
}
