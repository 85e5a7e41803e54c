//! What can go wrong with a call. The texts are shown to those who named the address: they say nothing about the
//! network that the call was made from.

use std::error::Error as StdError;
use std::io;

use crate::names::Unresolved;
use crate::{MAX_REDIRECTS, Refusal};

type Source = Box<dyn StdError + Send + Sync>;

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address may not be called. Nothing was sent to it.
    #[error("the URL {0}")]
    Refused(#[from] Refusal),
    /// The host name has no address.
    #[error("the host name cannot be resolved")]
    Unresolved(#[source] Source),
    /// Nobody answers at the address.
    #[error("no connection can be made")]
    Connect(#[source] Source),
    /// The certificate is not one for this host, or no version of TLS is known to both.
    #[error("no secure connection can be made")]
    Tls(#[source] Source),
    /// It takes too long.
    #[error("no whole answer in time")]
    Timeout(#[source] Source),
    /// The answer is no HTTP, or ends early.
    #[error("the answer cannot be read")]
    Broken(#[source] Source),
    /// Another status than success.
    #[error("answered with status {0}")]
    Status(u16),
    /// Sent on and on.
    #[error("redirected more than {MAX_REDIRECTS} times")]
    Redirects,
    /// The client cannot be made on this machine.
    #[error("failed to set up outbound calls")]
    Setup(#[source] Source),
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        // The URL may carry a secret of the caller's.
        let error = error.without_url();
        if let Some(refusal) = cause::<Refusal>(&error) {
            return Self::Refused(*refusal);
        }
        if cause::<Unresolved>(&error).is_some() {
            Self::Unresolved(error.into())
        } else if error.is_timeout() {
            Self::Timeout(error.into())
        } else if is_tls(&error) {
            Self::Tls(error.into())
        } else if error.is_connect() {
            Self::Connect(error.into())
        } else {
            Self::Broken(error.into())
        }
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    // An `io::Error` hands out what it wraps, but not as its source.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|error| is_tls(error))
        || error.source().is_some_and(is_tls)
}
