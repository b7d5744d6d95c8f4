//! A binlog that the server has left: everything that is not catalogued of it goes to `binlogs/`, then a page names it, then the
//! tail objects that it covers go.
//!
//! ```text
//! catalogued            tail                not archived
//! |----------------|----------------|----------------------| size
//! 0          catalogued_to     shipped_to
//!                  ^ begins here: the tail's bytes are stored again, in segments that last
//! ```

use std::path::Path;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _, stream};
use pitr_archive::{Place, SegmentDamage, SegmentDraft, SegmentRecord, TailCoverage};
use tokio::sync::OwnedSemaphorePermit;

use super::cutter::{CutError, Cutter, Extent, Piece};
use super::draft::{Ending, draft};
use super::head::Identified;
use super::ledger::Progress;
use super::pipeline::{Pipeline, WorkError, blocking};
use crate::discovery::BinlogFile;

/// Segments of one binlog that are stored before a page names them, where no tail object waits to be covered.
const PAGE_SEGMENTS: usize = 64;

/// What became of a binlog.
#[derive(Debug)]
pub(crate) struct Archived {
    /// Its segments that no page names yet.
    pub(crate) records: Vec<SegmentRecord>,
    /// Which tail objects those cover.
    pub(crate) coverage: TailCoverage,
    /// Whether tail objects wait to be covered.
    pub(crate) has_tail: bool,
    /// From where on the file cannot be read.
    pub(crate) damage: Option<SegmentDamage>,
}

/// Stores what is missing of a closed binlog. What it gives back is to be published.
pub(crate) async fn archive(pipeline: &Pipeline, path: &Path, binlog: &Identified) -> Result<Archived, WorkError> {
    let file = open(path).await?;
    let size = file.stat().map_err(WorkError::Open)?.size;
    let extent = {
        let ledger = pipeline.ledger();
        let progress = ledger.progress(&binlog.id);
        if needs_reopening(&progress, size) {
            let start = ledger.binlog(&binlog.id).map_or(0, |known| reopen_at(known, size));
            Extent { boundary: start, start, limit: size }
        } else {
            Extent { boundary: progress.boundary, start: progress.catalogued_to, limit: size }
        }
    };
    archive_extent(pipeline, file, binlog, extent).await
}

async fn open(path: &Path) -> Result<BinlogFile, WorkError> {
    let path = path.to_owned();
    blocking(move || BinlogFile::open(&path)).await?.map_err(WorkError::Open)
}

async fn archive_extent(
    pipeline: &Pipeline,
    file: BinlogFile,
    binlog: &Identified,
    extent: Extent,
) -> Result<Archived, WorkError> {
    let tail = pipeline.ledger().tail(&binlog.id);
    let has_tail = !tail.is_empty();
    let mut source = PieceSource::open(pipeline, file, binlog, extent).await?;
    source.coverage = TailCoverage::of(tail);
    let mut records = Vec::new();
    {
        let workers = pipeline.memory.pieces(pipeline.segment_bytes);
        let mut stored = std::pin::pin!(
            source
                .drafts()
                .map_ok(|(draft, room)| async move {
                    let record = pipeline.store(draft).await;
                    drop(room);
                    record
                })
                .try_buffered(workers)
        );
        while let Some(record) = stored.try_next().await? {
            records.push(record);
            if !has_tail && records.len() == PAGE_SEGMENTS {
                pipeline.publish(&records, TailCoverage::default()).await?;
                records.clear();
            }
        }
    }
    let PieceSource { coverage, damage, .. } = source;
    Ok(Archived { records, coverage, has_tail, damage })
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
    binlog: &'a Identified,
    cutter: Option<Cutter>,
    coverage: TailCoverage,
    damage: Option<SegmentDamage>,
}

impl<'a> PieceSource<'a> {
    async fn open(
        pipeline: &'a Pipeline,
        file: BinlogFile,
        binlog: &'a Identified,
        extent: Extent,
    ) -> Result<Self, WorkError> {
        let (head, segment_bytes) = (Arc::clone(&binlog.head), pipeline.segment_bytes);
        let cutter = blocking(move || Cutter::open(file, &head, extent, segment_bytes)).await??;
        let coverage = TailCoverage::default();
        Ok(Self { pipeline, binlog, cutter: Some(cutter), coverage, damage: None })
    }

    fn drafts<'s>(
        &'s mut self,
    ) -> impl Stream<Item = Result<(SegmentDraft, Option<OwnedSemaphorePermit>), WorkError>> + use<'s, 'a> {
        stream::try_unfold(self, |source| async move {
            let room = source.pipeline.memory.take(source.pipeline.segment_bytes).await;
            let next = source.next().await?;
            Ok(next.map(|draft| ((draft, room), source)))
        })
    }

    async fn next(&mut self) -> Result<Option<SegmentDraft>, WorkError> {
        let Some(mut cutter) = self.cutter.take() else { return Ok(None) };
        let mut coverage = std::mem::take(&mut self.coverage);
        let id = self.binlog.id.clone();
        let (cutter, coverage, next) = blocking(move || {
            let next = next_piece(&mut cutter);
            if let Ok(Some((piece, _))) = &next {
                coverage.feed(&id, piece.start, &piece.raw);
            }
            (cutter, coverage, next)
        })
        .await?;
        self.cutter = Some(cutter);
        self.coverage = coverage;
        let Some((piece, ending)) = next? else { return Ok(None) };
        self.damage = ending.damage.clone().or_else(|| self.damage.take());
        Ok(Some(draft(Place::Binlogs, self.binlog, piece, ending)))
    }
}

/// The next piece of a closed file: whole ones first, then what is left of a file that makes no sense or ends too early, as it is.
fn next_piece(cutter: &mut Cutter) -> Result<Option<(Piece, Ending)>, CutError> {
    if let Some(piece) = cutter.next_whole()? {
        let ending = if piece.end >= cutter.limit() { Ending::of(cutter.file_end(), None) } else { Ending::none() };
        return Ok(Some((piece, ending)));
    }
    // A server that crashed cuts its file at the last whole transaction before it begins another.
    let reason = cutter.damage().map_or_else(|| "the file ends inside a transaction".to_owned(), ToString::to_string);
    let Some(piece) = cutter.next_unreadable()? else { return Ok(None) };
    let damage = Some(SegmentDamage { offset: cutter.damaged_at(), reason });
    let ending = if piece.end >= cutter.limit() {
        Ending::of(cutter.file_end(), damage)
    } else {
        Ending { closes: None, damage }
    };
    Ok(Some((piece, ending)))
}
