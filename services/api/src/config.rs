//! Settings of the service. Each is read once, from its variable or option, and checked there.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use darkroom_blobs::BlobsConfig;
use darkroom_links::parse_public_url;
use darkroom_ops::OpsConfig;
use darkroom_outbound::OutboundConfig;
use darkroom_store::StoreConfig;
use secrecy::SecretString;
use url::Url;

use crate::Capacity;

pub use darkroom_links::UrlSecret;

/// Everything `serve` needs.
#[derive(Debug, Clone, Args)]
pub struct ServeConfig {
    /// Database.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Storage.
    #[command(flatten)]
    pub blobs: BlobsConfig,

    /// Logs, metrics and health.
    #[command(flatten)]
    pub ops: OpsConfig,

    /// How much may wait.
    #[command(flatten)]
    pub capacity: Capacity,

    /// What callers' URLs may lead to.
    #[command(flatten)]
    pub outbound: OutboundConfig,

    /// Address the API answers on; port 0 takes any free one.
    #[arg(
        long,
        env = "DARKROOM_LISTEN",
        value_name = "DARKROOM_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_listen
    )]
    pub listen: SocketAddr,

    /// The API's address as callers know it, with the path it is mounted at; `http://` and the address it
    /// answers on unless set.
    #[arg(long, env = "DARKROOM_PUBLIC_URL", value_name = "DARKROOM_PUBLIC_URL", value_parser = parse_public_url)]
    pub public_url: Option<Url>,

    /// Secret that signs the URLs of results, at least 32 bytes in hexadecimal. Another one makes every URL
    /// given out so far useless.
    // Checked by `UrlSecret::parse`: the refusal of a value parser would repeat the value, and end in a log.
    #[arg(long, env = "DARKROOM_URL_SECRET", value_name = "DARKROOM_URL_SECRET", hide_env_values = true)]
    pub url_secret: SecretString,

    /// The catalog file: which models are served.
    #[arg(long, env = "DARKROOM_CATALOG", value_name = "DARKROOM_CATALOG")]
    pub catalog: PathBuf,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        config: ServeConfig,
    }

    fn refusal(argument: &str) -> String {
        let name = argument.split('=').next().unwrap();
        let needed = [
            "--database-url=postgres://u:p@h/d",
            "--s3-endpoint=http://127.0.0.1:1",
            "--s3-bucket=abc",
            "--s3-access-key-id=k",
            "--s3-secret-access-key=s",
            "--url-secret=00",
            "--catalog=catalog.json",
        ];
        let kept = needed.into_iter().filter(|needed| !needed.starts_with(&format!("{name}=")));
        let arguments = ["program"].into_iter().chain(kept).chain(argument.contains('=').then_some(argument));
        let error = Program::try_parse_from(arguments).map(|program| program.config.listen).unwrap_err();
        error.to_string().lines().take(2).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        insta::assert_snapshot!(refusal("--listen=8080"), @"error: invalid value '8080' for '--listen <DARKROOM_LISTEN>': expected an IP address and a port, such as 127.0.0.1:8080");
        insta::assert_snapshot!(refusal("--public-url=https://a.example/?x=1"), @"error: invalid value 'https://a.example/?x=1' for '--public-url <DARKROOM_PUBLIC_URL>': expected an http:// or https:// URL without user, query or fragment");
        insta::assert_snapshot!(refusal("--catalog"), @"
        error: the following required arguments were not provided:
          --catalog <DARKROOM_CATALOG>
        ");
        insta::assert_snapshot!(refusal("--url-secret"), @"
        error: the following required arguments were not provided:
          --url-secret <DARKROOM_URL_SECRET>
        ");
    }
}
