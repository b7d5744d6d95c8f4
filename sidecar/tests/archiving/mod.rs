//! A real server, the built program, and an archive in a folder that is read back byte by byte.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(dead_code)] // each test program uses a part of it

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pitr_archive::{Archive, FileStore};
use pitr_binlog::IN_USE_OFFSET;
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_recovery::{ArchivedBinlog, Closed, Inventory};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// What is slower than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and its archiver.
pub(crate) struct Archiving {
    pub(crate) server: Mysqld,
    pub(crate) home: TempDir,
    pub(crate) control: String,
}

impl Archiving {
    /// A fresh server; `more` is appended to the configuration. None: servers are to be left out.
    pub(crate) async fn new(more: &str) -> Option<Self> {
        let installation = Installation::find().unwrap()?;
        let server = Mysqld::fresh(&installation, 1).start().await.unwrap();
        server
            .sql("CREATE DATABASE shop; CREATE TABLE shop.notes (id INT AUTO_INCREMENT PRIMARY KEY, text LONGTEXT)")
            .await
            .unwrap();
        let home = tempfile::Builder::new().prefix("pitr-archiving-").tempdir_in("/tmp").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let archiving = Self { server, home, control: format!("127.0.0.1:{port}") };
        archiving.configure("test/mysql", more);
        Some(archiving)
    }

    pub(crate) fn configure(&self, workload: &str, more: &str) {
        let config = format!(
            "workload: {workload}\narchive: {}\nsource: {{datadir: {}}}\nlisten: none\ncontrol_listen: {}\n{more}\n",
            self.url(),
            self.server.datadir().display(),
            self.control
        );
        std::fs::write(self.path("config.yaml"), config).unwrap();
    }

    /// Lets the sidecar log in as `pitr`, who may only ask.
    pub(crate) async fn log_in(&self) {
        let account =
            "CREATE USER pitr@localhost IDENTIFIED BY 'sesame'; GRANT REPLICATION CLIENT ON *.* TO pitr@localhost";
        self.server.sql(account).await.unwrap();
        std::fs::write(self.path("password"), "sesame\n").unwrap();
        let config = std::fs::read_to_string(self.path("config.yaml")).unwrap();
        let mysql = format!(
            "source: {{mysql: {{user: pitr, socket: {}, password_file: {}}}, ",
            self.server.socket().display(),
            self.path("password").display()
        );
        std::fs::write(self.path("config.yaml"), config.replace("source: {", &mysql)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.path("archive").display())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitr-sidecar"));
        command.args(arguments).env("TZ", "UTC").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) async fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    /// One cycle; gives the exit code and what was said.
    pub(crate) async fn once(&self) -> (i32, String) {
        let config = self.path("config.yaml").display().to_string();
        let output = self.ask(&["archive", "--config", &config, "--once"]).await;
        (output.status.code().unwrap(), text(&output))
    }

