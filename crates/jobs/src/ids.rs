//! Identifiers: UUIDs that cannot be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no identifier of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {what} id: expected a UUID")]
pub struct IdError {
    what: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID made elsewhere: this crate draws none.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError { what: $what })
            }
        }
    };
}

id!(
    /// A job. Version 7, so ids sort by the time of submission.
    JobId,
    "job"
);
id!(
    /// The owner of API keys, jobs, limits and usage.
    TenantId,
    "tenant"
);
id!(
    /// One run of a worker process.
    WorkerId,
    "worker"
);
id!(
    /// A stored result.
    ArtifactId,
    "artifact"
);
id!(
    /// The secret half of a lease. The worker makes it before it asks for an attempt, so that an attempt
    /// whose COMMIT reply was lost can be found again.
    LeaseToken,
    "lease"
);
id!(
    /// Jobs that were submitted at once.
    BatchId,
    "batch"
);
id!(
    /// A picture that its owner names in jobs.
    FileId,
    "file"
);
id!(
    /// An endpoint of a tenant.
    WebhookId,
    "webhook"
);
id!(
    /// An event on its way to an endpoint: the message's id.
    DeliveryId,
    "delivery"
);
