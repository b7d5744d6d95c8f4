//! Base backups: how one is taken and stored.
//!
//! ```text
//! survey ─▶ method ─┬─ clone: recipient on scratch ─▶ started once, proven ─▶ files ─┐
//!                   └─ dump:  snapshot under a short lock ─▶ stream ─────────────────┴▶ chunks ─▶ read back ─▶ manifest
//! ```

mod clone;
mod dump;
mod method;
mod read_back;
mod register;
mod scratch;
mod survey;
mod upload;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use pitr_archive::backup::{BackupWriter, backup_id};
use pitr_archive::{Archive, ArchiveError, RetryPolicy};
use pitr_recovery::{BaseBackup, code};

use self::method::Choice;
use self::survey::Survey;
use self::verdict::{BackupOutcome, BackupVerdict};
use crate::archive_args::ArchiveArgs;
use crate::archive_failure;
use crate::cli::OutputFormat;
use crate::encryption_args::EncryptionArgs;
use crate::error::{Failure, Rendered};
use crate::output;
use crate::progress::{Progress, tell};
use crate::verbs::Context;

pub(crate) use self::dump::DUMP_FILE;
pub(crate) use self::register::{RegisterArgs, run as register};

/// How the data is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackupMethod {
    /// CLONE where it is possible, else a dump
    Auto,
    /// The CLONE plugin, into a scratch directory
    Clone,
    /// A logical dump, streamed
    Dump,
}

impl BackupMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Clone => "clone",
            Self::Dump => "dump",
        }
    }
}

/// `backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) encryption: EncryptionArgs,
    /// What the archive belongs to, such as shop/mysql; needed for the first thing that is stored in it
    #[arg(long, value_name = "NAME", env = "PITR_WORKLOAD", hide_env = true)]
    pub(crate) workload: Option<String>,
    /// How the data is copied
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) method: BackupMethod,
    /// MySQL client option file that says how the server is reached
    #[arg(long, value_name = "DSN-FILE")]
    pub(crate) mysql: PathBuf,
    /// The server's host; wins over the option file
    #[arg(long, value_name = "HOST")]
    pub(crate) mysql_host: Option<String>,
    /// The server's port; wins over the option file
    #[arg(long, value_name = "PORT")]
    pub(crate) mysql_port: Option<u16>,
    /// The workload's own mysqld, needed by the clone method
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// The dump program [default: the one beside mysqld, or in PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqldump: Option<PathBuf>,
    /// Directory for the clone, emptied afterwards
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Clone although tables outside InnoDB hold rows: their copies are empty, and the backup names them
    #[arg(long)]
    pub(crate) allow_empty_non_innodb: bool,
    /// Dump only: writers wait while the dump runs, so that tables outside InnoDB are exact too
    #[arg(long)]
    pub(crate) lock_tables: bool,
    /// How the result is printed [default: text on a terminal, else JSON]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// What a method works with.
struct BackupRun {
    writer: BackupWriter,
    progress: Progress,
}

/// Takes one base backup.
pub(crate) async fn run(args: BackupArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let result = take(&args, context).await;
    let archive = args.archive.archive.as_deref().unwrap_or_default();
    finish(result, archive, args.output, (begun, context))
}

/// The one verdict of a backup, printed and left where it is looked for.
fn finish(
    result: anyhow::Result<BaseBackup>,
    archive: &str,
    output: Option<OutputFormat>,
    (begun, context): (Instant, &Context),
) -> anyhow::Result<ExitCode> {
    let json = output.map_or(context.json_log, |format| format == OutputFormat::Json);
    let result = result.map_err(|error| named(error, archive));
    let mut verdict = match &result {
        Ok(backup) => BackupVerdict::stored(backup),
        Err(error) => BackupVerdict::of_error(&Rendered::of(error)),
    };
    verdict.duration_seconds = begun.elapsed().as_secs();
    if json {
        output::print_line(&verdict.line())?;
    } else if verdict.result == BackupOutcome::Stored {
        output::print_line(&verdict.to_string())?;
    }
    verdict.leave_for_kubernetes();
    result.map(|_| ExitCode::SUCCESS)
}

/// An error that has no name of its own is a failed backup.
fn named(error: anyhow::Error, archive: &str) -> anyhow::Error {
    if error.chain().any(|cause| cause.downcast_ref::<Failure>().is_some()) {
        return error;
    }
    if let Some(failure) = archive_failure::named(&error, archive) {
        return failure.hint("nothing partial is listed").into();
    }
    Failure::new(&code::BACKUP_FAILED, format!("backup failed: {error:#}")).hint("nothing partial is listed").into()
}

