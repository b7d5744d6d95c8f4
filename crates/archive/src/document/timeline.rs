//! The computed whole, and transactions found in it: `GET /v1/timeline`.

use pitr_binlog::TransactionFlags;
use pitr_binlog::describe::Change;
use pitr_binlog::event::RowsKind;
use pitr_recovery::{Branch, Problem, Stream, Timeline};
use serde::{Deserialize, Serialize};

use super::{API_VERSION, BackupItem, BackupsDocument, GapItem, Instant, SCHEMA_VERSION, WindowItem, WindowsDocument};
use crate::archive::{Found, FoundTransaction};

/// Branches, streams, windows, gaps and base backups of a workload, and some of its transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `Timeline`
    pub kind: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The live one first.
    pub branches: Vec<BranchItem>,
    /// By source and number.
    pub streams: Vec<StreamItem>,
    /// Those of the live branch first, by time.
    pub windows: Vec<WindowItem>,
    /// By branch and time.
    pub gaps: Vec<GapItem>,
    /// Newest first.
    pub backups: Vec<BackupItem>,
    /// What needs a human, a sentence each.
    pub problems: Vec<String>,
    /// The branch whose log was searched; none where the archive has none.
    pub branch: Option<String>,
    /// What was found on it, in the order of the log.
    pub transactions: Vec<TransactionItem>,
    /// How many of them stand before the point that was asked for.
    pub before: u64,
    /// Transactions that nobody can describe: they may match or not.
    pub undescribed: u64,
    /// The search was not finished: `cursor` for the next request.
    pub next: Option<String>,
    /// The commit time down to which it went.
    pub searched_to: Option<Instant>,
}

/// One history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BranchItem {
    /// `br-...`
    pub id: String,
    /// Whether the newest live server is on it.
    pub live: bool,
    /// Oldest first.
    pub streams: Vec<String>,
    /// The server whose log it ends in.
    pub source: Option<String>,
    /// The commit time of its last transaction.
    pub last_at: Option<Instant>,
    /// The branch that it leaves.
    pub forks_from: Option<String>,
    /// The commit time of the last transaction before it leaves that one.
    pub forks_at: Option<Instant>,
    /// How many transactions only it has.
    pub own_transactions: Option<u64>,
    /// It holds what its server lost in a crash.
    pub lost: bool,
}

/// An unbroken run of one server's binlogs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamItem {
    /// `st-...`
    pub id: String,
    /// The server.
    pub source: String,
    /// Its first binlog.
    pub first_binlog: Option<String>,
    /// Its last binlog.
    pub last_binlog: Option<String>,
    /// The commit time of its first transaction.
    pub first_at: Option<Instant>,
    /// The commit time of its last transaction.
    pub last_at: Option<Instant>,
    /// How many transactions.
    pub transactions: u64,
    /// How many raw bytes.
    pub raw_bytes: u64,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionItem {
    /// When it was committed first.
    pub committed_at: Instant,
    /// Its GTID.
    pub gtid: Option<String>,
    /// The binlog.
    pub binlog: String,
    /// The server that wrote this binlog.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
    /// Whether it is a statement that commits by itself.
    pub ddl: bool,
    /// What it did, in a line; none where nobody can tell.
    pub what: Option<String>,
    /// What it did, each by itself.
    pub changes: Vec<ChangeItem>,
    /// Whether these are all changes.
    pub whole: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeItem {
    /// `insert`, `update`, `delete`, `statement`, `xaPrepare`, `incident` or `compressed`.
    pub kind: String,
    /// The schema of the table, or the one in which a statement was run.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// How many rows, where they can be counted.
    pub rows: Option<u64>,
    /// A statement, cut where it is long or where a password begins.
    pub text: Option<String>,
}

impl TimelineDocument {
    /// The document; `branch` is the one that was searched.
    #[must_use]
    pub fn new(timeline: &Timeline, branch: Option<&str>, found: &Found) -> Self {
        let WindowsDocument { items: windows, gaps, .. } = WindowsDocument::from(timeline);
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Timeline".to_owned(),
            schema_version: SCHEMA_VERSION,
            branches: timeline.branches().iter().map(BranchItem::from).collect(),
            streams: timeline.streams().iter().map(StreamItem::from).collect(),
            windows,
            gaps,
            backups: BackupsDocument::from(timeline).items,
            problems: timeline.problems().iter().map(problem).collect(),
            branch: branch.map(str::to_owned),
            transactions: found.transactions.iter().map(TransactionItem::from).collect(),
            before: found.before as u64,
            undescribed: found.undescribed,
            next: found.resume.as_ref().map(ToString::to_string),
            searched_to: found.searched_to_us.map(Instant),
        }
    }
}

