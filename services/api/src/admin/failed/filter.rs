//! Which failed jobs: the query parameters that the list and the decisions about many have in common.

use std::time::Duration;

use darkroom_jobs::{FailureClass, Lane, UnknownWord};
use darkroom_store::FailedFilter;
use utoipa::IntoParams;

use crate::admin::Admin;
use crate::{Error, ProblemField};

/// The parameters.
pub(super) const PARAMETERS: [&str; 5] =
    ["tenant", "lane", "failure_class", "older_than_seconds", "newer_than_seconds"];

/// A filter as it was given.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Given {
    /// Only jobs of the tenant with this id or name.
    tenant: Option<String>,
    /// Only jobs of this lane, `pipeline:model`.
    #[param(value_type = Option<String>)]
    lane: Option<Lane>,
    /// Only jobs that failed so, or whose last attempt did: a job out of attempts is `poison`.
    #[param(rename = "failure_class", value_type = Option<String>)]
    class: Option<FailureClass>,
    /// Only jobs that failed at least so long ago.
    #[param(rename = "older_than_seconds", value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    older_than: Option<Duration>,
    /// Only jobs that failed at most so long ago.
    #[param(rename = "newer_than_seconds", value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    newer_than: Option<Duration>,
}

impl Given {
    /// Takes a parameter; `None` when it is none of a filter's.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), ProblemField>> {
        let refuse = |code: &str, detail: String| Err(ProblemField::parameter(name, code, detail));
        Some(match name {
            "tenant" => {
                self.tenant = Some(value.to_owned());
                Ok(())
            }
            "lane" => match value.parse() {
                Ok(lane) => {
                    self.lane = Some(lane);
                    Ok(())
                }
                Err(_) => refuse("lane", "expected `pipeline:model`".to_owned()),
            },
            "failure_class" => match value.parse() {
                Ok(class) => {
                    self.class = Some(class);
                    Ok(())
                }
                Err(UnknownWord { allowed, .. }) => refuse("choice", format!("expected one of {allowed}")),
            },
            "older_than_seconds" | "newer_than_seconds" => match value.parse::<u32>() {
                Ok(seconds) => {
                    let age = Some(Duration::from_secs(seconds.into()));
                    *(if name.starts_with("older") { &mut self.older_than } else { &mut self.newer_than }) =
                        age;
                    Ok(())
                }
                Err(_) => refuse("range", format!("expected whole seconds, 0 to {}", u32::MAX)),
            },
            _ => return None,
        })
    }

    /// The filter, with the tenant looked up.
    pub(super) async fn resolve(self, admin: &Admin) -> Result<FailedFilter, Error> {
        let tenant = match &self.tenant {
            Some(tenant) => Some(admin.tenant(tenant).await?.id),
            None => None,
        };
        let Self { lane, class, older_than, newer_than, .. } = self;
        Ok(FailedFilter { tenant, lane, class, older_than, newer_than })
    }
}
