//! What the server's own log may need of us: a binlog that is written to seldom is closed (`schedule.flush_when_older_than`), and what the
//! archive has is deleted there (`purge_archived`). Both only where the configuration says so, over the account of `source.mysql`, and
//! only on the server whose binlogs are archived.

mod archived;
mod purge;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use pitr_binlog::BinlogName;
use pitr_recovery::code;
use tokio::time::Instant;

use self::archived::{archived, first_missing, identified};
use self::purge::{Held, Purgeable, Reason, purgeable};
use super::head::Identified;
use super::pipeline::blocking;
use super::upkeep::LISTING_EVERY;
use super::{Archiver, Pipeline};
use crate::discovery::{self, Lookout};
use crate::error::Failure;
use crate::mysql::{DumpError, ListedBinlog, Session, SourceState};

/// A server that waits for a lock answers a statement later, or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A listing of the archive that is older was missed at least once: the store is away, or refuses.
const FRESH_US: i64 = 2 * LISTING_EVERY.as_micros() as i64;

/// What was done of it, and when.
#[derive(Debug)]
pub(super) struct ServerLog {
    lookout: Lookout,
    /// When a binlog was closed for its age. Whatever clocks and a spool say: not sooner again than that age.
    rotated: Option<Instant>,
    /// The listing of the archive that was last held against the server's binlogs.
    listed_us: Option<i64>,
    /// What was last said to hold a closed binlog.
    held: Option<Held>,
}

/// Why something was not done.
#[derive(Debug)]
enum Undone {
    /// The server's word, and what it was asked for.
    Server(DumpError, Duty),
    /// It does not answer: the connection is of no more use.
    Silent,
    /// It is another one.
    Other(String),
    /// The process ends.
    Stopped,
}

#[derive(Debug, Clone, Copy)]
enum Duty {
    Rotate,
    Purge,
}

impl ServerLog {
    pub(super) fn new(archiver: &Archiver) -> Self {
        Self { lookout: Lookout::new(archiver.config.source.clone()), rotated: None, listed_us: None, held: None }
    }
}

impl Archiver {
    /// Whether anything is to be done to the server's log.
    pub(super) fn tends_the_log(&self) -> bool {
        self.config.schedule.flush_when_older_than.is_some() || self.config.purge_after.is_some()
    }

    /// Does what is due, and gives what keeps the server's binlogs for long. `Err`: why it was not done, and whether the connection may be
    /// used again.
    pub(super) async fn tend_the_log(
        &self,
        log: &mut ServerLog,
        session: &mut Session,
        said: &SourceState,
        (pipeline, source): (&Arc<Pipeline>, &str),
    ) -> Result<Option<Failure>, (Failure, bool)> {
        let work = async {
            self.is_the_source(said, source)?;
            // A privilege that one lacks is no reason to leave the other.
            let rotated = self.rotate(log, session).await;
            if matches!(rotated, Err(Undone::Silent)) {
                return rotated;
            }
            let purged = self.purge(log, session, pipeline).await;
            rotated.and(purged)
        };
        match work.await {
            Ok(()) | Err(Undone::Stopped) => Ok(log.held.as_ref().and_then(|held| held.failure(self.clock.now_us()))),
            Err(undone) => {
                // A privilege that is granted counts for connections that begin after that.
                let is_usable = matches!(undone, Undone::Other(_));
                Err((undone.failure(), is_usable))
            }
        }
    }

    /// An account that leads to another server must not change that one's log.
    fn is_the_source(&self, said: &SourceState, source: &str) -> Result<(), Undone> {
        let uuid = match self.config.source.identity {
            None => Some(source.to_owned()),
            Some(_) => discovery::server_uuid(&self.config.source).ok(),
        };
        match (&said.server_uuid, uuid) {
            (Some(answers), Some(expected)) if *answers == expected => Ok(()),
            (Some(answers), _) => Err(Undone::Other(format!("server {answers}"))),
            (None, _) => Err(Undone::Other("a server without a UUID, such as MariaDB,".to_owned())),
        }
    }

    async fn rotate(&self, log: &mut ServerLog, session: &mut Session) -> Result<(), Undone> {
        let Some(older_than) = self.config.schedule.flush_when_older_than else { return Ok(()) };
        if log.rotated.is_some_and(|at| at.elapsed() < older_than) {
            return Ok(());
        }
        // What cannot be looked at is told by those who archive it.
        let Some(active) = self.active(log).await? else { return Ok(()) };
        let now_us = self.clock.now_us();
        let end = answered(Duty::Rotate, session.log_end()).await?;
        if !end.is_some_and(|end| rotation::is_due(&active, &end, older_than, now_us)) {
            return Ok(());
        }
        answered(Duty::Rotate, session.rotate_binary_log()).await?;
        log.rotated = Some(Instant::now());
        tracing::info!(event = "rotated", binlog = active.name.as_str(), "it was older than flush_when_older_than");
        Ok(())
    }

