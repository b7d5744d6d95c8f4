//! A binlog that the server has left: everything that is not catalogued of it goes to `binlogs/`, then a page names it, then the
//! tail objects that it covers go.
//!
//! ```text
//! catalogued            tail                not archived
//! |----------------|----------------|----------------------| size
//! 0          catalogued_to     shipped_to
//!                  ^ begins here: the tail's bytes are stored again, in segments that last
//! ```
//! Several pieces are in work at once: one task finds where the next one ends, the others read, compress and send those before it.

use std::path::Path;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _, stream};
use pitr_archive::{Place, SegmentDamage, SegmentDraft, SegmentRecord, TailCoverage};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::continuation;
use super::cutter::{CutError, Cutter, Extent, Piece};
use super::draft::{Ending, draft};
use super::head::{Identified, identify};
use super::ledger::Progress;
use super::memory::{Lane, Room};
use super::pipeline::{InWork, Pipeline, WorkError, blocking};
use super::rate::Urgency;
use crate::discovery::{BinlogFile, IndexEntry};
use crate::status::{self, Step};

/// Segments of one binlog that are stored before a page names them, where no tail object waits to be covered.
const PAGE_SEGMENTS: usize = 64;

/// What became of a binlog.
#[derive(Debug)]
pub(crate) struct Archived {
    /// Which one it was.
    pub(crate) binlog: Identified,
    /// Its segments that no page names yet.
    pub(crate) records: Vec<SegmentRecord>,
    /// Which tail objects those cover.
    pub(crate) coverage: TailCoverage,
    /// Whether tail objects wait to be covered.
    pub(crate) has_tail: bool,
    /// From where on the file cannot be read.
    pub(crate) damage: Option<SegmentDamage>,
}

/// How a binlog is archived among others.
pub(crate) struct Manner<'a> {
    /// Whether everything before it is catalogued: then pages may name parts of it.
    pub(crate) is_first: &'a (dyn Fn() -> bool + Sync),
    /// Whether no replica can be reading it any more: then what was read need not stay in memory.
    pub(crate) is_old: bool,
}

/// Stores what is missing of a closed binlog. What it gives back is to be published.
pub(crate) async fn archive(
    pipeline: &Arc<Pipeline>,
    entry: &IndexEntry,
    source: &str,
    manner: Manner<'_>,
) -> Result<(InWork, Archived), WorkError> {
    let (file, binlog) = open(entry, source).await?;
    // The tail is at it: it will be done with its piece in a moment.
    let Some(claim) = pipeline.claim(&binlog.id) else { return Err(WorkError::Stopped) };
    let size = file.stat().map_err(WorkError::Open)?.size;
    let known = file.again().map_err(WorkError::Open)?;
    let progress = continuation::progress_of(pipeline, (known, size), &binlog, Lane::Backlog).await?;
    let extent = if needs_reopening(&progress, size) {
        let start = pipeline.ledger().binlog(&binlog.id).map_or(0, |known| reopen_at(known, size));
        Extent { boundary: start, start, limit: size }
    } else {
        Extent { boundary: progress.boundary, start: progress.catalogued_to, limit: size }
    };
    let tail = pipeline.ledger().tail(&binlog.id);
    let has_tail = !tail.is_empty();
    let mut source = PieceSource::open(pipeline, file, (binlog, extent), manner.is_old).await?;
    source.coverage = pipeline.archive.coverage(tail);
    let records = archive_pieces(pipeline, &mut source, &|| !has_tail && (manner.is_first)()).await?;
    let PieceSource { binlog, coverage, damage, .. } = source;
    Ok((claim, Archived { binlog, records, coverage, has_tail, damage }))
}

async fn open(entry: &IndexEntry, source: &str) -> Result<(BinlogFile, Identified), WorkError> {
    let (path, name, source) = (entry.path.clone(), entry.name.clone(), source.to_owned());
    blocking(move || {
        let file = BinlogFile::open(Path::new(&path)).map_err(WorkError::Open)?;
        let binlog = identify(&file, &name, &source)?;
        file.read_ahead();
        Ok((file, binlog))
    })
    .await?
}

async fn archive_pieces(
    pipeline: &Arc<Pipeline>,
    source: &mut PieceSource<'_>,
    may_publish: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<SegmentRecord>, WorkError> {
    let mut records = Vec::new();
    let stored = source.drafts().map_ok(|(draft, room)| {
        let pipeline = Arc::clone(pipeline);
        // A task of its own: it goes on while this one publishes, and ends with it.
        let mut task = JoinSet::new();
        task.spawn(status::in_this_task(async move { pipeline.store_piece(draft, room).await }));
        async move { task.join_next().await.and_then(Result::ok).unwrap_or(Err(WorkError::Stopped)) }
    });
    let mut stored = std::pin::pin!(stored.try_buffered(pipeline.limits.segments_at_once));
    while let Some(record) = stored.try_next().await? {
        records.push(record);
        if records.len() >= PAGE_SEGMENTS && may_publish() {
            pipeline.publish(&records, TailCoverage::default()).await?;
            records.clear();
        }
    }
    Ok(records)
}

/// Whether all bytes are catalogued and only the word about the end is missing, or the file has become shorter than what is
/// catalogued (the server lost it in a crash). Either way its last range is stored again, up to its end and with that word.
fn needs_reopening(progress: &Progress, size: u64) -> bool {
    progress.catalogued_to >= size && !progress.closed
}

/// The start of the last catalogued range that begins at a transaction boundary inside the file.
fn reopen_at(known: &pitr_recovery::ArchivedBinlog, size: u64) -> u64 {
    let begins_well = known.ranges.iter().filter(|range| range.start < size && !range.flags.starts_in_transaction);
    begins_well.map(|range| range.start).max().unwrap_or(0)
}

/// Cuts a file in the background, one piece at a time, each with its room in memory.
struct PieceSource<'a> {
    pipeline: &'a Pipeline,
    binlog: Identified,
    cutter: Option<Cutter>,
    coverage: TailCoverage,
    damage: Option<SegmentDamage>,
    is_old: bool,
    /// Transactions of the piece before: about as many as the next one will have.
    transactions: usize,
}

