//! replay: the server applies the plan's log, which it gets from our replication source; its own executed set says how far it is.

mod batches;
mod pipe;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pitr_binlog::{GtidSet, Uuid};
use pitr_recovery::{PlanWarning, code};
use pitr_replay::{Batch, ReplicationSource, Secret, SourceIdentity, SourceOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::batches::{BatchSize, Batching};
use self::watch::{Halt, Watch};
use super::Engine;
use super::archived_log::ArchivedLog;
use super::journal::Phase;
use super::phases::{Restore, milliseconds};
use super::start;
use crate::error::Failure;
use crate::mysql::{Connection, Password, SqlError};
use crate::progress::Unit;
use crate::server::Mysqld;

/// A server that dies is started again, so often without progress between.
const DEATHS_WITHOUT_PROGRESS: u32 = 5;
/// How long a server that no longer answers gets to be gone.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// How long a server that gives no answer gets to shut down in order, before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// The name under which the replica comes to our source.
const USER: &str = "pitr";

/// Applies what is missing, and gives the running server. A server that dies meanwhile is started again and goes on.
pub(super) async fn run(restore: &mut Restore<'_>) -> anyhow::Result<Mysqld> {
    let mut deaths = 0;
    let mut best = 0;
    loop {
        not_twice(restore)?;
        restore.enter(if restore.journal.has_done(Phase::StartServer) { Phase::Replay } else { Phase::StartServer });
        let mut server = start::start(restore).await?;
        let begun = Instant::now();
        let outcome = drive(restore, &server).await;
        restore.journal.replay_seconds += begun.elapsed().as_secs();
        restore.facts.replay_seconds = restore.journal.replay_seconds;
        restore.facts.pace.replay_ms += milliseconds(begun.elapsed());
        let error = match outcome {
            Ok(()) => {
                if !restore.journal.has_done(Phase::Replay) {
                    restore.done(Phase::Replay)?;
                }
                return Ok(server);
            }
            Err(error) => error,
        };
        restore.write_journal()?;
        let executed = restore.facts.executed.as_ref().map_or(0, GtidSet::count);
        (deaths, best) = if executed > best { (1, executed) } else { (deaths + 1, best) };
        let error = match error {
            // An id that the log has, too: another one is drawn.
            Halt::SharedServerId => {
                restore.journal.server_id = super::journal::random_server_id();
                restore.shut_down(server).await?;
                continue;
            }
            Halt::Error(error) => error,
        };
        let patience = if is_lost(&error) { LAST_BREATH } else { Duration::ZERO };
        match server.ended_within(patience).await {
            Some(death) if deaths <= DEATHS_WITHOUT_PROGRESS => {
                tracing::warn!(event = "server-died", deaths, %death, error = format!("{error:#}"), "starting it again");
            }
            Some(death) => return Err(error.context(death.to_string())),
            None if is_silent(&error) => {
                let error_text = format!("{error:#}");
                tracing::warn!(
                    event = "server-silent",
                    deaths,
                    error = error_text,
                    "ending it, at the latest in a minute"
                );
                if let Err(trouble) = end_silent(restore, server).await {
                    tracing::warn!(event = "no-orderly-end", error = format!("{trouble:#}"), "after it gave no answer");
                    return Err(error);
                }
                if deaths > DEATHS_WITHOUT_PROGRESS {
                    return Err(error.context("the server gives no answer, however often it is started"));
                }
            }
            None => {
                // Whatever its end is like: why it came to that is what counts.
                if let Err(trouble) = restore.shut_down(server).await {
                    tracing::warn!(event = "no-orderly-end", error = format!("{trouble:#}"), "after a failure");
                }
                return Err(error);
            }
        }
    }
}

/// Ends a server that gives no answer, and notes whether that was in order.
async fn end_silent(restore: &mut Restore<'_>, server: Mysqld) -> anyhow::Result<()> {
    if server.end_within(LAST_WORDS).await.context("end the server that gives no answer")? {
        restore.journal.replica_ran = false;
        restore.write_journal()?;
    }
    Ok(())
}

/// A killed server may keep rows of an engine without transactions whose GTID it has lost. They would be sent again and be there
/// twice, and the GTID set would equal the plan's all the same: such a volume is never gone on with.
fn not_twice(restore: &Restore<'_>) -> anyhow::Result<()> {
    if !restore.journal.replica_ran || !restore.plan.parts().warnings.contains(&PlanWarning::NonTransactional) {
        return Ok(());
    }
    let message = "restore is incomplete: the server was killed while it replayed, and the plan has transactions of engines \
                   without rollback, whose rows may be on it once, twice or in part";
    Err(Failure::new(&code::VOLUME_SPOILED, message)
        .hint("no GTID set can tell; nothing more is replayed on this volume")
        .fix("restore onto an empty volume")
        .into())
}

/// What a server keeps in memory only is gone when it is started again, and the log does not say so: what follows would be applied to
/// something else than the source had, or to nothing.
async fn refuse_what_is_forgotten(
    restore: &Restore<'_>,
    connection: &mut Connection,
    executed: &GtidSet,
) -> anyhow::Result<()> {
    if *executed == restore.plan.base().executed {
        return Ok(());
    }
    let touches_them =
        |warning: &PlanWarning| matches!(warning, PlanWarning::NonTransactional | PlanWarning::Statements);
    let has_memory_tables =
        restore.plan.parts().warnings.iter().any(touches_them) && connection.has_memory_tables().await?;
    let forgotten = match (restore.journal.temporary_tables, has_memory_tables) {
        (true, _) => "temporary tables of statements",
        (false, true) => "the rows of tables of engine MEMORY",
        (false, false) => return Ok(()),
    };
    let message =
        format!("restore is incomplete: the server was started again while it replayed, and has lost {forgotten}");
    Err(Failure::new(&code::VOLUME_SPOILED, message)
        .hint("no GTID set can tell; nothing more is replayed on this volume")
        .fix("restore onto an empty volume")
        .into())
}

/// Whether the server is there and gives no answer.
fn is_silent(error: &anyhow::Error) -> bool {
    let is_timeout = |cause: &SqlError| matches!(cause, SqlError::Timeout { .. });
    error.chain().any(|cause| cause.downcast_ref::<SqlError>().is_some_and(is_timeout))
}

/// Whether the connection to the server broke.
fn is_lost(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<SqlError>().is_some_and(SqlError::lost) || cause.is::<pipe::ClientLost>())
}

