//! Who a server is, which binlogs it has, and how far it has written.

use pitr_binlog::GtidSet;

use super::dump::{DumpError, Session};

/// What a file on disk has before its first event when it is encrypted; positions do not count it.
const ENCRYPTION_HEADER: u64 = 512;
/// The server does not know a statement (`ER_PARSE_ERROR`).
const UNKNOWN_STATEMENT: u16 = 1064;

/// A binlog that a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedBinlog {
    /// Its name.
    pub(crate) name: String,
    /// Its length, as positions count.
    pub(crate) bytes: u64,
}

/// How far a server has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// The binlog being written, with its exact length now.
    pub(crate) binlog: ListedBinlog,
    /// Everything that the server has executed; empty where it writes no GTIDs.
    pub(crate) executed: GtidSet,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerIdentity {
    /// `@@server_uuid`.
    pub(crate) uuid: String,
    /// `@@version`.
    pub(crate) version: String,
}

impl Session {
    /// Who answers; `None` for a server without a UUID, such as MariaDB.
    pub(crate) async fn server_identity(&mut self) -> Result<Option<ServerIdentity>, DumpError> {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'version')";
        let table = self.table(sql).await?;
        let value = |name: &str| {
            let mut rows = table.column("Variable_name").zip(table.column("Value"));
            rows.find(|(known, _)| *known == Some(name)).and_then(|(_, value)| value.map(str::to_owned))
        };
        Ok(value("server_uuid").zip(value("version")).map(|(uuid, version)| ServerIdentity { uuid, version }))
    }

    /// All binlogs, oldest first; the last one is the one being written. Needs REPLICATION CLIENT.
    pub(crate) async fn binary_logs(&mut self) -> Result<Vec<ListedBinlog>, DumpError> {
        let table = self.table("SHOW BINARY LOGS").await?;
        let rows = table.column("Log_name").zip(table.column("File_size")).zip(table.column("Encrypted"));
        let listed = rows.map(|((name, bytes), encrypted)| {
            let header = if encrypted == Some("Yes") { ENCRYPTION_HEADER } else { 0 };
            let bytes: u64 = bytes?.parse().ok()?;
            Some(ListedBinlog { name: name?.to_owned(), bytes: bytes.saturating_sub(header) })
        });
        listed.collect::<Option<_>>().ok_or(DumpError::Answer("the list of binlogs"))
    }

    /// The binlog being written and its length now: whatever was committed before is in it or in an earlier one. Needs REPLICATION
    /// CLIENT.
    pub(crate) async fn log_end(&mut self) -> Result<Option<LogEnd>, DumpError> {
        let table = match self.table("SHOW BINARY LOG STATUS").await {
            // Before 8.2 it had another name.
            Err(DumpError::Refused { number: UNKNOWN_STATEMENT, .. }) => self.table("SHOW MASTER STATUS").await?,
            other => other?,
        };
        let mut ends = table.column("File").zip(table.column("Position"));
        let end = ends.next().and_then(|(name, bytes)| name.zip(bytes.and_then(|bytes| bytes.parse().ok())));
        let executed = table.column("Executed_Gtid_Set").next().flatten().unwrap_or_default();
        let executed = executed.parse().map_err(|_| DumpError::Answer("the set of executed GTIDs"))?;
        Ok(end.map(|(name, bytes)| LogEnd { binlog: ListedBinlog { name: name.to_owned(), bytes }, executed }))
    }

    /// Whether the server repeats another one. Needs REPLICATION CLIENT.
    pub(crate) async fn replicates(&mut self) -> Result<bool, DumpError> {
        Ok(!self.table("SHOW REPLICA STATUS").await?.is_empty())
    }
}
