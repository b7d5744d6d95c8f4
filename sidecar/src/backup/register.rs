//! `register`: a data directory that another tool has made becomes a base backup of the archive.
//!
//! ```text
//! what lies there? ─▶ copy on scratch ─▶ started once: what has it executed? ─▶ files ─▶ chunks ─▶ read back ─▶ manifest
//! ```
//! What the user gave is only read. A copy that no server has run on is not a backup, and what it has executed is what its own server
//! says: a set that somebody wrote down is compared with it, and counts alone only where the server says nothing.

mod copy;
mod found;
mod log;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use pitr_archive::backup::{BackupFacts, BackupWriter, backup_id};
use pitr_binlog::{Flavour, GtidSet};
use pitr_recovery::{BaseBackup, TimeTarget, code, parse_time};

use self::found::Found;
use super::scratch::Scratch;
use super::{BackupRun, claim, finish, interrupted, read_back, upload};
use crate::archive_args::ArchiveArgs;
use crate::cli::OutputFormat;
use crate::encryption_args::EncryptionArgs;
use crate::error::Failure;
use crate::mysql::{LocalAccount, OptionFile};
use crate::progress::{Progress, Unit};
use crate::server::{MatchedSettings, Mysqld, Programs, Purpose, RunAs, ServerOptions, ServerVersion, Staging};
use crate::verbs::Context;

/// Buffer pool and redo log of the server that proves the copy; the backup keeps that redo log.
const BUFFER_POOL: u64 = 128 << 20;
const REDO_CAPACITY: u64 = 64 << 20;
/// A server id for a server that never replicates.
const SERVER_ID: u32 = u32::MAX - 1;

/// `register`
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) encryption: EncryptionArgs,
    /// What the archive belongs to, such as shop/mysql; needed for the first thing that is stored in it
    #[arg(long, value_name = "NAME", env = "PITR_WORKLOAD", hide_env = true)]
    pub(crate) workload: Option<String>,
    /// The data directory, of a server that is shut down or as xtrabackup --prepare left it; it is only read
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Directory with room for a copy of it, emptied afterwards
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: PathBuf,
    /// The server that can open it [default: the one that is installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// Option file of the server that it was taken from: settings that are fixed in the data are in its [mysqld]
    #[arg(long, value_name = "FILE")]
    pub(crate) mysqld_config: Option<PathBuf>,
    /// What it has executed: compared with what its own server says, and taken where that says nothing
    #[arg(long, value_name = "SET")]
    pub(crate) gtid_set: Option<String>,
    /// When it was consistent, or later [default: when the newest of its files was written]
    #[arg(long, value_name = "TIME")]
    pub(crate) snapshot_at: Option<String>,
    /// The server that it was taken from [default: what the directory says]
    #[arg(long, value_name = "UUID")]
    pub(crate) source: Option<String>,
    /// How the result is printed [default: text on a terminal, else JSON]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// Registers one base.
pub(crate) async fn run(args: RegisterArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let result = take(&args, context).await;
    let archive = args.archive.archive.as_deref().unwrap_or_default();
    finish(result, archive, args.output, (begun, context))
}

