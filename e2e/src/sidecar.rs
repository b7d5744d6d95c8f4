//! `pitr-sidecar` with its configuration in a folder of its own, against one server and one archive.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::mysqld::Mysqld;
use crate::product::{Outcome, Product, finish, spawn_logged};
use crate::s3::S3;

/// What `pitr-sidecar` needs to know of one workload.
#[derive(Debug)]
pub struct Sidecar {
    product: Product,
    home: TempDir,
    archive: String,
    environment: Vec<(String, String)>,
}

impl Sidecar {
    /// A configuration for `server` with an archive at `archive` (`file:///...` or `s3://...`), written to a folder of its own.
    ///
    /// `more` is YAML that is appended: whole top-level keys.
    ///
    /// # Errors
    /// The programs are not built, or the folder could not be written.
    pub fn configure(server: &Mysqld, archive: &str, more: &str) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("pitr-sidecar-").tempdir_in("/tmp")?;
        let config = format!(
            "workload: test/mysql\narchive: {archive}\nsource: {{datadir: {}}}\n{more}\n",
            server.datadir().display()
        );
        std::fs::write(home.path().join("config.yaml"), config).context("write the configuration")?;
        let client = format!("[client]\nuser=root\nhost=127.0.0.1\nport={}\n", server.port());
        std::fs::write(home.path().join("client.cnf"), client).context("write the option file")?;
        Ok(Self { product: Product::find()?, home, archive: archive.to_owned(), environment: Vec::new() })
    }

    /// The same for a server that is followed over a connection (`source.mode: stream`); `mysql` is YAML that says how.
    ///
    /// # Errors
    /// As for [`Sidecar::configure`].
    pub fn stream(server: &Mysqld, archive: &str, mysql: &str) -> Result<Self> {
        let sidecar = Self::configure(server, archive, "")?;
        let spool = sidecar.spool();
        let config = format!(
            "workload: test/mysql\narchive: {archive}\nsource: {{mode: stream, spool: {}, mysql: {{{mysql}}}}}\n\
             schedule: {{tail_interval: 500ms}}\nlisten: none\ncontrol_listen: none\n",
            spool.display()
        );
        std::fs::write(sidecar.config(), config).context("write the configuration")?;
        Ok(sidecar)
    }

    /// Where a sidecar that follows a server keeps what is not archived.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.home.path().join("spool")
    }

    /// Lets every program started later use an S3 server.
    #[must_use]
    pub fn through(mut self, s3: &S3) -> Self {
        self.environment.extend(s3.environment().map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// Sets an environment variable of every program started later.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.home.path().join("config.yaml")
    }

    /// The client option file of the server's `root`.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.home.path().join("client.cnf")
    }

    /// The log of [`Sidecar::run`].
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home.path().join("run.log")
    }

    /// A command of `pitr-sidecar`, not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.product.sidecar();
        command.args(arguments).envs(self.environment.iter().map(|(n, v)| (n, v)));
        command
    }

    /// Starts `pitr-sidecar run`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(&self) -> Result<Child> {
        let config = self.config().display().to_string();
        spawn_logged(&mut self.command(&["run", "--config", &config]), &self.log())
    }

    /// One cycle: everything that the server has written is in the archive afterwards.
    ///
    /// # Errors
    /// The program could not be started.
    pub async fn archive_once(&self) -> Result<Outcome> {
        let config = self.config().display().to_string();
        finish(&mut self.command(&["archive", "--config", &config, "--once"])).await
    }

    /// Takes a base backup.
    ///
    /// # Errors
    /// The program could not be started.
    pub async fn backup(&self, method: &str, mysqld: &Path) -> Result<Outcome> {
        let (client, mysqld) = (self.client().display().to_string(), mysqld.display().to_string());
        let scratch = self.home.path().join(format!("scratch-{method}")).display().to_string();
        let arguments = [
            "backup",
            "--archive",
            &self.archive,
            "--workload",
            "test/mysql",
            "--method",
            method,
            "--mysql",
            &client,
            "--mysqld",
            &mysqld,
            "--scratch",
            &scratch,
        ];
        let outcome = finish(&mut self.command(&arguments)).await;
        let _ = std::fs::remove_dir_all(&scratch);
        outcome
    }

    /// A restore to `target` (flag and value) onto `datadir`, not started.
    #[must_use]
    pub fn restore(&self, target: [&str; 2], datadir: &Path, mysqld: &Path) -> Command {
        let (datadir, mysqld) = (datadir.display().to_string(), mysqld.display().to_string());
        self.command(&[
            "restore",
            "--archive",
            &self.archive,
            target[0],
            target[1],
            "--datadir",
            &datadir,
            "--mysqld",
            &mysqld,
        ])
    }
}
