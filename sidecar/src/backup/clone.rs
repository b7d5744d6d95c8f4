//! The clone method: a recipient of the workload's own server on scratch, started once on the copy to prove it and to read its GTID set.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use pitr_archive::backup::BackupFacts;
use pitr_binlog::{BinlogName, Flavour};
use pitr_recovery::code;

use super::method::name_tables;
use super::scratch::Scratch;
use super::survey::Survey;
use super::{BackupArgs, BackupRun};
use crate::error::Failure;
use crate::mysql::{ClonedPoint, Connection, ForeignRows, LocalAccount};
use crate::progress::Unit;
use crate::server::{MatchedSettings, Mysqld, Programs, Purpose, RunAs, ServerOptions, Staging, initialise};

/// Room beside the data: the recipient's own tables, redo logs.
const SCRATCH_EXTRA: u64 = 512 << 20;
/// Buffer pool of recipient and proof: neither reads pages twice.
const BUFFER_POOL: u64 = 128 << 20;
/// Redo log of both; the backup keeps the proof's.
const REDO_CAPACITY: u64 = 64 << 20;
/// A server id for servers that never replicate.
const SERVER_ID: u32 = u32::MAX - 1;
/// How often progress is asked for.
const POLL: Duration = Duration::from_millis(500);

/// Takes the backup up to the point where its files lie in the scratch directory, and stores them.
pub(super) async fn run(
    args: &BackupArgs,
    survey: &Survey,
    donor: &mut Connection,
    run: &mut BackupRun,
) -> anyhow::Result<BackupFacts> {
    let parent = args.scratch.as_deref().context("no scratch directory")?;
    let programs = survey.programs.as_ref().context("no mysqld at hand")?;
    let scratch = Scratch::take(parent)?;
    check_room(&scratch, survey)?;
    let mut settings = donor.recorded_settings().await?;
    let place = Place { programs, scratch: &scratch, settings: MatchedSettings::from_recorded(&settings) };

    copy(&place, survey, run).await?;
    // The copy holds nothing later than this; the log says exactly what it holds.
    let snapshot_us = donor.clock_us().await?;
    run.progress.begin("start-server", Unit::Files, 0, 1);
    let (point, foreign) = prove(&place, donor, args).await?;
    run.progress.complete();
    run.progress.end();
    if !foreign.is_empty() {
        settings.insert("empty_tables".to_owned(), foreign.join(", "));
    }
    settings.insert("data_bytes".to_owned(), survey.donor.data_bytes.to_string());
    super::upload::upload(&place.clone_directory(), &mut run.writer, &mut run.progress).await?;
    let position = match point.binlog.as_str() {
        "" => None,
        name => Some((BinlogName::parse(name).context("read the clone's binlog position")?, point.position)),
    };
    Ok(BackupFacts {
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: survey.donor.version.clone(),
        source: survey.donor.uuid.clone(),
        executed: point.executed,
        position,
        snapshot_at: Timestamp::from_microsecond(snapshot_us)?,
        settings,
    })
}

struct Place<'a> {
    programs: &'a Programs,
    scratch: &'a Scratch,
    settings: MatchedSettings,
}

impl Place<'_> {
    fn clone_directory(&self) -> std::path::PathBuf {
        self.scratch.join("clone")
    }

    fn options(&self, datadir: &Path) -> std::io::Result<ServerOptions> {
        Ok(ServerOptions {
            mysqld: self.programs.mysqld.clone(),
            datadir: datadir.to_owned(),
            pid_file: self.scratch.join("mysqld.pid"),
            log: self.scratch.join("mysqld.log"),
            run_as: RunAs::owner_of(self.scratch.path())?,
            server_id: SERVER_ID,
            settings: self.settings.clone(),
            buffer_pool: BUFFER_POOL,
            redo_capacity: REDO_CAPACITY,
        })
    }

    fn staging(&self) -> std::io::Result<Staging> {
        let run_as = RunAs::owner_of(self.scratch.path())?;
        // In a container only scratch may be writable; on a host it may lie too deep for a socket's path.
        Staging::create(Some(self.scratch.path()), run_as).or_else(|_| Staging::create(None, run_as))
    }
}

