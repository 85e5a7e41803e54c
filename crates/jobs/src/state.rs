//! States of jobs and attempts, and priority classes. The words are those of the SQL enums.

/// A word that names none of the known values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{word}`: expected one of {allowed}")]
pub struct UnknownWord {
    /// What was expected, e.g. `state`.
    pub what: &'static str,
    /// What was found.
    pub word: String,
    /// The words that would have done, separated by commas.
    pub allowed: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the API and the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownWord { what: $what, word: word.to_owned(), allowed: $allowed }),
                }
            }
        }
    };
}

pub(crate) use words;

words!(
    /// Where a job stands: `queued → running → succeeded | failed | canceled | expired`, and from `running`
    /// back to `queued` when an attempt has to be repeated.
    JobState, "state", "queued, running, succeeded, failed, canceled, expired", {
        /// Waiting for a worker, or for the end of a backoff.
        Queued = "queued",
        /// A worker holds the lease of an attempt.
        Running = "running",
        /// Final: every artifact is stored.
        Succeeded = "succeeded",
        /// Final: no further attempt would help, or none is left.
        Failed = "failed",
        /// Final: the caller took it back.
        Canceled = "canceled",
        /// Final: its deadline passed first.
        Expired = "expired",
    }
);

words!(
    /// Where an attempt stands.
    AttemptState, "attempt state", "running, succeeded, failed, released, lost, canceled", {
        /// A worker holds its lease.
        Running = "running",
        /// It produced every artifact.
        Succeeded = "succeeded",
        /// It ended in a [`Failure`](crate::Failure).
        Failed = "failed",
        /// The worker handed it back unfinished; counts as no failure.
        Released = "released",
        /// Its lease expired.
        Lost = "lost",
        /// Its job was canceled or expired.
        Canceled = "canceled",
    }
);

words!(
    /// Priority class. Waiting raises a job's class, so that background work never starves.
    Priority, "priority", "interactive, normal, background", {
        /// Somebody is looking at a screen.
        Interactive = "interactive",
        /// The default.
        Normal = "normal",
        /// Whenever there is room.
        Background = "background",
    }
);

impl JobState {
    /// Whether the job stays in this state for ever.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl Priority {
    /// The number stored in the database: 0 is served first.
    pub fn class(self) -> i16 {
        match self {
            Self::Interactive => 0,
            Self::Normal => 1,
            Self::Background => 2,
        }
    }

    /// The class for a stored number.
    pub fn from_class(class: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|priority| priority.class() == class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for &state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for &state in AttemptState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for &priority in Priority::ALL {
            assert_eq!(priority.as_str().parse(), Ok(priority));
            assert_eq!(Priority::from_class(priority.class()), Some(priority));
        }
        assert_eq!(
            "done".parse::<JobState>().unwrap_err().to_string(),
            "unknown state `done`: expected one of queued, running, succeeded, failed, canceled, expired"
        );
    }
}
