//! What can no longer be done. A volume whose server was stopped for good is the user's: nothing is started on it any more, and a run
//! that asks for what the earlier ones have not done must not end as if it had been done.

use std::path::Path;

use pitr_recovery::code;

use super::chosen::ChosenTables;
use super::journal::Journal;
use super::phases::Restore;
use super::{RestoreArgs, XaPolicy, extract};
use crate::error::Failure;

/// Refuses what is asked for and was not done before the server was stopped.
pub(super) fn check(restore: &Restore<'_>) -> anyhow::Result<()> {
    let datadir = restore.volume.root().display();
    let dumps = extract::directory(restore.args, &restore.volume)?;
    let Some(missed) = missed(restore.args, &dumps, &restore.journal) else { return Ok(()) };
    Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("\"{datadir}\" was handed over {}", missed.what))
        .hint("the data is verified and yours: we start no server on it any more")
        .fix(format!("{}, or restore into another directory", missed.instead))
        .into())
}

#[derive(Debug, PartialEq, Eq)]
struct Missed {
    what: String,
    instead: &'static str,
}

fn missed(args: &RestoreArgs, dumps: &Path, journal: &Journal) -> Option<Missed> {
    // All tables of a schema are dumped if that was asked for, and not because one of them is.
    let dumped = |chosen: &&ChosenTables| {
        let mut tables = journal.dump.iter().flat_map(|dump| &dump.tables);
        journal.tables.contains(&chosen.to_string())
            || chosen.table.is_some() && tables.any(|table| chosen.names(&table.schema, &table.table))
    };
    if let Some(table) = args.tables.iter().find(|chosen| !dumped(chosen)) {
        return Some(Missed { what: format!("without a dump of {table}"), instead: "mysqldump from a server on it" });
    }
    if let Some(dump) = &journal.dump
        && !args.tables.is_empty()
        && Path::new(&dump.directory) != dumps
    {
        let what = format!("with its dump in \"{}\", not in \"{}\"", dump.directory, dumps.display());
        return Some(Missed { what, instead: "take the files from there" });
    }
    if let Some(dump) = &journal.dump
        && !args.tables.is_empty()
        && dump.layout != args.dump_layout
    {
        let what = format!("with its dump laid out for {}, not for {}", dump.layout, args.dump_layout);
        return Some(Missed { what, instead: "mysqldump from a server on it" });
    }
    if let Some(sql) = args.assert.iter().find(|sql| !journal.asserted.contains(sql)) {
        return Some(Missed { what: format!("and \"{sql}\" not asked"), instead: "ask a server on it" });
    }
    if args.check_tables && !journal.tables_checked {
        let what = "without a check of its tables".to_owned();
        return Some(Missed { what, instead: "CHECK TABLE on a server on it" });
    }
    if args.count_rows && journal.rows.is_none() {
        let what = "without its rows accounted for".to_owned();
        return Some(Missed { what, instead: "COUNT(*) on a server on it" });
    }
    let left = journal.xa.iter().filter(|report| !report.rolled_back).count();
    if args.xa != XaPolicy::Keep && left > 0 {
        let what = format!("with {left} XA transactions prepared");
        return Some(Missed { what, instead: "XA RECOVER and XA ROLLBACK on a server on it" });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::extract::{DumpLayout, DumpReport, DumpedTable};
    use super::super::journal::Purpose;
    use super::super::xa::{Outcome, XaReport};
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser as _;

    fn args(more: &[&str]) -> RestoreArgs {
        let all = ["pitr-sidecar", "restore", "--archive", "file:///a", "--to", "latest", "--datadir", "/d"];
        match Cli::try_parse_from(all.iter().chain(more)).unwrap().verb {
            Verb::Restore(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn missed(args: &RestoreArgs, journal: &Journal) -> Option<Missed> {
        super::missed(args, args.dump_dir.as_deref().unwrap_or(Path::new("/d/dump")), journal)
    }

    fn journal() -> Journal {
        let mut journal = Journal::begin(Purpose::Target("--to latest".to_owned()), jiff::Timestamp::UNIX_EPOCH);
        let table = |name: &str| DumpedTable {
            schema: "shop".to_owned(),
            table: name.to_owned(),
            file: format!("shop.{name}.sql"),
            rows: 1,
            bytes: 1,
        };
        let tables = vec![table("orders")];
        journal.dump = Some(DumpReport { directory: "/d/dump".to_owned(), layout: DumpLayout::Mysql, tables });
        journal.asserted = vec!["SELECT 1".to_owned()];
        journal
    }

    #[test]
    fn what_was_done_may_be_asked_for_again() {
        let mut journal = journal();
        for more in [&[][..], &["--tables", "shop.orders"], &["--assert", "SELECT 1"]] {
            assert_eq!(missed(&args(more), &journal), None, "{more:?}");
        }
        journal.tables = vec!["shop.*".to_owned()];
        assert_eq!(missed(&args(&["--tables", "shop.*,shop.orders"]), &journal), None);
        journal.tables_checked = true;
        journal.xa = vec![XaReport { xid: "'x'".to_owned(), later: Outcome::Unknown, rolled_back: true }];
        assert_eq!(missed(&args(&["--check-tables", "--xa", "rollback"]), &journal), None);
    }

    #[test]
    fn what_was_not_done_is_named() {
        let mut journal = journal();
        journal.xa = vec![XaReport { xid: "'x'".to_owned(), later: Outcome::Unknown, rolled_back: false }];
        for (more, what) in [
            (&["--tables", "shop.orders,shop.stock"][..], "without a dump of shop.stock"),
            (&["--tables", "other.*"], "without a dump of other.*"),
            (&["--tables", "shop.*"], "without a dump of shop.*"),
            (
                &["--tables", "shop.orders", "--dump-dir", "/elsewhere"],
                "with its dump in \"/d/dump\", not in \"/elsewhere\"",
            ),
            (
                &["--tables", "shop.orders", "--dump-layout", "mydumper"],
                "with its dump laid out for mysql, not for mydumper",
            ),
            (&["--assert", "SELECT 2"], "and \"SELECT 2\" not asked"),
            (&["--count-rows"], "without its rows accounted for"),
            (&["--check-tables"], "without a check of its tables"),
            (&["--xa", "rollback"], "with 1 XA transactions prepared"),
            (&["--xa", "fail"], "with 1 XA transactions prepared"),
        ] {
            assert_eq!(missed(&args(more), &journal).map(|missed| missed.what).as_deref(), Some(what), "{more:?}");
        }
        assert_eq!(missed(&args(&["--xa", "keep"]), &journal), None);
    }
}
