//! A server with one table `d.t`, and its archive: where many stories begin.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::mysqld::{Installation, Mysqld};
use crate::product::{Outcome, finish};
use crate::reference::{Content, content};
use crate::sidecar::Sidecar;

/// The server, its sidecar, and a folder for the archive and for what is restored.
#[derive(Debug)]
pub struct Scene {
    /// Where servers come from.
    pub installation: Installation,
    /// The server.
    pub source: Mysqld,
    /// What archives it.
    pub sidecar: Sidecar,
    home: TempDir,
}

impl Scene {
    /// A running server whose table has these columns; `None` where no server is installed.
    ///
    /// # Errors
    /// The server does not start, or refuses the table.
    pub async fn new(name: &str, columns: &str) -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let source = Mysqld::fresh(&installation, 1).start().await?;
        source.sql(&format!("CREATE DATABASE d; CREATE TABLE d.t ({columns})")).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let home = tempfile::Builder::new().prefix(&format!("pitr-{name}-")).tempdir_in("/tmp")?;
        let sidecar = Sidecar::configure(&source, &url(&home), "")?;
        Ok(Some(Self { installation, source, sidecar, home }))
    }

    /// The archive's address.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.home)
    }

    /// Where a restore of this name goes.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Takes a base backup.
    ///
    /// # Errors
    /// It fails.
    pub async fn backup(&self) -> Result<()> {
        self.sidecar.backup("clone", &self.installation.program("mysqld")).await?.expect(0).map(drop)
    }

    /// Archives everything that is there.
    ///
    /// # Errors
    /// It fails.
    pub async fn archive(&self) -> Result<()> {
        self.sidecar.archive_once().await?.expect(0).map(drop)
    }

    /// Restores with more options, onto a volume of this name.
    ///
    /// # Errors
    /// The program cannot be run; what it says is in the outcome.
    pub async fn restore(&self, volume: &str, target: [&str; 2], more: &[&str]) -> Result<Outcome> {
        let mysqld = self.installation.program("mysqld");
        finish(self.sidecar.restore(target, &self.volume(volume), &mysqld).args(more)).await
    }

    /// What such a restore leaves, once it is done.
    ///
    /// # Errors
    /// The restore fails, or no server starts on what it left.
    pub async fn restored(&self, volume: &str, target: [&str; 2], more: &[&str]) -> Result<Content> {
        self.restore(volume, target, more).await?.expect(0)?;
        self.content_of(&self.volume(volume)).await
    }

    /// What a data directory holds.
    ///
    /// # Errors
    /// No server starts on it.
    pub async fn content_of(&self, datadir: &Path) -> Result<Content> {
        content(&self.started(datadir).await?).await
    }

    /// Starts a server of its own on restored data.
    ///
    /// # Errors
    /// It does not start.
    pub async fn started(&self, datadir: &Path) -> Result<Mysqld> {
        Mysqld::on(&self.installation, datadir, 77).option("--skip_log_bin").start().await
    }
}

fn url(home: &TempDir) -> String {
    format!("file://{}", home.path().join("archive").display())
}
