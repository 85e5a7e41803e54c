//! Settings of the service. Each is read once, from its variable or option, and checked there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use darkroom_blobs::BlobsConfig;
use darkroom_ops::OpsConfig;
use darkroom_store::StoreConfig;
use secrecy::{ExposeSecret, SecretBox};
use url::Url;

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
    #[arg(long, env = "DARKROOM_URL_SECRET", value_name = "DARKROOM_URL_SECRET", hide_env_values = true)]
    pub url_secret: UrlSecret,

    /// The catalog file: which models are served.
    #[arg(long, env = "DARKROOM_CATALOG", value_name = "DARKROOM_CATALOG")]
    pub catalog: PathBuf,
}

/// What signs the URLs of results.
#[derive(Debug)]
pub struct UrlSecret(SecretBox<Vec<u8>>);

impl UrlSecret {
    const MIN_BYTES: usize = 32;

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl Clone for UrlSecret {
    fn clone(&self) -> Self {
        Self(SecretBox::new(Box::new(self.bytes().to_vec())))
    }
}

impl FromStr for UrlSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() >= Self::MIN_BYTES);
        let bytes =
            bytes.ok_or("expected at least 64 hexadecimal digits, such as from `openssl rand -hex 32`")?;
        Ok(Self(SecretBox::new(Box::new(bytes))))
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8080".to_owned())
}

fn parse_public_url(text: &str) -> Result<Url, String> {
    let form = "expected an http:// or https:// URL without user, query or fragment";
    let url = Url::parse(text).map_err(|_| form.to_owned())?;
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(form.to_owned())
    }
}
