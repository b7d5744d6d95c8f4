//! Real MySQL servers for tests: each in a temporary folder of its own, on loopback, gone with the value.
//!
//! The programs come from `e2e/parts/mysql/build.sh`. A test that finds none fails and says what to run; only
//! `PITR_SKIP_SERVER=1` leaves such tests out, and that is printed past the test harness's capture.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::{FromValue, Queryable as _};
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Where homes are made: a socket's path may have 108 bytes, so `$TMPDIR` is not asked.
const SHORT_TMP: &str = "/tmp";

/// The MySQL programs that tests run, and where an initialised empty data directory is kept between runs.
#[derive(Debug, Clone)]
pub struct Installation {
    cache: PathBuf,
}

impl Installation {
    /// Finds the programs that `e2e/parts/mysql/build.sh` made.
    ///
    /// `Ok(None)` only if `PITR_SKIP_SERVER=1` asks to leave server tests out.
    ///
    /// # Errors
    /// The programs are missing: the text says what to run.
    pub fn find() -> Result<Option<Self>> {
        if std::env::var_os("PITR_SKIP_SERVER").is_some_and(|value| value == "1") {
            // Straight to the descriptor: the harness captures only what the print macros write.
            writeln!(std::io::stderr(), "\n*** PITR_SKIP_SERVER=1: A TEST AGAINST A REAL SERVER WAS LEFT OUT ***\n")?;
            return Ok(None);
        }
        let installation = Self { cache: cache_folder()? };
        let run = installation.run();
        ensure!(
            run.is_file(),
            "no MySQL server for this test at {}: run e2e/parts/mysql/build.sh, or leave server tests out with PITR_SKIP_SERVER=1",
            run.display()
        );
        Ok(Some(installation))
    }