impl From<&Branch> for BranchItem {
    fn from(branch: &Branch) -> Self {
        Self {
            id: branch.id.clone(),
            live: branch.live,
            streams: branch.streams.clone(),
            source: branch.source.clone(),
            last_at: branch.last_us.map(Instant),
            forks_from: branch.fork.as_ref().map(|fork| fork.from.clone()),
            forks_at: branch.fork.as_ref().and_then(|fork| fork.at_us).map(Instant),
            own_transactions: branch.fork.as_ref().map(|fork| fork.own.count()),
            lost: branch.ahead,
        }
    }
}

impl From<&Stream> for StreamItem {
    fn from(stream: &Stream) -> Self {
        Self {
            id: stream.id.clone(),
            source: stream.source.clone(),
            first_binlog: stream.binlogs.first().map(|binlog| binlog.name.to_string()),
            last_binlog: stream.binlogs.last().map(|binlog| binlog.name.to_string()),
            first_at: stream.first_us.map(Instant),
            last_at: stream.last_us.map(Instant),
            transactions: stream.transactions,
            raw_bytes: stream.bytes,
        }
    }
}

impl From<&FoundTransaction> for TransactionItem {
    fn from(found: &FoundTransaction) -> Self {
        let description = found.description.as_ref();
        Self {
            committed_at: Instant(found.entry.commit_us),
            gtid: found.entry.gtid.map(|gtid| gtid.to_string()),
            binlog: found.name.to_string(),
            source: found.source.clone(),
            stream: found.stream.clone(),
            start: found.entry.start,
            end: found.entry.end,
            ddl: found.entry.flags.contains(TransactionFlags::DDL),
            what: description.map(ToString::to_string).filter(|what| !what.is_empty()),
            changes: description.map(|d| d.changes.iter().map(ChangeItem::from).collect()).unwrap_or_default(),
            whole: description.is_some_and(|description| description.whole),
        }
    }
}

impl From<&Change> for ChangeItem {
    fn from(change: &Change) -> Self {
        let none = Self { kind: String::new(), schema: None, table: None, rows: None, text: None };
        match change {
            Change::Rows { kind, schema, table, rows } => Self {
                kind: match kind {
                    RowsKind::Insert => "insert",
                    RowsKind::Update => "update",
                    RowsKind::Delete => "delete",
                }
                .to_owned(),
                schema: Some(schema.clone()),
                table: Some(table.clone()),
                rows: *rows,
                ..none
            },
            Change::Statement { schema, .. } => Self {
                kind: "statement".to_owned(),
                schema: Some(schema.clone()).filter(|schema| !schema.is_empty()),
                text: Some(change.to_string()),
                ..none
            },
            Change::XaPrepare { .. } => Self { kind: "xaPrepare".to_owned(), text: Some(change.to_string()), ..none },
            Change::Incident { .. } => Self { kind: "incident".to_owned(), text: Some(change.to_string()), ..none },
            Change::Compressed => Self { kind: "compressed".to_owned(), ..none },
        }
    }
}

fn problem(problem: &Problem) -> String {
    match problem {
        Problem::Collision { streams: (a, b), gtids } => {
            format!("streams {a} and {b} have the same GTIDs for different transactions, among {gtids}")
        }
        Problem::Divergence { binlog, offset } => {
            format!("binlog {binlog} was archived with two contents, which differ from offset {offset} on")
        }
        Problem::Ahead { binlog, offset, gtids } => {
            format!("the server lost {gtids} of binlog {binlog} from offset {offset} on in a crash; the archive has it")
        }
        Problem::Damaged { binlog, offset, reason } => {
            format!("binlog {binlog} is damaged at offset {offset}: {reason}")
        }
        Problem::Lost { binlog, start, end } => {
            format!("bytes {start} to {end} of binlog {binlog} are lost in the archive: damaged, gone or withheld")
        }
    }
}
