//! One private server process: started, waited for, stopped; what its log says when it fails.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::options::{Purpose, ServerOptions};
use super::staging::Staging;
use crate::mysql::{Connection, LocalAccount, SqlError};

/// Crash recovery of a large server can take long; a server that lives and says nothing for longer than this will not come.
const START_TIMEOUT: Duration = Duration::from_secs(3600);
/// A clean shutdown writes the whole buffer pool.
const STOP_TIMEOUT: Duration = Duration::from_secs(3600);
/// A killed server is gone in milliseconds, unless its disk hangs.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a starting server is tried.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of the log's end that are looked at after a failure.
const LOG_TAIL: u64 = 16 * 1024;
/// Lines of it that are shown.
const LOG_LINES: usize = 6;

/// Why a private server is not there.
#[derive(Debug, Error)]
pub(crate) enum ServerError {
    /// The program does not run.
    #[error("run \"{}\"", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file of ours for it cannot be written.
    #[error("prepare a private place for the server")]
    Place(#[source] io::Error),
    /// It ended while we needed it.
    #[error("the server ended with {status}: {log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What its log says last.
        log: String,
    },
    /// It neither ended nor did what we waited for.
    #[error("the server did not {what} in {seconds} s: {log}")]
    Timeout {
        /// What we waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// What its log says last.
        log: String,
    },
    /// It refuses us for another reason than that it is still starting.
    #[error("the server runs and refuses us")]
    Refused(#[source] SqlError),
    /// We cannot watch it.
    #[error("watch the server")]
    Watch(#[source] io::Error),
}

/// A running server. Dropping it kills it; nothing is lost by that but time.
#[derive(Debug)]
pub(crate) struct Mysqld {
    child: Process,
    log: PathBuf,
    socket: PathBuf,
    account: LocalAccount,
}

/// A process that is gone when this is: whoever is interrupted may remove its files and let go of its lock at once.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.start_kill().is_err() {
            // It had ended, and was waited for.
            return;
        }
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < KILL_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Makes an empty data directory.
pub(crate) async fn initialise(options: &ServerOptions, staging: &Staging) -> Result<(), ServerError> {
    let mut child = spawn(options, options.arguments(&Purpose::Initialise, staging, None))?;
    let status = child.0.wait().await.map_err(ServerError::Watch)?;
    if status.success() { Ok(()) } else { Err(ServerError::Ended { status, log: log_end(&options.log) }) }
}

impl Mysqld {
    /// Starts a server and waits until it answers `account`, which it creates itself.
    pub(crate) async fn start(
        options: &ServerOptions,
        purpose: &Purpose,
        staging: &Staging,
        account: LocalAccount,
    ) -> Result<Self, ServerError> {
        let init_file = staging.write_secret("init.sql", &account.init_file()).map_err(ServerError::Place)?;
        let socket = staging.socket();
        match std::fs::remove_file(&socket) {
            Ok(()) => {}
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
            Err(reason) => return Err(ServerError::Place(reason)),
        }
        let child = spawn(options, options.arguments(purpose, staging, Some(&init_file)))?;
        let mut server = Self { child, log: options.log.clone(), socket, account };
        server.wait_until_ready().await?;
        std::fs::remove_file(init_file).map_err(ServerError::Place)?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let begun = Instant::now();
        loop {
            self.still_alive()?;
            match self.connect().await {
                Ok(_) => return Ok(()),
                Err(error) if error.number().is_some() => return Err(ServerError::Refused(error)),
                Err(_) => {}
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(self.timeout("start", START_TIMEOUT));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Our account on it.
    pub(crate) fn account(&self) -> &LocalAccount {
        &self.account
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new connection with all rights.
    pub(crate) async fn connect(&self) -> Result<Connection, SqlError> {
        Connection::open_socket(&self.socket, &self.account.name, &self.account.password).await
    }

    /// An error if it has ended.
    fn still_alive(&mut self) -> Result<(), ServerError> {
        match self.child.0.try_wait().map_err(ServerError::Watch)? {
            Some(status) => Err(ServerError::Ended { status, log: log_end(&self.log) }),
            None => Ok(()),
        }
    }

    /// How it ended, if it ends within `limit`: after a lost connection the process may be about to.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<ServerError> {
        match tokio::time::timeout(limit, self.child.0.wait()).await {
            Ok(Ok(status)) => Some(ServerError::Ended { status, log: log_end(&self.log) }),
            Ok(Err(reason)) => Some(ServerError::Watch(reason)),
            Err(_) => None,
        }
    }

    /// Shuts it down in order and waits until it has ended.
    pub(crate) async fn stop(mut self) -> Result<(), ServerError> {
        shut_down(&mut self.child, &self.log).await
    }

    /// Shuts it down in order if it can within `patience`, else ends it at once. Says whether it was in order.
    pub(crate) async fn end_within(mut self, patience: Duration) -> Result<bool, ServerError> {
        match tokio::time::timeout(patience, shut_down(&mut self.child, &self.log)).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(ServerError::Ended { .. })) => Ok(false),
            Ok(Err(error)) => Err(error),
            Err(_) => self.kill().await.map(|()| false),
        }
    }

    /// Ends it at once and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), ServerError> {
        self.child.0.kill().await.map_err(ServerError::Watch)
    }

    fn timeout(&self, what: &'static str, limit: Duration) -> ServerError {
        ServerError::Timeout { what, seconds: limit.as_secs(), log: log_end(&self.log) }
    }
}

/// Runs a server that is not ours to talk to until `stop`, then shuts it down in order.
pub(crate) async fn serve(
    options: &ServerOptions,
    purpose: &Purpose,
    staging: &Staging,
    stop: &CancellationToken,
) -> Result<(), ServerError> {
    let mut child = spawn(options, options.arguments(purpose, staging, None))?;
    tokio::select! {
        ended = child.0.wait() => {
            let status = ended.map_err(ServerError::Watch)?;
            Err(ServerError::Ended { status, log: log_end(&options.log) })
        }
        () = stop.cancelled() => shut_down(&mut child, &options.log).await,
    }
}

async fn shut_down(child: &mut Process, log: &Path) -> Result<(), ServerError> {
    if let Some(pid) = child.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM).map_err(|reason| ServerError::Watch(reason.into()))?;
    }
    match tokio::time::timeout(STOP_TIMEOUT, child.0.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ServerError::Ended { status, log: log_end(log) }),
        Ok(Err(reason)) => Err(ServerError::Watch(reason)),
        Err(_) => Err(ServerError::Timeout { what: "stop", seconds: STOP_TIMEOUT.as_secs(), log: log_end(log) }),
    }
}

fn spawn(options: &ServerOptions, arguments: Vec<String>) -> Result<Process, ServerError> {
    let program = options.mysqld.clone();
    let fail = |source| ServerError::Spawn { program: program.clone(), source };
    // The log is opened by us and inherited: the server says why it cannot open its own files, too.
    let log = File::options().create(true).append(true).open(&options.log).map_err(fail)?;
    let errors = log.try_clone().map_err(fail)?;
    Command::new(&options.mysqld)
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // A Ctrl-C at a terminal is ours to answer, not the server's.
        .process_group(0)
        .spawn()
        .map(Process)
        .map_err(fail)
}

/// What the log says last: its last errors, or its last lines if it names none.
fn log_end(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("[ERROR]")).collect();
    let lines = if errors.is_empty() { text.lines().filter(|line| !line.trim().is_empty()).collect() } else { errors };
    let shown = lines[lines.len().saturating_sub(LOG_LINES)..].join("; ");
    if shown.is_empty() { format!("\"{}\" is empty", log.display()) } else { shown }
}
