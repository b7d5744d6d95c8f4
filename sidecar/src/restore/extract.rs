//! dump-tables: chosen tables of the verified data as files that `mysql` loads into any server: definition, rows, triggers.
//!
//! No file drops or overwrites anything when it is loaded: a table that is there already is an error of the client.

mod layout;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use pitr_recovery::code;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

pub(crate) use self::layout::DumpLayout;
use self::layout::{Part, Rows};
use super::journal::{Phase, write_durably};
use super::load::{client_options, complaints};
use super::mended;
use super::phases::{Restore, unless_interrupted};
use super::volume::{Volume, free_bytes};
use super::{RestoreArgs, planned};
use crate::error::Failure;
use crate::mysql::{Connection, UserTable};
use crate::progress::{Unit, ticking};
use crate::server::{Mysqld, Programs};

/// The program that writes tables down.
const PROGRAM: &str = "mysqldump";
/// What the last line of a complete dump says.
const COMPLETE: &[u8] = b"-- Dump completed";
/// Bytes of a file's end in which that is looked for.
const END: u64 = 128;
/// The list of what was dumped.
const LIST: &str = "dump.json";

/// What was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DumpReport {
    /// Where the files lie.
    pub(crate) directory: String,
    /// How they are laid out; `mysql` where an earlier version has written them.
    #[serde(default)]
    pub(crate) layout: DumpLayout,
    /// One for each table.
    pub(crate) tables: Vec<DumpedTable>,
}

/// A table that was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DumpedTable {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) table: String,
    /// The name of the file with its rows.
    pub(crate) file: String,
    /// How many rows it has.
    pub(crate) rows: u64,
    /// The size of all its files.
    pub(crate) bytes: u64,
}

/// `dump.json`: what the files are, for whoever finds them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DumpList<'a> {
    api_version: &'static str,
    kind: &'static str,
    workload: &'a str,
    target: String,
    gtid_set: String,
    layout: DumpLayout,
    tables: &'a [DumpedTable],
}

/// What can be refused before anything is fetched.
pub(super) fn check(args: &RestoreArgs, programs: &Programs, fresh: bool) -> anyhow::Result<()> {
    if args.tables.is_empty() {
        return Ok(());
    }
    if programs.companion(PROGRAM).is_none() {
        return Err(Failure::new(
            &code::METHOD_IMPOSSIBLE,
            format!("tables cannot be dumped: no {PROGRAM} beside mysqld"),
        )
        .hint("the server's own program writes them down, after the replay")
        .fix("an installation with its client programs, or leave out --tables")
        .into());
    }
    for chosen in &args.tables {
        args.dump_layout.can_name(&chosen.schema, chosen.table.as_deref().unwrap_or("t"))?;
    }
    let Some(directory) = &args.dump_dir else { return Ok(()) };
    let inside = std::path::absolute(directory)?.starts_with(std::path::absolute(&args.datadir)?);
    let used = fresh && fs::read_dir(directory).is_ok_and(|mut found| found.next().is_some());
    if inside || used {
        let why = if inside { "lies in the data directory" } else { "is not empty" };
        return Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("\"{}\" {why}", directory.display()))
            .hint("nothing is mixed with the data, and nothing is overwritten")
            .fix("--dump-dir with an empty directory, or without it: .pitr/dump in the data directory")
            .into());
    }
    Ok(())
}

/// Where the files of this run lie.
pub(super) fn directory(args: &RestoreArgs, volume: &Volume) -> std::io::Result<PathBuf> {
    match &args.dump_dir {
        Some(directory) => std::path::absolute(directory),
        None => Ok(volume.ours().join("dump")),
    }
}

/// Dumps the tables that were asked for; a server that is not asked goes on at once.
pub(super) async fn run(restore: &mut Restore<'_>, server: Mysqld) -> anyhow::Result<Mysqld> {
    if restore.args.tables.is_empty() {
        return Ok(server);
    }
    restore.enter(Phase::DumpTables);
    match dump(restore, &server).await {
        Ok(report) => {
            restore.journal.tables = restore.args.tables.iter().map(ToString::to_string).collect();
            restore.journal.dump = Some(report);
            restore.done(Phase::DumpTables)?;
            Ok(server)
        }
        Err(error) => {
            restore.shut_down(server).await?;
            Err(error)
        }
    }
}

async fn dump(restore: &mut Restore<'_>, server: &Mysqld) -> anyhow::Result<DumpReport> {
    let directory = directory(restore.args, &restore.volume)?;
    fs::create_dir_all(&directory).with_context(|| format!("make \"{}\"", directory.display()))?;
    let mut connection = server.connect().await?;
    let tables = chosen(restore, &mut connection).await?;
    let estimate = tables.iter().map(|table| table.bytes).sum();
    restore.progress.begin(Phase::DumpTables.name(), Unit::Bytes, 0, estimate);
    let layout = restore.args.dump_layout;
    let to = Writer {
        program: restore.machine.programs.companion(PROGRAM).context("no mysqldump at hand")?,
        options: client_options(restore, server)?,
        directory,
        begun: restore.context.clock.now(),
    };
    let (mut dumped, mut written) = (Vec::new(), 0);
    for table in &tables {
        let has_triggers = connection.has_triggers(table).await?;
        let mut bytes = 0;
        for part in layout.parts(table, has_triggers) {
            let size = one(restore, &to, (table, &part), written + bytes).await;
            let size = size.with_context(|| format!("dump {}.{}", table.schema, table.name));
            bytes += size.map_err(|error| with_room(error, &to.directory))?;
        }
        written += bytes;
        let counted = unless_interrupted(&restore.context.shutdown, async { Ok(connection.count_rows(table).await?) });
        let (rows, file) = (counted.await?, layout.rows_file(table));
        dumped.push(DumpedTable { schema: table.schema.clone(), table: table.name.clone(), file, rows, bytes });
    }
    describe(restore, &to, &dumped, &mut connection).await?;
    restore.progress.set_total(written);
    restore.progress.complete();
    restore.progress.end();
    Ok(DumpReport { directory: to.directory.display().to_string(), layout, tables: dumped })
}

