//! What the server's own log may need of us: a binlog that is written to seldom is closed (`schedule.flush_when_older_than`), and what the
//! archive has is deleted there (`purge_archived`). Both only where the configuration says so, over the account of `source.mysql`, and
//! only on the server whose binlogs are archived.

mod purge;
mod rotation;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pitr_recovery::{BinlogId, Problem, StoredObject, Timeline, code};
use tokio::time::Instant;

use self::purge::{ClosedBinlog, Held, purgeable};
use super::head::{Identified, identify};
use super::pipeline::blocking;
use super::upkeep::LISTING_EVERY;
use super::{Archiver, Pipeline};
use crate::discovery::{self, BinlogFile, Found, IndexEntry, Lookout};
use crate::error::Failure;
use crate::mysql::{DumpError, Session, SourceState};

/// A server that waits for a lock answers later, or never.
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

    /// Does what is due. `Err`: why it was not, and whether the connection may be used again.
    pub(super) async fn tend_the_log(
        &self,
        log: &mut ServerLog,
        session: &mut Session,
        said: &SourceState,
        (pipeline, source): (&Arc<Pipeline>, &str),
    ) -> Result<(), (Failure, bool)> {
        let work = async {
            self.is_the_source(said, source)?;
            // A privilege that one lacks is no reason to leave the other.
            let rotated = self.rotate(log, session).await;
            let purged = self.purge(log, session, pipeline).await;
            rotated.and(purged)
        };
        let done = tokio::time::timeout(ANSWER_WITHIN, work).await.unwrap_or(Err(Undone::Silent));
        match done {
            Ok(()) | Err(Undone::Stopped) => Ok(()),
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
        let asked = session.log_end().await.map_err(|error| Undone::Server(error, Duty::Rotate))?;
        if !asked.is_some_and(|end| rotation::is_due(&active, &end, older_than, now_us)) {
            return Ok(());
        }
        session.rotate_binary_log().await.map_err(|error| Undone::Server(error, Duty::Rotate))?;
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
        let Some(active) = found.entries.last().map(|entry| entry.name.clone()) else { return Ok(()) };
        let mut closed = archived(pipeline, &found).await?;
        let refused = |error| Undone::Server(error, Duty::Purge);
        let listed = session.binary_logs().await.map_err(refused)?;
        let when = (self.clock.now_us(), after);
        let mut found = purgeable(&closed, &active, &listed, when);
        if let Some(missing) = first_missing(pipeline, &closed[found.going.clone()]).await {
            closed[found.going.start + missing].id = None;
            found = purgeable(&closed, &active, &listed, when);
        }
        if !found.going.is_empty() {
            session.purge_binary_logs_before(&found.kept).await.map_err(refused)?;
            let (kept, binlogs, bytes) = (found.kept.as_str(), found.going.len(), found.bytes);
            tracing::info!(event = "purged", before = kept, binlogs, bytes, "archived; those in use stay");
        }
        if found.held != log.held
            && let Some(Held { binlog, reason }) = &found.held
        {
            tracing::info!(event = "not-purged", binlog, %reason, "it stays on the server, and all after it");
        }
        (log.held, log.listed_us) = (found.held, listed_us);
        Ok(())
    }
}

/// The closed binlogs beside us, and which of them the archive has for good.
async fn archived(pipeline: &Arc<Pipeline>, found: &Arc<Found>) -> Result<Vec<ClosedBinlog>, Undone> {
    let (pipeline, found) = (Arc::clone(pipeline), Arc::clone(found));
    let look = move || {
        let wrong = wrong(&pipeline);
        let closed = &found.entries[..found.entries.len().saturating_sub(1)];
        let known = closed.iter().map(|entry| (entry, identified(entry, &found.source)));
        let looked = known.map(|(entry, binlog)| match binlog {
            Some(Identified { id, stat, .. }) => ClosedBinlog {
                name: entry.name.clone(),
                bytes: stat.size,
                closed_us: i64::try_from(stat.modified_ns / 1000).unwrap_or(i64::MAX),
                id: Some(id).filter(|id| !wrong.contains(id) && pipeline.ledger().is_whole(id, stat.size, |_| true)),
            },
            None => ClosedBinlog { name: entry.name.clone(), bytes: 0, closed_us: i64::MAX, id: None },
        });
        looked.collect()
    };
    blocking(look).await.map_err(|_| Undone::Stopped)
}

/// The first of these binlogs that the store does not list whole.
async fn first_missing(pipeline: &Pipeline, going: &[ClosedBinlog]) -> Option<usize> {
    for (at, binlog) in going.iter().enumerate() {
        let Some(id) = &binlog.id else { return Some(at) };
        let listed = pipeline.archive.stored_objects(id).await.unwrap_or_default();
        let stands = |object: &StoredObject| listed.get(&object.key) == Some(&object.length);
        if !pipeline.ledger().is_whole(id, binlog.bytes, stands) {
            return Some(at);
        }
    }
    None
}

/// Binlogs of which the archive has something else than the server wrote, or not all.
fn wrong(pipeline: &Pipeline) -> BTreeSet<BinlogId> {
    let inventory = pipeline.ledger().inventory().clone();
    let timeline = Timeline::new(inventory);
    let of = |problem: &Problem| match problem {
        Problem::Divergence { binlog, .. }
        | Problem::Ahead { binlog, .. }
        | Problem::Lost { binlog, .. }
        | Problem::Damaged { binlog, .. } => Some(binlog.clone()),
        Problem::Collision { .. } => None,
    };
    timeline.problems().iter().filter_map(of).collect()
}

fn identified(entry: &IndexEntry, source: &str) -> Option<Identified> {
    identify(&BinlogFile::open(&entry.path).ok()?, &entry.name, source).ok()
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
