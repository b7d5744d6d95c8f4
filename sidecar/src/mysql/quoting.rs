//! Identifiers and texts inside statements.

/// What every session of ours sets: backslashes mean nothing in texts (so that quoting is exact), and times are UTC.
pub(super) const SESSION: &str = "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00'";

/// An identifier in backquotes.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text literal, for sessions that set [`SESSION`].
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{identifier, literal};

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's a\\"), "'it''s a\\'");
    }
}