/// Where a piece ends.
struct Cut {
    end: u64,
    /// Bytes of it, and transactions that were scanned.
    size: (u64, usize),
    damage: Option<SegmentDamage>,
}

impl<'a> PieceSource<'a> {
    async fn open(
        pipeline: &'a Pipeline,
        file: BinlogFile,
        (binlog, extent): (Identified, Extent),
        is_old: bool,
    ) -> Result<Self, WorkError> {
        let (head, segment_bytes) = (Arc::clone(&binlog.head), pipeline.segment_bytes);
        let cutter = blocking(move || Cutter::open(file, &head, extent, segment_bytes)).await??;
        let cutter = cutter.keeping(pipeline.spare.clone());
        let coverage = TailCoverage::default();
        Ok(Self { pipeline, binlog, cutter: Some(cutter), coverage, damage: None, is_old, transactions: 0 })
    }

    fn drafts<'s>(&'s mut self) -> impl Stream<Item = Result<(SegmentDraft, Room), WorkError>> + use<'s, 'a> {
        stream::try_unfold(self, |source| async move { Ok(source.next().await?.map(|next| (next, source))) })
    }

    /// Waits until there is room for a piece, and reads it while it looks for its end. One that turns out to be larger than there is
    /// room for is let go, and read again when there is. It is hashed here, too: with one worker that is all the other core does.
    async fn next(&mut self) -> Result<Option<(SegmentDraft, Room)>, WorkError> {
        let limits = &self.pipeline.limits;
        let expected = self.cutter.as_ref().map_or(0, Cutter::most_in_hand);
        let mut room = limits.memory.take(Lane::Backlog, expected, self.transactions).await;
        let begun = Instant::now();
        let Some(cut) = self.work(find).await? else { return Ok(None) };
        let found_in = begun.elapsed();
        self.transactions = cut.size.1;
        if !limits.memory.fit(&mut room, cut.size.0, cut.size.1) {
            if let Some(cutter) = &mut self.cutter {
                cutter.let_go();
            }
            drop(room);
            room = limits.memory.take(Lane::Backlog, cut.size.0, cut.size.1).await;
        }
        limits.reads.spend(cut.size.0, Urgency::Later).await;
        let (id, is_old, archive) = (self.binlog.id.clone(), self.is_old, Arc::clone(&self.pipeline.archive));
        let mut coverage = std::mem::take(&mut self.coverage);
        let begun = Instant::now();
        let (piece, raw, ending, coverage) = self
            .work(move |cutter| {
                let (piece, ending) = take(cutter, cut)?;
                coverage.feed(&id, piece.start, &piece.raw);
                if is_old {
                    cutter.forget(&piece);
                }
                let raw = archive.hashed(piece.raw.clone());
                Ok((piece, raw, ending, coverage))
            })
            .await?;
        self.pipeline.board.segments.add(Step::Read, found_in + begun.elapsed());
        self.coverage = coverage;
        self.damage = ending.damage.clone().or_else(|| self.damage.take());
        Ok(Some((SegmentDraft { raw, ..draft(Place::Binlogs, &self.binlog, piece, ending) }, room)))
    }

    /// Lets the cutter work where it holds up nothing else, the workers neither: they are never out of pieces.
    async fn work<T, F>(&mut self, work: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Cutter) -> Result<T, CutError> + Send + 'static,
    {
        let Some(mut cutter) = self.cutter.take() else { return Err(WorkError::Stopped) };
        let (cutter, done) = blocking(move || {
            let done = work(&mut cutter);
            (cutter, done)
        })
        .await?;
        self.cutter = Some(cutter);
        Ok(done?)
    }
}

/// Where the next piece of a closed file ends: whole ones first, then what is left of a file that makes no sense or ends too early,
/// as it is.
fn find(cutter: &mut Cutter) -> Result<Option<Cut>, CutError> {
    let whole = cutter.find_whole()?;
    let damage = whole.is_none().then(|| {
        // A server that crashed cuts its file at the last whole transaction before it begins another.
        let reason =
            cutter.damage().map_or_else(|| "the file ends inside a transaction".to_owned(), ToString::to_string);
        SegmentDamage { offset: cutter.damaged_at(), reason }
    });
    let Some(end) = whole.or_else(|| cutter.find_unreadable()) else { return Ok(None) };
    Ok(Some(Cut { end, size: (end - cutter.start(), cutter.waiting()), damage }))
}

fn take(cutter: &mut Cutter, cut: Cut) -> Result<(Piece, Ending), CutError> {
    let piece = cutter.take(cut.end)?;
    let ending = if piece.end >= cutter.limit() {
        Ending::of(cutter.file_end(), cut.damage)
    } else {
        Ending { closes: None, damage: cut.damage }
    };
    Ok((piece, ending))
}
