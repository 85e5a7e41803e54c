//! The statements of the store, out of its source: what is compared with them cannot be another one.

/// The statement that `function` of the store begins with.
///
/// # Panics
/// When the source has no such function, or the function has no statement.
pub(crate) fn of<'a>(source: &'a str, function: &str) -> &'a str {
    let mark = format!("fn {function}(");
    let (_, body) = source.split_once(&mark).unwrap_or_else(|| panic!("the store has no `{mark}`"));
    let (_, query) = body.split_once("sqlx::query").unwrap_or_else(|| panic!("`{mark}` asks nothing"));
    let (before, literal) = query.split_once('"').unwrap_or_else(|| panic!("`{mark}` has no literal"));
    let end = if before.ends_with("r#") { "\"#" } else { "\"" };
    literal.split(end).next().unwrap_or_default()
}

/// [`darkroom_store::Store::accept`]'s.
pub(crate) fn accept() -> &'static str {
    of(include_str!("../../crates/store/src/accept.rs"), "insert")
}

/// [`darkroom_store::Store::job`]'s.
pub(crate) fn job() -> &'static str {
    of(include_str!("../../crates/store/src/view.rs"), "job")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_whole() {
        assert!(
            accept().trim_start().starts_with("--") && accept().trim_end().ends_with("expires_at from job")
        );
        assert!(job().starts_with("select j.id") && job().contains("where j.id = $1 and j.tenant_id = $2"));
    }

    #[test]
    fn literals_end_where_they_end() {
        let source = "fn a(x: u8) { sqlx::query!(r#\"select 1 as \"b\"\"#) } fn c(&self) { sqlx::query!(\"select 2\", d) }";
        assert_eq!(of(source, "a"), "select 1 as \"b\"");
        assert_eq!(of(source, "c"), "select 2");
    }
}
