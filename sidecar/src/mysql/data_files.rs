//! The files that a server's tablespaces are made of.

use super::connection::{Connection, SqlError};

impl Connection {
    /// Their names as the server knows them: relative to its data directory, or absolute where they lie elsewhere.
    pub(crate) async fn data_files(&mut self) -> Result<Vec<String>, SqlError> {
        const SQL: &str = "SELECT FILE_NAME FROM information_schema.FILES WHERE FILE_NAME IS NOT NULL";
        self.long_rows("list the files of tablespaces", SQL).await
    }
}