    /// The sidecar, in the background.
    pub(crate) fn run(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.path("run.log")).unwrap();
        let config = self.path("config.yaml").display().to_string();
        self.command(&["run", "--config", &config]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("run.log")).unwrap()
    }

    pub(crate) async fn insert(&self, count: u32, bytes: u32) {
        let insert = format!("INSERT INTO shop.notes (text) VALUES (REPEAT(SHA2(RAND(), 256), {bytes} DIV 64))");
        let mut connection = self.server.connect().await.unwrap();
        for _ in 0..count {
            use mysql_async::prelude::Queryable as _;
            connection.query_drop(&insert).await.unwrap();
        }
    }

    /// The archive, opened by the library.
    pub(crate) fn archive(&self) -> Archive {
        let store = FileStore::new(self.path("archive"));
        Archive::open(Arc::new(store), Arc::new(jiff::Timestamp::now))
    }

    pub(crate) async fn inventory(&self) -> Inventory {
        let (inventory, report) = self.archive().inventory().await.unwrap();
        assert!(report.unreadable.is_empty() && report.unknown_keys.is_empty(), "{report:?}");
        inventory
    }

    /// What a reader gets of each binlog, from its first byte to the first hole.
    pub(crate) async fn archived(&self) -> BTreeMap<String, Vec<u8>> {
        let archive = self.archive();
        let mut contents = BTreeMap::new();
        for binlog in &self.inventory().await.binlogs {
            contents.insert(binlog.name.as_str().to_owned(), content(&archive, binlog).await);
        }
        contents
    }

    /// What a reader gets of each binlog, also of those that have the same name.
    pub(crate) async fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let archive = self.archive();
        let mut contents = Vec::new();
        for binlog in &self.inventory().await.binlogs {
            contents.push((binlog.name.as_str().to_owned(), content(&archive, binlog).await));
        }
        contents
    }

    /// Waits until each of these files is archived as it is.
    pub(crate) async fn until_contents(&self, wanted: &BTreeMap<String, Vec<u8>>) {
        let begun = Instant::now();
        loop {
            let has_begun = self.path("archive/archive.json").exists();
            let contents = if has_begun { self.contents().await } else { Vec::new() };
            let missing = wanted.iter().find(|(name, bytes)| !contents.iter().any(|(n, b)| n == *name && b == *bytes));
            let Some((name, _)) = missing else { return };
            assert!(begun.elapsed() < PATIENCE, "{name} is not archived within {PATIENCE:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the catalog knows how all but one of the archived binlogs ended: their bytes may be in the tail before that.
    pub(crate) async fn until_closed(&self) {
        let begun = Instant::now();
        loop {
            let inventory = self.inventory().await;
            let open: Vec<&str> =
                inventory.binlogs.iter().filter(|b| b.closed == Closed::Open).map(|b| b.name.as_str()).collect();
            if open.len() == 1 {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{open:?} are open after {PATIENCE:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The server's binlogs, in-use bit cleared.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let index = std::fs::read_to_string(self.server.datadir().join("binlog.index")).unwrap();
        let names = index.lines().map(|line| line.trim_start_matches("./").to_owned());
        names.map(|name| (name.clone(), file(&self.server.datadir().join(name)))).collect()
    }

    /// Waits until all that the server has executed is archived; says how long that took.
    pub(crate) async fn until_archived(&self) -> Duration {
        let begun = Instant::now();
        let executed: pitr_binlog::GtidSet = self.server.gtid_executed().await.unwrap().parse().unwrap();
        loop {
            if self.path("archive/archive.json").exists() {
                let inventory = self.inventory().await;
                let ranges = inventory.binlogs.iter().flat_map(|binlog| &binlog.ranges);
                let archived = ranges.fold(pitr_binlog::GtidSet::new(), |set, range| set.union(&range.gtids));
                if executed.is_subset_of(&archived) {
                    return begun.elapsed();
                }
            }
            assert!(begun.elapsed() < PATIENCE, "not archived within {PATIENCE:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for a status of the running sidecar.
    pub(crate) async fn until_status(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let output = self.ask(&["get", "/v1/status", "--address", &self.control]).await;
            let status = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if output.status.success() && wanted(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "no such status within {PATIENCE:?}: {status}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn objects(&self) -> usize {
        count_files(&self.path("archive"))
    }
}

async fn content(archive: &Archive, binlog: &ArchivedBinlog) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len() as u64;
        let next =
            binlog.ranges.iter().filter(|range| range.start <= at && range.end > at).max_by_key(|range| range.end);
        let Some(range) = next else { return bytes };
        let raw = archive.read_range(&binlog.range_ref(range), &range.objects).await.unwrap();
        bytes.extend_from_slice(&raw[usize::try_from(at - range.start).unwrap()..]);
    }
}

fn file(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(IN_USE_OFFSET).unwrap()] &= !1;
    bytes
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

/// Everything that a program said.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks a process to end, and gives its exit code.
pub(crate) async fn terminate(child: &mut Child) -> Option<i32> {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    child.wait().await.unwrap().code()
}
