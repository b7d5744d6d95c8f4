//! What a log does to the number of rows of each table, as far as a log can tell.

use std::collections::{BTreeMap, BTreeSet};

use pitr_binlog::describe::Change;
use pitr_binlog::event::RowsKind;
use serde::{Deserialize, Serialize};

/// Schema and name of a table.
pub(super) type TableName = (String, String);

/// Rows that were inserted, updated and deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowChanges {
    /// Rows inserted.
    pub(crate) inserted: u64,
    /// Rows updated, which changes no count.
    pub(crate) updated: u64,
    /// Rows deleted.
    pub(crate) deleted: u64,
}

/// Changes of the tables of which somebody wants to know.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tables: BTreeMap<TableName, RowChanges>,
    /// Tables whose count the log does not tell, and why.
    unknown: BTreeMap<TableName, &'static str>,
    /// XA transactions that the log prepared: the tables of their rows are unknown.
    prepared: BTreeSet<String>,
    /// Why no table's count is told.
    nothing_known: Option<&'static str>,
}

/// What a statement may do to the number of rows of a table.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    None,
    /// Anything to tables of one of these names.
    Tables(BTreeSet<String>),
    /// Anything to the tables of schemas of one of these names.
    Schemas(BTreeSet<String>),
    /// Anything.
    Any,
}

impl Tally {
    /// Of these tables, to which nothing has happened yet.
    pub(super) fn of(tables: impl IntoIterator<Item = TableName>) -> Self {
        Self { tables: tables.into_iter().map(|name| (name, RowChanges::default())).collect(), ..Self::default() }
    }

    /// A transaction whose changes nobody can tell.
    pub(super) fn unreadable(&mut self, why: &'static str) {
        self.nothing_known.get_or_insert(why);
    }

    /// What one transaction does. One of an engine without rollback may have rows in the log that were rolled back.
    pub(super) fn add(&mut self, changes: &[Change], rolls_back_whole: bool) {
        let unsure = if changes.iter().any(|change| matches!(change, Change::XaPrepare { .. })) {
            // Its rows count if it is committed later, and the statement that says so does not name them.
            Some("the log has XA transactions of it")
        } else {
            (!rolls_back_whole).then_some("it was changed together with tables of an engine without rollback")
        };
        for change in changes {
            match change {
                Change::XaPrepare { id } => drop(self.prepared.insert(id.clone())),
                // Its rows are in the base, where they did not count yet, and in no log that is read.
                Change::Statement { sql, .. } if commits_xa(sql).is_some_and(|id| !self.prepared.contains(id)) => {
                    self.unreadable("the log commits an XA transaction that the base had prepared");
                }
                Change::Rows { kind, schema, table, rows } => {
                    let name = (schema.clone(), table.clone());
                    match rows {
                        Some(rows) if unsure.is_none() => self.count(&name, *kind, *rows),
                        _ => self.forget(name, unsure.unwrap_or("rows in the log that cannot be counted")),
                    }
                }
                Change::Statement { sql, .. } => match effect_of(sql) {
                    Effect::None => {}
                    Effect::Tables(names) => self.forget_all(|(_, table)| names.contains(&table.to_lowercase())),
                    Effect::Schemas(names) => self.forget_all(|(schema, _)| names.contains(&schema.to_lowercase())),
                    Effect::Any => self.unreadable("the log has changes as statements"),
                },
                Change::Incident { .. } => self.unreadable("the log says that something is missing in it"),
                Change::Compressed => self.unreadable("the log has changes that cannot be unpacked"),
            }
        }
    }

    fn count(&mut self, name: &TableName, kind: RowsKind, rows: u64) {
        let Some(counted) = self.tables.get_mut(name) else { return };
        match kind {
            RowsKind::Insert => counted.inserted += rows,
            RowsKind::Update => counted.updated += rows,
            RowsKind::Delete => counted.deleted += rows,
        }
    }

    /// The count of this table is not told.
    pub(super) fn forget(&mut self, name: TableName, why: &'static str) {
        if self.tables.contains_key(&name) {
            self.unknown.entry(name).or_insert(why);
        }
    }

