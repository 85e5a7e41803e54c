//! How to reach the broker.

use std::ffi::OsStr;

use clap::{Arg, Args, Command, builder::TypedValueParser, error::ErrorKind};
use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

/// Seconds between heartbeats unless the URL says otherwise: a dead peer is noticed after twice that.
const HEARTBEAT_SECONDS: u16 = 10;

/// Where the broker is.
#[derive(Args, Debug, Clone)]
pub struct QueueConfig {
    /// The broker, as `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    #[arg(
        long,
        env = "AMQP_URL",
        value_name = "AMQP_URL",
        hide_env_values = true,
        value_parser = AmqpUrl
    )]
    pub amqp_url: SecretString,
}

impl QueueConfig {
    pub(crate) fn uri(&self) -> Result<AMQPUri, String> {
        parse(self.amqp_url.expose_secret())
    }
}

/// Not a plain function, because clap then repeats the refused value, and this one holds a password.
#[derive(Clone)]
struct AmqpUrl;

impl TypedValueParser for AmqpUrl {
    type Value = SecretString;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<SecretString, clap::Error> {
        let refusal = |error: &str| {
            let text = format!("invalid AMQP_URL, expected amqp://user:password@host:port/vhost: {error}");
            command.clone().error(ErrorKind::ValueValidation, text)
        };
        let text = value.to_str().ok_or_else(|| refusal("not UTF-8"))?;
        parse(text).map_err(|error| refusal(&error))?;
        Ok(SecretString::from(text))
    }
}

fn parse(text: &str) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = text.parse()?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Settings {
        #[command(flatten)]
        queue: QueueConfig,
    }

    fn parse(url: &str) -> Result<QueueConfig, clap::Error> {
        Settings::try_parse_from(["service", "--amqp-url", url]).map(|settings| settings.queue)
    }

    #[test]
    fn heartbeats_are_on_and_the_url_may_set_them() {
        let heartbeat = |url| super::parse(url).unwrap().query.heartbeat;
        assert_eq!(heartbeat("amqp://127.0.0.1:5672"), Some(10));
        assert_eq!(heartbeat("amqps://broker/%2f?heartbeat=30"), Some(30));
    }

    #[test]
    fn password_is_never_shown() {
        let config = parse("amqp://user:hush@broker/%2f").unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let refusal = parse("rabbit://user:hush@broker").unwrap_err().to_string();
        assert!(!refusal.contains("hush"), "{refusal}");
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        let refusal = |url| parse(url).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("http://broker"), @r"
        error: invalid AMQP_URL, expected amqp://user:password@host:port/vhost: Invalid AMQP scheme: http

        Usage: service --amqp-url <AMQP_URL>

        For more information, try '--help'.
        ");
        insta::assert_snapshot!(refusal("broker"), @r"
        error: invalid AMQP_URL, expected amqp://user:password@host:port/vhost: relative URL without a base

        Usage: service --amqp-url <AMQP_URL>

        For more information, try '--help'.
        ");
    }
}
