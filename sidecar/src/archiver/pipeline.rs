//! What all tasks of the archiver share, and the one way in which pieces become segments.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pitr_archive::{
    Archive, ArchiveError, Codec, EncodedSegment, EncodingTime, SegmentDraft, SegmentRecord, StoreCounts, TailCoverage,
};
use pitr_binlog::{Head, ScanError};
use pitr_recovery::BinlogId;
use tokio::time::Instant;

use super::cutter::CutError;
use super::head::{HeadError, Identified};
use super::ledger::Ledger;
use super::limits::Limits;
use super::memory::{Lane, Room};
use super::outlived::{ClosedFile, Expired, Kept, is_outlived};
use super::window::Spare;
use crate::clock::Clock;
use crate::status::{self, Board, ServerFacts, Step};

/// Why a binlog could not be archived now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// The file cannot be identified.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The file cannot be read.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The file cannot be opened.
    #[error("open the binlog")]
    Open(#[source] io::Error),
    /// The archive: nearly always its store.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The file that the server is writing makes no sense from here on.
    #[error("from offset {offset} on: {reason}")]
    Damaged {
        /// The end of what is whole.
        offset: u64,
        /// What is wrong.
        reason: ScanError,
    },
    /// The process is being stopped, or another task is at this binlog.
    #[error("stopped")]
    Stopped,
}

/// What all tasks of the archiver share.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Where segments go.
    pub(crate) archive: Arc<Archive>,
    /// Where everybody writes down what happens.
    pub(crate) board: Board,
    /// Calls to the store.
    pub(crate) counts: StoreCounts,
    /// The wall clock.
    pub(crate) clock: Clock,
    /// How much at once, and how fast.
    pub(crate) limits: Limits,
    /// How segments are compressed.
    pub(crate) codec: Codec,
    /// Raw bytes of a segment.
    pub(crate) segment_bytes: u64,
    /// A buffer that pieces of the backlog take turns in.
    pub(crate) spare: Spare,
    ledger: Mutex<Ledger>,
    in_work: Mutex<BTreeSet<BinlogId>>,
    expired: Mutex<Expired>,
}

impl Pipeline {
    pub(crate) fn new(
        archive: Arc<Archive>,
        (board, counts): (Board, StoreCounts),
        clock: Clock,
        (config, limits): (&crate::config::Pipeline, Limits),
    ) -> Self {
        Self {
            archive,
            board,
            counts,
            clock,
            limits,
            codec: config.codec,
            segment_bytes: config.segment_bytes,
            spare: Spare::default(),
            ledger: Mutex::default(),
            in_work: Mutex::default(),
            expired: Mutex::default(),
        }
    }

    /// One over an archive, with what is configured by default.
    #[cfg(test)]
    pub(crate) fn over(archive: Archive, counts: StoreCounts) -> Arc<Self> {
        let least = "workload: test/mysql\narchive: file:///none\n";
        let config = crate::config::parse(least, &std::collections::BTreeMap::new()).unwrap().pipeline;
        let settings = (&config, Limits::new(&config));
        Arc::new(Self::new(Arc::new(archive), (Board::new(), counts), crate::clock::system(), settings))
    }

    /// Takes what retention has let go.
    pub(crate) fn expire(&self, expired: Expired) {
        *self.expired.lock().unwrap_or_else(PoisonError::into_inner) = expired;
    }

    /// Whether retention has marked a binlog: it is not stored again.
    pub(crate) fn is_expired(&self, id: &BinlogId) -> bool {
        self.expired.lock().unwrap_or_else(PoisonError::into_inner).marked.contains(id)
    }

    /// Whether retention would let a closed binlog go that is not archived, or did before its mark went: it is not stored again.
    /// `next` is the head of the file after it.
    pub(crate) fn is_outlived(&self, binlog: &Identified, next: &Head) -> bool {
        let file = ClosedFile {
            id: &binlog.id,
            before: &binlog.head.previous,
            after: &next.previous,
            closed_us: i64::try_from(binlog.stat.modified_ns / 1000).unwrap_or(i64::MAX),
        };
        self.lets_go(&file)
    }

    /// The same of what is known of a file.
    pub(super) fn lets_go(&self, file: &ClosedFile<'_>) -> bool {
        let (promised_us, by_age) = {
            let expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
            (expired.promised_us, expired.by_age)
        };
        let Some(promised_us) = promised_us else { return false };
        let from_us = self.clock.now_us().saturating_sub(promised_us);
        let ledger = self.ledger();
        let oldest = ledger.oldest(&file.id.source);
        is_outlived(file, &Kept { bases: &ledger.inventory().backups, oldest, from_us, by_age })
    }

    /// Whether retention has ever been here.
    pub(super) fn has_promised(&self) -> bool {
        self.expired.lock().unwrap_or_else(PoisonError::into_inner).promised_us.is_some()
    }

