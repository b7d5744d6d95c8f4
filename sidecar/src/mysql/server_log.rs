//! What changes a server's binary log: closing the binlog being written, and deleting old ones. Nothing else that this program says to
//! the server beside it changes anything.

use pitr_binlog::BinlogName;

use super::dump::{DumpError, Session};
use super::quoting::{SESSION, literal};

impl Session {
    /// Closes the binlog being written and begins another. It is not replicated and takes no GTID, so a replica may be told, too, read-only
    /// or not. Needs RELOAD.
    pub(crate) async fn rotate_binary_log(&mut self) -> Result<(), DumpError> {
        self.table("FLUSH NO_WRITE_TO_BINLOG BINARY LOGS").await.map(drop)
    }

    /// Deletes all binlogs before this one. The server keeps those that a connected replica reads, and all after them. Needs
    /// BINLOG_ADMIN.
    pub(crate) async fn purge_binary_logs_before(&mut self, kept: &BinlogName) -> Result<(), DumpError> {
        self.table(SESSION).await?;
        self.table(&format!("PURGE BINARY LOGS TO {}", literal(kept.as_str()))).await.map(drop)
    }
}
