//! `--count-rows`: does each table have as many rows as the base had, and what the log has added and taken away?
//!
//! The rows of the base are counted before anything is replayed, those of the restored server after it. Between them the log is read
//! once more, by us and from the archive, and not as it was sent. What a log cannot tell (statements, definitions, cascades, XA, other
//! engines) is named as not accounted.

mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context as _;
use pitr_archive::Description;
use pitr_binlog::{GtidSet, TransactionFlags};
use pitr_recovery::code;
use serde::{Deserialize, Serialize};

pub(crate) use self::tally::RowChanges;
use self::tally::{TableName, Tally};
use super::phases::{Restore, unless_interrupted};
use super::stretch::{Stretch, stretches_of};
use crate::amounts::count_of;
use crate::error::Failure;
use crate::mysql::{Connection, UserTable};
use crate::progress::Unit;

/// Rows of each table of each schema.
pub(crate) type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What the accounting found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RowsReport {
    /// Tables that were accounted for.
    pub(crate) tables: Vec<AccountedTable>,
    /// Tables that could not be, and why.
    pub(crate) not_accounted: Vec<UnaccountedTable>,
}

/// A table whose rows were counted before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountedTable {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) table: String,
    /// Rows in the base.
    pub(crate) before: u64,
    /// What the log says.
    #[serde(flatten)]
    pub(crate) log: RowChanges,
    /// Rows on the restored server.
    pub(crate) after: u64,
}

impl AccountedTable {
    fn expected(&self) -> Option<u64> {
        self.before.checked_add(self.log.inserted)?.checked_sub(self.log.deleted)
    }
}

/// A table of which nobody can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnaccountedTable {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) table: String,
    /// Why.
    pub(crate) why: String,
}

/// The report in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RowsSummary {
    /// Tables that have what base and log make.
    pub(crate) equal: usize,
    /// Tables that have another number of rows.
    pub(crate) differ: usize,
    /// Tables of which nobody can tell.
    pub(crate) not_accounted: usize,
    /// What the log says of all accounted tables.
    #[serde(flatten)]
    pub(crate) log: RowChanges,
}

impl RowsSummary {
    /// Of a whole report.
    pub(crate) fn of(report: &RowsReport) -> Self {
        let equal = report.tables.iter().filter(|table| table.expected() == Some(table.after)).count();
        let log = report.tables.iter().fold(RowChanges::default(), |sum, table| RowChanges {
            inserted: sum.inserted + table.log.inserted,
            updated: sum.updated + table.log.updated,
            deleted: sum.deleted + table.log.deleted,
        });
        Self { equal, differ: report.tables.len() - equal, not_accounted: report.not_accounted.len(), log }
    }
}

impl fmt::Display for RowsSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowChanges { inserted, updated, deleted } = self.log;
        let tables = count_of(self.equal as u64, "table");
        write!(f, "Rows: {tables} as base and log say ({inserted} inserted, {updated} updated, {deleted} deleted)")?;
        if self.not_accounted > 0 {
            write!(f, "; {} not accounted for, see RESTORED.json", self.not_accounted)?;
        }
        Ok(())
    }
}

/// Counts the rows of the base, before anything is replayed on it.
pub(super) async fn count_base(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<()> {
    if restore.args.count_rows {
        restore.journal.rows_of_base = Some(counted(restore, connection).await.context("count the rows of the base")?);
    }
    Ok(())
}

/// Holds what the server has against base and log. A difference means that the data is not what the log says.
pub(super) async fn account(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<()> {
    if !restore.args.count_rows {
        return Ok(());
    }
    let Some(before) = restore.journal.rows_of_base.clone() else {
        let message = "the rows of the base were not counted: --count-rows came when the replay had begun";
        return Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
            .hint("without them nobody can tell how many there must be; the volume is not handed over")
            .fix("the same command without --count-rows, or with it into another directory")
            .into());
    };
    let after = counted(restore, connection).await.context("count the rows of the restored server")?;
    let known: BTreeSet<TableName> = names(&before).chain(names(&after)).collect();
    let mut tally = Tally::of(known);
    for table in connection.cascaded_tables().await? {
        tally.forget(table, "rows of it go with those of another table, and no log says so");
    }
    read_log(restore, &mut tally).await?;
    let report = report(&tally, &before, &after);
    let differs = report.tables.iter().find(|table| table.expected() != Some(table.after)).cloned();
    restore.journal.rows = Some(report);
    restore.write_journal()?;
    match differs {
        None => Ok(()),
        Some(table) => Err(difference(&table)),
    }
}

fn difference(table: &AccountedTable) -> anyhow::Error {
    let AccountedTable { schema, table: name, before, log, after } = table;
    let message = format!("the GTID set equals the plan, but {schema}.{name} has {}", count_of(*after, "row"));
    let hint = format!(
        "the base had {before}, the log inserted {} and deleted {}; the volume is not handed over",
        log.inserted, log.deleted
    );
    Failure::new(&code::RESTORE_INCOMPLETE, message)
        .hint(hint)
        .fix("the same command into another directory; if that differs, too, from another base: --from-backup ID")
        .into()
}

fn names(counts: &Counts) -> impl Iterator<Item = TableName> + '_ {
    counts.iter().flat_map(|(schema, tables)| tables.keys().map(|table| (schema.clone(), table.clone())))
}

