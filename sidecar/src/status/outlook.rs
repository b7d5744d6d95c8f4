//! The timeline of what this process knows to be archived, computed when somebody asks and something has changed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitr_archive::document::VerifyState;
use pitr_archive::{Archive, ArchiveError, Drills};
use pitr_recovery::{Timeline, WindowEnd};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::board::Facts;
use crate::archiver::{Pipeline, blocking};
use crate::planning;

/// Drills and verification run elsewhere, and seldom: the archive is asked for their results this often.
const PROOFS_EVERY: Duration = Duration::from_secs(300);

/// The last timeline. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlook {
    last: Arc<Mutex<Option<Known>>>,
    proofs: Arc<Mutex<Option<Asked>>>,
}

/// When the archive was asked, and what it said.
#[derive(Debug)]
struct Asked {
    at: Instant,
    proofs: Proofs,
}

/// What others have proven of the archive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proofs {
    /// When checksums were last verified.
    pub(crate) checksums_at: Option<Timestamp>,
    /// How the last restore drills ended.
    pub(crate) drills: Drills,
}

impl Proofs {
    /// What lies in the archive.
    pub(crate) async fn of(archive: &Archive) -> Result<Self, ArchiveError> {
        let checksums_at = archive.last_verified().await?.map(|last| last.at);
        Ok(Self { checksums_at, drills: archive.last_drills().await? })
    }

    /// As documents have it.
    #[expect(clippy::cast_precision_loss, reason = "seconds of a restore")]
    pub(crate) fn document(&self) -> VerifyState {
        let (verified, failed) = (self.drills.verified.as_ref(), self.drills.failed.as_ref());
        VerifyState {
            checksums_at: self.checksums_at.map(Into::into),
            drill_at: verified.map(|drill| drill.at.into()),
            drill_seconds: verified.map(|drill| drill.seconds as f64),
            drill_failed_at: failed.map(|drill| drill.at.into()),
            drill_failed_code: failed.and_then(|drill| drill.code.clone()),
        }
    }
}

#[derive(Debug)]
struct Known {
    version: u64,
    timeline: Arc<Timeline>,
}

impl Outlook {
    /// What others have proven. What cannot be read now is unknown, and asked for again.
    pub(crate) async fn proofs(&self, pipeline: &Pipeline) -> Proofs {
        let mut last = self.proofs.lock().await;
        if let Some(known) = &*last
            && known.at.elapsed() < PROOFS_EVERY
        {
            return known.proofs.clone();
        }
        let Ok(proofs) = Proofs::of(&pipeline.archive).await else { return Proofs::default() };
        *last = Some(Asked { at: Instant::now(), proofs: proofs.clone() });
        proofs
    }

    /// The timeline as of now. One is computed at a time; who comes meanwhile waits for it.
    pub(crate) async fn timeline(&self, pipeline: &Pipeline) -> Option<Arc<Timeline>> {
        let mut last = self.last.lock().await;
        let version = pipeline.ledger().version();
        if let Some(known) = &*last
            && known.version == version
        {
            return Some(Arc::clone(&known.timeline));
        }
        let inventory = pipeline.ledger().inventory().clone();
        let timeline = blocking(move || Timeline::new(inventory)).await.ok()?;
        // Without indices windows are still sound, only shorter.
        let timeline = match planning::exact(&pipeline.archive, timeline.clone()).await {
            Ok(exact) => exact,
            Err(error) => {
                tracing::warn!(event = "inexact", "{error:#}");
                timeline
            }
        };
        let timeline = Arc::new(timeline);
        *last = Some(Known { version, timeline: Arc::clone(&timeline) });
        Some(timeline)
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
    let is_whole = ends_there && archived >= proof.position && window.ends == WindowEnd::LastArchived && only_own;
    let proven_us = proof.at_us - UNSEEN_US;
    (is_whole && proven_us > window.to_us).then_some(proven_us)
}