    fn forget_all(&mut self, is_named: impl Fn(&TableName) -> bool) {
        let named: Vec<TableName> = self.tables.keys().filter(|name| is_named(name)).cloned().collect();
        for name in named {
            self.forget(name, "it was defined anew, changed, emptied or dropped");
        }
    }

    /// Each table with its changes, or with the reason why they are not known.
    pub(super) fn results(&self) -> impl Iterator<Item = (&TableName, Result<RowChanges, &'static str>)> {
        self.tables.iter().map(|(name, changes)| {
            let why = self.nothing_known.or_else(|| self.unknown.get(name).copied());
            (name, why.map_or(Ok(*changes), Err))
        })
    }
}

/// What a statement commits, as the log writes it.
fn commits_xa(sql: &str) -> Option<&str> {
    sql.strip_prefix("XA COMMIT ")
}

/// Whatever is not known to be harmless may have changed rows. Tables are found by their names alone: a name that stands in a
/// statement for something else makes a table unknown, and never a wrong count.
fn effect_of(sql: &str) -> Effect {
    const WITHOUT_ROWS: [&str; 14] = [
        "grant",
        "revoke",
        "set",
        "flush",
        "analyze",
        "optimize",
        "repair",
        "install",
        "uninstall",
        "xa",
        "savepoint",
        "release",
        "use",
        "check",
    ];
    const DEFINED: [&str; 5] = ["create", "alter", "drop", "truncate", "rename"];
    const CODE: [&str; 8] = ["function", "procedure", "trigger", "event", "view", "user", "role", "server"];
    const DATA: [&str; 6] = ["table", "tables", "index", "database", "schema", "tablespace"];
    let words = words(sql);
    let bare = |word: &Word| if word.quoted { String::new() } else { word.text.clone() };
    let first = words.first().map(bare).unwrap_or_default();
    if WITHOUT_ROWS.contains(&first.as_str()) {
        return Effect::None;
    }
    if !DEFINED.contains(&first.as_str()) {
        return Effect::Any;
    }
    let all = || words.iter().map(|word| word.text.clone()).collect();
    // TABLE may be left out, and the name may then be any word.
    if first == "truncate" {
        return Effect::Tables(all());
    }
    let kind = words.iter().map(bare).find(|word| CODE.contains(&word.as_str()) || DATA.contains(&word.as_str()));
    match kind {
        Some(kind) if CODE.contains(&kind.as_str()) => Effect::None,
        Some(kind) if ["database", "schema"].contains(&kind.as_str()) => Effect::Schemas(all()),
        _ => Effect::Tables(all()),
    }
}

#[derive(Debug)]
struct Word {
    text: String,
    quoted: bool,
}

