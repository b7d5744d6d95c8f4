//! A private server that clones another one.

use super::connection::{Connection, SqlError};
use super::dsn::Dsn;
use super::quoting::literal;

/// How far a clone is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CloneProgress {
    /// Bytes copied.
    pub(crate) done: u64,
    /// Bytes expected.
    pub(crate) total: u64,
}

impl Connection {
    /// Makes the CLONE plugin available and allows this one donor.
    pub(crate) async fn allow_donor(&mut self, host: &str, port: u16) -> Result<(), SqlError> {
        self.run("load the CLONE plugin", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let sql = format!("SET GLOBAL clone_valid_donor_list = {}", literal(&format!("{host}:{port}")));
        self.run("name the donor", sql).await
    }

    /// Clones `donor` into an empty directory. Takes as long as the data is large.
    pub(crate) async fn clone_into(
        &mut self,
        donor: &Dsn,
        host: &str,
        port: u16,
        directory: &str,
    ) -> Result<(), SqlError> {
        let sql = format!(
            "CLONE INSTANCE FROM {}@{}:{port} IDENTIFIED BY {} DATA DIRECTORY = {}",
            literal(&donor.user),
            literal(host),
            literal(donor.password.reveal()),
            literal(directory),
        );
        self.run_long("clone the server", sql).await
    }

    /// How far the running clone is, for a second connection.
    pub(crate) async fn clone_progress(&mut self) -> Result<CloneProgress, SqlError> {
        let sql = "SELECT CAST(COALESCE(SUM(data), 0) AS UNSIGNED), CAST(COALESCE(SUM(estimate), 0) AS UNSIGNED) \
                   FROM performance_schema.clone_progress";
        let (done, total) = self.row("read how far the clone is", sql).await?;
        Ok(CloneProgress { done, total })
    }
}
