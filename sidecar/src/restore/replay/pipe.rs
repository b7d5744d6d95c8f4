//! `--engine pipe`: `mysqlbinlog | mysql`, with what goes in cut exactly and both ends looked at.
//!
//! What `mysqlbinlog` writes goes through us. `mysql` would run the beginning of a statement whose rest never came: so it gets whole
//! statements only, learns that its input has ended when `mysqlbinlog` has ended well, and is killed in any other case.

use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use pitr_binlog::GtidSet;
use pitr_recovery::{PlanWarning, code};
use pitr_replay::{LogOpener as _, PipeFailure, PipeProgress, SourceFailure, write_log};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use super::super::archived_log::ArchivedLog;
use super::super::journal::Phase;
use super::super::load::{client_options, complaints};
use super::super::phases::{Restore, interrupted};
use super::watch::{Halt, unreadable};
use crate::error::Failure;
use crate::mysql::Connection;
use crate::progress::{Place, Unit};
use crate::server::Mysqld;

/// How often the server is asked how far it is.
const POLL: Duration = Duration::from_millis(250);
/// Errors of the client that mean that the server is gone: 2002, 2003, 2006, 2013, 2055.
const LOST: [&str; 5] = ["ERROR 2002 ", "ERROR 2003 ", "ERROR 2006 ", "ERROR 2013 ", "ERROR 2055 "];

/// The program that turns the log into statements.
const READER: &str = "mysqlbinlog";
/// The program that runs them.
const WRITER: &str = "mysql";
/// How long a program may take to say why it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes of text that are read at once.
const TEXT_AT_ONCE: usize = 64 << 10;
/// What ends each statement of `mysqlbinlog`.
const STATEMENT_END: &[u8] = b"/*!*/;\n";
/// A statement of rows can be longer than this; its beginning alone is an open string, which is never run.
const STATEMENT_MAX: usize = 8 << 20;

/// The client lost its server.
#[derive(Debug, thiserror::Error)]
#[error("mysql lost the server: {0}")]
pub(super) struct ClientLost(String);

