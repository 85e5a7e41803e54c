//! Asking a service that runs whether it is ready, by its own program: an image needs no other one for it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::config::{DEFAULT_LISTEN, parse_listen};

/// The longest wait for a connection or for more of the answer. The answer itself takes at most two seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// No answer is longer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Ask the service that runs here whether it is ready, and exit with success if it is.
#[derive(Args, Debug, Clone)]
pub struct Health {
    /// Address of its `/readyz`, as it is set for the service.
    #[arg(
        long,
        env = "DARKROOM_OPS_LISTEN",
        value_name = "DARKROOM_OPS_LISTEN",
        default_value = DEFAULT_LISTEN,
        value_parser = parse_listen
    )]
    pub ops_listen: SocketAddr,
}

impl Health {
    /// Asks, prints what was found, and returns success only when the service is ready.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer to whoever called")]
    pub fn run(&self) -> ExitCode {
        match self.ask() {
            Ok(()) => {
                println!("ready");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("not ready: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn ask(&self) -> anyhow::Result<()> {
        let address = reachable(self.ops_listen);
        let answer = get_readyz(address).with_context(|| format!("failed to ask {address}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        match head.split(' ').nth(1) {
            Some("200") => Ok(()),
            Some("503") => bail!("{body}"),
            _ => bail!("{address} is no operations port: {}", head.lines().next().unwrap_or_default()),
        }
    }
}

/// Where a service that listens on `address` is reached from its own host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn get_readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // After an HTTP/1.0 request the server closes the connection, which ends the answer.
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        Readiness, Routes,
        server::{self, Probes},
        telemetry::recorder_builder,
    };

    /// Serves `readiness` on every address, and asks.
    async fn asked(readiness: Readiness) -> Result<(), String> {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let health = Health { ops_listen: listener.local_addr().unwrap() };
        let metrics = recorder_builder().unwrap().build_recorder().handle();
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(
            listener,
            Probes { readiness, metrics, routes: Routes::default() },
            stop.clone(),
        ));
        let answer = tokio::task::spawn_blocking(move || health.ask()).await.unwrap();
        stop.cancel();
        server.await.unwrap().unwrap();
        answer.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn ready_service_is_healthy() {
        let readiness = Readiness::new(CancellationToken::new());
        readiness.add("database", || async { Ok::<_, Infallible>(()) });
        assert_eq!(asked(readiness).await, Ok(()));
    }

    #[tokio::test]
    async fn reason_why_a_service_is_not_ready_is_told() {
        let readiness = Readiness::new(CancellationToken::new());
        readiness.add("database", || async { Err("connection refused") });
        let refusal = asked(readiness).await.unwrap_err();
        assert!(
            refusal.contains(r#""database":{"status":"failed","error":"connection refused"}"#),
            "{refusal}"
        );
    }

    #[test]
    fn service_that_does_not_run_is_not_healthy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Health { ops_listen: address }.ask().unwrap_err().to_string();
        assert_eq!(error, format!("failed to ask {address}"));
    }
}