async fn take(args: &RegisterArgs, context: &Context) -> anyhow::Result<BaseBackup> {
    let asked = Asked::read(args)?;
    let found = Found::look(&args.from)?;
    found::apart(&args.from, &args.scratch)?;
    let programs = Programs::find(args.mysqld.as_deref()).ok_or_else(|| {
        impossible("no mysqld at hand").hint("the copy is started once, to prove it").fix("--mysqld PATH")
    })?;
    let archive = claim((&args.archive, &args.encryption), args.workload.as_deref(), context).await?;
    let id = backup_id(context.clock.now());
    let mut run = BackupRun {
        writer: BackupWriter::begin(Arc::clone(&archive), &id).await.context("begin a backup in the archive")?,
        progress: Progress::new(context.clock.clone(), context.json_log),
    };
    let work = store(args, &asked, (&found, &programs), &mut run);
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

/// What was typed, understood.
struct Asked {
    executed: Option<GtidSet>,
    snapshot_us: Option<i64>,
    settings: MatchedSettings,
    /// Whether the server logs what it applies as a replica; none: nobody says.
    logs_all: Option<bool>,
}

impl Asked {
    fn read(args: &RegisterArgs) -> anyhow::Result<Self> {
        let executed = args.gtid_set.as_deref().map(str::parse::<GtidSet>).transpose().map_err(|error| {
            Failure::new(&code::GTID_UNREADABLE, format!("--gtid-set cannot be read: {error}"))
                .fix("the value of @@GLOBAL.gtid_executed at the time of the copy")
        })?;
        let snapshot_us = match args.snapshot_at.as_deref().map(parse_time) {
            None => None,
            Some(Ok(TimeTarget::At(us))) => Some(us),
            Some(_) => {
                let failure = Failure::new(&code::TIME_UNREADABLE, "--snapshot-at is not a time with an offset");
                return Err(failure.fix("--snapshot-at 2026-11-21T02:00:00Z").into());
            }
        };
        let file = args.mysqld_config.as_deref().map(OptionFile::read).transpose();
        let file = file.context("read the server's configuration")?;
        let option = |name: &str| file.as_ref()?.get("mysqld", name).map(str::to_owned);
        let settings = MatchedSettings::from_options(option);
        let is_known = file.is_some() && !log::is_persisted(&args.from);
        Ok(Self { executed, snapshot_us, settings, logs_all: is_known.then(|| log::has_all(option)) })
    }
}

async fn store(
    args: &RegisterArgs,
    asked: &Asked,
    (found, programs): (&Found, &Programs),
    run: &mut BackupRun,
) -> anyhow::Result<BackupFacts> {
    let scratch = Scratch::take(&args.scratch)?;
    let free = scratch.free_bytes().context("ask how much room the scratch directory has")?;
    if free < found.bytes + found.bytes / 10 + (REDO_CAPACITY << 1) {
        return Err(impossible("the scratch directory has no room for a copy").fix("a larger --scratch").into());
    }
    let (datadir, run_as) = (scratch.join("data"), RunAs::owner_of(scratch.path())?);
    copy::copy(&args.from, &datadir, run_as, (found.bytes, &mut run.progress)).await?;
    found.still(&args.from)?;
    copy::remove_logs(&datadir).context("leave out its binary logs")?;
    // Nothing outside of the copy may be found: it would be the original.
    let settings = asked.settings.clone().or(&found.settings).without("innodb_directories");
    let options = ServerOptions {
        mysqld: programs.mysqld.clone(),
        datadir: datadir.clone(),
        pid_file: scratch.join("mysqld.pid"),
        log: scratch.join("mysqld.log"),
        run_as,
        server_id: SERVER_ID,
        settings: settings.clone(),
        buffer_pool: BUFFER_POOL,
        redo_capacity: REDO_CAPACITY,
    };
    let staging =
        Staging::create(Some(scratch.path()), run_as).or_else(|_| Staging::create(None, run_as)).context("a socket")?;
    run.progress.begin("start-server", Unit::Files, 0, 1);
    let executed = prove(&options, &staging, asked, found).await?;
    run.progress.complete();
    run.progress.end();
    upload::upload(&datadir, &mut run.writer, &mut run.progress).await?;
    Ok(BackupFacts {
        method: "files".to_owned(),
        flavour: Flavour::MySql,
        // What the proving server left is its own release's.
        server_version: ServerVersion::of_program(&programs.mysqld).await?.to_string(),
        source: args.source.clone().or_else(|| found.source.clone()).unwrap_or_else(|| "external".to_owned()),
        executed,
        position: found.position.clone(),
        snapshot_at: Timestamp::from_microsecond(asked.snapshot_us.unwrap_or(found.newest_us))?,
        settings: recorded(&settings, asked.logs_all, found),
    })
}

/// The settings, and whether the log has everything: with that and its position a base backup tells what the heads of a log leave out.
fn recorded(settings: &MatchedSettings, logs_all: Option<bool>, found: &Found) -> BTreeMap<String, String> {
    let mut recorded = settings.recorded();
    if let Some(logs_all) = logs_all {
        recorded.insert("log_replica_updates".to_owned(), if logs_all { "ON" } else { "OFF" }.to_owned());
    }
    let unknown = match (&found.position, logs_all) {
        (None, _) => "where its log ended: no binlog in it that its server has closed, and no note of a tool",
        (_, None) => {
            "whether its server logs what it applies as a replica: --mysqld-config was not given, or is overruled in mysqld-auto.cnf"
        }
        _ => return recorded,
    };
    tracing::warn!(
        unknown,
        "if the server did not begin empty, this base cannot tell what its log leaves out (PITR0504)"
    );
    recorded
}

/// Starts a server on the copy and asks what it has executed. Nothing of ours stays in it.
async fn prove(options: &ServerOptions, staging: &Staging, asked: &Asked, found: &Found) -> anyhow::Result<GtidSet> {
    let server = Mysqld::start(options, &Purpose::Copy, staging, LocalAccount::random())
        .await
        .context("start a server on the copy, to prove it")?;
    let mut connection = server.connect().await?;
    let files = connection.data_files().await?;
    if let Some(outside) = outside(&files, &options.datadir) {
        return Err(impossible(format!("\"{outside}\" belongs to the data and lies outside of the directory"))
            .hint("it is not in the copy; nothing was stored")
            .fix("rebuild its tables without DATA DIRECTORY, or take a base backup of the running server: pitr-sidecar backup")
            .into());
    }
    let own = connection.executed().await?;
    let written: Vec<(&str, &GtidSet)> =
        [("--gtid-set", asked.executed.as_ref()), ("xtrabackup_binlog_info", found.executed.as_ref())]
            .into_iter()
            .filter_map(|(where_, set)| Some((where_, set?)))
            .collect();
    let executed = match (own.is_empty(), written.first()) {
        (false, _) => own,
        (true, Some((_, set))) => {
            connection.declare_executed(set).await?;
            (*set).clone()
        }
        (true, None) => {
            return Err(impossible("nobody knows what this copy has executed: its server says nothing")
                .hint("without that nothing can be replayed on it; nothing was stored")
                .fix("--gtid-set with @@GLOBAL.gtid_executed at the time of the copy")
                .into());
        }
    };
    if let Some((where_, set)) = written.into_iter().find(|(_, set)| **set != executed) {
        return Err(impossible(format!(
            "{where_} says that the copy has executed \"{set}\", its server says \"{executed}\""
        ))
        .hint("the data and what was written down about it are not of one moment; nothing was stored")
        .fix("leave out --gtid-set if the data is what you want")
        .into());
    }
    server.account().drop_from(&mut connection).await?;
    drop(connection);
    server.stop().await.context("shut down the server on the copy")?;
    Ok(executed)
}

/// The first of a server's files that does not lie in its data directory.
fn outside<'a>(files: &'a [String], datadir: &Path) -> Option<&'a str> {
    let is_inside = |name: &&String| {
        let path = Path::new(name);
        !path.components().any(|part| part == Component::ParentDir) && (path.is_relative() || path.starts_with(datadir))
    };
    files.iter().find(|name| !is_inside(name)).map(String::as_str)
}

fn impossible(what: impl std::fmt::Display) -> Failure {
    Failure::new(&code::METHOD_IMPOSSIBLE, format!("register is not possible: {what}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::outside;

    #[test]
    fn files_outside_of_the_copy_are_seen() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let of = |all: &[&str]| outside(&names(all), Path::new("/s/data")).map(str::to_owned);
        assert_eq!(of(&["./ibdata1", "mysql.ibd", "./shop/t.ibd", "/s/data/x.ibd", "./#innodb_temp/temp_1.ibt"]), None);
        for wrong in ["/elsewhere/shop/t.ibd", "/s/data-2/x.ibd", "../x.ibd", "/s/data/../x.ibd"] {
            assert_eq!(of(&["./ibdata1", wrong]).as_deref(), Some(wrong));
        }
    }
}