/// How the pipe ended.
enum End {
    /// All was applied, by the word of both programs.
    Done,
    /// The log could not be written to its end.
    Unwritten(PipeFailure),
    /// One of the programs failed: its name, and what it says.
    Failed(&'static str, String),
}

/// Applies what is missing through `mysqlbinlog` and `mysql`.
pub(super) async fn drive(
    restore: &mut Restore<'_>,
    server: &Mysqld,
    connection: &mut Connection,
    log: &ArchivedLog,
) -> Result<(), Halt> {
    let executed = super::note_executed(restore, connection).await?;
    restore.journal.replica_ran = true;
    // Temporary tables of statements are the client's, and end with it; nobody is told whether it has any.
    restore.journal.temporary_tables |= restore.plan.parts().warnings.contains(&PlanWarning::Statements);
    restore.write_journal()?;
    let (done, total) = (restore.facts.transactions, restore.plan.parts().transactions);
    restore.progress.begin(Phase::Replay.name(), Unit::Transactions, done, total.max(done));
    let place = Mutex::new(PipeProgress::default());
    let piped = run(programs(restore, server)?, log, (restore.plan.skip().clone(), executed), &place);
    tokio::pin!(piped);
    let mut timer = tokio::time::interval(POLL);
    let end = loop {
        let shutdown = &restore.context.shutdown;
        tokio::select! {
            end = &mut piped => break end?,
            () = shutdown.cancelled() => return Err(interrupted().into()),
            _ = timer.tick() => {}
        }
        super::note_executed(restore, connection).await?;
        let binlog = place.lock().unwrap_or_else(PoisonError::into_inner).binlog.clone();
        restore.progress.at(Place { binlog: binlog.map(|name| name.to_string()), gtid: None });
        let done = restore.facts.transactions;
        restore.progress.set(done);
    };
    match end {
        End::Done => {}
        End::Unwritten(failure) => return Err(unwritten(failure, log).into()),
        End::Failed(program, said) => return Err(failed(program, said).into()),
    }
    let executed = super::note_executed(restore, connection).await?;
    if !restore.plan.expected().is_subset_of(&executed) {
        let missing = &restore.facts.missing;
        let message =
            format!("restore is incomplete: {} planned transactions are not on the restored server", missing.count());
        let failure = Failure::new(&code::RESTORE_INCOMPLETE, message)
            .hint(format!("mysqlbinlog and mysql ended well; missing {missing}"))
            .fix("the same command with --engine=replication");
        return Err(anyhow::Error::from(failure).into());
    }
    restore.progress.end();
    Ok(())
}

/// Both programs, ready to run.
fn programs(restore: &Restore<'_>, server: &Mysqld) -> anyhow::Result<(Command, Command)> {
    let find = |name| restore.machine.programs.companion(name).with_context(|| format!("no {name} beside mysqld"));
    let options = client_options(restore, server)?;
    let (mut reader, mut writer) = (Command::new(find("mysqlbinlog")?), Command::new(find("mysql")?));
    reader.args(["--no-defaults", "--verify-binlog-checksum", "-"]);
    writer.arg(format!("--defaults-file={}", options.display())).args([
        "--binary-mode",
        "--max-allowed-packet=1G",
        "--batch",
    ]);
    for program in [&mut reader, &mut writer] {
        program.env("TZ", "UTC").stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
    }
    reader.stdout(Stdio::piped());
    writer.stdout(Stdio::null());
    Ok((reader, writer))
}

/// Runs both until they have ended or one of them has failed.
async fn run(
    (mut reader, mut writer): (Command, Command),
    log: &ArchivedLog,
    (skip, executed): (GtidSet, GtidSet),
    place: &Mutex<PipeProgress>,
) -> anyhow::Result<End> {
    let mut reader = reader.spawn().context("run mysqlbinlog")?;
    let mut started = writer.spawn().context("run mysql")?;
    let mut said = JoinSet::new();
    for (name, program) in [(READER, &mut reader), (WRITER, &mut started)] {
        let errors = program.stderr.take().with_context(|| format!("read what {name} says"))?;
        said.spawn(async move { (name, complaints(errors).await.unwrap_or_default()) });
    }
    let (mut binlog, text) = reader.stdin.take().zip(reader.stdout.take()).context("talk to mysqlbinlog")?;
    let mut sql = started.stdin.take().context("write to mysql")?;
    // Dropped, and so killed, before its input is closed.
    let mut writer = started;
    let mut pass = log.open(&executed);
    let told = |progress| *place.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    let copied = {
        let write = async {
            let outcome = write_log(&mut *pass, &mut binlog, (skip, executed), &told).await;
            match outcome {
                Ok(()) => binlog.shutdown().await.map_err(PipeFailure::Closed).map(|()| drop(binlog)),
                Err(failure) => Err(failure),
            }
        };
        let copy = copy_statements(text, &mut sql);
        tokio::pin!(write, copy);
        let mut written = None;
        loop {
            tokio::select! {
                outcome = &mut write, if written.is_none() => match outcome {
                    Ok(()) => written = Some(true),
                    // It has ended: how, it says itself.
                    Err(PipeFailure::Closed(_)) => written = Some(false),
                    Err(failure) => {
                        kill(&mut writer, &mut reader).await?;
                        return Ok(End::Unwritten(failure));
                    }
                },
                copied = &mut copy => break copied.map(|rest| (rest, written == Some(true))),
            }
        }
    };
    let program = finish(copied, (&mut reader, &mut writer), sql).await?;
    let Some(program) = program else { return Ok(End::Done) };
    kill(&mut writer, &mut reader).await?;
    let mut words = String::new();
    while let Some(ended) = said.join_next().await {
        let (name, text) = ended.context("hear both out")?;
        if name == program {
            words = text;
        }
    }
    Ok(End::Failed(program, words))
}

/// Waits for the end of both; the name of the one that failed. What is copied comes with the text behind the last statement, and with
/// whether the whole log was written.
async fn finish(
    copied: io::Result<(Vec<u8>, bool)>,
    (reader, writer): (&mut Child, &mut Child),
    mut sql: ChildStdin,
) -> anyhow::Result<Option<&'static str>> {
    let Ok((rest, true)) = copied else {
        return Ok(Some(if copied.is_err() { WRITER } else { READER }));
    };
    if !reader.wait().await.context("wait for mysqlbinlog")?.success() {
        return Ok(Some(READER));
    }
    let passed_on = async {
        sql.write_all(&rest).await?;
        sql.shutdown().await
    };
    let passed_on = passed_on.await;
    drop(sql);
    let status = writer.wait().await.context("wait for mysql")?;
    Ok((!status.success() || passed_on.is_err()).then_some(WRITER))
}

