//! The settings every service has.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Where a service answers operators unless it is told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:9090";

/// How a service logs and where it answers operators.
#[derive(Args, Debug, Clone)]
pub struct OpsConfig {
    /// Address for `/livez`, `/readyz` and `/metrics`; port 0 takes any free one.
    #[arg(
        long,
        env = "DARKROOM_OPS_LISTEN",
        value_name = "DARKROOM_OPS_LISTEN",
        default_value = DEFAULT_LISTEN,
        value_parser = parse_listen
    )]
    pub ops_listen: SocketAddr,

    /// What is logged, as `level` or `target=level,…`.
    #[arg(
        long = "log",
        env = "DARKROOM_LOG",
        value_name = "DARKROOM_LOG",
        default_value = "info",
        value_parser = parse_filter
    )]
    pub log_filter: String,

    /// How log lines look.
    #[arg(
        long,
        env = "DARKROOM_LOG_FORMAT",
        value_name = "DARKROOM_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9090".to_owned())
}

fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|_| "expected a level or `target=level,…`, such as `info,lapin=warn`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Settings {
        #[command(flatten)]
        ops: OpsConfig,
    }

    fn refusal(argument: &str) -> String {
        Settings::try_parse_from(["service", argument]).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_enough() {
        let settings = Settings::try_parse_from(["service"]).unwrap();
        assert_eq!(settings.ops.ops_listen.to_string(), "127.0.0.1:9090");
        assert_eq!(settings.ops.log_filter, "info");
        assert_eq!(settings.ops.log_format, LogFormat::Text);
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        insta::assert_snapshot!(refusal("--ops-listen=9090"), @r"
        error: invalid value '9090' for '--ops-listen <DARKROOM_OPS_LISTEN>': expected an IP address and a port, such as 127.0.0.1:9090

        For more information, try '--help'.
        ");
        insta::assert_snapshot!(refusal("--log=info,worker=loud"), @r"
        error: invalid value 'info,worker=loud' for '--log <DARKROOM_LOG>': expected a level or `target=level,…`, such as `info,lapin=warn`

        For more information, try '--help'.
        ");
        insta::assert_snapshot!(refusal("--log-format=xml"), @r"
        error: invalid value 'xml' for '--log-format <DARKROOM_LOG_FORMAT>'
          [possible values: text, json]

        For more information, try '--help'.
        ");
    }
}
