//! The executed GTID set of a server.

use pitr_binlog::GtidSet;

use super::connection::{Connection, SqlError};
use super::quoting::literal;

impl Connection {
    /// Everything that the server has executed.
    pub(crate) async fn executed(&mut self) -> Result<GtidSet, SqlError> {
        const WHAT: &str = "read the executed GTID set";
        let text: String = self.row(WHAT, "SELECT @@GLOBAL.gtid_executed").await?;
        text.parse().map_err(|reason| SqlError::Answer { what: WHAT, reason: format!("{reason}") })
    }

    /// Records more transactions as executed, whose effects are there because they were applied as part of another. Replicas may run.
    pub(crate) async fn record_executed(&mut self, set: &GtidSet) -> Result<(), SqlError> {
        if set.is_empty() {
            return Ok(());
        }
        let sql = format!("SET GLOBAL gtid_purged = {}", literal(&format!("+{set}")));
        self.run("record what was applied as part of a batch", sql).await
    }

    /// Brings to disk what is committed: a restoring server does so only once a second.
    pub(crate) async fn make_durable(&mut self) -> Result<(), SqlError> {
        self.run("bring what is committed to disk", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS".to_owned()).await
    }

    /// Records transactions as executed whose effects are there by other means (a loaded dump). The server has executed nothing yet.
    pub(crate) async fn declare_executed(&mut self, set: &GtidSet) -> Result<(), SqlError> {
        let sql = format!("SET GLOBAL gtid_purged = {}", literal(&set.to_string()));
        self.run("record the dump's GTID set as executed", sql).await
    }
}
