//! The timeline of what this process knows to be archived, computed when somebody asks and something has changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pitr_archive::Proofs;
use pitr_recovery::{RangeRef, Timeline, WindowEnd};
use tokio::time::Instant;

use super::board::Facts;
use super::kept::{Kept, Patience};
use crate::archiver::{Pipeline, blocking};
use crate::planning;

/// Drills and verification run elsewhere, and seldom: the archive is asked for their results this often.
const PROOFS_EVERY: Duration = Duration::from_secs(600);
/// What is damaged, gone or withheld is seldom there again soon: it goes for lost so long.
const LOST_FOR: Duration = Duration::from_secs(600);
/// A store that does not answer is asked again after this time.
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
    /// What could not be had of it.
    lost: Option<Lost>,
}

impl Known {
    /// Whether nothing of it is to be asked for (again).
    fn is_settled(&self) -> bool {
        self.is_exact && self.lost.as_ref().is_none_or(Lost::is_recent)
    }
}

/// Ranges that nothing which is stored gives: not asked for at each look, for each takes several calls.
#[derive(Debug, Clone)]
struct Lost {
    ranges: BTreeSet<RangeRef>,
    since: Instant,
}

impl Lost {
    fn is_recent(&self) -> bool {
        self.since.elapsed() < LOST_FOR
    }
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
            let is_settled = last.is_some_and(Known::is_settled);
            !is_current || !is_settled && tried.is_none_or(|since| since >= AGAIN)
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
    let lost = last.as_ref().and_then(|last| last.lost.clone()).filter(Lost::is_recent);
    let left_out: Vec<RangeRef> = lost.iter().flat_map(|lost| &lost.ranges).cloned().collect();
    let glance = || {
        let (inventory, left_out) = (inventory.clone(), left_out.clone());
        blocking(move || Timeline::new(inventory).without_ranges(left_out))
    };
    match planning::exact(&pipeline.archive, glance().await.ok()?).await {
        Ok(exact) => {
            let since = lost.map_or_else(Instant::now, |lost| lost.since);
            let lost = (!exact.unread().is_empty()).then(|| Lost { ranges: exact.unread().clone(), since });
            Some(Known { version, timeline: Arc::new(exact), is_exact: true, lost })
        }
        Err(error) => {
            tracing::warn!(event = "inexact", "{error:#}");
            let timeline = match last {
                Some(last) => Arc::clone(&last.timeline),
                None => Arc::new(glance().await.ok()?),
            };
            Some(Known { version, timeline, is_exact: false, lost })
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
    let ends_there = stream.binlogs.last().is_some_and(|last| last.id == proof.binlog);
    let binlog = timeline.inventory().binlogs.iter().find(|binlog| binlog.id == proof.binlog)?;
    let archived = binlog.ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let is_held = binlog.ranges.iter().all(pitr_recovery::ArchivedRange::is_held);
    let is_whole =
        ends_there && is_held && archived >= proof.position && window.ends == WindowEnd::LastArchived && only_own;
    let proven_us = proof.at_us - UNSEEN_US;
    (is_whole && proven_us > window.to_us).then_some(proven_us)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use jiff::Timestamp;
    use pitr_archive::testing::{History, Listener, Overheard};
    use pitr_archive::{Archive, Codec, Counting, MemoryStore, Operation, Place, StoreError};

    use super::*;
    use crate::status::samples::clone_of;

    /// What is stored of binlogs is not given.
    #[derive(Debug)]
    struct Cold;

    #[async_trait]
    impl Listener for Cold {
        async fn asked(&self, key: &str) -> Result<(), StoreError> {
            let (key, reason) = (key.to_owned(), "InvalidObjectState".to_owned());
            if key.starts_with("binlogs/") {
                return Err(StoreError::Withheld { operation: Operation::Get, key, reason });
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_withheld_is_not_asked_for_at_each_look() {
        let store = Counting::new(Overheard::new(&Arc::new(MemoryStore::new()), Cold));
        let counts = store.counts();
        let archive = Archive::open(Arc::new(store), Arc::new(Timestamp::now));
        let pipeline = Pipeline::over(archive, counts.clone());
        let add = async |number| {
            let binlog = History::new(7, number, 6);
            let draft = binlog.draft(Place::Binlogs, 0, binlog.length());
            let record = pipeline.archive.write_segment(draft, Codec::default()).await.unwrap();
            pipeline.ledger().add(&record, 0);
            binlog
        };
        let first = add(1).await;
        // A base from the middle of a segment: its index tells where it begins.
        let mut executed = first.previous.clone();
        first.transactions[..3].iter().for_each(|done| executed.insert(&done.gtid.unwrap()));
        let at_us = first.transactions[2].commit_us + 1;
        pipeline.ledger().list_backups(vec![clone_of(&first.id.source, ("bb-1", at_us), executed)]);
        let outlook = Outlook::default();
        let lost = |timeline: &Timeline| timeline.problems().len();
        assert_eq!(lost(&outlook.timeline(&pipeline).await.unwrap()), 1, "{:?}", counts.snapshot());
        let asked = || (counts.calls(Operation::Get), counts.calls(Operation::List));
        let before = asked();
        assert!(before.1 > 0);
        for number in 2..5 {
            add(number).await;
            assert_eq!(lost(&outlook.timeline(&pipeline).await.unwrap()), 1);
        }
        assert_eq!(asked(), before);
    }
}
