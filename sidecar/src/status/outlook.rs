//! The timeline of what this process knows to be archived, computed when somebody asks and something has changed.

use std::sync::Arc;
use std::time::Duration;

use pitr_archive::Proofs;
use pitr_recovery::{Timeline, WindowEnd};
use tokio::time::Instant;

use super::board::Facts;
use super::kept::{Kept, Patience};
use crate::archiver::{Pipeline, blocking};
use crate::planning;

/// Drills and verification run elsewhere, and seldom: the archive is asked for their results this often.
const PROOFS_EVERY: Duration = Duration::from_secs(600);
/// What could not be read of the archive is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(15);

/// What was last known of the archive. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlook {
    last: Kept<Known>,
    proofs: Kept<Asked>,
}

/// What the archive said of the proofs of others.
#[derive(Debug)]
struct Asked {
    proofs: Proofs,
    at: Instant,
}

#[derive(Debug)]
struct Known {
    version: u64,
    timeline: Arc<Timeline>,
    /// Whether everything was read that windows need to be exact.
    is_exact: bool,
}

impl Outlook {
    /// What is known without waiting for a store that does not answer: the timeline and what others have proven, as of now if it
    /// does, and else as it was last known.
    pub(crate) async fn look(&self, pipeline: &Arc<Pipeline>) -> (Option<Arc<Timeline>>, Proofs) {
        tokio::join!(self.known(pipeline, Patience::Moment), self.proofs(pipeline))
    }

    /// What others have proven, as last known.
    pub(crate) async fn proofs(&self, pipeline: &Arc<Pipeline>) -> Proofs {
        let is_due = |last: Option<&Asked>, tried: Option<Duration>| {
            last.is_none_or(|last| last.at.elapsed() >= PROOFS_EVERY) && tried.is_none_or(|since| since >= AGAIN)
        };
        let archive = Arc::clone(&pipeline.archive);
        let ask = |_| async move {
            match archive.proofs().await {
                Ok(proofs) => Some(Asked { proofs, at: Instant::now() }),
                Err(error) => {
                    tracing::warn!(event = "no-proofs", "{error:#}");
                    None
                }
            }
        };
        let last = self.proofs.get(is_due, ask, Patience::Moment).await;
        last.map(|last| last.proofs.clone()).unwrap_or_default()
    }

    /// The timeline as of now, however long the archive takes. One is computed at a time; who comes meanwhile waits for it.
    pub(crate) async fn timeline(&self, pipeline: &Arc<Pipeline>) -> Option<Arc<Timeline>> {
        self.known(pipeline, Patience::Answer).await
    }

    async fn known(&self, pipeline: &Arc<Pipeline>, patience: Patience) -> Option<Arc<Timeline>> {
        let is_due = |last: Option<&Known>, tried: Option<Duration>| {
            let is_current = last.is_some_and(|last| last.version == pipeline.ledger().version());
            let is_exact = last.is_some_and(|last| last.is_exact);
            !is_current || !is_exact && tried.is_none_or(|since| since >= AGAIN)
        };
        let asked = Arc::clone(pipeline);
        let last = self.last.get(is_due, move |last| compute(asked, last), patience).await;
        last.map(|last| Arc::clone(&last.timeline))
    }
}

/// The timeline as of now. While what it needs cannot be read, the last one goes for what it was made from: one that is old is true as
/// far as it goes. Where there is none yet, a first glance has to do.
async fn compute(pipeline: Arc<Pipeline>, last: Option<Arc<Known>>) -> Option<Known> {
    let (version, inventory) = {
        let ledger = pipeline.ledger();
        (ledger.version(), ledger.inventory().clone())
    };
    let glance = || {
        let inventory = inventory.clone();
        blocking(move || Timeline::new(inventory))
    };
    match planning::exact(&pipeline.archive, glance().await.ok()?).await {
        Ok(exact) => Some(Known { version, timeline: Arc::new(exact), is_exact: true }),
        Err(error) => {
            tracing::warn!(event = "inexact", "{error:#}");
            let timeline = match last {
                Some(last) => Arc::clone(&last.timeline),
                None => Arc::new(glance().await.ok()?),
            };
            Some(Known { version, timeline, is_exact: false })
        }
    }
}

/// A transaction gets its commit time just before it is written to the file: between the two lies a moment in which nobody sees it.
/// Nothing is said about instants as young as this.
const UNSEEN_US: i64 = 1_000_000;

/// Until when the server was seen to have committed nothing that is not archived: only where that is certain.
///
/// What a client was told to be committed stood in the server's files before; so when all of them were archived to their end, nothing
/// earlier is missing. A replica's transactions were committed elsewhere, earlier than they arrive: there nothing is proven.
pub(crate) fn proven_to(facts: &Facts, timeline: &Timeline) -> Option<i64> {
    let proof = facts.proof.as_ref()?;
    if facts.replicates != Some(false) || facts.backlog.as_ref().is_none_or(|backlog| backlog.binlogs > 0) {
        return None;
    }
    let live = timeline.branches().first().filter(|branch| branch.live)?;
    let window = timeline.windows().iter().rfind(|window| window.branch == live.id)?;
    let only_own = window.to_set.sources().all(|source| match source {
        pitr_binlog::GtidSource::MySql { uuid, .. } => uuid.to_string() == proof.binlog.source,
        pitr_binlog::GtidSource::MariaDb { .. } => false,
    });
    let stream = live.streams.last().and_then(|id| timeline.streams().iter().find(|stream| stream.id == *id))?;
    let ends_there = stream.binlogs.last().is_some_and(|(id, _)| *id == proof.binlog);
    let binlog = timeline.inventory().binlogs.iter().find(|binlog| binlog.id == proof.binlog)?;
    let archived = binlog.ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let is_held = binlog.ranges.iter().all(pitr_recovery::ArchivedRange::is_held);
    let is_whole =
        ends_there && is_held && archived >= proof.position && window.ends == WindowEnd::LastArchived && only_own;
    let proven_us = proof.at_us - UNSEEN_US;
    (is_whole && proven_us > window.to_us).then_some(proven_us)
}
