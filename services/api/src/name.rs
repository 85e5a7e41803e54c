//! Names of tenants and keys.

/// A name, as it is shown in lists.
pub(crate) fn parse_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits && text.trim() == text {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 100 characters, no control characters, no spaces around")
    }
}
