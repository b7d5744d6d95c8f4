//! A real cluster, driven as a person drives it: with `kubectl` and the plugin.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::product::{Outcome, Product, finish};

/// A cluster that is up: `KUBECONFIG` names it.
#[derive(Debug)]
pub struct Kubernetes {
    product: Product,
    kubeconfig: PathBuf,
}

impl Kubernetes {
    /// The cluster of the environment.
    ///
    /// # Errors
    /// `KUBECONFIG` is not set: `make e2e` sets it.
    pub fn find() -> Result<Self> {
        let kubeconfig = std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set: run make e2e")?;
        Ok(Self { product: Product::find()?, kubeconfig: kubeconfig.into() })
    }

    /// The kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A `kubectl` command with these words, not started. `kubectl pitr ...` finds the plugin that is tested.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("kubectl");
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        command.env("KUBECONFIG", &self.kubeconfig).env("PATH", format!("{}:{path}", self.product.folder().display()));
        command
    }

    /// Runs `kubectl` to its end, whatever that is.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn kubectl(&self, words: &[&str]) -> Result<Outcome> {
        finish(&mut self.command(words)).await
    }

    /// What `kubectl` prints; it must succeed.
    ///
    /// # Errors
    /// It failed: the text has what it said.
    pub async fn run(&self, words: &[&str]) -> Result<String> {
        Ok(self.kubectl(words).await?.expect(0).with_context(|| format!("kubectl {}", words.join(" ")))?.stdout)
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// The cluster refused it.
    pub async fn apply(&self, manifest: &Path) -> Result<()> {
        self.run(&["apply", "-f", &manifest.display().to_string()]).await.map(drop)
    }

    /// Runs SQL as `root` in the MySQL container of a pod of the demo's shop, and gives its lines.
    ///
    /// # Errors
    /// The pod or the server did not answer, or a statement failed.
    pub async fn sql(&self, namespace: &str, pod: &str, statements: &str) -> Result<Vec<String>> {
        let client = "MYSQL_PWD=\"$MYSQL_ROOT_PASSWORD\" mysql -h127.0.0.1 -uroot -N -B";
        let mut command = self.command(&["-n", namespace, "exec", "-i", pod, "-c", "mysql", "--", "sh", "-c", client]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("open kubectl's input")?.write_all(statements.as_bytes()).await?;
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "SQL in {pod}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// Waits until a command succeeds.
    ///
    /// # Errors
    /// It never did: the text has what it said last.
    pub async fn until(&self, words: &[&str], limit: Duration) -> Result<Outcome> {
        let begun = Instant::now();
        loop {
            let outcome = self.kubectl(words).await?;
            if outcome.code == Some(0) {
                return Ok(outcome);
            }
            if begun.elapsed() > limit {
                bail!("gave up after {limit:?}: kubectl {}: {}", words.join(" "), outcome.stderr);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
