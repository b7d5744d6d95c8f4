//! The S3 server of the tests: `s3-server` in a folder of its own, on loopback.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::product::Product;

/// Key and secret that the server accepts.
pub const KEY: &str = "test-key";
/// See [`KEY`].
pub const SECRET: &str = "test-secret";
/// The bucket that exists from the start.
pub const BUCKET: &str = "backups";

/// A running S3 server. Dropping it stops it and throws its objects away.
#[derive(Debug)]
pub struct S3 {
    endpoint: String,
    home: TempDir,
    _server: Child,
}

impl S3 {
    /// Starts a server; `more` are further arguments of `s3-server`.
    ///
    /// # Errors
    /// It is not built or did not start.
    pub async fn start(more: &[&str]) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("pitr-s3-").tempdir()?;
        let mut server = Command::new(Product::find()?.program("s3-server")?)
            .args(["--listen", "127.0.0.1:0", "--bucket", BUCKET, "--dir"])
            .arg(home.path())
            .args(more)
            .envs([("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start s3-server")?;
        let stdout = server.stdout.take().context("read what s3-server says")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("s3-server ended at once")?;
        let endpoint = line.strip_prefix("listening on ").with_context(|| format!("no address in \"{line}\""))?;
        Ok(Self { endpoint: endpoint.to_owned(), home, _server: server })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The folder that holds the buckets, each object a file.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.home.path()
    }

    /// The `s3:` section of a sidecar's configuration.
    #[must_use]
    pub fn yaml(&self) -> String {
        format!("s3: {{endpoint: \"{}\", region: us-east-1, path_style: true}}", self.endpoint)
    }

    /// The environment that lets any program of ours use it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("PITR_S3_ENDPOINT", self.endpoint.clone()),
            ("PITR_S3_REGION", "us-east-1".to_owned()),
            ("PITR_S3_PATH_STYLE", "true".to_owned()),
        ]
    }
}
