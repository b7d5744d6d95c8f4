//! Closed binlogs: all that the server has left. Several are archived at once; pages name them in the server's order. One that fails
//! is tried again later and holds no other back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use pitr_archive::{ArchiveError, SegmentRecord, TailCoverage};
use pitr_binlog::Head;
use pitr_recovery::code;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::closed::{self, Archived, Manner};
use super::failure;
use super::head::{HeadError, Identified};
use super::notes::{Looked, Note, NoteState, Notes};
use super::pause::Pause;
use super::pipeline::{InWork, Pipeline, WorkError};
use crate::discovery::{Found, IndexEntry};
use crate::error::Failure;
use crate::status::{Area, ClosedFacts, Refused};

/// Small binlogs whose segments go into one page (a server that rotates many times a minute).
const BATCH_SEGMENTS: usize = 32;
/// Binlogs that are open at once.
const FILES_AT_ONCE: usize = 4;
/// Replicas read the newest binlogs; what they read is left in the page cache.
const READ_BY_REPLICAS: usize = 2;
/// Between two looks at how much is left.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What one look at the closed binlogs came to.
#[derive(Debug, Default)]
pub(crate) struct CycleReport {
    /// When the next of those that are not archived is due.
    pub(crate) next_try: Option<Duration>,
    /// Why the last of them failed.
    pub(crate) failure: Option<Failure>,
}

/// A binlog, and what became of it.
type Outcome = (IndexEntry, Result<(InWork, Archived), WorkError>);

/// Archives closed binlogs.
#[derive(Debug)]
pub(crate) struct Backlog {
    pipeline: Arc<Pipeline>,
    notes: Notes,
    batch: Vec<(SegmentRecord, ClosedFacts)>,
    shown: Option<Instant>,
    /// Between cycles while the store fails: what concerns no single binlog is not tried again with the next.
    store: Pause,
    stop: CancellationToken,
}

impl Backlog {
    pub(crate) fn new(pipeline: Arc<Pipeline>, stop: CancellationToken) -> Self {
        Self { pipeline, notes: Notes::default(), batch: Vec::new(), shown: None, store: Pause::none(), stop }
    }

    /// How long the store is left alone after it failed.
    pub(crate) fn store_rests(&self) -> Duration {
        self.store.left(Instant::now())
    }

    /// Looks at all closed binlogs of the index and archives those that are due, oldest first, those that failed before last.
    pub(crate) async fn cycle(&mut self, found: &Found) -> CycleReport {
        let closed = &found.entries[..found.entries.len().saturating_sub(1)];
        self.forget_missing(closed);
        let mut report = CycleReport::default();
        let failures = self.store.failures();
        match self.notes.look(closed, &found.source).await {
            Ok(looked) => {
                let next = heads_after(&looked);
                for (looked, next) in looked.into_iter().zip(next) {
                    report.failure = self.take(looked, next.as_deref()).or(report.failure);
                }
            }
            Err(error) => report.failure = Some(self.failure(&error, "the binlogs")),
        }
        self.show(closed);
        // What an earlier cycle stored is named before anything is added to it: while the catalog refuses, nothing piles up.
        let mut named = self.flush().await;
        if named.is_ok() {
            report.failure = self.archive_due(closed, &found.source).await.or(report.failure);
            named = self.flush().await;
        }
        if let Err(error) = named {
            self.store.fail();
            report.failure = Some(self.failure(&error, "catalog"));
        }
        self.pipeline.spare.clear();
        if self.store.failures() == failures {
            self.store = Pause::none();
        }
        self.show(closed);
        self.conclude(report)
    }