/// The files that are not of one table: our list, and what the layout has beside it.
async fn describe(
    restore: &Restore<'_>,
    to: &Writer,
    dumped: &[DumpedTable],
    connection: &mut Connection,
) -> anyhow::Result<()> {
    let parts = restore.plan.parts();
    let list = DumpList {
        api_version: "kubectl-pitr/v1",
        kind: "TableDump",
        workload: &parts.workload,
        target: planned::target_text(&parts.target),
        gtid_set: parts.expected.to_string(),
        layout: restore.args.dump_layout,
        tables: dumped,
    };
    let json = serde_json::to_vec_pretty(&list)?;
    write_durably(&to.directory.join(LIST), &json).context("write the list of tables")?;
    if restore.args.dump_layout != DumpLayout::Mydumper {
        return Ok(());
    }
    let schemas: BTreeSet<&str> = dumped.iter().map(|table| table.schema.as_str()).collect();
    for schema in schemas {
        let statement = format!("{};\n", connection.definition_of_schema(schema).await?);
        write_durably(&to.directory.join(layout::schema_file(schema)), statement.as_bytes())?;
    }
    // Last: without it a loader takes the directory for a dump that did not end.
    let rows: Vec<Rows<'_>> =
        dumped.iter().map(|t| Rows { schema: &t.schema, table: &t.table, rows: t.rows }).collect();
    let metadata = layout::metadata(to.begun, restore.context.clock.now(), &rows);
    write_durably(&to.directory.join(layout::METADATA), metadata.as_bytes()).context("write the metadata of the dump")
}

/// The tables that were named. One that is not there is an error: at another target it may be.
async fn chosen(restore: &Restore<'_>, connection: &mut Connection) -> anyhow::Result<Vec<UserTable>> {
    let mut tables: Vec<UserTable> = Vec::new();
    for choice in &restore.args.tables {
        let found = connection.tables_of(&choice.schema, choice.table.as_deref()).await?;
        if found.is_empty() {
            let there: Vec<String> =
                connection.tables_of(&choice.schema, None).await?.into_iter().map(|table| table.name).collect();
            let there = if there.is_empty() { "no table".to_owned() } else { there.join(", ") };
            return Err(Failure::new(&code::TABLE_NOT_THERE, format!("\"{choice}\" is not in the data at the target"))
                .hint(format!("\"{}\" has {there}; the volume is not handed over", choice.schema))
                .fix("the same command with another --tables, or an earlier target into another directory")
                .into());
        }
        for table in &found {
            restore.args.dump_layout.can_name(&table.schema, &table.name)?;
        }
        tables.extend(found.into_iter().filter(|table| !tables.contains(table)).collect::<Vec<_>>());
    }
    Ok(tables)
}

/// What all calls of the program have in common.
struct Writer {
    program: PathBuf,
    options: PathBuf,
    directory: PathBuf,
    begun: Timestamp,
}

/// Writes one file of a table and gives its size.
async fn one(
    restore: &mut Restore<'_>,
    to: &Writer,
    (table, part): (&UserTable, &Part),
    written: u64,
) -> anyhow::Result<u64> {
    let path = to.directory.join(&part.file);
    let unfinished = path.with_extension("sql.part");
    let file = File::create(&unfinished)?;
    let mut child = Command::new(&to.program)
        .arg(format!("--defaults-file={}", to.options.display()))
        .args(["--single-transaction", "--skip-lock-tables", "--set-gtid-purged=OFF", "--no-tablespaces"])
        // What is loaded must not take away what is there.
        .args(["--skip-add-drop-table", "--hex-blob", "--skip-dump-date"])
        .args(["--max-allowed-packet=1G", "--default-character-set=utf8mb4"])
        .args(part.options)
        .args(["--", &table.schema, &table.name])
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run \"{}\"", to.program.display()))?;
    let stderr = child.stderr.take().context("read the messages of mysqldump")?;
    let stdout = child.stdout.take().context("read the table")?;
    let mut out = tokio::fs::File::from_std(file.try_clone()?);
    let progress = &mut restore.progress;
    let size = || file.metadata().map_or(0, |about| about.len());
    let ended = unless_interrupted(&restore.context.shutdown, async {
        let copied = mended::copy(stdout, &mut out, |_| {});
        let work = async { tokio::join!(complaints(stderr), copied, child.wait()) };
        let (complaints, copied, status) = ticking(work, || progress.set(written + size())).await;
        copied.context("write the table down")?;
        Ok((complaints.unwrap_or_default(), status?))
    });
    let (complaints, status) = ended.await?;
    ensure!(status.success(), "{PROGRAM} ended with {status}: {complaints}");
    ensure!(is_complete(&unfinished)?, "{PROGRAM} wrote no end");
    if part.without_delimiters {
        write_durably(&path, &layout::without_delimiters(&fs::read(&unfinished)?))?;
        fs::remove_file(&unfinished)?;
        return Ok(fs::metadata(&path)?.len());
    }
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(size())
}

fn is_complete(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().is_some_and(|line| line.starts_with(COMPLETE)))
}

/// A full disk is the usual reason, and the client does not always say so.
fn with_room(error: anyhow::Error, directory: &Path) -> anyhow::Error {
    match free_bytes(directory) {
        Ok(free) if free < 1 << 20 => error.context(format!("\"{}\" is full", directory.display())),
        _ => error,
    }
}