    /// The path of a program (`mysqld`, `mysql`, `mysqlbinlog`, ...) that can be started directly.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.cache.join("mysql/bin").join(name)
    }

    /// A keyring in this folder, which is to be the server's working directory: the server looks there for its manifest.
    fn make_keyring(&self, home: &Path) -> Result<String> {
        let plugins = home.join("plugins");
        fs::create_dir(&plugins)?;
        let installed = self.cache.join("mysql/root/usr/lib/mysql/plugin");
        for entry in fs::read_dir(&installed).with_context(|| format!("read {}", installed.display()))? {
            let entry = entry?;
            std::os::unix::fs::symlink(entry.path(), plugins.join(entry.file_name()))?;
        }
        let keys = home.join("keyring").display().to_string();
        fs::write(
            plugins.join("component_keyring_file.cnf"),
            format!("{{\"path\": \"{keys}\", \"read_only\": false}}"),
        )?;
        fs::write(home.join("mysqld.my"), r#"{"components": "file://component_keyring_file"}"#)?;
        Ok(format!("--plugin_dir={}", plugins.display()))
    }

    fn run(&self) -> PathBuf {
        self.cache.join("mysql/run")
    }

    /// Fills `datadir` (which must not exist) as `mysqld --initialize-insecure` does, with no server identity.
    ///
    /// Initialising takes seconds, so it is done once per build of the programs and copied.
    ///
    /// # Errors
    /// The server could not initialise a data directory, or it could not be copied.
    pub async fn initialize(&self, datadir: &Path) -> Result<()> {
        let built = fs::read_to_string(self.cache.join("mysql.inputs")).context("read mysql.inputs")?;
        let kept = self.cache.join(format!("mysql-fresh-{}", built.get(..12).unwrap_or("unknown")));
        if !kept.is_dir() {
            let made = tempfile::Builder::new().prefix("mysql-fresh-").tempdir_in(&self.cache)?;
            let folder = made.path().join("data");
            let output = Command::new(self.program("mysqld"))
                .args(["--no-defaults", "--initialize-insecure"])
                .arg(format!("--datadir={}", folder.display()))
                .output()
                .await
                .context("initialize a data directory")?;
            ensure!(output.status.success(), "mysqld --initialize failed: {}", String::from_utf8_lossy(&output.stderr));
            // A copy without an identity makes its own at its first start.
            fs::remove_file(folder.join("auto.cnf"))?;
            // Several tests may do this at once: the first rename wins, the others' work is thrown away.
            if let Err(error) = fs::rename(&folder, &kept)
                && !kept.is_dir()
            {
                return Err(error).context("keep the initialised data directory");
            }
        }
        let copied =
            Command::new("cp").args(["-a", "--sparse=always"]).arg(&kept).arg(datadir).status().await.context("cp")?;
        ensure!(copied.success(), "copy {} to {}: {copied}", kept.display(), datadir.display());
        Ok(())
    }
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("PITR_CACHE") {
        return Ok(cache.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME").context("no $HOME")?).join(".cache"),
    };
    Ok(base.join("kubectl-pitr"))
}

/// How a server is to be started: made by [`Mysqld::fresh`] or [`Mysqld::on`].
#[derive(Debug)]
pub struct Launch {
    installation: Installation,
    datadir: Option<PathBuf>,
    options: Vec<String>,
    keyring: bool,
}

impl Launch {
    /// Adds an option such as `--max_binlog_size=1M`; it comes after the defaults and wins.
    #[must_use]
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Gives it a keyring, as encryption needs one.
    #[must_use]
    pub fn keyring(mut self) -> Self {
        self.keyring = true;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// It did not start: the text has the end of its log.
    pub async fn start(mut self) -> Result<Mysqld> {
        let home = tempfile::Builder::new().prefix("pitr-mysqld-").tempdir_in(SHORT_TMP)?;
        if self.keyring {
            self.options.push(self.installation.make_keyring(home.path())?);
        }
        let datadir = match self.datadir {
            Some(datadir) => datadir,
            None => {
                let datadir = home.path().join("data");
                self.installation.initialize(&datadir).await?;
                datadir
            }
        };
        let mut server =
            Mysqld { installation: self.installation, home, datadir, options: self.options, port: 0, child: None };
        server.start().await?;
        Ok(server)
    }
}

/// A running (or stopped) `mysqld` with its own folder for socket and log. Dropping it kills the server.
#[derive(Debug)]
pub struct Mysqld {
    installation: Installation,
    home: TempDir,
    datadir: PathBuf,
    options: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Mysqld {
    /// A server on a new, empty data directory; `server_id` must differ between servers that replicate.
    #[must_use]
    pub fn fresh(installation: &Installation, server_id: u32) -> Launch {
        let options = vec![format!("--server_id={server_id}")];
        Launch { installation: installation.clone(), datadir: None, options, keyring: false }
    }

    /// A server on an existing data directory, which outlives it.
    #[must_use]
    pub fn on(installation: &Installation, datadir: impl Into<PathBuf>, server_id: u32) -> Launch {
        Launch { datadir: Some(datadir.into()), ..Self::fresh(installation, server_id) }
    }

    /// Starts the server again after [`Mysqld::stop`] or [`Mysqld::kill`], with the same options.
    ///
    /// # Errors
    /// It runs already, or did not start: the text has the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs already");
        // The port is free now; if someone else is quicker, the server ends and its log says so.
        self.port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut child = Command::new(self.installation.program("mysqld"))
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.datadir.display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid_file={}", self.home.path().join("mysqld.pid").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind_address=127.0.0.1", "--gtid_mode=ON", "--enforce_gtid_consistency=ON"])
            // Small and quick: a killed process loses nothing, a crashed machine may.
            .args(["--innodb_flush_log_at_trx_commit=2", "--sync_binlog=0", "--innodb_buffer_pool_size=64M"])
            .args(["--innodb_redo_log_capacity=64M", "--table_open_cache=200"])
            .args(&self.options)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start mysqld")?;
        let begun = Instant::now();
        loop {
            let refused = match Conn::new(self.opts()).await {
                Ok(connection) => {
                    connection.disconnect().await?;
                    self.child = Some(child);
                    return Ok(());
                }
                Err(refused) => refused,
            };
            if let Some(status) = child.try_wait()? {
                bail!("mysqld ended with {status}: {}", self.log_end());
            }
            if begun.elapsed() > START_LIMIT {
                bail!("mysqld does not answer: {refused}: {}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Shuts the server down cleanly and waits for its end.
    ///
    /// # Errors
    /// It is not running, refused, or did not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.query_drop("SHUTDOWN").await.context("run SHUTDOWN")?;
        // The server may hang up before a goodbye is sent.
        drop(connection);
        let mut child = self.child.take().context("the server is not running")?;
        let status = tokio::time::timeout(STOP_LIMIT, child.wait()).await.context("mysqld does not stop")??;
        ensure!(status.success(), "mysqld stopped with {status}: {}", self.log_end());
        Ok(())
    }

    /// Kills the server as a power cut of the process would (SIGKILL).
    ///
    /// # Errors
    /// It is not running.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server is not running")?;
        child.kill().await.context("kill mysqld")
    }

    /// Adds an option for its next start.
    pub fn add_option(&mut self, option: impl Into<String>) {
        self.options.push(option.into());
    }

    /// The data directory.
    #[must_use]
    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// The loopback TCP port of the last start.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The path of the Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("mysqld.sock")
    }

    /// The server's error log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.home.path().join("mysqld.log")
    }

    /// The last lines of the server's error log, for a failure's text.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn opts(&self) -> Opts {
        let socket = self.socket().display().to_string();
        OptsBuilder::default().user(Some("root")).socket(Some(socket)).into()
    }

    /// A session of `root`, who has no password, over the socket.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn connect(&self) -> Result<Conn> {
        Conn::new(self.opts()).await.context("connect to mysqld")
    }

    /// Runs statements (separated by `;`) in one new session and throws away what they return.
    ///
    /// # Errors
    /// The first failed statement ends it.
    pub async fn sql(&self, statements: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.query_drop(statements).await.with_context(|| format!("run {}", short(statements)))?;
        connection.disconnect().await?;
        Ok(())
    }

    /// All rows of a query.
    ///
    /// # Errors
    /// The query failed.
    pub async fn rows(&self, query: &str) -> Result<Vec<Row>> {
        let mut connection = self.connect().await?;
        let rows = connection.query(query).await.with_context(|| format!("run {}", short(query)))?;
        connection.disconnect().await?;
        Ok(rows)
    }

    /// The first column of the first row of a query.
    ///
    /// # Errors
    /// The query failed or returned nothing.
    pub async fn value<T: FromValue>(&self, query: &str) -> Result<T> {
        let row = self.rows(query).await?.pop().with_context(|| format!("no row from {}", short(query)))?;
        row.get(0).with_context(|| format!("no column from {}", short(query)))
    }

    /// The server's executed GTID set, in one line.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn gtid_executed(&self) -> Result<String> {
        Ok(self.value::<String>("SELECT @@GLOBAL.gtid_executed").await?.replace('\n', ""))
    }

    /// `CHECKSUM TABLE` of every user table, by `schema.table`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn checksums(&self) -> Result<BTreeMap<String, Option<u64>>> {
        let names = "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables \
                     WHERE table_type = 'BASE TABLE' \
                     AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
        let mut connection = self.connect().await?;
        let names: Vec<String> = connection.query(names).await?;
        let mut checksums = BTreeMap::new();
        for name in names {
            let checksum: Option<(String, Option<u64>)> =
                connection.query_first(format!("CHECKSUM TABLE {name}")).await?;
            let (name, checksum) = checksum.with_context(|| format!("no checksum of {name}"))?;
            checksums.insert(name, checksum);
        }
        connection.disconnect().await?;
        Ok(checksums)
    }
}

fn short(statements: &str) -> String {
    statements.chars().take(200).collect()
}
