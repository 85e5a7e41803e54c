//! Pictures that stand in the document itself, as data URIs (RFC 2397).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// With or without the padding that the standard wants and some encoders leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands behind `data:`, if `url` is a data URI.
pub(super) fn data_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    scheme.eq_ignore_ascii_case("data").then_some(rest)
}

/// The bytes in `data`, what stands behind `data:`. The media type is not believed, and so not read.
///
/// # Errors
/// What is allowed.
pub(super) fn decode(data: &str) -> Result<Vec<u8>, &'static str> {
    let (media_type, text) = data.split_once(',').ok_or("expected `data:image/png;base64,…`")?;
    let encoding = media_type.rsplit(';').next().unwrap_or_default();
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err("expected a data URI in base64, such as `data:image/png;base64,…`");
    }
    BASE64.decode(text.trim()).map_err(|_| "expected base64 behind the comma")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_uris_are_told_from_others() {
        assert_eq!(data_of("data:image/png;base64,AAAA"), Some("image/png;base64,AAAA"));
        assert_eq!(data_of("DATA:;base64,"), Some(";base64,"));
        assert_eq!(data_of("https://example.com/data:x"), None);
        assert_eq!(data_of("data"), None);
    }

    #[test]
    fn only_base64_is_decoded() {
        assert_eq!(decode("image/png;base64,aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode(";BASE64,aGVsbG8").unwrap(), b"hello");
        assert_eq!(decode("base64,").unwrap(), b"");
        for wrong in ["image/png;base64", "image/png,hello", "image/png;base64,a*b", ";base64,aGVsbG8===="] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
