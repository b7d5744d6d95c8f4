//! prepare: what a base needs before a server can be started on it. A base of files needs nothing; a dump is loaded.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use pitr_archive::backup::{BackupEntry, BackupReader};
use pitr_recovery::code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::fetch::is_dump;
use super::journal::Phase;
use super::mended;
use super::phases::{Restore, interrupted, unless_interrupted};
use super::start;
use crate::backup::DUMP_FILE;
use crate::error::Failure;
use crate::mysql::LocalAccount;
use crate::progress::{Unit, ticking};
use crate::server::{Mysqld, Purpose, ServerOptions, initialise};

/// Bytes of a dump between the archive and the client.
const PIPE: usize = 256 << 10;
/// Bytes of the client's complaints that are kept.
const COMPLAINTS_MAX: u64 = 8 * 1024;

/// Prepares the base. A dump that was loaded in part is loaded again from the beginning.
pub(super) async fn run(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    let dump = match &restore.base {
        Some(base) if is_dump(base) => base.entries().iter().find(|entry| entry.path == DUMP_FILE).cloned(),
        Some(_) | None => None,
    };
    let Some(dump) = dump else { return Ok(()) };
    restore.volume.clear().context("clear the volume for the dump")?;
    let options = start::options(restore)?;
    let fresh = async { fresh_data(restore, &options).await.context("make an empty data directory for the dump") };
    unless_interrupted(&restore.context.shutdown, fresh).await?;
    let account = LocalAccount::named(restore.journal.account.clone());
    let server = Mysqld::start(&options, &Purpose::Load, &restore.machine.staging, account)
        .await
        .context("start a server to load the dump")?;
    let loaded = load(restore, &server, &dump).await;
    if let Err(error) = loaded {
        server.kill().await?;
        return Err(error);
    }
    let mut connection = server.connect().await?;
    let expected = &restore.plan.base().executed;
    if !expected.is_empty() {
        connection.declare_executed(expected).await?;
    }
    let executed = connection.executed().await?;
    ensure!(executed == *expected, "the loaded dump has executed \"{executed}\" instead of \"{expected}\"");
    drop(connection);
    server.stop().await.context("shut down the server that loaded the dump")
}

/// The server initialises an empty directory only, and the volume's root may hold what every file system has.
async fn fresh_data(restore: &Restore<'_>, options: &ServerOptions) -> anyhow::Result<()> {
    let made = restore.volume.ours().join("new");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    fs::create_dir(&made)?;
    restore.machine.run_as.own(&made)?;
    initialise(&ServerOptions { datadir: made.clone(), ..options.clone() }, &restore.machine.staging).await?;
    for entry in fs::read_dir(&made)? {
        let entry = entry?;
        fs::rename(entry.path(), restore.volume.datadir().join(entry.file_name()))?;
    }
    fs::remove_dir(&made)?;
    Ok(())
}

async fn load(restore: &mut Restore<'_>, server: &Mysqld, dump: &BackupEntry) -> anyhow::Result<()> {
    let program = restore.machine.programs.companion("mysql").context("no mysql client beside mysqld or in PATH")?;
    let options = client_options(restore, server)?;
    let mut client = Command::new(&program)
        .arg(format!("--defaults-file={}", options.display()))
        .args(["--binary-mode", "--max-allowed-packet=1G", "--default-character-set=utf8mb4", "--batch"])
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run \"{}\"", program.display()))?;
    let (stdin, stderr) =
        (client.stdin.take().context("write to the client")?, client.stderr.take().context("read from the client")?);
    let base = restore.base.as_ref().context("no base")?;
    let written = Arc::new(AtomicU64::new(0));
    let progress = &mut restore.progress;
    progress.begin(Phase::Prepare.name(), Unit::Bytes, 0, base.backup().raw_bytes);
    let fed = feed(base, dump, stdin, Arc::clone(&written));
    let work = async { tokio::join!(fed, complaints(stderr)) };
    let (fed, complaints) = tokio::select! {
        done = ticking(work, || progress.set(written.load(Ordering::Relaxed))) => done,
        () = restore.context.shutdown.cancelled() => return Err(interrupted()),
    };
    let status = client.wait().await.context("wait for the client")?;
    if !status.success() {
        let message = format!("the dump cannot be loaded: {}", complaints?);
        return Err(Failure::new(&code::RESTORE_FAILED, message).hint(format!("mysql ended with {status}")).into());
    }
    fed?;
    restore.progress.end();
    Ok(())
}

/// How a client program reaches the private server: the password is in a file that only we and the server's user can read.
pub(super) fn client_options(restore: &Restore<'_>, server: &Mysqld) -> anyhow::Result<PathBuf> {
    let account = server.account();
    let file = format!(
        "[client]\nsocket={}\nuser={}\npassword={}\n",
        server.socket().display(),
        account.name,
        account.password.reveal()
    );
    restore.machine.staging.write_secret("client.cnf", &file).context("write the client's options")
}

/// Streams the dump into the client.
async fn feed(
    base: &BackupReader,
    dump: &BackupEntry,
    mut stdin: tokio::process::ChildStdin,
    written: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let (mut fetched, to_be_mended) = tokio::io::duplex(PIPE);
    let fetch = async move { base.copy_file(dump, &mut fetched).await };
    let load = mended::copy(to_be_mended, &mut stdin, |bytes| written.store(bytes, Ordering::Relaxed));
    let (fetch, load) = tokio::join!(fetch, load);
    fetch?;
    load.context("write to the client")?;
    stdin.shutdown().await.context("end the dump")
}

/// What a client program says, at most so much of it.
pub(super) async fn complaints(mut stderr: tokio::process::ChildStderr) -> anyhow::Result<String> {
    let mut kept = Vec::new();
    (&mut stderr).take(COMPLAINTS_MAX).read_to_end(&mut kept).await.context("read the client's messages")?;
    tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.context("read the client's messages")?;
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        bail!("no message")
    }
    Ok(lines.join("; "))
}
