//! What may be called.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

use crate::address::is_public;

/// The longest URL that is taken.
pub const MAX_URL_BYTES: usize = 2_048;

/// Why a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL of the web.
    #[error("expected an http:// or https:// URL")]
    NotHttp,
    /// Longer than [`MAX_URL_BYTES`].
    #[error("expected at most {MAX_URL_BYTES} bytes")]
    TooLong,
    /// Credentials in the URL end up in logs.
    #[error("must not contain a user name or password")]
    UserInfo,
    /// The host is, or resolves to, an address that is not public.
    #[error("must lead to a public address")]
    NotPublic,
}

impl Refusal {
    /// A stable word for the rule that was broken.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotHttp => "url",
            Self::TooLong => "length",
            Self::UserInfo => "user_info",
            Self::NotPublic => "address",
        }
    }
}

/// Decides which addresses may be called: public ones, and those in networks that the operator excepts.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    excepted: Arc<[IpNet]>,
}

impl Guard {
    /// A guard that lets `excepted` through as well.
    pub fn new(excepted: Vec<IpNet>) -> Self {
        Self { excepted: excepted.into() }
    }

    /// Whether this address may be called.
    pub fn admits(&self, address: IpAddr) -> bool {
        is_public(address) || self.excepted.iter().any(|net| net.contains(&address))
    }

    /// Checks a URL as far as that can be done without asking anybody. A host name that passes may still resolve
    /// to an address that does not.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub fn check_url(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(Refusal::TooLong);
        }
        // The parser drops these silently, so that what is read and what is called would differ.
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(Refusal::NotHttp);
        }
        let url = Url::parse(text).map_err(|_| Refusal::NotHttp)?;
        self.check(&url)?;
        Ok(url)
    }

    /// The same for a URL that is parsed already. The parser has turned every spelling of an IPv4 address (decimal,
    /// octal, hexadecimal, short, with full-width digits) into the usual one.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub fn check(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let address = match url.host().ok_or(Refusal::NotHttp)? {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            // By RFC 6761 these are loopback, whatever a resolver says.
            Host::Domain(name) if is_localhost(name) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Domain(_) => return Ok(()),
        };
        if self.admits(address) { Ok(()) } else { Err(Refusal::NotPublic) }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}
