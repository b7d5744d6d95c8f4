//! Tables as they are named on the command line, and names of files made from theirs.

use std::str::FromStr;

/// `SCHEMA.TABLE`, or `SCHEMA.*` for all tables of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChosenTables {
    /// The schema.
    pub(crate) schema: String,
    /// The table; none for all.
    pub(crate) table: Option<String>,
}

impl ChosenTables {
    /// Whether a table is one of them.
    pub(crate) fn names(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && self.table.as_deref().is_none_or(|name| name == table)
    }
}

impl FromStr for ChosenTables {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self { schema: schema.to_owned(), table: (table != "*").then(|| table.to_owned()) })
            }
            _ => Err("not SCHEMA.TABLE or SCHEMA.*".to_owned()),
        }
    }
}

impl std::fmt::Display for ChosenTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table.as_deref().unwrap_or("*"))
    }
}

/// A name as it may stand in a file's: what a shell or a file system could take for something else is written as its number, as MySQL does.
pub(super) fn harmless(name: &str) -> String {
    let one = |(place, c): (usize, char)| {
        let is_plain = c.is_alphanumeric() || c == '_' || (place > 0 && matches!(c, '-' | '$'));
        if is_plain { c.to_string() } else { format!("@{:04x}", u32::from(c)) }
    };
    name.chars().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{ChosenTables, harmless};

    #[test]
    fn tables_are_named_with_their_schema() {
        let chosen = |text: &str| text.parse::<ChosenTables>().map(|chosen| (chosen.schema, chosen.table));
        assert_eq!(chosen("shop.orders"), Ok(("shop".to_owned(), Some("orders".to_owned()))));
        assert_eq!(chosen("shop.*"), Ok(("shop".to_owned(), None)));
        assert_eq!(chosen("shop.a.b"), Ok(("shop".to_owned(), Some("a.b".to_owned()))));
        for wrong in ["orders", "", ".", "shop.", ".orders"] {
            assert!(chosen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_name_leaves_its_directory() {
        assert_eq!(harmless("orders"), "orders");
        assert_eq!((harmless("..").as_str(), harmless("a/b").as_str()), ("@002e@002e", "a@002fb"));
        assert_eq!((harmless("-x").as_str(), harmless("Käufe").as_str()), ("@002dx", "Käufe"));
    }
}