/// Ends both, first the one that runs statements.
async fn kill(writer: &mut Child, reader: &mut Child) -> anyhow::Result<()> {
    // One whose input broke is about to say why.
    if tokio::time::timeout(LAST_WORDS, writer.wait()).await.is_err() {
        writer.kill().await.context("end mysql")?;
    }
    reader.kill().await.context("end mysqlbinlog")
}

/// Passes whole statements on until there are no more, and gives what stands behind the last one.
async fn copy_statements(mut text: impl AsyncRead + Unpin, sql: &mut (impl AsyncWrite + Unpin)) -> io::Result<Vec<u8>> {
    let mut held: Vec<u8> = Vec::new();
    let mut searched = 0;
    loop {
        held.reserve(TEXT_AT_ONCE);
        if text.read_buf(&mut held).await? == 0 {
            return Ok(held);
        }
        let new = &held[searched..];
        let end = new.windows(STATEMENT_END.len()).rposition(|bytes| bytes == STATEMENT_END);
        let whole = match end {
            Some(at) => searched + at + STATEMENT_END.len(),
            None if held.len() > STATEMENT_MAX => held.len(),
            None => 0,
        };
        sql.write_all(&held[..whole]).await?;
        held.drain(..whole);
        searched = held.len().saturating_sub(STATEMENT_END.len() - 1);
    }
}

/// Why the log was not written to its end, with a name where it has one.
fn unwritten(failure: PipeFailure, log: &ArchivedLog) -> anyhow::Error {
    match failure {
        PipeFailure::Unsuited { .. } => Failure::new(&code::EVENT_REFUSED, format!("replay stopped: {failure}"))
            .hint("as SQL text it could become another statement; nothing of it was applied")
            .fix("the same command with --engine=replication, which sends the log as it is")
            .into(),
        PipeFailure::Source(SourceFailure::Unreadable { .. }) => match log.take_failure() {
            Some(error) => unreadable(error),
            None => failure.into(),
        },
        PipeFailure::Source(_) | PipeFailure::Closed(_) => failure.into(),
    }
}

fn failed(program: &'static str, said: String) -> anyhow::Error {
    if program == READER {
        return anyhow::anyhow!("{program} failed: {said}");
    }
    if LOST.iter().any(|error| said.contains(error)) {
        return ClientLost(said).into();
    }
    Failure::new(&code::EVENT_REFUSED, format!("replay stopped: {program}: {said}"))
        .hint("no row is ever skipped; suspect a skipped GTID, a gap, or writes that never reached the log")
        .fix("the same command with --engine=replication --batch=1, which names the transaction")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches the client of a text that comes in pieces and then ends, and what is held back.
    async fn copied(text: &str, pieces: usize) -> (String, String) {
        let reader = tokio_util::io::StreamReader::new(futures::stream::iter(
            text.as_bytes().chunks(pieces).map(|piece| io::Result::Ok(bytes::Bytes::copy_from_slice(piece))),
        ));
        let mut sql = Vec::new();
        let held = copy_statements(reader, &mut sql).await.unwrap();
        (String::from_utf8(sql).unwrap(), String::from_utf8(held).unwrap())
    }

    #[tokio::test]
    async fn the_beginning_of_a_statement_is_held_back() {
        let whole = "BEGIN\n/*!*/;\nDROP TABLE a\n/*!*/;\n";
        for pieces in [1, 5, 7, 1000] {
            assert_eq!(copied(&format!("{whole}DROP TABLE ab"), pieces).await, (whole.into(), "DROP TABLE ab".into()));
            assert_eq!(copied(whole, pieces).await, (whole.into(), String::new()));
        }
    }

    #[test]
    fn a_client_without_server_may_have_another_one() {
        assert!(failed(WRITER, "ERROR 2013 (HY000) at line 7: Lost connection".into()).is::<ClientLost>());
        assert!(failed(WRITER, "ERROR 1062 (23000) at line 7: Duplicate entry".into()).is::<Failure>());
        assert!(!failed(READER, "ERROR: event read from binlog did not pass crc check".into()).is::<Failure>());
    }
}
