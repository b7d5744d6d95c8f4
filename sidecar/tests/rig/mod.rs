//! A real server, an archive in a folder, and the built program between them.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::shop::{self, Load};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// The account that backups are taken with.
const ACCOUNT: &str = "
    CREATE USER pitr@'%' IDENTIFIED BY 'open sesame';
    GRANT REPLICATION CLIENT, BACKUP_ADMIN, SELECT, PROCESS, RELOAD, SHOW VIEW, TRIGGER, EVENT, XA_RECOVER_ADMIN ON *.* TO pitr@'%'";

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The last line of standard output.
    pub(crate) fn verdict(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("no verdict: {}", self.stderr));
        let verdict: Value = serde_json::from_str(line).unwrap();
        assert_eq!(verdict["event"], "verdict", "{line}");
        verdict
    }

    /// Asserts exit code, result and code, and that a text is in the error.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, result: &str, pitr: &str, text: &str) {
        let verdict = self.verdict();
        let seen = (self.code, verdict["result"].as_str(), verdict["code"].as_str());
        assert_eq!(seen, (Some(code), Some(result), Some(pitr)), "{}", self.stderr);
        assert!(self.stderr.contains(&format!("error[{pitr}]")), "{}", self.stderr);
        assert!(self.stderr.contains(text), "\"{text}\" is not in: {}", self.stderr);
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn expect_result(&self, result: &str) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        let verdict = self.verdict();
        assert_eq!(verdict["result"], result);
        verdict
    }
}

/// What a server holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) executed: String,
    pub(crate) tables: BTreeMap<String, Option<u64>>,
    pub(crate) events: Vec<(String, String)>,
}

/// What a server holds now.
pub(crate) async fn state(server: &Mysqld) -> State {
    let events = "SELECT event_name, status FROM information_schema.events ORDER BY 1";
    State {
        executed: server.gtid_executed().await.unwrap(),
        tables: server.checksums().await.unwrap(),
        events: server
            .rows(events)
            .await
            .unwrap()
            .into_iter()
            .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
            .collect(),
    }
}

/// The server, the archive, and a folder for everything.
pub(crate) struct Rig {
    pub(crate) installation: Installation,
    pub(crate) server: Mysqld,
    pub(crate) home: TempDir,
}

impl Rig {
    /// A server with some rows; `None` where server tests are left out.
    pub(crate) async fn new() -> Option<Self> {
        let installation = Installation::find().unwrap()?;
        let server = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await.unwrap();
        server.sql(shop::SCHEMA).await.unwrap();
        server.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await.unwrap();
        server.sql(ACCOUNT).await.unwrap();
        let home = tempfile::Builder::new().prefix("pitr-rig-").tempdir_in("/tmp").unwrap();
        std::fs::create_dir(home.path().join("scratch")).unwrap();
        let rig = Self { installation, server, home };
        rig.option_file("pitr", "open sesame");
        let config = format!(
            "workload: test/mysql\narchive: {}\nsource: {{datadir: {}}}\n",
            rig.archive(),
            rig.server.datadir().display()
        );
        std::fs::write(rig.path("config.yaml"), config).unwrap();
        Some(rig)
    }

    /// A place in the rig's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The archive's address.
    pub(crate) fn archive(&self) -> String {
        format!("file://{}", self.path("archive").display())
    }

    /// With which account backups are taken from now on.
    pub(crate) fn option_file(&self, user: &str, password: &str) {
        self.option_file_with(user, password, "");
    }

    /// The same with more lines.
    pub(crate) fn option_file_with(&self, user: &str, password: &str, more: &str) {
        let port = self.server.port();
        let text = format!("[client]\nhost=127.0.0.1\nport={port}\nuser={user}\npassword=\"{password}\"\n{more}");
        std::fs::write(self.path("client.cnf"), text).unwrap();
    }

    /// Sessions that write.
    pub(crate) async fn load(&self, seed: u64, transactions: u64) {
        let load = Load { sessions: 2, transactions, seed, ddl_every: 20, flush_every: 40 };
        shop::run(&self.server, load).await.unwrap();
    }