    /// The ledger, for as long as no await is needed.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file was read: it says who wrote it.
    pub(crate) fn met(&self, binlog: &Identified) {
        let server = ServerFacts {
            source: binlog.id.source.clone(),
            flavour: binlog.head.format.flavour,
            version: binlog.head.format.server_version.clone(),
        };
        self.board.note(|facts| facts.server = Some(server));
    }

    /// Claims a binlog for one task: the tail hands over to the backlog, and both are at it only by chance.
    pub(crate) fn claim(self: &Arc<Self>, id: &BinlogId) -> Option<InWork> {
        let claimed = self.in_work.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        claimed.then(|| InWork { pipeline: Arc::clone(self), id: id.clone() })
    }

    /// Stores one segment of the backlog, which gives back the room of its raw bytes once it is encoded.
    pub(crate) async fn store_piece(&self, draft: SegmentDraft, raw: Room) -> Result<SegmentRecord, WorkError> {
        let mut room = self.limits.memory.take_encoded(draft.raw.len() as u64).await;
        let encoded = |bytes| {
            drop(raw);
            room.shrink(bytes);
        };
        self.encode_and_send(draft, Lane::Backlog, encoded).await
    }

    /// Stores one segment of the tail.
    pub(crate) async fn store(&self, draft: SegmentDraft) -> Result<SegmentRecord, WorkError> {
        self.encode_and_send(draft, Lane::Tail, |_| {}).await
    }

    /// Encoded by one worker, sent when the store has a turn for it. The tail is sent at once.
    async fn encode_and_send(
        &self,
        draft: SegmentDraft,
        lane: Lane,
        encoded_to: impl FnOnce(u64),
    ) -> Result<SegmentRecord, WorkError> {
        let begun = Instant::now();
        let (name, place) = (draft.name.clone(), draft.place);
        let worker = self.limits.worker().await?;
        let encoded = self.archive.encode_segment(draft, self.codec, || drop(worker)).await;
        status::tick();
        encoded_to(encoded.as_ref().map_or(0, EncodedSegment::length));
        let turn = match lane {
            Lane::Tail => None,
            Lane::Backlog => Some(self.limits.uploads.turn().await),
        };
        let encoded = encoded?;
        self.note_encoding(encoded.took());
        let sent = Instant::now();
        let record = self.archive.store_segment(encoded).await?;
        drop(turn);
        self.board.segments.add(Step::Put, sent.elapsed());
        let bytes = record.key.end - record.key.start;
        self.board.note(|facts| {
            facts.totals.raw_bytes += bytes;
            facts.totals.stored_bytes += record.length;
            facts.successes.stored_us = Some(self.clock.now_us());
        });
        let last_us = record.header.transactions.last.as_ref().map(|last| last.commit_us);
        let lag_us = last_us.map(|last| (self.clock.now_us() - last).max(0));
        tracing::info!(
            event = "archived",
            binlog = name.as_str(),
            place = place.prefix().trim_end_matches('/'),
            start = record.key.start,
            end = record.key.end,
            bytes,
            storedBytes = record.length,
            transactions = record.header.transactions.count,
            durationMs = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            lagSeconds = lag_us.map(seconds),
        );
        Ok(record)
    }

    fn note_encoding(&self, took: EncodingTime) {
        self.board.segments.add(Step::Compress, took.compress);
        if let Some(encrypt) = took.encrypt {
            self.board.segments.add(Step::Encrypt, encrypt);
        }
    }

    /// Catalogues stored segments; tail objects with the same bytes go.
    pub(crate) async fn publish(&self, records: &[SegmentRecord], coverage: TailCoverage) -> Result<(), WorkError> {
        if records.is_empty() {
            return Ok(());
        }
        let published = self.archive.publish(records, coverage).await?;
        let now_us = self.clock.now_us();
        if !published.differing.is_empty() {
            tracing::error!(
                event = "divergence",
                objects = published.differing.len(),
                first = published.differing.first()
            );
        }
        {
            let mut ledger = self.ledger();
            for record in records {
                ledger.add(record, now_us);
            }
            ledger.remove(&published.covered, now_us);
        }
        let divergences = published.differing.len() as u64;
        self.board.note(|facts| {
            facts.successes.catalog_us = Some(now_us);
            facts.totals.divergences += divergences;
        });
        Ok(())
    }
}

/// Microseconds as seconds, for people and metrics.
pub(crate) fn seconds(us: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let us = us as f64;
    us / 1e6
}

/// A binlog that a task works on, until dropped.
#[derive(Debug)]
pub(crate) struct InWork {
    pipeline: Arc<Pipeline>,
    id: BinlogId,
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.pipeline.in_work.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Runs what reads files or computes where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
    let result = tokio::task::spawn_blocking(work).await.map_err(|_| WorkError::Stopped);
    status::tick();
    result
}
