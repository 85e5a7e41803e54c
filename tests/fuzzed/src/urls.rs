use std::net::IpAddr;

use darkroom_outbound::{Guard, is_public};
use url::{Host, Url};

/// Where a caller wants webhooks sent to.
///
/// # Panics
/// When a URL is taken that leads to an address that is not public, or that is another one when it is read again.
pub fn webhook_url(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let guard = Guard::default();
    let Ok(url) = guard.check_url(text) else { return };
    // What is stored is read again before each delivery.
    let again = Url::parse(url.as_str()).unwrap_or_else(|error| panic!("{error}: {url}"));
    assert_eq!(again, url);
    assert!(guard.check(&again).is_ok());
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        // As the system's resolver reads it, which takes numbers for addresses.
        Some(Host::Domain(name)) => name.parse().ok(),
        None => panic!("{url} has no host"),
    };
    assert!(address.is_none_or(is_public), "{url}");
    assert!(
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    );
}