/// Words and quoted names of a statement, in lower case, wherever they stand.
fn words(sql: &str) -> Vec<Word> {
    let (mut words, mut rest) = (Vec::new(), sql.chars().peekable());
    while let Some(c) = rest.next() {
        if c == '`' || c == '"' {
            let mut text = String::new();
            while let Some(inner) = rest.next() {
                if inner == c && rest.next_if_eq(&c).is_none() {
                    break;
                }
                text.push(inner);
            }
            words.push(Word { text: text.to_lowercase(), quoted: true });
        } else if is_of_word(c) {
            let mut text = String::from(c);
            while let Some(next) = rest.next_if(|next| is_of_word(*next)) {
                text.push(next);
            }
            words.push(Word { text: text.to_lowercase(), quoted: false });
        }
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use pitr_binlog::describe::Change;
    use pitr_binlog::event::RowsKind;

    use super::{Effect, RowChanges, Tally, effect_of};

    fn name(table: &str) -> (String, String) {
        ("shop".to_owned(), table.to_owned())
    }

    fn rows(kind: RowsKind, table: &str, rows: Option<u64>) -> Change {
        Change::Rows { kind, schema: "shop".to_owned(), table: table.to_owned(), rows }
    }

    fn statement(sql: &str) -> Change {
        Change::Statement { schema: "shop".to_owned(), sql: sql.to_owned() }
    }

    fn told(tally: &Tally, table: &str) -> Result<RowChanges, &'static str> {
        tally.results().find(|(known, _)| **known == name(table)).unwrap().1
    }

    #[test]
    fn rows_are_added_up_and_others_tables_are_not() {
        let mut tally = Tally::of([name("orders"), name("log")]);
        tally.add(&[rows(RowsKind::Insert, "orders", Some(3)), rows(RowsKind::Update, "orders", Some(2))], true);
        tally.add(&[rows(RowsKind::Delete, "orders", Some(1)), rows(RowsKind::Insert, "gone", None)], true);
        assert_eq!(told(&tally, "orders"), Ok(RowChanges { inserted: 3, updated: 2, deleted: 1 }));
        assert_eq!(told(&tally, "log"), Ok(RowChanges::default()));
        tally.add(&[rows(RowsKind::Insert, "log", Some(1))], false);
        assert!(told(&tally, "log").is_err() && told(&tally, "orders").is_ok());
    }

    #[test]
    fn a_table_is_emptied_whatever_its_name_is() {
        for sql in ["TRUNCATE event", "truncate shop.user", "TRUNCATE TABLE `view`"] {
            let Effect::Tables(names) = effect_of(sql) else { panic!("{sql}") };
            assert!(["event", "user", "view"].iter().any(|name| names.contains(*name)), "{sql}: {names:?}");
        }
    }

    #[test]
    fn what_the_log_cannot_tell_is_not_told() {
        let cases: [(&[Change], bool, bool); 6] = [
            (&[rows(RowsKind::Insert, "orders", None)], false, true),
            (&[rows(RowsKind::Insert, "orders", Some(1)), Change::XaPrepare { id: "'x'".to_owned() }], false, true),
            (&[statement("TRUNCATE TABLE shop.`Orders`")], false, true),
            (&[statement("DROP DATABASE shop")], false, false),
            (&[statement("INSERT INTO t VALUES (1)")], false, false),
            (&[Change::Compressed], false, false),
        ];
        for (changes, orders, log) in cases {
            let mut tally = Tally::of([name("orders"), name("log")]);
            tally.add(changes, true);
            assert_eq!((told(&tally, "orders").is_ok(), told(&tally, "log").is_ok()), (orders, log), "{changes:?}");
        }
    }

    #[test]
    fn rows_that_the_base_had_prepared_are_in_no_log() {
        let prepared = Change::XaPrepare { id: "X'61',X'',1".to_owned() };
        let decided = |sql: &str| [statement(sql)];
        let mut tally = Tally::of([name("orders"), name("log")]);
        tally.add(&[rows(RowsKind::Insert, "orders", Some(1)), prepared], true);
        tally.add(&decided("XA COMMIT X'61',X'',1"), true);
        tally.add(&decided("XA ROLLBACK X'62',X'',1"), true);
        assert!(told(&tally, "log").is_ok());
        tally.add(&decided("XA COMMIT X'62',X'',1"), true);
        assert_eq!(told(&tally, "log"), Err("the log commits an XA transaction that the base had prepared"));
    }

    #[test]
    fn statements_are_harmless_only_where_that_is_known() {
        for sql in [
            "GRANT SELECT ON shop.orders TO a",
            "CREATE DEFINER=`root`@`%` TRIGGER shop.x AFTER INSERT ON orders FOR EACH ROW DELETE FROM log",
            "create or replace view v as select * from orders",
            "DROP EVENT IF EXISTS e",
            "XA COMMIT X'01',X'',1",
        ] {
            assert_eq!(effect_of(sql), Effect::None, "{sql}");
        }
        for sql in ["DELETE FROM orders", "CALL f()", "/* app */ DROP TABLE orders", "", "`x`"] {
            assert_eq!(effect_of(sql), Effect::Any, "{sql}");
        }
        for sql in [
            "ALTER TABLE shop.orders EXCHANGE PARTITION p WITH TABLE `log`",
            "RENAME TABLE `orders` TO `log`",
            "CREATE TABLE \"orders\" AS SELECT * FROM log",
            "DROP INDEX log ON orders",
        ] {
            let Effect::Tables(names) = effect_of(sql) else { panic!("{sql}") };
            assert!(names.contains("orders") && names.contains("log"), "{sql}");
        }
    }
}
