//! The server that a base backup is taken of: what it is, what it allows, and what a copy of it would miss.

use std::collections::BTreeMap;
use std::fmt;

use pitr_binlog::GtidSet;

use super::connection::{Connection, SqlError};
use super::quoting::{identifier, literal};

/// Variables that a restored server must have like the source, or that a reader of the backup wants to know.
const RECORDED: &[&str] = &[
    "block_encryption_mode",
    "character_set_server",
    "collation_server",
    "default_storage_engine",
    "explicit_defaults_for_timestamp",
    "ft_max_word_len",
    "ft_min_word_len",
    "gtid_mode",
    "innodb_data_file_path",
    "innodb_default_row_format",
    "innodb_directories",
    "innodb_file_per_table",
    "innodb_ft_enable_stopword",
    "innodb_ft_max_token_size",
    "innodb_ft_min_token_size",
    "innodb_ft_server_stopword_table",
    "innodb_page_size",
    "innodb_undo_directory",
    "log_bin_trust_function_creators",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "ngram_token_size",
    "partial_revokes",
    "server_id",
    "server_uuid",
    "sql_mode",
    "system_time_zone",
    "table_encryption_privilege_check",
    "time_zone",
    "version",
    "version_comment",
];

/// Kinds of plugins without which a log cannot be applied or a table not opened.
const PLUGIN_TYPES: &str = "'AUTHENTICATION', 'FTPARSER', 'STORAGE ENGINE'";

/// What the server says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Donor {
    /// `VERSION()`.
    pub(crate) version: String,
    /// The archive's name for it.
    pub(crate) uuid: String,
    /// Its `gtid_mode`.
    pub(crate) gtid_mode: String,
    /// Its TCP port; absent when it listens on none.
    pub(crate) port: Option<u16>,
    /// Whether the CLONE plugin is active.
    pub(crate) clone_active: bool,
    /// Whether our account may clone it.
    pub(crate) backup_admin: bool,
    /// Bytes of tables and indexes that our account can see.
    pub(crate) data_bytes: u64,
}

/// Whether a table that CLONE copies empty holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForeignRows {
    /// None.
    Empty,
    /// At least one.
    Some,
    /// Our account may not look.
    Unknown,
}

/// A user table in an engine whose rows CLONE does not copy and a consistent read does not cover.
#[derive(Debug, Clone)]
pub(crate) struct ForeignTable {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Its engine.
    pub(crate) engine: String,
    /// Whether it holds rows.
    pub(crate) rows: ForeignRows,
}

impl fmt::Display for ForeignTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ({})", self.schema, self.name, self.engine)
    }
}

impl Connection {
    /// What the server says about itself.
    pub(crate) async fn donor(&mut self) -> Result<Donor, SqlError> {
        const WHAT: &str = "ask the server what it is";
        type Row = (String, String, String, u16, bool);
        let sql = "SELECT VERSION(), @@GLOBAL.server_uuid, @@GLOBAL.gtid_mode, @@GLOBAL.port, @@GLOBAL.skip_networking";
        let (version, uuid, gtid_mode, port, closed): Row = self.row(WHAT, sql).await?;
        let plugin =
            "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'";
        let clone_active: u64 = self.row(WHAT, plugin).await?;
        let grants: Vec<String> = self.rows("read our own grants", "SHOW GRANTS").await?;
        Ok(Donor {
            version,
            uuid,
            gtid_mode,
            port: Some(port).filter(|port| *port != 0 && !closed),
            clone_active: clone_active > 0,
            backup_admin: grants.iter().any(|grant| grant.contains("BACKUP_ADMIN")),
            data_bytes: self.data_bytes().await?,
        })
    }

    /// Bytes of tables and indexes: of InnoDB what the files take, because its estimates are far off for tables in the making; without
    /// the privilege to ask that, the estimates of what our account can see.
    async fn data_bytes(&mut self) -> Result<u64, SqlError> {
        const WHAT: &str = "ask for the size of the data";
        let files = "SELECT CAST(COALESCE(SUM(file_size), 0) AS UNSIGNED) FROM information_schema.innodb_tablespaces";
        let estimates =
            "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS UNSIGNED) FROM information_schema.tables";
        match self.row(WHAT, files).await {
            Ok(in_files) => {
                let others = format!("{estimates} WHERE engine <> 'InnoDB'");
                Ok(self.row::<u64>(WHAT, others).await?.saturating_add(in_files))
            }
            Err(error) if error.number().is_some() => self.row(WHAT, estimates).await,
            Err(error) => Err(error),
        }
    }

    /// The version text alone; MariaDB says so in it.
    pub(crate) async fn server_version(&mut self) -> Result<String, SqlError> {
        self.row("ask the server for its version", "SELECT VERSION()").await
    }

    /// The server's clock, in microseconds since the epoch.
    pub(crate) async fn clock_us(&mut self) -> Result<i64, SqlError> {
        let sql = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
        self.row("read the server's clock", sql).await
    }

