//! What a stack remembers between runs: `stack.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use super::component::Component;
use super::ports::{self, Port};

/// How long a stack is meant to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lifetime {
    /// Kept between runs; its data survive a power cut.
    Kept,
    /// Made for one run and deleted after it.
    Throwaway,
    /// The same, but as safe from a power cut as one that is kept: what that costs is part of what is measured.
    Measured,
}

/// The content of `stack.json`, which only its owner may read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// Random; marks the processes of this stack.
    pub(crate) id: String,
    /// The stack's folder when it was used last.
    #[serde(default)]
    pub(crate) home: PathBuf,
    /// How long the stack is meant to last.
    pub(crate) lifetime: Lifetime,
    /// Passwords and keys, made once.
    pub(crate) secrets: Secrets,
    /// The ports in use. They change only while their component does not run and somebody else took them.
    pub(crate) ports: BTreeMap<Port, u16>,
    /// Where the database lies: in the stack unless the database's user cannot get there.
    pub(crate) postgres_dir: PathBuf,
    /// The built service binaries.
    #[serde(default)]
    pub(crate) binaries: BTreeMap<Component, PathBuf>,
    /// The key of the tenant `local`.
    #[serde(default)]
    pub(crate) api_key: Option<String>,
    /// A key of an operator.
    #[serde(default)]
    pub(crate) operator_key: Option<String>,
}

/// Generated secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) postgres_password: String,
    pub(crate) amqp_password: String,
    pub(crate) erlang_cookie: String,
    pub(crate) s3_access_key_id: String,
    pub(crate) s3_secret_access_key: String,
    pub(crate) url_secret: String,
}

impl State {
    /// The state of a new stack in `home`: fresh secrets, no ports yet.
    pub(crate) fn generate(lifetime: Lifetime, home: &Path) -> Result<Self> {
        Ok(Self {
            id: random_hex(8)?,
            home: home.to_path_buf(),
            lifetime,
            secrets: Secrets {
                postgres_password: random_hex(16)?,
                amqp_password: random_hex(16)?,
                erlang_cookie: random_hex(16)?,
                s3_access_key_id: random_hex(10)?,
                s3_secret_access_key: random_hex(20)?,
                url_secret: random_hex(32)?,
            },
            ports: BTreeMap::new(),
            postgres_dir: PathBuf::new(),
            binaries: BTreeMap::new(),
            api_key: None,
            operator_key: None,
        })
    }

    /// The number of `port`; 0, on which nothing listens, before it was assigned.
    pub(crate) fn port(&self, port: Port) -> u16 {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    /// Gives `component`, which does not run, ports that are free: those it had, if they still are.
    pub(crate) fn assign_ports(&mut self, component: Component) -> Result<()> {
        for port in component.ports() {
            if self.ports.get(port).copied().is_some_and(ports::is_free) {
                continue;
            }
            self.ports.remove(port);
            let taken: Vec<u16> = self.ports.values().copied().collect();
            self.ports.insert(*port, ports::free_port(&taken)?);
        }
        Ok(())
    }

    /// The first port of `component`, which does not run, that somebody else has taken.
    pub(crate) fn taken_port(&self, component: Component) -> Option<u16> {
        let ports = component.ports().iter().filter_map(|port| self.ports.get(port).copied());
        ports.into_iter().find(|port| !ports::is_free(*port))
    }

    /// Identifies `component`'s processes: their environment or their arguments hold it as a value.
    pub(crate) fn marker(&self, component: Component) -> String {
        format!("{}/{}", self.id, component.name())
    }
}

fn random_hex(byte_count: usize) -> Result<String> {
    let mut bytes = vec![0; byte_count];
    OsRng.try_fill_bytes(&mut bytes).context("failed to read random bytes")?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_stay_until_somebody_takes_them() {
        let mut state = State::generate(Lifetime::Throwaway, Path::new("/nowhere")).unwrap();
        state.assign_ports(Component::Rabbitmq).unwrap();
        let before = state.ports.clone();
        state.assign_ports(Component::Rabbitmq).unwrap();
        assert_eq!(state.ports, before);

        assert_eq!(state.taken_port(Component::Rabbitmq), None);
        let thief = TcpListener::bind(ports::loopback(before[&Port::Amqp])).unwrap();
        assert_eq!(state.taken_port(Component::Rabbitmq), Some(before[&Port::Amqp]));
        state.assign_ports(Component::Rabbitmq).unwrap();
        assert_ne!(state.ports[&Port::Amqp], before[&Port::Amqp]);
        assert_eq!(state.ports[&Port::ErlangDistribution], before[&Port::ErlangDistribution]);
        drop(thief);
    }

    #[test]
    fn state_survives_being_written_and_read() {
        let mut state = State::generate(Lifetime::Kept, Path::new("/nowhere")).unwrap();
        state.assign_ports(Component::Seaweedfs).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        let read: State = serde_json::from_str(&text).unwrap();
        assert_eq!(read.ports, state.ports);
        assert_eq!(read.id, state.id);
    }
}
