//! User tables: which there are, how many rows they have, whether they are sound.

use super::connection::{Connection, SqlError};
use super::quoting::{identifier, literal};

/// A base table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserTable {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Bytes of its rows, as the server estimates them.
    pub(crate) bytes: u64,
}

impl UserTable {
    fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

impl Connection {
    /// All base tables of a schema, or the one of this name.
    pub(crate) async fn tables_of(&mut self, schema: &str, name: Option<&str>) -> Result<Vec<UserTable>, SqlError> {
        let of_name = name.map_or_else(String::new, |name| format!(" AND table_name = {}", literal(name)));
        self.tables_where(&format!("table_schema = {}{of_name}", literal(schema))).await
    }

    /// All base tables but the server's own.
    pub(crate) async fn user_tables(&mut self) -> Result<Vec<UserTable>, SqlError> {
        self.tables_where("table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')").await
    }

    /// All base tables of InnoDB but the server's own.
    pub(crate) async fn innodb_tables(&mut self) -> Result<Vec<UserTable>, SqlError> {
        let own = "'mysql', 'sys', 'information_schema', 'performance_schema'";
        self.tables_where(&format!("engine = 'InnoDB' AND table_schema NOT IN ({own})")).await
    }

    /// Schema and name of tables whose rows are deleted with those of another one.
    pub(crate) async fn cascaded_tables(&mut self) -> Result<Vec<(String, String)>, SqlError> {
        let sql = "SELECT DISTINCT constraint_schema, table_name FROM information_schema.referential_constraints \
                   WHERE delete_rule = 'CASCADE'";
        self.rows("look for foreign keys", sql).await
    }

    async fn tables_where(&mut self, condition: &str) -> Result<Vec<UserTable>, SqlError> {
        let sql = format!(
            "SELECT table_schema, table_name, CAST(COALESCE(data_length, 0) AS UNSIGNED) FROM information_schema.tables \
             WHERE table_type = 'BASE TABLE' AND {condition} ORDER BY table_schema, table_name"
        );
        let rows: Vec<(String, String, u64)> = self.rows("list tables", sql).await?;
        Ok(rows.into_iter().map(|(schema, name, bytes)| UserTable { schema, name, bytes }).collect())
    }

    /// Whether triggers belong to a table.
    pub(crate) async fn has_triggers(&mut self, table: &UserTable) -> Result<bool, SqlError> {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = {} AND event_object_table = {}",
            literal(&table.schema),
            literal(&table.name)
        );
        Ok(self.rows::<u64>("look for triggers", sql).await?.first().is_some_and(|count| *count > 0))
    }

    /// The statement that makes a schema where there is none.
    pub(crate) async fn definition_of_schema(&mut self, schema: &str) -> Result<String, SqlError> {
        const WHAT: &str = "read the definition of a schema";
        let sql = format!("SHOW CREATE DATABASE IF NOT EXISTS {}", identifier(schema));
        let rows: Vec<(String, String)> = self.rows(WHAT, sql).await?;
        let first = rows.into_iter().next().map(|(_, definition)| definition);
        first.ok_or_else(|| SqlError::Answer { what: WHAT, reason: "no row".to_owned() })
    }

    /// How many rows a table has. Reads all of it.
    pub(crate) async fn count_rows(&mut self, table: &UserTable) -> Result<u64, SqlError> {
        const WHAT: &str = "count the rows of a table";
        let rows: Vec<u64> = self.long_rows(WHAT, format!("SELECT COUNT(*) FROM {}", table.quoted())).await?;
        rows.first().copied().ok_or_else(|| SqlError::Answer { what: WHAT, reason: "no row".to_owned() })
    }

    /// What `CHECK TABLE` complains of; nothing for a sound table, and for one whose engine has no check.
    pub(crate) async fn check_table(&mut self, table: &UserTable) -> Result<Vec<String>, SqlError> {
        let sql = format!("CHECK TABLE {}", table.quoted());
        let rows: Vec<(String, String, String, String)> = self.long_rows("check a table", sql).await?;
        let complaints = rows.into_iter().filter(|(_, _, kind, text)| match kind.as_str() {
            "note" | "info" => false,
            "status" => !matches!(text.as_str(), "OK" | "Table is already up to date"),
            _ => true,
        });
        Ok(complaints.map(|(_, _, kind, text)| format!("{kind}: {text}")).collect())
    }
}