    async fn archive_due(&mut self, closed: &[IndexEntry], source: &str) -> Option<Failure> {
        let mut failure = None;
        let finished = Arc::new(AtomicUsize::new(0));
        let work = archive_all(Arc::clone(&self.pipeline), self.notes.due(closed), (closed, source), &finished);
        let mut work = std::pin::pin!(work);
        while let Some((entry, archived)) = work.next().await {
            let published = match archived {
                Ok((claim, archived)) => self.publish(&entry, archived).await.map(|()| drop(claim)),
                Err(error) => Err(error),
            };
            finished.fetch_add(1, Ordering::Relaxed);
            match published {
                Ok(()) => self.notes.done(&entry),
                // The tail is at it, or the end has come.
                Err(error @ WorkError::Stopped) => drop(self.postpone(&entry, &error)),
                Err(error) => {
                    let is_store = matches!(error, WorkError::Archive(ArchiveError::Store(_)));
                    failure = Some(self.postpone(&entry, &error));
                    // The next binlog would fail alike.
                    if is_store {
                        self.store.fail();
                        break;
                    }
                }
            }
            if self.stop.is_cancelled() {
                break;
            }
            if self.shown.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
                self.show(closed);
            }
        }
        failure
    }

    fn conclude(&self, mut report: CycleReport) -> CycleReport {
        let pauses = self.notes.pauses();
        let first = pauses.iter().min().copied().or((!self.batch.is_empty()).then_some(Duration::ZERO));
        report.next_try = first.map(|due| self.store_rests().max(due));
        match &report.failure {
            Some(failure) => self.pipeline.board.fail(Area::Backlog, failure.clone()),
            None if pauses.is_empty() => {
                self.pipeline.board.heal(Area::Backlog);
                let now_us = self.pipeline.clock.now_us();
                self.pipeline.board.note(|facts| facts.successes.archive_us = Some(now_us));
            }
            None => {}
        }
        report
    }

    /// Files that left the index. What was not archived of them is lost here; the timeline shows what that means.
    fn forget_missing(&mut self, closed: &[IndexEntry]) {
        for lost in self.notes.forget_missing(closed) {
            let binlog = lost.file_name().map(|name| name.to_string_lossy().into_owned());
            tracing::error!(
                event = "purged-before-archive",
                binlog,
                "the server purged a binlog that was not archived"
            );
        }
        self.pipeline.board.note(|facts| {
            facts.refused.retain(|name, _| closed.iter().any(|entry| entry.name.as_str() == name));
        });
    }

    /// Takes what was found out about a file; `next` is the head of the one after it.
    fn take(&mut self, (entry, looked): Looked, next: Option<&Head>) -> Option<Failure> {
        let note = match looked {
            Ok((stat, Ok(binlog))) => Note { stat, state: self.state_of(&binlog, next) },
            Ok((stat, Err(error))) => Note { stat, state: self.refuse(&entry, &error) },
            Err(error) => return Some(self.postpone(&entry, &error)),
        };
        self.notes.insert(&entry, note);
        None
    }

    fn state_of(&self, binlog: &Identified, next: Option<&Head>) -> NoteState {
        let progress = self.pipeline.ledger().progress(&binlog.id);
        let is_outlived = || {
            let outlived = progress.shipped_to == 0 && next.is_some_and(|next| self.pipeline.is_outlived(binlog, next));
            if outlived {
                tracing::info!(event = "outlived", binlog = binlog.name.as_str());
            }
            outlived
        };
        if self.pipeline.is_expired(&binlog.id) || progress.is_done(binlog.stat.size) || is_outlived() {
            self.note_closed(closed_facts(binlog, None));
            return NoteState::Done;
        }
        NoteState::Due { id: binlog.id.clone(), began_us: binlog.began_us(), pause: Pause::none() }
    }

    /// A file that will never be read.
    fn refuse(&self, entry: &IndexEntry, error: &HeadError) -> NoteState {
        let failure = match error {
            HeadError::Scan(reason) => failure::of_scan(entry.name.as_str(), reason),
            // The server has left it: nothing will be added.
            HeadError::Short | HeadError::Read(_) => {
                Failure::new(&code::DAMAGED_BELOW_TARGET, format!("{}: {error}", entry.name))
                    .hint("nothing of it can be archived")
                    .fix("a base backup makes what follows restorable")
            }
        };
        tracing::error!(event = "refused", code = %failure.code(), binlog = entry.name.as_str(), "{failure}");
        let refused = Refused { failure };
        self.pipeline.board.announce(|facts| drop(facts.refused.insert(entry.name.as_str().to_owned(), refused)));
        NoteState::Refused
    }

    /// Many small binlogs share a page; one whose tail objects are to go, or with many segments, has its own.
    async fn publish(&mut self, entry: &IndexEntry, archived: Archived) -> Result<(), WorkError> {
        self.note_damage(entry, &archived);
        let Archived { binlog, mut records, coverage, has_tail, .. } = archived;
        let facts = closed_facts(&binlog, Some(self.pipeline.clock.now_us()));
        if !has_tail && records.len() == 1 {
            self.batch.extend(records.pop().map(|record| (record, facts)));
            return if self.batch.len() >= BATCH_SEGMENTS { self.flush().await } else { Ok(()) };
        }
        self.flush().await?;
        self.pipeline.publish(&records, coverage).await?;
        self.note_archived(facts);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), WorkError> {
        let records: Vec<SegmentRecord> = self.batch.iter().map(|(record, _)| record.clone()).collect();
        let published = self.pipeline.publish(&records, TailCoverage::default()).await;
        if let Err(WorkError::Archive(ArchiveError::Vanished { .. })) = published {
            // Somebody took an object away before a page named it: all of them are stored again.
            self.batch.clear();
            self.notes.clear();
        }
        published?;
        for (_, facts) in std::mem::take(&mut self.batch) {
            self.note_archived(facts);
        }
        Ok(())
    }

    fn note_archived(&self, closed: ClosedFacts) {
        self.pipeline.board.note(|facts| facts.totals.binlogs += 1);
        self.note_closed(closed);
    }

    fn note_closed(&self, closed: ClosedFacts) {
        self.pipeline.board.note(|facts| {
            if facts.closed.as_ref().is_none_or(|known| known.number <= closed.number) {
                facts.closed = Some(closed);
            }
        });
    }

    fn note_damage(&self, entry: &IndexEntry, archived: &Archived) {
        let name = entry.name.as_str();
        let Some(damage) = &archived.damage else { return };
        let message = format!("{name} is damaged at offset {}", damage.offset);
        let failure = Failure::new(&code::DAMAGED_BELOW_TARGET, message)
            .hint(format!("{}; the bytes are kept, and what comes before them is whole", damage.reason))
            .fix("a base backup makes what follows restorable");
        tracing::error!(event = "damaged", code = %failure.code(), binlog = name, offset = damage.offset, "{}", damage.reason);
        let refused = Refused { failure };
        self.pipeline.board.announce(|facts| drop(facts.refused.insert(name.to_owned(), refused)));
    }

    /// Puts a binlog off and says why.
    fn postpone(&mut self, entry: &IndexEntry, error: &WorkError) -> Failure {
        let failure = self.failure(error, entry.name.as_str());
        if !matches!(error, WorkError::Stopped) {
            tracing::warn!(event = "postponed", binlog = entry.name.as_str(), code = %failure.code(), "{failure}");
        }
        self.notes.postpone(entry);
        failure
    }

    fn failure(&self, error: &WorkError, what: &str) -> Failure {
        failure::of(error, what, &self.pipeline.archive.describe())
    }

    /// Puts on the board how much is not archived.
    fn show(&mut self, closed: &[IndexEntry]) {
        let backlog = self.notes.backlog(closed, &self.pipeline.ledger());
        self.pipeline.board.note(|facts| facts.backlog = Some(backlog));
        self.shown = Some(Instant::now());
    }
}

