//! What a private server is started with: nothing from option files, everything that matters pinned.
//!
//! The traps behind each option are in `docs/decisions/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::programs::RunAs;
use super::staging::Staging;

/// Settings without which the server cannot open the data, or opens it as something else.
const MUST_MATCH: &[&str] = &["innodb_page_size", "innodb_data_file_path", "lower_case_table_names"];

/// Settings that change what a log means when it is applied. An older or newer server may not know one of them.
const SHOULD_MATCH: &[&str] = &[
    "block_encryption_mode",
    "character_set_server",
    "collation_server",
    "default_storage_engine",
    "ft_max_word_len",
    "ft_min_word_len",
    "innodb_default_row_format",
    "innodb_directories",
    "innodb_file_per_table",
    "innodb_ft_enable_stopword",
    "innodb_ft_max_token_size",
    "innodb_ft_min_token_size",
    "ngram_token_size",
    "partial_revokes",
];

/// Settings of the source that its copy must be run with, as recorded with a base backup or read from an option file.
#[derive(Debug, Clone, Default)]
pub(crate) struct MatchedSettings(BTreeMap<String, String>);

impl MatchedSettings {
    /// Takes what matters from everything that was recorded.
    pub(crate) fn from_recorded(recorded: &BTreeMap<String, String>) -> Self {
        let matters = |name: &str| MUST_MATCH.contains(&name) || SHOULD_MATCH.contains(&name) || name == "plugins";
        let kept = recorded.iter().filter(|(name, value)| matters(name) && !value.is_empty());
        Self(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Takes what matters from an option file, one setting at a time.
    pub(crate) fn from_options(option: impl Fn(&str) -> Option<String>) -> Self {
        let names = MUST_MATCH.iter().chain(SHOULD_MATCH);
        Self(names.filter_map(|name| Some(((*name).to_owned(), option(name)?))).collect())
    }

    /// As they are recorded with a base backup.
    pub(crate) fn recorded(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// The first setting without which the data cannot be opened that differs from what `other` says: name, here, there.
    pub(crate) fn conflict<'a>(&'a self, other: &'a Self) -> Option<(&'a str, &'a str, &'a str)> {
        MUST_MATCH.iter().find_map(|name| {
            let (here, there) = (self.0.get(*name)?, other.0.get(*name)?);
            (normal(here) != normal(there)).then_some((*name, here.as_str(), there.as_str()))
        })
    }

    /// These settings, completed by others.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        for (name, value) in &other.0 {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// These settings but one.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (name, value) in &self.0 {
            let dashed = name.replace('_', "-");
            match name.as_str() {
                "plugins" => arguments.extend(plugin_arguments(value)),
                _ if MUST_MATCH.contains(&name.as_str()) => arguments.push(format!("--{dashed}={value}")),
                _ => arguments.push(format!("--loose-{dashed}={value}")),
            }
        }
        arguments
    }
}

/// `16384` and `16k` are one page size.
fn normal(value: &str) -> String {
    let value = value.trim().to_ascii_lowercase();
    match value.strip_suffix('k').map(str::parse::<u64>) {
        Some(Ok(number)) => (number * 1024).to_string(),
        _ => value,
    }
}

/// Plugins loaded from the source's configuration: `CREATE USER ... IDENTIFIED WITH` one that is missing stops the applier. A library
/// that this installation lacks is an entry in the server's log, not an error.
fn plugin_arguments(plugins: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, library) in plugins.split(';').filter_map(|plugin| plugin.split_once('=')) {
        if name.eq_ignore_ascii_case("mysql_native_password") {
            arguments.push("--loose-mysql-native-password=ON".to_owned());
        }
        let harmless = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if harmless(name) && harmless(library) {
            arguments.push(format!("--plugin-load-add={name}={library}"));
        }
    }
    arguments
}

/// What a private server is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// To make an empty data directory.
    Initialise,
    /// To clone another server into a third directory, or to be started once to prove a clone.
    Copy,
    /// To load a dump.
    Load,
    /// To be restored.
    Replay {
        /// Where relay logs lie meanwhile.
        relay: PathBuf,
        /// Nothing in the log is a statement: what is read is no concern, and gaps between rows need no lock.
        rows_only: bool,
    },
    /// To be restored by a client.
    Pipe,
    /// To be looked at, by everybody who has an account on it.
    Serve {
        /// Where it listens.
        port: u16,
    },
}

/// Everything that one start of a server depends on.
#[derive(Debug, Clone)]
pub(crate) struct ServerOptions {
    /// The program.
    pub(crate) mysqld: PathBuf,
    /// Its data.
    pub(crate) datadir: PathBuf,
    /// By which a left-over server is found.
    pub(crate) pid_file: PathBuf,
    /// Its error log.
    pub(crate) log: PathBuf,
    /// As whom it runs.
    pub(crate) run_as: RunAs,
    /// Its server id; distinct from its replication source's.
    pub(crate) server_id: u32,
    /// Settings of the source.
    pub(crate) settings: MatchedSettings,
    /// Bytes of its buffer pool.
    pub(crate) buffer_pool: u64,
    /// Bytes of its redo log.
    pub(crate) redo_capacity: u64,
}