async fn drive(restore: &mut Restore<'_>, server: &Mysqld) -> Result<(), Halt> {
    let mut connection = server.connect().await?;
    let executed = start::admit(restore, &mut connection).await?;
    restore.enter(Phase::Replay);
    restore.facts.transactions = replayed(restore, &executed);
    if restore.plan.expected().is_subset_of(&executed) {
        return Ok(());
    }
    refuse_what_is_forgotten(restore, &mut connection, &executed).await?;
    let (archive, base) = (Arc::clone(&restore.archive), &restore.plan.base().executed);
    let log = ArchivedLog::new(archive, restore.plan.files(), base, restore.volume.fetched());
    let batch = batches::settle(restore, &mut connection, &log, executed).await?;
    if restore.args.engine == Engine::Pipe {
        return pipe::drive(restore, server, &mut connection, &log).await;
    }
    let password = random_password();
    let source = bind(restore, &log, &password, batch).await?;
    let (port, sent, holes) = (source.port(), source.progress(), source.holes());
    let cancel = CancellationToken::new();
    let _ends_the_source = cancel.clone().drop_guard();
    let mut running = JoinSet::new();
    running.spawn(source.run(cancel));
    restore.journal.replica_ran = true;
    restore.write_journal()?;
    connection.follow(port).await?;
    connection.start_replica(USER, &password).await?;
    let (done, total) = (restore.facts.transactions, restore.plan.parts().transactions);
    restore.progress.begin(Phase::Replay.name(), Unit::Transactions, done, total.max(done));
    let credentials = (USER, &password);
    let watch = Watch { restore, connection: &mut connection, log: &log, sent, holes, credentials };
    tokio::select! {
        outcome = watch.until_applied() => outcome?,
        ended = running.join_next() => {
            return Err(anyhow::anyhow!("the replication source ended: {ended:?}").into());
        }
    }
    connection.stop_replica().await?;
    restore.progress.end();
    Ok(())
}

/// How many of the plan's transactions are applied.
fn replayed(restore: &Restore<'_>, executed: &GtidSet) -> u64 {
    executed.subtract(&restore.plan.base().executed).count()
}

async fn bind(
    restore: &Restore<'_>,
    log: &ArchivedLog,
    password: &Password,
    batch: Batch,
) -> anyhow::Result<ReplicationSource> {
    let identity = SourceIdentity {
        server_uuid: Uuid(rand::random()),
        server_id: restore.journal.server_id ^ 1,
        server_version: restore.plan.base().server_version.clone(),
        user: USER.to_owned(),
        password: Secret::new(password.reveal()),
    };
    let mut options = SourceOptions::new(restore.context.clock.now_us());
    options.skip = restore.plan.skip().clone();
    options.batch = batch;
    let address = ([127, 0, 0, 1], 0).into();
    ReplicationSource::bind(address, identity, Arc::new(log.clone()), options)
        .await
        .context("start the replication source")
}

/// For one connection on the loopback interface, for one run.
fn random_password() -> Password {
    Password::new(hex::encode(rand::random::<[u8; 16]>()))
}

/// Asks once more what is executed, and notes it.
async fn note_executed(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<GtidSet> {
    let executed = connection.executed().await?;
    restore.facts.transactions = replayed(restore, &executed);
    restore.facts.missing = restore.plan.expected().subtract(&executed);
    restore.facts.unexpected = executed.subtract(restore.plan.expected());
    restore.facts.executed = Some(executed.clone());
    Ok(executed)
}
