//! How dumped tables are laid out in files.
//!
//! ```text
//! mysql      shop.orders.sql                              definition, rows, triggers: `mysql shop < FILE`
//! mydumper   shop-schema-create.sql                       what myloader reads, by the names that mydumper gives
//!            shop.orders-schema.sql  shop.orders.00000.sql  shop.orders-schema-triggers.sql  metadata
//! ```

use std::fmt::Write as _;

use clap::ValueEnum;
use jiff::Timestamp;
use pitr_recovery::code;
use serde::{Deserialize, Serialize};

use super::super::chosen::harmless;
use crate::error::Failure;
use crate::mysql::UserTable;

/// The file by which myloader knows a dump.
pub(super) const METADATA: &str = "metadata";

/// `--dump-layout`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DumpLayout {
    /// One file for each table, for mysql
    #[default]
    Mysql,
    /// Definitions, rows and triggers in files of their own, for myloader
    Mydumper,
}

impl std::fmt::Display for DumpLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mysql => "mysql",
            Self::Mydumper => "mydumper",
        })
    }
}

/// One file of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) file: String,
    /// What mysqldump is to write into it.
    pub(super) options: &'static [&'static str],
    /// Whether its reader ends a statement at each semicolon that ends a line, and knows no DELIMITER.
    pub(super) without_delimiters: bool,
}

impl DumpLayout {
    /// The files of a table, in the order in which they are to be loaded.
    pub(super) fn parts(self, table: &UserTable, has_triggers: bool) -> Vec<Part> {
        let part = |kind: &str, options| Part { file: file(table, kind), options, without_delimiters: false };
        match self {
            Self::Mysql => vec![part("", &["--triggers"])],
            Self::Mydumper => {
                let mut parts = vec![
                    part("-schema", &["--no-data", "--skip-triggers"]),
                    part(".00000", &["--no-create-info", "--skip-triggers", "--skip-add-locks", "--skip-disable-keys"]),
                ];
                let triggers = part("-schema-triggers", &["--no-create-info", "--no-data", "--triggers"]);
                parts.extend(has_triggers.then_some(Part { without_delimiters: true, ..triggers }));
                parts
            }
        }
    }

    /// The file with the rows of a table.
    pub(super) fn rows_file(self, table: &UserTable) -> String {
        match self {
            Self::Mysql => file(table, ""),
            Self::Mydumper => file(table, ".00000"),
        }
    }

    /// Refuses a name that cannot stand in a file's where the loader reads it there.
    pub(super) fn can_name(self, schema: &str, table: &str) -> anyhow::Result<()> {
        let plain = |name: &str| harmless(name) == name;
        if self == Self::Mysql || plain(schema) && plain(table) {
            return Ok(());
        }
        let message = format!("\"{schema}.{table}\" cannot be dumped in the layout of mydumper");
        Err(Failure::new(&code::METHOD_IMPOSSIBLE, message)
            .hint("a loader takes the names from those of the files, which cannot have all characters")
            .fix("--dump-layout mysql for this table")
            .into())
    }
}

fn file(table: &UserTable, kind: &str) -> String {
    format!("{}.{}{kind}.sql", harmless(&table.schema), harmless(&table.name))
}

/// The file with the definition of a schema.
pub(super) fn schema_file(schema: &str) -> String {
    format!("{}-schema-create.sql", harmless(schema))
}

/// Triggers of `mysqldump` for a reader that ends a statement where a line ends with a semicolon.
pub(super) fn without_delimiters(dump: &[u8]) -> Vec<u8> {
    let (mut out, mut in_body) = (Vec::with_capacity(dump.len()), false);
    for line in dump.split_inclusive(|byte| *byte == b'\n') {
        match line {
            b"DELIMITER ;;\n" => in_body = true,
            b"DELIMITER ;\n" => in_body = false,
            _ if in_body && line.ends_with(b";;\n") => {
                out.extend_from_slice(&line[..line.len() - 2]);
                out.push(b'\n');
            }
            _ if in_body && line.ends_with(b";\n") => {
                out.extend_from_slice(&line[..line.len() - 1]);
                out.extend_from_slice(b" \n");
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

/// How many rows a table has, for the metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
    pub(super) rows: u64,
}

/// `metadata`: older loaders only look whether it is there, newer ones read it as sections of settings.
pub(super) fn metadata(begun: Timestamp, ended: Timestamp, tables: &[Rows<'_>]) -> String {
    let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let mut text = format!("# Started dump at: {}\n", time(begun));
    for Rows { schema, table, rows } in tables {
        let _ = write!(text, "\n[`{schema}`.`{table}`]\nreal_table_name={table}\nrows = {rows}\n");
    }
    let _ = write!(text, "\n# Finished dump at: {}\n", time(ended));
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{DumpLayout, Rows, metadata, without_delimiters};
    use crate::mysql::UserTable;

    #[test]
    fn files_have_the_names_that_a_loader_looks_for() {
        let table = UserTable { schema: "shop".to_owned(), name: "orders".to_owned(), bytes: 0 };
        let names = |layout: DumpLayout, triggers| {
            layout.parts(&table, triggers).into_iter().map(|part| part.file).collect::<Vec<_>>()
        };
        assert_eq!(names(DumpLayout::Mysql, true), ["shop.orders.sql"]);
        assert_eq!(names(DumpLayout::Mydumper, false), ["shop.orders-schema.sql", "shop.orders.00000.sql"]);
        assert_eq!(names(DumpLayout::Mydumper, true)[2], "shop.orders-schema-triggers.sql");
        assert!(DumpLayout::Mydumper.can_name("shop", "order-lines").is_ok());
        for odd in ["a.b", "a b", "../b"] {
            assert!(
                DumpLayout::Mydumper.can_name("shop", odd).is_err() && DumpLayout::Mysql.can_name("shop", odd).is_ok()
            );
        }
    }

    #[test]
    fn a_statement_ends_with_its_line_and_nowhere_else() {
        let dump = "/*!50003 SET @a = 1 */ ;\nDELIMITER ;;\n/*!50003 TRIGGER x BEGIN\n  SET @a = ';';\n  SET @b = 2;\nEND */;;\n\
                    DELIMITER ;\n/*!50003 SET @c = 1 */ ;\n";
        let expected = "/*!50003 SET @a = 1 */ ;\n/*!50003 TRIGGER x BEGIN\n  SET @a = ';'; \n  SET @b = 2; \nEND */;\n\
                        /*!50003 SET @c = 1 */ ;\n";
        assert_eq!(String::from_utf8(without_delimiters(dump.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn the_metadata_names_each_table() {
        let at = Timestamp::UNIX_EPOCH;
        let text = metadata(at, at, &[Rows { schema: "shop", table: "orders", rows: 12 }]);
        let expected = "# Started dump at: 1970-01-01 00:00:00\n\n[`shop`.`orders`]\nreal_table_name=orders\nrows = 12\n\n\
                        # Finished dump at: 1970-01-01 00:00:00\n";
        assert_eq!(text, expected);
    }
}
