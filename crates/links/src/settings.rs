//! What URLs are made of: the same in every service that makes or reads them.

use secrecy::{ExposeSecret, SecretBox, SecretString};
use url::Url;

/// What signs the URLs of results.
#[derive(Debug)]
pub struct UrlSecret(SecretBox<Vec<u8>>);

/// A secret that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("DARKROOM_URL_SECRET: expected at least 64 hexadecimal digits, such as from `openssl rand -hex 32`")]
pub struct BadUrlSecret;

impl UrlSecret {
    const MIN_BYTES: usize = 32;

    /// Checks a secret.
    ///
    /// # Errors
    /// When it is shorter than 32 bytes or not hexadecimal.
    pub fn parse(text: &SecretString) -> Result<Self, BadUrlSecret> {
        let bytes = hex::decode(text.expose_secret()).ok().filter(|bytes| bytes.len() >= Self::MIN_BYTES);
        Ok(Self(SecretBox::new(Box::new(bytes.ok_or(BadUrlSecret)?))))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

/// Reads the API's address as callers know it, with the path it is mounted at.
///
/// # Errors
/// A text that says what is expected.
pub fn parse_public_url(text: &str) -> Result<Url, String> {
    let form = "expected an http:// or https:// URL without user, query or fragment";
    let url = Url::parse(text).map_err(|_| form.to_owned())?;
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(form.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_enough_and_never_shown() {
        for wrong in ["", "5a", &"5a".repeat(31), &"zz".repeat(32)] {
            let refused = UrlSecret::parse(&wrong.into()).unwrap_err().to_string();
            assert!(wrong.is_empty() || !refused.contains(wrong), "{refused}");
        }
        let secret = UrlSecret::parse(&"5a".repeat(32).into()).unwrap();
        assert_eq!(secret.bytes(), [0x5a; 32]);
        assert!(!format!("{secret:?}").contains("90"), "{secret:?}");
    }
}
