//! Closed binlogs: all that the server has left, archived in its order, each on its own. One that fails is tried again later and
//! holds no other back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pitr_archive::{ArchiveError, SegmentRecord, TailCoverage};
use pitr_recovery::code;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::closed::{self, Archived};
use super::failure;
use super::head::{HeadError, Identified, identify};
use super::pause::Pause;
use super::pipeline::{Pipeline, WorkError, blocking};
use crate::discovery::{self, BinlogFile, Found, IndexEntry, Stat};
use crate::error::Failure;
use crate::status::{Area, BacklogFacts, ClosedFacts, Refused};

/// Small binlogs whose segments go into one page (a server that rotates many times a minute).
const BATCH_SEGMENTS: usize = 32;

/// What one look at the closed binlogs came to.
#[derive(Debug, Default)]
pub(crate) struct CycleReport {
    /// Binlogs that were archived.
    pub(crate) archived: u64,
    /// Binlogs that are not archived and will be tried again.
    pub(crate) waiting: u64,
    /// When the next of these is due.
    pub(crate) next_try: Option<Duration>,
    /// Why the last of them failed.
    pub(crate) failure: Option<Failure>,
}

/// What is known of one file of the index, as long as it does not change.
#[derive(Debug)]
struct Note {
    stat: Stat,
    state: NoteState,
}

#[derive(Debug)]
enum NoteState {
    /// Nothing is left to do.
    Done,
    /// It cannot be archived, and trying again would not help.
    Refused,
    /// To be done.
    Due { binlog: Box<Identified>, pause: Pause },
    /// It could not even be read.
    Unread { pause: Pause },
}

/// The state of a file that was looked into, and which binlog it is.
type Looked = (Stat, Result<Identified, HeadError>);

/// Archives closed binlogs.
#[derive(Debug)]
pub(crate) struct Backlog {
    pipeline: Arc<Pipeline>,
    notes: HashMap<PathBuf, Note>,
    batch: Vec<(SegmentRecord, ClosedFacts)>,
    stop: CancellationToken,
}

impl Backlog {
    pub(crate) fn new(pipeline: Arc<Pipeline>, stop: CancellationToken) -> Self {
        Self { pipeline, notes: HashMap::new(), batch: Vec::new(), stop }
    }

    /// Looks at all closed binlogs of the index and archives those that are due, oldest first, those that failed before last.
    pub(crate) async fn cycle(&mut self, found: &Found) -> CycleReport {
        let closed = &found.entries[..found.entries.len().saturating_sub(1)];
        self.forget_missing(closed);
        let mut report = CycleReport::default();
        for entry in closed {
            report.failure = self.look(entry, &found.source).await.or(report.failure);
        }
        self.show(closed);
        for entry in self.due(closed) {
            if self.stop.is_cancelled() {
                break;
            }
            match self.archive(&entry).await {
                Ok(()) => report.archived += 1,
                // The tail is at it, or the end has come.
                Err(error @ WorkError::Stopped) => drop(self.postpone(&entry, &error)),
                Err(error) => {
                    let is_store = matches!(error, WorkError::Archive(ArchiveError::Store(_)));
                    report.failure = Some(self.postpone(&entry, &error));
                    // The next binlog would fail alike.
                    if is_store {
                        break;
                    }
                }
            }
            self.show(closed);
        }
        if let Err(error) = self.flush().await {
            report.failure = Some(self.failure(&error, "catalog"));
        }
        self.show(closed);
        self.conclude(closed, report)
    }