/// Archives binlogs, several at once; gives what became of each in their order.
fn archive_all<'a>(
    pipeline: Arc<Pipeline>,
    due: Vec<IndexEntry>,
    (closed, source): (&'a [IndexEntry], &'a str),
    finished: &Arc<AtomicUsize>,
) -> impl Stream<Item = Outcome> + use<'a> {
    let newest: Vec<PathBuf> = closed.iter().rev().take(READ_BY_REPLICAS).map(|entry| entry.path.clone()).collect();
    let finished = Arc::clone(finished);
    stream::iter(due.into_iter().enumerate())
        .map(move |(place, entry)| {
            let (pipeline, finished) = (Arc::clone(&pipeline), Arc::clone(&finished));
            let is_old = !newest.contains(&entry.path);
            async move {
                let is_first = || finished.load(Ordering::Relaxed) == place;
                let manner = Manner { is_first: &is_first, is_old };
                let archived = closed::archive(&pipeline, &entry, source, manner).await;
                (entry, archived)
            }
        })
        .buffered(FILES_AT_ONCE)
}

/// The head of the file after each of these, where that was read, too.
fn heads_after(looked: &[Looked]) -> Vec<Option<Arc<Head>>> {
    let after = |(at, (entry, _)): (usize, &Looked)| match looked.get(at + 1) {
        Some((next, Ok((_, Ok(binlog))))) if next.name.number() == entry.name.number() + 1 => {
            Some(Arc::clone(&binlog.head))
        }
        _ => None,
    };
    looked.iter().enumerate().map(after).collect()
}

fn closed_facts(binlog: &Identified, archived_us: Option<i64>) -> ClosedFacts {
    ClosedFacts {
        binlog: binlog.name.as_str().to_owned(),
        number: binlog.name.number(),
        closed_us: i64::try_from(binlog.stat.modified_ns / 1000).ok(),
        archived_us,
    }
}

#[cfg(test)]
mod tests;
