//! The one verdict that every restore ends with, and the report that stays with the data.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use pitr_archive::Pace;
use serde::{Deserialize, Serialize};

use super::event_states::IntendedState;
use super::extract::{DumpLayout, DumpReport};
use super::rows::{RowsReport, RowsSummary};
use super::xa::XaReport;
use crate::amounts::{binary_size, count_of};
use crate::termination;

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The executed set is the plan's.
    Verified,
    /// It is not, or not yet; the same command goes on.
    Incomplete,
    /// Something broke; the same command may go on.
    Failed,
    /// Nothing was begun.
    Refused,
}

/// The verdict line.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    event: &'static str,
    schema_version: u32,
    /// How it ended.
    pub(crate) result: Outcome,
    /// The code of what went wrong.
    pub(crate) code: Option<String>,
    /// What went wrong; or that it was verified by an earlier run.
    pub(crate) message: Option<String>,
    /// In which phase.
    pub(crate) phase: Option<&'static str>,
    /// The plan.
    pub(crate) plan_hash: Option<String>,
    /// What the server has executed.
    pub(crate) gtid_set: Option<String>,
    /// The last transaction before the stop.
    pub(crate) last_gtid: Option<String>,
    /// How many transactions were replayed.
    pub(crate) transactions: u64,
    /// Planned and not executed.
    pub(crate) missing: String,
    /// Executed and not planned.
    pub(crate) unexpected: String,
    /// Events whose state is not the source's, or not known.
    pub(crate) events_to_look_at: usize,
    /// XA transactions that stay prepared, with their locks.
    pub(crate) prepared_xa: usize,
    /// What the accounting of rows found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<RowsSummary>,
    /// Tables that were written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dump: Option<DumpSummary>,
    /// This run.
    pub(crate) duration_seconds: u64,
    /// Replay, over all runs.
    pub(crate) replay_seconds: u64,
    /// The data directory.
    pub(crate) volume: String,
    /// How fast this run was.
    #[serde(skip)]
    pub(crate) pace: Pace,
}

impl Verdict {
    /// A verdict of which nothing is known yet.
    pub(crate) fn new(result: Outcome, volume: &Path) -> Self {
        Self {
            event: "verdict",
            schema_version: 1,
            result,
            code: None,
            message: None,
            phase: None,
            plan_hash: None,
            gtid_set: None,
            last_gtid: None,
            transactions: 0,
            missing: String::new(),
            unexpected: String::new(),
            events_to_look_at: 0,
            prepared_xa: 0,
            rows: None,
            dump: None,
            duration_seconds: 0,
            replay_seconds: 0,
            volume: volume.display().to_string(),
            pace: Pace::default(),
        }
    }

    /// One line of JSON, short enough for a termination log: long texts are cut in the middle.
    pub(crate) fn line(&self) -> String {
        termination::fit(|limit| {
            let cut = |text: &Option<String>| text.as_deref().map(|text| termination::cut(text, limit));
            Self {
                message: cut(&self.message),
                gtid_set: cut(&self.gtid_set),
                missing: termination::cut(&self.missing, limit),
                unexpected: termination::cut(&self.unexpected, limit),
                volume: termination::cut(&self.volume, limit),
                ..self.clone()
            }
        })
    }

    /// Leaves the line where Kubernetes looks for it, if we run there.
    pub(crate) fn leave_for_kubernetes(&self) {
        termination::leave(&self.line());
    }
}

/// For people; errors are printed by `main`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.result {
            Outcome::Verified => {
                if let Some(earlier) = &self.message {
                    return write!(f, "Nothing to do: {earlier}. Data: {}", self.volume);
                }
                let (replay, all) = (duration(self.replay_seconds), duration(self.duration_seconds));
                let (count, volume) = (self.transactions, &self.volume);
                write!(
                    f,
                    "Verified: the GTID set equals the plan. {count} transactions replayed in {replay}, {all} in all. Data: {volume}"
                )?;
                if self.prepared_xa > 0 {
                    let count = count_of(self.prepared_xa as u64, "XA transaction");
                    write!(f, "\nPrepared: {count} undecided, with their locks; see RESTORED.json")?;
                }
                if let Some(rows) = &self.rows {
                    write!(f, "\n{rows}")?;
                }
                match &self.dump {
                    Some(dump) => write!(f, "\n{dump}"),
                    None => Ok(()),
                }
            }
            Outcome::Incomplete => {
                write!(f, "Incomplete: the server does not hold what the plan says. Data: {}", self.volume)
            }
            Outcome::Failed => write!(f, "Failed. Data: {}", self.volume),
            Outcome::Refused => f.write_str("Refused: nothing was changed."),
        }
    }
}

/// What was dumped, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DumpSummary {
    /// Where the files lie.
    pub(crate) directory: String,
    /// How they are laid out.
    pub(crate) layout: DumpLayout,
    /// How many tables.
    pub(crate) tables: usize,
    /// How many rows they have.
    pub(crate) rows: u64,
    /// Size of the files.
    pub(crate) bytes: u64,
    /// The first table's schema and file.
    #[serde(skip)]
    example: (String, String),
}