    fn conclude(&self, closed: &[IndexEntry], mut report: CycleReport) -> CycleReport {
        let now = Instant::now();
        let pauses = closed.iter().filter_map(|entry| match self.notes.get(&entry.path).map(|note| &note.state) {
            Some(NoteState::Due { pause, .. } | NoteState::Unread { pause }) => Some(pause.left(now)),
            Some(NoteState::Done | NoteState::Refused) | None => None,
        });
        let pauses: Vec<Duration> = pauses.collect();
        report.waiting = pauses.len() as u64;
        report.next_try = pauses.into_iter().min();
        match &report.failure {
            Some(failure) => self.pipeline.board.fail(Area::Backlog, failure.clone()),
            None if report.waiting == 0 => {
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
        let listed = |path: &PathBuf| closed.iter().any(|entry| entry.path == *path);
        self.notes.retain(|path, note| {
            let stays = listed(path);
            let lost = !stays && matches!(note.state, NoteState::Due { .. } | NoteState::Unread { .. });
            if lost {
                let binlog = path.file_name().map(|name| name.to_string_lossy().into_owned());
                tracing::error!(
                    event = "purged-before-archive",
                    binlog,
                    "the server purged a binlog that was not archived"
                );
            }
            stays
        });
        let names: Vec<&str> = closed.iter().map(|entry| entry.name.as_str()).collect();
        self.pipeline.board.note(|facts| facts.refused.retain(|name, _| names.contains(&name.as_str())));
    }

    /// Finds out what is to be done with a file, unless that is known and the file has not changed.
    async fn look(&mut self, entry: &IndexEntry, source: &str) -> Option<Failure> {
        let (path, name, source) = (entry.path.clone(), entry.name.clone(), source.to_owned());
        let known = self.notes.get(&entry.path).filter(|note| !matches!(note.state, NoteState::Unread { .. }));
        let known = known.map(|note| note.stat);
        let looked = blocking(move || -> Result<Option<Looked>, WorkError> {
            let stat = discovery::stat(&path).map_err(WorkError::Open)?;
            if known == Some(stat) {
                return Ok(None);
            }
            let file = BinlogFile::open(&path).map_err(WorkError::Open)?;
            Ok(Some((stat, identify(&file, &name, &source))))
        });
        let note = match looked.await.and_then(|looked| looked) {
            Ok(None) => return None,
            Ok(Some((_, Ok(binlog)))) => Note { stat: binlog.stat, state: self.state_of(binlog) },
            Ok(Some((_, Err(HeadError::Read(reason))))) => return Some(self.postpone(entry, &WorkError::Open(reason))),
            Ok(Some((stat, Err(error)))) => Note { stat, state: self.refuse(entry, &error) },
            Err(error) => return Some(self.postpone(entry, &error)),
        };
        self.notes.insert(entry.path.clone(), note);
        None
    }

    fn state_of(&self, binlog: Identified) -> NoteState {
        let progress = self.pipeline.ledger().progress(&binlog.id);
        if self.pipeline.is_expired(&binlog.id) || progress.is_done(binlog.stat.size) {
            self.note_closed(closed_facts(&binlog, None));
            return NoteState::Done;
        }
        NoteState::Due { binlog: Box::new(binlog), pause: Pause::none() }
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

    /// What is due now: by failures, then in the server's order.
    fn due(&self, closed: &[IndexEntry]) -> Vec<IndexEntry> {
        let now = Instant::now();
        let pause = |entry: &IndexEntry| match &self.notes.get(&entry.path)?.state {
            NoteState::Due { pause, .. } | NoteState::Unread { pause } if pause.left(now).is_zero() => {
                Some(pause.failures())
            }
            NoteState::Due { .. } | NoteState::Unread { .. } | NoteState::Done | NoteState::Refused => None,
        };
        let mut due: Vec<(u32, IndexEntry)> =
            closed.iter().filter_map(|entry| Some((pause(entry)?, entry.clone()))).collect();
        due.sort_by_key(|(failures, _)| *failures);
        due.into_iter().map(|(_, entry)| entry).collect()
    }

    async fn archive(&mut self, entry: &IndexEntry) -> Result<(), WorkError> {
        let Some(Note { state: NoteState::Due { binlog, .. }, .. }) = self.notes.get(&entry.path) else {
            return Err(WorkError::Head(HeadError::Short));
        };
        let binlog = binlog.clone();
        // The tail is at it: it will be done with its piece in a moment.
        let Some(_claim) = self.pipeline.claim(&binlog.id) else { return Err(WorkError::Stopped) };
        let archived = closed::archive(&self.pipeline, &entry.path, &binlog).await?;
        self.note_damage(entry, &archived);
        let facts = closed_facts(&binlog, Some(self.pipeline.clock.now_us()));
        self.publish(archived, facts).await?;
        if let Some(note) = self.notes.get_mut(&entry.path) {
            note.state = NoteState::Done;
        }
        Ok(())
    }

    /// Many small binlogs share a page; one whose tail objects are to go, or with many segments, has its own.
    async fn publish(&mut self, archived: Archived, facts: ClosedFacts) -> Result<(), WorkError> {
        let Archived { mut records, coverage, has_tail, .. } = archived;
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
        match self.notes.get_mut(&entry.path).map(|note| &mut note.state) {
            Some(NoteState::Due { pause, .. } | NoteState::Unread { pause }) => pause.fail(),
            Some(NoteState::Done | NoteState::Refused) => {}
            None => {
                let stat = Stat { inode: (0, 0), size: 0, modified_ns: 0 };
                let mut pause = Pause::none();
                pause.fail();
                self.notes.insert(entry.path.clone(), Note { stat, state: NoteState::Unread { pause } });
            }
        }
        failure
    }

    fn failure(&self, error: &WorkError, what: &str) -> Failure {
        failure::of(error, what, &self.pipeline.archive.describe())
    }

    /// How much is not archived.
    fn show(&self, closed: &[IndexEntry]) {
        let mut backlog = BacklogFacts::default();
        let ledger = self.pipeline.ledger();
        for note in closed.iter().filter_map(|entry| self.notes.get(&entry.path)) {
            let (bytes, since_us) = match &note.state {
                NoteState::Done => continue,
                NoteState::Refused | NoteState::Unread { .. } => (note.stat.size, None),
                NoteState::Due { binlog, .. } => {
                    let progress = ledger.progress(&binlog.id);
                    (note.stat.size.saturating_sub(progress.shipped_to), progress.last_commit_us.or(binlog.began_us()))
                }
            };
            let closed_us = i64::try_from(note.stat.modified_ns / 1000).ok();
            backlog.closed_us = backlog.closed_us.into_iter().chain(closed_us).min();
            backlog.binlogs += 1;
            backlog.bytes += bytes;
            backlog.since_us = backlog.since_us.or(since_us.filter(|_| bytes > 0));
        }
        drop(ledger);
        self.pipeline.board.note(|facts| facts.backlog = Some(backlog));
    }
}

fn closed_facts(binlog: &Identified, archived_us: Option<i64>) -> ClosedFacts {
    ClosedFacts {
        binlog: binlog.name.as_str().to_owned(),
        number: binlog.name.number(),
        closed_us: i64::try_from(binlog.stat.modified_ns / 1000).ok(),
        archived_us,
    }
}