async fn take(args: &BackupArgs, context: &Context) -> anyhow::Result<BaseBackup> {
    let (survey, mut donor) = Survey::make(args).await?;
    let choice = method::choose(args, &survey)?;
    announce(&choice, &survey, context);
    let archive = claim((&args.archive, &args.encryption), args.workload.as_deref(), context).await?;
    let id = backup_id(context.clock.now());
    let mut run = BackupRun {
        writer: BackupWriter::begin(Arc::clone(&archive), &id).await.context("begin a backup in the archive")?,
        progress: Progress::new(context.clock.clone(), context.json_log),
    };
    let work = async {
        match choice.method {
            BackupMethod::Dump => dump::run(args, &survey, &mut donor, &mut run).await,
            BackupMethod::Clone | BackupMethod::Auto => clone::run(args, &survey, &mut donor, &mut run).await,
        }
    };
    // Dropped where it stands: its servers end, the donor's lock goes with our connection, scratch is emptied.
    let facts = tokio::select! {
        facts = work => facts?,
        () = context.shutdown.cancelled() => return Err(interrupted()),
    };
    let BackupRun { writer, mut progress } = run;
    tokio::select! {
        backup = read_back::commit(writer, facts, &mut progress) => backup,
        () = context.shutdown.cancelled() => Err(interrupted()),
    }
}

/// The first signal came.
fn interrupted() -> anyhow::Error {
    Failure::new(&code::BACKUP_FAILED, "interrupted")
        .hint("nothing partial is listed")
        .fix("run it again")
        .exit(130)
        .into()
}

/// Opens the archive for writing. The first one to write says whose it is.
async fn claim(
    (archive, encryption): (&ArchiveArgs, &EncryptionArgs),
    workload: Option<&str>,
    context: &Context,
) -> anyhow::Result<Arc<Archive>> {
    let store = archive.location()?.store(RetryPolicy::persistent()).await?;
    let clock = context.clock.clone();
    let clock: pitr_archive::Clock = Arc::new(move || clock.now());
    let workload = match workload {
        Some(workload) => workload.to_owned(),
        None => Archive::open(Arc::clone(&store), Arc::clone(&clock)).workload().await.map_err(nobody_s)?,
    };
    let sealer = encryption.sealer()?;
    let archive = Archive::claim(store, clock, &workload).await.context("claim the archive")?;
    match sealer {
        Some(sealer) => Ok(Arc::new(archive.sealed_by(sealer))),
        None => {
            refuse_clear_beside_encrypted(&archive).await?;
            Ok(Arc::new(archive))
        }
    }
}

/// Whoever encrypts the log does not want the data beside it in clear.
async fn refuse_clear_beside_encrypted(archive: &Archive) -> anyhow::Result<()> {
    let recipients = archive.newest_recipients().await.context("read whether the archive is encrypted")?;
    if recipients.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} is encrypted to {}, and this backup would not be", archive.describe(), recipients.join(", "));
    Err(Failure::new(&code::BACKUP_IN_CLEAR, message)
        .hint("nothing was stored")
        .fix(format!(
            "--age-recipient {} --hash-key-file FILE, as the sidecar's configuration has them",
            recipients.join(",")
        ))
        .into())
}

/// Only the archiver or a name makes an archive: a mistyped address must not become a new one.
fn nobody_s(error: ArchiveError) -> anyhow::Error {
    match error {
        ArchiveError::NoArchive { .. } => Failure::new(&code::NO_ARCHIVE_THERE, error.to_string())
            .hint("nothing was archived there yet, or the address is not the whole one")
            .fix("--workload NAMESPACE/NAME, if this backup is to be the first thing in it")
            .into(),
        other => anyhow::Error::new(other).context("read whose archive it is"),
    }
}

fn announce(choice: &Choice, survey: &Survey, context: &Context) {
    let (method, reason, donor) = (choice.method.name(), &choice.reason, &survey.dsn);
    if context.json_log {
        let line = serde_json::json!({
            "ts": context.clock.now(), "event": "method", "schemaVersion": 1, "method": method, "reason": reason,
        });
        tell(&line);
    } else {
        tell(&format_args!("Method   {method} ({reason}) from {donor}"));
    }
}