fn check_room(scratch: &Scratch, survey: &Survey) -> anyhow::Result<()> {
    let free = scratch.free_bytes().context("ask how much room the scratch directory has")?;
    let needed = survey.donor.data_bytes + survey.donor.data_bytes / 10 + SCRATCH_EXTRA;
    if free >= needed {
        return Ok(());
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let message =
        format!("clone is not possible: the scratch directory has {} free and needs {}", gib(free), gib(needed));
    Err(Failure::new(&code::METHOD_IMPOSSIBLE, message).fix("a larger --scratch, or --method dump").into())
}

/// Runs an empty server that clones the donor into a directory beside its own data.
async fn copy(place: &Place<'_>, survey: &Survey, run: &mut BackupRun) -> anyhow::Result<()> {
    let datadir = place.scratch.join("recipient");
    let (options, staging) = (place.options(&datadir)?, place.staging()?);
    initialise(&options, &staging).await.context("initialise a recipient for the clone")?;
    let recipient = Mysqld::start(&options, &Purpose::Copy, &staging, LocalAccount::random())
        .await
        .context("start the recipient of the clone")?;
    let (host, port) = survey.clone_address().context("the server listens on no TCP port")?;
    let mut connection = recipient.connect().await?;
    connection.allow_donor(&host, port).await?;
    let mut watcher = recipient.connect().await?;
    run.progress.begin("clone", Unit::Bytes, 0, survey.donor.data_bytes);
    let target = place.clone_directory();
    let target = target.to_str().context("the scratch directory's path is not UTF-8")?.to_owned();
    {
        let mut work = std::pin::pin!(connection.clone_into(&survey.dsn, &host, port, &target));
        let mut timer = tokio::time::interval(POLL);
        loop {
            tokio::select! {
                result = &mut work => { result.with_context(|| format!("clone {host}:{port}"))?; break }
                _ = timer.tick() => {
                    let state = watcher.clone_progress().await?;
                    run.progress.set_total(state.total.max(state.done));
                    run.progress.set(state.done);
                }
            }
        }
    }
    run.progress.complete();
    run.progress.end();
    // The recipient has nothing to lose, and its data directory goes.
    recipient.kill().await?;
    tokio::fs::remove_dir_all(&datadir).await.context("remove the recipient")?;
    Ok(())
}

/// Starts the copy once: a copy that no server has run on is not a backup. Nothing of ours stays in it.
async fn prove(
    place: &Place<'_>,
    donor: &mut Connection,
    args: &BackupArgs,
) -> anyhow::Result<(ClonedPoint, Vec<String>)> {
    let (options, staging) = (place.options(&place.clone_directory())?, place.staging()?);
    let server = Mysqld::start(&options, &Purpose::Copy, &staging, LocalAccount::random())
        .await
        .context("start a server on the clone, to prove it")?;
    let mut connection = server.connect().await?;
    let point = connection.cloned_point().await?;
    let executed = connection.executed().await?;
    ensure!(
        executed == point.executed,
        "the clone has executed \"{executed}\" and says that it was cloned at \"{}\"",
        point.executed
    );
    let foreign = emptied_tables(&mut connection, donor, args).await?;
    server.account().drop_from(&mut connection).await?;
    drop(connection);
    server.stop().await.context("shut down the server on the clone")?;
    Ok((point, foreign))
}

/// The account that clones may see no tables at all; the copy knows them all, and is asked which could have lost rows.
async fn emptied_tables(
    copy: &mut Connection,
    donor: &mut Connection,
    args: &BackupArgs,
) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for mut table in copy.foreign_tables().await? {
        table.rows = donor.foreign_rows(&table.schema, &table.name).await?;
        if table.rows != ForeignRows::Empty {
            lost.push(table);
        }
    }
    if !lost.is_empty() && !args.allow_empty_non_innodb {
        let tables: Vec<_> = lost.iter().collect();
        let message = format!("clone is not possible: {}, which clone copies empty", name_tables(&tables));
        let failure = Failure::new(&code::METHOD_IMPOSSIBLE, message)
            .hint("tables that the account may not read count as holding rows; nothing was stored")
            .fix("--method dump --lock-tables, or --allow-empty-non-innodb if their rows do not matter");
        return Err(failure.into());
    }
    Ok(lost.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect())
}
