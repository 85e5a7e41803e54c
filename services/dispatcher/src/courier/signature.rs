//! Signatures by the Standard Webhooks specification.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// The value of `webhook-signature`: a signature for each secret, so that a receiver which knows one of them is
/// content during a rotation.
pub(super) fn sign(secrets: &[SecretSlice<u8>], id: &str, timestamp: i64, body: &str) -> String {
    let content = format!("{id}.{timestamp}.{body}");
    let signatures = secrets.iter().map(|secret| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret());
        // HMAC takes keys of any length.
        let mut mac = mac.unwrap_or_else(|_| unreachable!("a key of any length will do"));
        mac.update(content.as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specifications_own_library() {
        let keys = [vec![7_u8; 24], (0..32).collect()];
        let secrets: Vec<SecretSlice<u8>> = keys.iter().cloned().map(SecretSlice::from).collect();
        let (id, timestamp, body) =
            ("0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01", 1_769_860_800, r#"{"type":"ü"}"#);
        let reference = keys.map(|key| {
            let webhook = standardwebhooks::Webhook::from_bytes(key).unwrap();
            webhook.sign(id, timestamp, body.as_bytes()).unwrap()
        });
        assert_eq!(sign(&secrets[..1], id, timestamp, body), reference[0]);
        assert_eq!(sign(&secrets, id, timestamp, body), reference.join(" "));
    }
}
