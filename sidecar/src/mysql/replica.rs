//! The restoring server as a replica of our replication source. There is one channel, and it is always named.

use super::connection::{Connection, SqlError};
use super::dsn::Password;
use super::quoting::literal;

/// The only channel that ever runs on a restoring server.
const CHANNEL: &str = "pitr";

/// What the receiver last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReceiverState {
    /// Whether it runs or tries to.
    pub(crate) running: bool,
    /// Number of its last error, 0 for none.
    pub(crate) error: u32,
    /// Text of its last error.
    pub(crate) message: String,
}

/// Why the applier stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplierError {
    /// The server's error number.
    pub(crate) number: u32,
    /// Its text.
    pub(crate) message: String,
    /// The transaction that could not be applied, if a worker had one.
    pub(crate) transaction: String,
}

impl Connection {
    /// Forgets every replication channel: a base taken of a replica otherwise connects to its old source with the stored password.
    /// Checked, because only an empty table proves it.
    pub(crate) async fn forget_sources(&mut self) -> Result<(), SqlError> {
        const WHAT: &str = "forget replication sources found on the data";
        // Group replication's channels cannot be reset by name, and without a name all are.
        self.run(WHAT, "RESET REPLICA ALL").await?;
        let left: u64 = self.row(WHAT, "SELECT COUNT(*) FROM mysql.slave_master_info").await?;
        if left > 0 {
            return Err(SqlError::Answer { what: WHAT, reason: format!("{left} stored sources are still there") });
        }
        Ok(())
    }

    /// Points the channel at our replication source on the loopback interface.
    pub(crate) async fn follow(&mut self, port: u16) -> Result<(), SqlError> {
        let sql = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 0, \
             SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 30 FOR CHANNEL '{CHANNEL}'"
        );
        self.run("name the replication source", sql).await
    }

    /// Starts receiver and applier. The credentials are not stored.
    pub(crate) async fn start_replica(&mut self, user: &str, password: &Password) -> Result<(), SqlError> {
        let (user, password) = (literal(user), literal(password.reveal()));
        let sql = format!("START REPLICA USER = {user} PASSWORD = {password} FOR CHANNEL '{CHANNEL}'");
        self.run("start the replica", sql).await
    }

    /// Stops receiver and applier.
    pub(crate) async fn stop_replica(&mut self) -> Result<(), SqlError> {
        self.run("stop the replica", format!("STOP REPLICA FOR CHANNEL '{CHANNEL}'")).await
    }

    /// What the receiver last said.
    pub(crate) async fn receiver_state(&mut self) -> Result<ReceiverState, SqlError> {
        let sql = format!(
            "SELECT service_state, last_error_number, last_error_message FROM performance_schema.replication_connection_status \
             WHERE channel_name = '{CHANNEL}'"
        );
        let row: Option<(String, u32, String)> = self.maybe_row("read the receiver's state", sql).await?;
        let (state, error, message) = row.unwrap_or_default();
        Ok(ReceiverState { running: matches!(state.as_str(), "ON" | "CONNECTING"), error, message })
    }

    /// Why the applier stopped, if it did: a worker's own error first, because it names the transaction.
    pub(crate) async fn applier_error(&mut self) -> Result<Option<ApplierError>, SqlError> {
        const WHAT: &str = "read the applier's state";
        let workers = format!(
            "SELECT last_error_number, last_error_message, applying_transaction \
             FROM performance_schema.replication_applier_status_by_worker \
             WHERE channel_name = '{CHANNEL}' AND last_error_number <> 0 ORDER BY last_error_timestamp LIMIT 1"
        );
        let coordinator = format!(
            "SELECT last_error_number, last_error_message, '' FROM performance_schema.replication_applier_status_by_coordinator \
             WHERE channel_name = '{CHANNEL}' AND last_error_number <> 0"
        );
        for sql in [workers, coordinator] {
            let row: Option<(u32, String, String)> = self.maybe_row(WHAT, sql).await?;
            if let Some((number, message, transaction)) = row {
                return Ok(Some(ApplierError { number, message, transaction }));
            }
        }
        Ok(None)
    }

    /// Whether a worker has a transaction in hand: a large one may take hours without a sign in the executed set.
    pub(crate) async fn is_applying(&mut self) -> Result<bool, SqlError> {
        let sql = format!(
            "SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_worker \
             WHERE channel_name = '{CHANNEL}' AND applying_transaction <> ''"
        );
        let busy: u64 = self.row("ask whether the applier works", sql).await?;
        Ok(busy > 0)
    }

    /// Whether statements that were applied have left temporary tables open.
    pub(crate) async fn has_temporary_tables(&mut self) -> Result<bool, SqlError> {
        let sql = "SELECT COALESCE(SUM(variable_value), 0) FROM performance_schema.global_status \
                   WHERE variable_name = 'Replica_open_temp_tables'";
        let open: f64 = self.row("ask for temporary tables of the applier", sql).await?;
        Ok(open > 0.0)
    }

    /// Whether users have tables whose rows are in memory only.
    pub(crate) async fn has_memory_tables(&mut self) -> Result<bool, SqlError> {
        let sql = "SELECT COUNT(*) FROM information_schema.tables WHERE engine = 'MEMORY' \
                   AND table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";
        let tables: u64 = self.row("look for tables of engine MEMORY", sql).await?;
        Ok(tables > 0)
    }

    /// Whether the server writes a binary log of its own; a restoring server must not.
    pub(crate) async fn writes_a_binlog(&mut self) -> Result<bool, SqlError> {
        self.row("ask whether the binary log is off", "SELECT @@GLOBAL.log_bin").await
    }

    /// Allows or refuses writes by sessions, ours included.
    pub(crate) async fn set_read_only(&mut self, read_only: bool) -> Result<(), SqlError> {
        let sql = if read_only { "SET GLOBAL super_read_only = ON" } else { "SET GLOBAL read_only = OFF" };
        self.run("switch writing on or off", sql).await
    }

    /// Rows of an assertion: each must be true. An assertion that returns no row, or a row that is not one true value, fails. It may take as
    /// long as it takes; the caller bounds it.
    pub(crate) async fn assertion_holds(&mut self, sql: &str) -> Result<bool, SqlError> {
        self.run("read assertions as a client would", "SET SESSION sql_mode = DEFAULT").await?;
        let rows: Vec<mysql_async::Row> = self.long_rows("run an assertion", sql).await?;
        let truth = |row: mysql_async::Row| match row.unwrap().as_slice() {
            [value] => mysql_async::from_value_opt::<i64>(value.clone()).is_ok_and(|number| number != 0),
            _ => false,
        };
        Ok(!rows.is_empty() && rows.into_iter().all(truth))
    }
}
