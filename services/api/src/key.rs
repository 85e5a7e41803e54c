//! Making keys.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Mint;

/// What every key begins with, so that tools that look for leaked secrets can find it.
const START: &str = "dk_";
/// Characters of a key that are kept in clear, to tell keys apart in lists.
const PREFIX_CHARS: usize = 11;

/// A key that nobody has yet: 256 random bits with a visible start.
pub(crate) struct FreshKey {
    /// Id under which it is stored.
    pub(crate) id: Uuid,
    /// The key itself, to be shown once.
    pub(crate) text: String,
    /// Its visible start.
    pub(crate) prefix: String,
    /// SHA-256 of the whole key.
    pub(crate) hash: [u8; 32],
}

impl FreshKey {
    /// Draws a key.
    pub(crate) fn draw(mint: &Mint) -> Self {
        let text = format!("{START}{}", BASE64_URL_SAFE_NO_PAD.encode(mint.secret()));
        Self {
            id: mint.uuid(),
            prefix: text.chars().take(PREFIX_CHARS).collect(),
            hash: Sha256::digest(&text).into(),
            text,
        }
    }
}