    /// The binlog being written, if it can be read.
    async fn active(&self, log: &mut ServerLog) -> Result<Option<Identified>, Undone> {
        let Ok(found) = log.lookout.look() else { return Ok(None) };
        let Some(entry) = found.entries.last().cloned() else { return Ok(None) };
        blocking(move || identified(&entry, &found.source)).await.map_err(|_| Undone::Stopped)
    }

    /// After each listing of the archive, while it is fresh, and only what the store lists at this moment: a catalog goes on naming
    /// objects that others have deleted.
    async fn purge(&self, log: &mut ServerLog, session: &mut Session, pipeline: &Arc<Pipeline>) -> Result<(), Undone> {
        let Some(after) = self.config.purge_after else { return Ok(()) };
        let listed_us = self.board.read().listed_us;
        let is_fresh = |listed_us| self.clock.now_us().saturating_sub(listed_us) < FRESH_US;
        if !listed_us.is_some_and(is_fresh) || listed_us == log.listed_us {
            return Ok(());
        }
        let Ok(found) = log.lookout.look() else { return Ok(()) };
        let Some((active, entries)) = found.entries.split_last() else { return Ok(()) };
        let when = (self.clock.now_us(), after);
        let listed = answered(Duty::Purge, session.binary_logs()).await?;
        let Some(first) = listed.first().and_then(|first| BinlogName::parse(&first.name).ok()) else { return Ok(()) };
        // It deletes nothing. What may not be deleted is told so before anything is looked at.
        answered(Duty::Purge, session.purge_binary_logs_before(&first)).await?;
        let mut closed = archived(pipeline, &found.source, entries, &listed).await?;
        let asked = purgeable(&closed, &active.name, &listed, when);
        if let Some((missing, reason)) = first_missing(pipeline, &closed[asked.going.clone()]).await {
            closed[asked.going.start + missing].archived = Err(reason);
        }
        // That took its time, and the server may have begun its log anew. Only what the store was asked about goes.
        closed.truncate(asked.going.end);
        let listed = answered(Duty::Purge, session.binary_logs()).await?;
        let mut plan = purgeable(&closed, &asked.kept, &listed, when);
        plan.held = plan.held.or(asked.held);
        let gone = carry_out(&mut plan, session, &listed).await?;
        if plan.held != log.held
            && let Some(Held { binlog, reason, .. }) = &plan.held
        {
            tracing::info!(event = "not-purged", binlog, %reason, "it stays on the server, and all after it");
        }
        // There may be more of them than go at once.
        let goes_on = gone > 0 && plan.held.as_ref().is_none_or(|held| held.reason == Reason::NotListed);
        log.held = plan.held;
        if !goes_on {
            log.listed_us = listed_us;
        }
        Ok(())
    }
}

/// Has the server delete what may go, and gives how many it has deleted.
async fn carry_out(plan: &mut Purgeable, session: &mut Session, listed: &[ListedBinlog]) -> Result<usize, Undone> {
    if plan.going.is_empty() {
        return Ok(0);
    }
    answered(Duty::Purge, session.purge_binary_logs_before(&plan.kept)).await?;
    let left = answered(Duty::Purge, session.binary_logs()).await?;
    let (binlogs, bytes) = plan.carried_out(listed, &left);
    if binlogs > 0 {
        let first = left.first().map_or("", |binlog| binlog.name.as_str());
        tracing::info!(event = "purged", before = first, binlogs, bytes, "archived, and old enough");
    }
    Ok(binlogs)
}

/// The server's answer to a statement.
async fn answered<T>(duty: Duty, statement: impl Future<Output = Result<T, DumpError>>) -> Result<T, Undone> {
    match tokio::time::timeout(ANSWER_WITHIN, statement).await {
        Ok(answer) => answer.map_err(|error| Undone::Server(error, duty)),
        Err(_) => Err(Undone::Silent),
    }
}

impl Undone {
    fn failure(&self) -> Failure {
        let failure = |message: String| Failure::new(&code::SERVER_LOG_REFUSED, message);
        match self {
            Self::Server(error, Duty::Rotate) => failure(format!("the server does not rotate its binlog: {error}"))
                .hint("schedule.flush_when_older_than asks it to; what it writes is archived all the same")
                .fix("GRANT RELOAD, REPLICATION CLIENT ON *.* TO the account of source.mysql"),
            Self::Server(error, Duty::Purge) => failure(format!("the server does not purge its binlogs: {error}"))
                .hint("purge_archived asks it to; they stay until it does so by itself")
                .fix("GRANT BINLOG_ADMIN, REPLICATION CLIENT ON *.* TO the account of source.mysql"),
            Self::Silent | Self::Stopped => {
                failure(format!("the server has not answered for {} s", ANSWER_WITHIN.as_secs()))
                    .hint("it was to rotate or to purge its binlogs, and may wait for a lock")
                    .fix("SHOW PROCESSLIST")
            }
            Self::Other(who) => {
                failure(format!("{who} answers to source.mysql: its binlogs are neither rotated nor purged"))
                    .hint("only the MySQL server whose binlogs are archived is told to")
                    .fix("source: {mysql: {socket: PATH}} of the server beside the archiver")
            }
        }
    }
}
