//! URLs in webhooks.

use clap::Args;
use darkroom_links::{BadUrlSecret, Links, UrlSecret, parse_public_url};
use secrecy::SecretString;
use url::Url;

/// What the URLs in webhooks are made of.
#[derive(Debug, Clone, Args)]
pub(crate) struct LinksConfig {
    /// The API's address as callers know it, as the API has it; without it and the secret, the URLs in webhooks are
    /// null.
    #[arg(long, env = "DARKROOM_PUBLIC_URL", value_name = "DARKROOM_PUBLIC_URL", value_parser = parse_public_url)]
    public_url: Option<Url>,

    /// Secret that signs the URLs of results, the API's.
    // Checked by `UrlSecret::parse`: the refusal of a value parser would repeat the value, and end in a log.
    #[arg(long, env = "DARKROOM_URL_SECRET", value_name = "DARKROOM_URL_SECRET", hide_env_values = true)]
    url_secret: Option<SecretString>,
}

impl LinksConfig {
    /// What makes the URLs; `None` where they cannot be made.
    ///
    /// # Errors
    /// When the secret is none.
    pub(crate) fn links(&self) -> Result<Option<Links>, BadUrlSecret> {
        let secret = self.url_secret.as_ref().map(UrlSecret::parse).transpose()?;
        let links = self.public_url.as_ref().zip(secret).map(|(public, secret)| Links::new(public, secret));
        if links.is_none() {
            tracing::warn!(
                "URLs in webhooks are null: set DARKROOM_PUBLIC_URL and DARKROOM_URL_SECRET as for the API"
            );
        }
        Ok(links)
    }
}
