//! Where a page ends, opaque to callers.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The cursor behind a page that ends with what has this id.
pub(crate) fn encode(last: Uuid) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.as_bytes())
}

/// The id a cursor stands for.
pub(crate) fn decode(cursor: &str) -> Option<Uuid> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    Uuid::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        let id = Uuid::from_u128(0x0190_b6f2_8c3e_7d4a_9f10_3b1f_5a2c_7e01);
        assert_eq!(decode(&encode(id)), Some(id));
        for wrong in ["", "x", "AAAA", &id.to_string(), &format!("{}A", encode(id))] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