fn report(tally: &Tally, before: &Counts, after: &Counts) -> RowsReport {
    let of = |counts: &Counts, (schema, table): &TableName| counts.get(schema)?.get(table).copied();
    let (mut tables, mut not_accounted) = (Vec::new(), Vec::new());
    for (name, changes) in tally.results() {
        let (schema, table) = name.clone();
        let told = match (of(before, name), changes, of(after, name)) {
            (Some(before), Ok(log), Some(after)) => Ok((before, log, after)),
            (_, Err(why), _) => Err(why),
            (None, Ok(_), _) | (_, Ok(_), None) => Err("it is not an InnoDB table in both, the base and the result"),
        };
        match told {
            Ok((before, log, after)) => tables.push(AccountedTable { schema, table, before, log, after }),
            Err(why) => not_accounted.push(UnaccountedTable { schema, table, why: why.to_owned() }),
        }
    }
    RowsReport { tables, not_accounted }
}

async fn counted(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<Counts> {
    let tables: Vec<UserTable> = connection.innodb_tables().await?;
    restore.progress.begin("count-rows", Unit::Files, 0, tables.len() as u64);
    let mut counts = Counts::new();
    for (number, table) in tables.iter().enumerate() {
        let count = unless_interrupted(&restore.context.shutdown, async { Ok(connection.count_rows(table).await?) });
        counts.entry(table.schema.clone()).or_default().insert(table.name.clone(), count.await?);
        restore.progress.set(1 + number as u64);
    }
    restore.progress.end();
    Ok(counts)
}

/// Reads the plan's log as the archive has it, each transaction once.
async fn read_log(restore: &mut Restore<'_>, tally: &mut Tally) -> anyhow::Result<()> {
    let files = restore.plan.files().to_vec();
    restore.progress.begin("read-log", Unit::Bytes, 0, restore.plan.parts().bytes);
    let (mut done, mut seen) = (0, restore.plan.base().executed.clone());
    seen.union_with(restore.plan.skip());
    for stretch in files.iter().flat_map(stretches_of) {
        let shutdown = restore.context.shutdown.clone();
        unless_interrupted(&shutdown, read_range(restore, stretch, tally, &mut seen)).await?;
        done += stretch.to - stretch.from;
        restore.progress.set(done);
    }
    restore.progress.end();
    Ok(())
}

async fn read_range(
    restore: &Restore<'_>,
    stretch: Stretch<'_>,
    tally: &mut Tally,
    seen: &mut GtidSet,
) -> anyhow::Result<()> {
    let (reference, objects) = (stretch.reference(), &stretch.range.objects);
    let index = restore.archive.read_index(&reference, objects).await.context("read what is in the log")?;
    let bytes = restore.archive.read_range(&reference, objects).await.context("read the log")?;
    for entry in index.entries.iter().filter(|entry| entry.end > stretch.from && entry.end <= stretch.to) {
        if entry.gtid.is_some_and(|gtid| seen.contains(&gtid)) {
            continue;
        }
        if let Some(gtid) = &entry.gtid {
            seen.insert(gtid);
        }
        let place = stretch.place(entry.start).zip(stretch.place(entry.end));
        let transaction = place.and_then(|(start, end)| bytes.get(start..end));
        match transaction.and_then(Description::of) {
            Some(description) => {
                tally.add(&description.changes, !entry.flags.contains(TransactionFlags::NON_TRANSACTIONAL));
            }
            None => tally.unreadable("the log has transactions that are too large to be looked into"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::tally::Tally;
    use super::{Counts, RowsSummary, report};

    fn counts(tables: &[(&str, u64)]) -> Counts {
        [("shop".to_owned(), tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect())].into()
    }

    #[test]
    fn a_table_is_accounted_for_when_it_is_in_both() {
        let (before, after) = (counts(&[("orders", 5), ("dropped", 1)]), counts(&[("orders", 6), ("new", 2)]));
        let name = |table: &str| ("shop".to_owned(), table.to_owned());
        let tally = Tally::of([name("orders"), name("dropped"), name("new")]);
        let report = report(&tally, &before, &after);
        assert_eq!((report.tables.len(), report.not_accounted.len()), (1, 2));
        let summary = RowsSummary::of(&report);
        assert_eq!((summary.equal, summary.differ, summary.not_accounted), (0, 1, 2));
        assert_eq!(
            summary.to_string(),
            "Rows: 0 tables as base and log say (0 inserted, 0 updated, 0 deleted); 2 not accounted for, see RESTORED.json"
        );
    }
}
