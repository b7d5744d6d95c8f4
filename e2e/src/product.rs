//! The built programs, as a user runs them: started as processes, judged by exit code and output.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

/// Where the programs under test are.
#[derive(Debug, Clone)]
pub struct Product {
    folder: PathBuf,
}

impl Product {
    /// The programs built beside the test (or in `PITR_BIN_DIR`).
    ///
    /// # Errors
    /// A program is missing: `cargo test -p pitr-e2e` alone does not build it.
    pub fn find() -> Result<Self> {
        let folder = match std::env::var_os("PITR_BIN_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => {
                let test = std::env::current_exe().context("find the test's own program")?;
                test.ancestors().nth(2).context("find the target folder")?.to_path_buf()
            }
        };
        let product = Self { folder };
        for name in ["pitr-sidecar", "kubectl-pitr"] {
            product.program(name)?;
        }
        Ok(product)
    }

    /// The folder of the programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of another program of the workspace, such as `s3-server`.
    ///
    /// # Errors
    /// It is not built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        ensure!(path.is_file(), "{} is not built: run cargo build --workspace first", path.display());
        Ok(path)
    }

    /// The path of `pitr-sidecar`.
    #[must_use]
    pub fn sidecar_path(&self) -> PathBuf {
        self.folder.join("pitr-sidecar")
    }

    /// The path of `kubectl-pitr`.
    #[must_use]
    pub fn plugin_path(&self) -> PathBuf {
        self.folder.join("kubectl-pitr")
    }

    /// A `pitr-sidecar` command that has not been started: nothing of the test's environment that could steer it.
    #[must_use]
    pub fn sidecar(&self) -> Command {
        clean(&self.sidecar_path())
    }

    /// A `kubectl-pitr` command that has not been started.
    #[must_use]
    pub fn plugin(&self) -> Command {
        clean(&self.plugin_path())
    }
}

fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PITR_") || text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a finished program left.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails unless the program ended with `code`; the text has what it printed.
    ///
    /// # Errors
    /// Another exit code, or a signal.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "exit code {:?}, expected {code}\nstdout:\n{}\nstderr:\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It could not be started.
pub async fn finish(command: &mut Command) -> Result<Outcome> {
    let output = command.output().await.with_context(|| format!("run {command:?}"))?;
    Ok(outcome(&output))
}

/// Starts a command whose output goes to a file.
///
/// # Errors
/// It could not be started, or the file could not be made.
pub fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let file = std::fs::File::options().create(true).append(true).open(log).context("open the log")?;
    command.stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("start {command:?}"))
}

fn outcome(output: &Output) -> Outcome {
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
