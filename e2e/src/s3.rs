//! The S3 server of the tests: `s3-server` in a folder of its own, on loopback.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

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
    served: Arc<Mutex<Vec<Served>>>,
    _log: JoinSet<()>,
    _server: Child,
}

/// One answered request; only a server with `--access-log` tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of its body, as far as the server knew them beforehand.
    pub bytes: u64,
}

impl Served {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (method, uri, status) = (words.next()?, words.next()?, words.next()?);
        let bytes = words.next()?.parse().unwrap_or(0);
        Some(Self { method: method.to_owned(), uri: uri.to_owned(), status: status.parse().ok()?, bytes })
    }
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
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.context("s3-server ended at once")?;
        let endpoint = line.strip_prefix("listening on ").with_context(|| format!("no address in \"{line}\""))?;
        let served = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&served);
        let mut log = JoinSet::new();
        log.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                told.lock().unwrap_or_else(PoisonError::into_inner).extend(Served::parse(&line));
            }
        });
        Ok(Self { endpoint: endpoint.to_owned(), home, served, _log: log, _server: server })
    }

    /// Takes what was served since this was asked last.
    #[must_use]
    pub fn take_served(&self) -> Vec<Served> {
        std::mem::take(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner))
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