    /// The program, with nothing of the test's environment that could steer it.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitr-sidecar"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PITR_")) {
            command.env_remove(name);
        }
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.program(arguments).output().await.unwrap())
    }

    /// Everything that the server has written is in the archive afterwards.
    pub(crate) async fn archive_once(&self) {
        let config = self.path("config.yaml");
        let outcome = self.run(&["archive", "--config", &config.display().to_string(), "--once"]).await;
        assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    }

    /// Takes a base backup.
    pub(crate) async fn backup(&self, method: &str, more: &[&str]) -> Outcome {
        let mysqld = self.installation.program("mysqld");
        let paths = [self.path("client.cnf"), mysqld, self.path("scratch")].map(|path| path.display().to_string());
        let archive = self.archive();
        let mut arguments = vec!["backup", "--archive", &archive, "--workload", "test/mysql", "--method", method];
        arguments.extend(["--mysql", &paths[0], "--mysqld", &paths[1], "--scratch", &paths[2]]);
        // What a case says itself comes last and replaces ours.
        for pair in more.chunks(2).filter(|pair| pair.len() == 2) {
            if let Some(at) = arguments.iter().position(|argument| *argument == pair[0]) {
                arguments.drain(at..at + 2);
            }
        }
        arguments.extend(more);
        self.run(&arguments).await
    }

    /// A restore onto `datadir`, not started.
    pub(crate) fn restoring(&self, target: &[&str], datadir: &Path) -> Command {
        let (archive, datadir) = (self.archive(), datadir.display().to_string());
        let mut command = self.program(&["restore", "--archive", &archive, "--datadir", &datadir]);
        if !target.contains(&"--mysqld") {
            command.arg("--mysqld").arg(self.installation.program("mysqld"));
        }
        command.args(target);
        command
    }

    /// A restore onto `datadir`, to its end.
    pub(crate) async fn restore(&self, target: &[&str], datadir: &Path) -> Outcome {
        Outcome::of(self.restoring(target, datadir).output().await.unwrap())
    }

    /// What a server with a user's own settings finds on restored data.
    pub(crate) async fn restored(&self, datadir: &Path) -> State {
        let mut server = Mysqld::on(&self.installation, datadir, 99).start().await.unwrap();
        let found = state(&server).await;
        assert_nothing_of_ours(&server).await;
        server.stop().await.unwrap();
        found
    }
}

/// Restored data holds no replication settings, no account and no plugin but the source's own.
pub(crate) async fn assert_nothing_of_ours(server: &Mysqld) {
    let count = async |what: &str| server.value::<u32>(&format!("SELECT COUNT(*) FROM {what}")).await.unwrap();
    for table in ["mysql.slave_master_info", "mysql.slave_relay_log_info", "mysql.slave_worker_info", "mysql.component"]
    {
        assert_eq!(count(table).await, 0, "{table}");
    }
    assert_eq!(count("mysql.user WHERE user LIKE 'pitr\\_%'").await, 0);
    assert_eq!(count("mysql.plugin WHERE name <> 'clone'").await, 0);
    assert_eq!(count("performance_schema.persisted_variables").await, 0);
    assert!(server.rows("SHOW REPLICA STATUS").await.unwrap().is_empty());
    let switches = "CONCAT(@@log_bin, @@super_read_only, @@read_only, @@event_scheduler = 'ON')";
    assert_eq!(server.value::<String>(&format!("SELECT {switches}")).await.unwrap(), "1001");
}

/// Processes that have this text in their command line.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(text) {
            found.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
        }
    }
    found
}

/// Everything below a directory, for "nothing was written".
pub(crate) fn listing(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            found.push(entry.path());
            if entry.path().is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A program that says it is another version of the server.
pub(crate) fn server_program_of(folder: &Path, version: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(format!("mysqld-{version}"));
    std::fs::write(&path, format!("#!/bin/sh\necho \"$0  Ver {version} for Linux on x86_64 (Source distribution)\"\n"))
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}
