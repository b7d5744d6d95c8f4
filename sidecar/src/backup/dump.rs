//! The dump method: a logical dump, streamed into the archive without scratch space.
//!
//! Writers are blocked for the moment in which the dump takes its snapshot, so that the executed set is exactly the snapshot's and no
//! XA transaction can be prepared between the two. DDL waits until the dump is done: a snapshot covers rows, not definitions.

mod stream;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use pitr_archive::backup::BackupFacts;
use pitr_binlog::{BinlogName, Flavour, GtidSet};
use pitr_recovery::code;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use self::stream::{DumpHeader, DumpStream};
use super::survey::Survey;
use super::{BackupArgs, BackupRun};
use crate::error::Failure;
use crate::mysql::Connection;
use crate::progress::{Unit, ticking};

/// The dump's name in the backup.
pub(crate) const DUMP_FILE: &str = "dump.sql";
/// Writers never wait longer than this for the dump's snapshot.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the dump program's complaints that are kept.
const COMPLAINTS_MAX: u64 = 8 * 1024;

/// What was true while writers were blocked.
struct Snapshot {
    executed: GtidSet,
    at_us: i64,
}

/// Takes and stores the dump.
pub(super) async fn run(
    args: &BackupArgs,
    survey: &Survey,
    donor: &mut Connection,
    run: &mut BackupRun,
) -> anyhow::Result<BackupFacts> {
    let program = survey.mysqldump.as_deref().context("no mysqldump at hand")?;
    let mut settings = donor.recorded_settings().await?;
    settings.insert("data_bytes".to_owned(), survey.donor.data_bytes.to_string());
    let snapshot = block(donor).await?;
    run.progress.begin("dump", Unit::Bytes, 0, survey.donor.data_bytes);
    let mut child = start(program, args, survey)?;
    let stdout = child.stdout.take().context("read the dump")?;
    let stderr = child.stderr.take().context("read the dump's messages")?;

    let (header_sender, header) = oneshot::channel();
    let read = Arc::new(AtomicU64::new(0));
    let (stream, end) = DumpStream::new(stdout, header_sender, Arc::clone(&read));
    let progress = &mut run.progress;
    let stored = ticking(run.writer.add_file(DUMP_FILE, 0o600, stream), || progress.set(read.load(Ordering::Relaxed)));
    let unblocked = unblock_at_header(donor, header);
    let work =
        async { tokio::try_join!(async { stored.await.map_err(anyhow::Error::from) }, unblocked, complaints(stderr)) };
    let ((), header, complaints) = match work.await {
        Ok(done) => done,
        Err(error) => {
            child.kill().await.context("end the dump")?;
            return Err(error);
        }
    };
    let status = child.wait().await.context("wait for the dump")?;
    donor.allow_ddl().await?;
    let is_complete = end.lock().is_ok_and(|end| end.is_complete());
    if !status.success() || !is_complete {
        let message = format!("backup failed in phase \"dump\": mysqldump ended with {status}: {complaints}");
        return Err(Failure::new(&code::BACKUP_FAILED, message).hint("nothing partial is listed").into());
    }
    run.progress.set_total(read.load(Ordering::Relaxed));
    run.progress.complete();
    run.progress.end();
    let header = header.context("the dump has no header")?;
    facts(survey, settings, &snapshot, header)
}

/// Blocks writers and looks at what stands still. On any error the connection is dropped by the caller, and with it the block.
async fn block(donor: &mut Connection) -> anyhow::Result<Snapshot> {
    donor.block_ddl().await.context("let DDL wait")?;
    donor.block_writes().await.context("take a snapshot")?;
    let snapshot = async {
        // Asked again under the lock: from here on nobody can prepare one.
        let prepared = donor.prepared_xa().await?;
        if prepared > 0 {
            let message =
                format!("dump is not possible: {prepared} XA transactions are prepared, whose rows a dump cannot hold");
            return Err(Failure::new(&code::METHOD_IMPOSSIBLE, message).fix("XA COMMIT or XA ROLLBACK them").into());
        }
        Ok(Snapshot { executed: donor.executed().await?, at_us: donor.clock_us().await? })
    }
    .await;
    if snapshot.is_err() {
        donor.unblock_writes().await?;
    }
    snapshot
}

fn start(program: &Path, args: &BackupArgs, survey: &Survey) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    // The option file holds the password and must come first.
    command.arg(format!("--defaults-file={}", args.mysql.display()));
    match (&args.mysql_host, args.mysql_port) {
        (None, None) => {}
        (host, port) => {
            command.args(host.iter().map(|host| format!("--host={host}")));
            command.args(port.iter().map(|port| format!("--port={port}")));
            command.arg("--protocol=TCP");
        }
    }
    command.args([
        "--all-databases",
        "--triggers",
        "--routines",
        "--events",
        "--source-data=2",
        "--skip-dump-date",
        "--no-tablespaces",
        "--max-allowed-packet=1G",
        "--default-character-set=utf8mb4",
    ]);
    // As a comment: a loaded dump has its set only when all of it is loaded.
    command.arg(if survey.donor.gtid_mode == "ON" { "--set-gtid-purged=COMMENTED" } else { "--set-gtid-purged=OFF" });
    command.arg(if args.lock_tables { "--lock-all-tables" } else { "--single-transaction" });
    command
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run \"{}\"", program.display()))
}

/// Lets writers go on as soon as the dump has its snapshot, which its header proves.
async fn unblock_at_header(
    donor: &mut Connection,
    header: oneshot::Receiver<DumpHeader>,
) -> anyhow::Result<Option<DumpHeader>> {
    let header = tokio::time::timeout(SNAPSHOT_LIMIT, header).await;
    donor.unblock_writes().await?;
    match header {
        Ok(header) => Ok(header.ok()),
        Err(_) => bail!("the dump took no snapshot in {} s; writers were not held up longer", SNAPSHOT_LIMIT.as_secs()),
    }
}

/// What the dump program says, at most so much of it; the rest is read and dropped so that it never blocks.
async fn complaints(mut stderr: impl AsyncRead + Unpin) -> anyhow::Result<String> {
    let mut kept = Vec::new();
    (&mut stderr).take(COMPLAINTS_MAX).read_to_end(&mut kept).await.context("read the dump's messages")?;
    tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.context("read the dump's messages")?;
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(lines.join("; "))
}

fn facts(
    survey: &Survey,
    settings: std::collections::BTreeMap<String, String>,
    snapshot: &Snapshot,
    header: DumpHeader,
) -> anyhow::Result<BackupFacts> {
    let executed = match &header.executed {
        Some(text) => {
            text.parse().map_err(|reason| anyhow::anyhow!("the dump's GTID set is not understood: {reason}"))?
        }
        None => GtidSet::new(),
    };
    if header.executed.is_some() {
        ensure!(
            executed == snapshot.executed,
            "the dump says \"{executed}\" and the server \"{}\", although writers were blocked",
            snapshot.executed
        );
    }
    let position = match header.position {
        Some((name, position)) => Some((BinlogName::parse(&name).context("read the dump's position")?, position)),
        None => None,
    };
    Ok(BackupFacts {
        method: "dump".to_owned(),
        flavour: Flavour::MySql,
        server_version: survey.donor.version.clone(),
        source: survey.donor.uuid.clone(),
        executed,
        position,
        snapshot_at: Timestamp::from_microsecond(snapshot.at_us)?,
        settings,
    })
}