    /// The variables that a restore must match or a reader wants to know.
    pub(crate) async fn recorded_settings(&mut self) -> Result<BTreeMap<String, String>, SqlError> {
        let names: Vec<String> = RECORDED.iter().map(|name| literal(name)).collect();
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "));
        let rows: Vec<(String, String)> = self.rows("read the server's settings", sql).await?;
        let mut settings: BTreeMap<String, String> = rows.into_iter().collect();
        let sql = format!(
            "SELECT plugin_name, plugin_library FROM information_schema.plugins WHERE plugin_status = 'ACTIVE' \
             AND plugin_library IS NOT NULL AND plugin_type IN ({PLUGIN_TYPES}) ORDER BY plugin_name"
        );
        let plugins: Vec<(String, String)> = self.rows("list the server's plugins", sql).await?;
        let plugins: Vec<String> = plugins.into_iter().map(|(name, library)| format!("{name}={library}")).collect();
        settings.insert("plugins".to_owned(), plugins.join(";"));
        Ok(settings)
    }

    /// User tables in other engines than InnoDB, as far as our account sees them. Engines that hold no rows of their own are left out.
    pub(crate) async fn foreign_tables(&mut self) -> Result<Vec<ForeignTable>, SqlError> {
        let sql = "SELECT table_schema, table_name, engine FROM information_schema.tables \
                   WHERE table_type = 'BASE TABLE' AND engine IS NOT NULL \
                   AND engine NOT IN ('InnoDB', 'BLACKHOLE', 'FEDERATED', 'MRG_MYISAM', 'PERFORMANCE_SCHEMA') \
                   AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
                   ORDER BY table_schema, table_name";
        let listed: Vec<(String, String, String)> = self.rows("list tables of other engines", sql).await?;
        let mut tables = Vec::with_capacity(listed.len());
        for (schema, name, engine) in listed {
            let rows = self.foreign_rows(&schema, &name).await?;
            tables.push(ForeignTable { schema, name, engine, rows });
        }
        Ok(tables)
    }

    /// Whether one table holds rows; a table that is gone is empty.
    pub(crate) async fn foreign_rows(&mut self, schema: &str, name: &str) -> Result<ForeignRows, SqlError> {
        const DENIED: [u16; 3] = [1044, 1142, 1143];
        const GONE: [u16; 2] = [1049, 1146];
        let sql = format!("SELECT 1 FROM {}.{} LIMIT 1", identifier(schema), identifier(name));
        match self.maybe_row::<u8>("look into a table", sql).await {
            Ok(Some(_)) => Ok(ForeignRows::Some),
            Ok(None) => Ok(ForeignRows::Empty),
            Err(error) if error.number().is_some_and(|number| DENIED.contains(&number)) => Ok(ForeignRows::Unknown),
            Err(error) if error.number().is_some_and(|number| GONE.contains(&number)) => Ok(ForeignRows::Empty),
            Err(error) => Err(error),
        }
    }

    /// How many XA transactions are prepared and undecided.
    pub(crate) async fn prepared_xa(&mut self) -> Result<usize, SqlError> {
        let rows: Vec<(i64, i64, i64, Vec<u8>)> = self.rows("list prepared XA transactions", "XA RECOVER").await?;
        Ok(rows.len())
    }

    /// Makes DDL wait, and nothing else.
    pub(crate) async fn block_ddl(&mut self) -> Result<(), SqlError> {
        self.run("limit the wait for the lock", "SET SESSION lock_wait_timeout = 10").await?;
        self.run("make DDL wait", "LOCK INSTANCE FOR BACKUP").await
    }

    /// Lets DDL go on.
    pub(crate) async fn allow_ddl(&mut self) -> Result<(), SqlError> {
        self.run("let DDL go on", "UNLOCK INSTANCE").await
    }

    /// Blocks writes, so that the executed set and a snapshot can be taken together. Gives up rather than queue behind a long statement,
    /// because whoever waits for this lock makes all writers wait behind it.
    pub(crate) async fn block_writes(&mut self) -> Result<(), SqlError> {
        self.run("limit the wait for the lock", "SET SESSION lock_wait_timeout = 10").await?;
        self.run("block writes for a moment", "FLUSH TABLES WITH READ LOCK").await
    }

    /// Lets writers go on.
    pub(crate) async fn unblock_writes(&mut self) -> Result<(), SqlError> {
        self.run("let writers go on", "UNLOCK TABLES").await
    }
}

/// Where the copy stands in the log, as the copied server itself knows it.
#[derive(Debug, Clone)]
pub(crate) struct ClonedPoint {
    /// Binlog of the donor, empty when it has none.
    pub(crate) binlog: String,
    /// Offset in it.
    pub(crate) position: u64,
    /// The set that CLONE wrote down.
    pub(crate) executed: GtidSet,
}

impl Connection {
    /// On a started clone: the point that it was cloned at.
    pub(crate) async fn cloned_point(&mut self) -> Result<ClonedPoint, SqlError> {
        const WHAT: &str = "read where the clone stands";
        let sql = "SELECT state, COALESCE(binlog_file, ''), COALESCE(binlog_position, 0), COALESCE(gtid_executed, '') \
                   FROM performance_schema.clone_status";
        let (state, binlog, position, text): (String, String, u64, String) = self.row(WHAT, sql).await?;
        if state != "Completed" {
            return Err(SqlError::Answer { what: WHAT, reason: format!("the clone's state is \"{state}\"") });
        }
        let executed = text.parse().map_err(|reason| SqlError::Answer { what: WHAT, reason: format!("{reason}") })?;
        Ok(ClonedPoint { binlog, position, executed })
    }
}