impl DumpSummary {
    /// Of a whole report.
    pub(crate) fn of(report: &DumpReport) -> Self {
        let example = report.tables.first().map(|table| (table.schema.clone(), table.file.clone()));
        Self {
            directory: report.directory.clone(),
            layout: report.layout,
            tables: report.tables.len(),
            rows: report.tables.iter().map(|table| table.rows).sum(),
            bytes: report.tables.iter().map(|table| table.bytes).sum(),
            example: example.unwrap_or_default(),
        }
    }
}

impl fmt::Display for DumpSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tables, rows) = (count_of(self.tables as u64, "table"), count_of(self.rows, "row"));
        let (schema, file) = &self.example;
        let directory = &self.directory;
        write!(f, "Dumped: {tables}, {rows}, {} in {directory}. ", binary_size(self.bytes))?;
        match self.layout {
            DumpLayout::Mysql => write!(f, "Load one: mysql {schema} < {directory}/{file}"),
            DumpLayout::Mydumper => write!(f, "Load them: myloader --directory {directory}"),
        }
    }
}

/// "2m28s", "8h05m", "0s".
fn duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{:02}s", seconds % 60),
        _ => format!("{hours}h{:02}m", minutes % 60),
    }
}

/// An event of the scheduler after a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventReport {
    /// `schema.name`.
    pub(crate) name: String,
    /// As it is on the restored server.
    pub(crate) state: IntendedState,
    /// Whether that is the state it had on the source at the target.
    pub(crate) exact: bool,
}

/// `RESTORED.json`: what this data directory is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoredReport {
    /// Version of the file's form.
    pub(crate) schema_version: u32,
    /// When it was finished.
    pub(crate) restored_at: Timestamp,
    /// Our version.
    pub(crate) program: &'static str,
    /// Whose data it is.
    pub(crate) workload: String,
    /// The target, as planned.
    pub(crate) target: String,
    /// The base backup.
    pub(crate) base: String,
    /// The server that ran on it.
    pub(crate) server_version: String,
    /// Events of the scheduler.
    pub(crate) events: Vec<EventReport>,
    /// XA transactions that the target left prepared.
    pub(crate) xa: Vec<XaReport>,
    /// Rows of each table before and after, and what the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<RowsReport>,
    /// Tables that were written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tables: Option<DumpReport>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    /// The verdict, uncut.
    pub(crate) verdict: Verdict,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DumpSummary, Outcome, Verdict, duration};
    use crate::restore::extract::{DumpLayout, DumpReport, DumpedTable};

    #[test]
    fn what_was_dumped_is_told_with_the_command_that_loads_it() {
        let table = |name: &str, rows| DumpedTable {
            schema: "shop".to_owned(),
            table: name.to_owned(),
            file: format!("shop.{name}.sql"),
            rows,
            bytes: 2048,
        };
        let tables = vec![table("orders", 12), table("stock", 1)];
        let mut report = DumpReport { directory: "/d".to_owned(), layout: DumpLayout::Mysql, tables };
        let mut verdict = Verdict::new(Outcome::Verified, Path::new("/data"));
        (verdict.dump, verdict.prepared_xa) = (Some(DumpSummary::of(&report)), 1);
        let text = verdict.to_string();
        let mut lines = text.lines().skip(1);
        assert_eq!(lines.next(), Some("Prepared: 1 XA transaction undecided, with their locks; see RESTORED.json"));
        let expected = "Dumped: 2 tables, 13 rows, 4 KiB in /d. Load one: mysql shop < /d/shop.orders.sql";
        assert_eq!(lines.next(), Some(expected));
        assert!(
            verdict.line().contains(r#""dump":{"directory":"/d","layout":"mysql","tables":2,"rows":13,"bytes":4096}"#)
        );
        report.layout = DumpLayout::Mydumper;
        let expected = "Dumped: 2 tables, 13 rows, 4 KiB in /d. Load them: myloader --directory /d";
        assert_eq!(DumpSummary::of(&report).to_string(), expected);
    }

    #[test]
    fn the_text_says_how_long_it_took() {
        let mut verdict = Verdict::new(Outcome::Verified, Path::new("/data"));
        (verdict.transactions, verdict.replay_seconds, verdict.duration_seconds) = (12, 148, 537);
        let expected =
            "Verified: the GTID set equals the plan. 12 transactions replayed in 2m28s, 8m57s in all. Data: /data";
        assert_eq!(verdict.to_string(), expected);
        verdict.message =
            Some("verified and handed over at 2026-11-21T07:33:14Z; the data is not checked again".into());
        let expected = "Nothing to do: verified and handed over at 2026-11-21T07:33:14Z; the data is not checked again. Data: /data";
        assert_eq!(verdict.to_string(), expected);
        assert_eq!((duration(0).as_str(), duration(29_100).as_str()), ("0s", "8h05m"));
    }
}
