//! The processes a stack is made of.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::ports::Port;
use super::{Stack, State, postgres, probe, rabbitmq, seaweedfs, services};

/// One supervised process. The order is the order of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Component {
    /// Erlang's port mapper, which RabbitMQ registers with.
    Epmd,
    Postgres,
    Rabbitmq,
    Seaweedfs,
    Api,
    Dispatcher,
    Worker,
}

impl Component {
    /// The servers Darkroom stands on.
    pub(crate) const INFRASTRUCTURE: [Self; 4] =
        [Self::Epmd, Self::Postgres, Self::Rabbitmq, Self::Seaweedfs];
    /// Darkroom itself.
    pub(crate) const SERVICES: [Self; 3] = [Self::Api, Self::Dispatcher, Self::Worker];

    /// Its name in log files, state files and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epmd => "epmd",
            Self::Postgres => "postgres",
            Self::Rabbitmq => "rabbitmq",
            Self::Seaweedfs => "seaweedfs",
            Self::Api => "api",
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
        }
    }

    /// What it listens on.
    pub(crate) fn ports(self) -> &'static [Port] {
        match self {
            Self::Epmd => &[Port::Epmd],
            Self::Postgres => &[Port::Postgres],
            Self::Rabbitmq => &[Port::Amqp, Port::ErlangDistribution],
            Self::Seaweedfs => &[
                Port::S3,
                Port::S3Grpc,
                Port::Filer,
                Port::FilerGrpc,
                Port::Master,
                Port::MasterGrpc,
                Port::Volume,
                Port::VolumeGrpc,
            ],
            Self::Api => &[Port::Api, Port::ApiOps],
            Self::Dispatcher => &[Port::DispatcherOps],
            Self::Worker => &[Port::WorkerOps],
        }
    }

    /// The process to run, its configuration files freshly written.
    pub(crate) fn command(self, stack: &Stack, state: &State) -> Result<Command> {
        match self {
            Self::Epmd => rabbitmq::epmd_command(state),
            Self::Postgres => postgres::command(state),
            Self::Rabbitmq => rabbitmq::command(stack, state),
            Self::Seaweedfs => seaweedfs::command(stack, state),
            Self::Api | Self::Dispatcher | Self::Worker => services::command(self, stack, state),
        }
    }

    /// True when it serves requests.
    pub(crate) fn is_ready(self, state: &State) -> bool {
        match self {
            Self::Epmd => probe::accepts(state.port(Port::Epmd)),
            Self::Postgres => probe::postgres(state.port(Port::Postgres)),
            Self::Rabbitmq => probe::amqp(state.port(Port::Amqp)),
            Self::Seaweedfs => {
                probe::http_answers(state.port(Port::S3), "/")
                    && probe::http_ok(state.port(Port::Master), "/dir/assign")
            }
            Self::Api => probe::http_ok(state.port(Port::ApiOps), "/readyz"),
            Self::Dispatcher => probe::http_ok(state.port(Port::DispatcherOps), "/readyz"),
            Self::Worker => probe::http_ok(state.port(Port::WorkerOps), "/readyz"),
        }
    }

    /// The signal that asks it to end in good order.
    pub(crate) fn stop_signal(self) -> Signal {
        match self {
            // Fast shutdown: sessions are ended, not waited for.
            Self::Postgres => Signal::INT,
            _ => Signal::TERM,
        }
    }

    /// How long it may take to end before it is killed.
    pub(crate) fn grace(self) -> Duration {
        match self {
            Self::Worker => Duration::from_secs(40),
            // Waits 15 seconds for a stream of its own. What it acknowledged is written by then, in files that
            // only grow, so killing it loses nothing.
            Self::Seaweedfs => Duration::from_secs(2),
            _ => Duration::from_secs(20),
        }
    }

    /// How long it may take from its start until it is ready.
    pub(crate) fn patience(self) -> Duration {
        match self {
            // Loads every warm model, which is slow on a small processor.
            Self::Worker => Duration::from_secs(300),
            Self::Rabbitmq => Duration::from_secs(120),
            _ => Duration::from_secs(60),
        }
    }

    /// `components` and whatever they cannot run without, in the order of starting.
    pub(crate) fn with_needs(components: &[Self]) -> Vec<Self> {
        let mut all = components.to_vec();
        if all.contains(&Self::Rabbitmq) {
            all.push(Self::Epmd);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rabbitmq_brings_its_port_mapper_first() {
        assert_eq!(Component::with_needs(&[Component::Rabbitmq]), [Component::Epmd, Component::Rabbitmq]);
    }

    #[test]
    fn no_port_belongs_to_two_components() {
        let mut ports: Vec<_> = Component::value_variants().iter().flat_map(|it| it.ports()).collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }
}
