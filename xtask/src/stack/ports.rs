//! Ports of the loopback address.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

/// What a stack's processes listen on. Every port a server would open by default has one, so that none falls
/// back to its standard number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Port {
    Postgres,
    Epmd,
    Amqp,
    ErlangDistribution,
    S3,
    S3Grpc,
    Filer,
    FilerGrpc,
    Master,
    MasterGrpc,
    Volume,
    VolumeGrpc,
    Api,
    ApiOps,
    DispatcherOps,
    WorkerOps,
}

/// The loopback address of `port`.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// True while nothing listens on `port`.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// A port that is free now and that `taken` does not hold.
///
/// The kernel hands the ephemeral range out to anybody's next connection, and a server that restarts would
/// find its port gone. So ports are drawn from below that range; where there is no room, the kernel picks.
pub(crate) fn free_port(taken: &[u16]) -> Result<u16> {
    const LOWEST: u16 = 10_240;
    let ceiling = ephemeral_start().unwrap_or(32_768);
    if ceiling > LOWEST + 1_000 {
        for _ in 0..200 {
            let draw = u16::try_from(random()? % u32::from(ceiling - LOWEST))?;
            let port = LOWEST + draw;
            if !taken.contains(&port) && is_free(port) {
                return Ok(port);
            }
        }
    }
    for _ in 0..200 {
        let listener = TcpListener::bind(loopback(0)).context("failed to bind a port of 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
    }
    anyhow::bail!("found no free port on 127.0.0.1")
}

fn random() -> Result<u32> {
    OsRng.try_next_u32().context("failed to read random bytes")
}

fn ephemeral_start() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_port_is_free_and_not_taken() {
        let first = free_port(&[]).unwrap();
        assert!(is_free(first));
        assert_ne!(free_port(&[first]).unwrap(), first);
    }

    #[test]
    fn bound_port_is_not_free() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