impl ServerOptions {
    /// The whole command line after the program's name.
    pub(super) fn arguments(&self, purpose: &Purpose, staging: &Staging, init_file: Option<&Path>) -> Vec<String> {
        let path = |option: &str, path: &Path| format!("--{option}={}", path.display());
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            path("datadir", &self.datadir),
            path("socket", &staging.socket()),
            path("pid-file", &self.pid_file),
            path("tmpdir", &staging.temporary()),
            // Statement-based LOAD DATA puts its file there, and only there may it be read from.
            path("secure-file-priv", &staging.temporary()),
            path("replica-load-tmpdir", &staging.temporary()),
            format!("--server-id={}", self.server_id),
            format!("--innodb-buffer-pool-size={}", self.buffer_pool),
            format!("--loose-innodb-redo-log-capacity={}", self.redo_capacity),
        ];
        arguments.extend(PINNED.iter().map(ToString::to_string));
        arguments.extend(self.run_as.argument());
        arguments.extend(self.settings.arguments());
        arguments.extend(init_file.map(|file| path("init-file", file)));
        match purpose {
            Purpose::Initialise => arguments.push("--initialize-insecure".to_owned()),
            Purpose::Copy => {}
            Purpose::Serve { port } => {
                arguments.push(format!("--port={port}"));
                arguments.extend(SERVING.iter().map(ToString::to_string));
            }
            Purpose::Pipe => arguments.extend(PIPING.iter().map(ToString::to_string)),
            Purpose::Load => arguments.extend(LOADING.iter().map(ToString::to_string)),
            Purpose::Replay { relay, rows_only } => {
                arguments.push(path("relay-log", &relay.join("relay")));
                arguments.push(path("relay-log-index", &relay.join("relay.index")));
                arguments.push(format!("--replica-parallel-workers={}", applier_workers()));
                arguments.extend(REPLAYING.iter().map(ToString::to_string));
                arguments.extend(rows_only.then(|| "--transaction-isolation=READ-COMMITTED".to_owned()));
            }
        }
        arguments
    }
}

/// For every private server.
const PINNED: &[&str] = &[
    // Persisted settings come back at hand-over; until then they could start replication or another binary log.
    "--persisted-globals-load=OFF",
    "--skip-networking",
    "--loose-mysqlx=OFF",
    "--skip-log-bin",
    "--log-replica-updates=OFF",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--event-scheduler=OFF",
    "--skip-replica-start",
    "--loose-group-replication-start-on-boot=OFF",
    "--max-allowed-packet=1G",
    "--loose-innodb-buffer-pool-dump-at-shutdown=OFF",
    "--loose-innodb-buffer-pool-load-at-startup=OFF",
    "--sync-binlog=0",
];

/// While somebody looks around.
const SERVING: &[&str] = &["--skip-networking=OFF", "--bind-address=*", "--super-read-only=ON", "--local-infile=OFF"];

/// While a dump is loaded nothing needs to survive a crash: it is begun again.
const LOADING: &[&str] = &["--innodb-flush-log-at-trx-commit=0", "--innodb-strict-mode=OFF", "--local-infile=OFF"];

/// While a log is applied.
const REPLAYING: &[&str] = &[
    "--super-read-only=ON",
    "--relay-log-recovery=ON",
    "--relay-log-space-limit=32M",
    "--max-relay-log-size=8M",
    "--sync-relay-log=0",
    "--replica-max-allowed-packet=1G",
    "--replica-preserve-commit-order=ON",
    // Equal ids would be dropped in silence; with this they are applied.
    "--replicate-same-server-id=ON",
    // A crash of the server loses nothing; a crash of the machine a second, which is replayed again.
    "--innodb-flush-log-at-trx-commit=2",
    // The source's DDL may need it.
    "--innodb-strict-mode=OFF",
    // Who waits for a lock on a definition while nobody is at work waits for a prepared XA transaction: for ever, by default for a year.
    "--lock-wait-timeout=60",
];

/// While a client applies a log: as durable as a replica is.
const PIPING: &[&str] = &[
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-strict-mode=OFF",
    "--local-infile=OFF",
    // As while a log is applied; a client tries once only.
    "--lock-wait-timeout=600",
];

/// Applier workers: what the machine has, within reason.
pub(crate) fn applier_workers() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| cores.get().clamp(4, 16))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::MatchedSettings;

    fn settings(pairs: &[(&str, &str)]) -> MatchedSettings {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        MatchedSettings::from_recorded(&map)
    }

    #[test]
    fn only_settings_that_matter_become_options() {
        let recorded = settings(&[
            ("innodb_page_size", "8192"),
            ("default_storage_engine", "MyISAM"),
            ("server_id", "7"),
            ("time_zone", "SYSTEM"),
        ]);
        assert_eq!(recorded.arguments(), ["--loose-default-storage-engine=MyISAM", "--innodb-page-size=8192"]);
    }

    #[test]
    fn plugins_are_loaded_unless_their_names_could_be_something_else() {
        let recorded = settings(&[("plugins", "mysql_native_password=mysql_native_password.so;x=../y.so --a")]);
        let expected =
            ["--loose-mysql-native-password=ON", "--plugin-load-add=mysql_native_password=mysql_native_password.so"];
        assert_eq!(recorded.arguments(), expected);
    }

    #[test]
    fn another_page_size_is_a_conflict_and_another_spelling_is_not() {
        let base = settings(&[("innodb_page_size", "16384"), ("lower_case_table_names", "1")]);
        assert_eq!(base.conflict(&settings(&[("innodb_page_size", "16k")])), None);
        assert_eq!(base.conflict(&settings(&[("innodb_page_size", "8K")])), Some(("innodb_page_size", "16384", "8K")));
    }
}
