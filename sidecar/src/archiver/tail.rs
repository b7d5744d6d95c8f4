//! The binlog that the server is writing: whole transactions go to `tail/` every few seconds; when a segment's worth has gathered,
//! that goes to `binlogs/`, then a page names it, then the tail objects that it covers go.
//!
//! ```text
//! catalogued              tail                 young      not whole yet
//! |-----------------------|---------|----------|==========|............| size
//! 0                       start of the cutter  shipped    boundary
//! ```
//! One scanner runs over each byte once. After any failure it is thrown away, and begins again at what the ledger knows to be
//! stored: what is claimed never depends on what this task remembers.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pitr_archive::{Place, SegmentRecord};
use tokio::time::Instant;

use super::continuation;
use super::cutter::{CutError, Cutter, Extent, Piece};
use super::draft::{Ending, draft};
use super::head::{HeadError, Identified, identify};
use super::memory::Lane;
use super::pipeline::{Pipeline, WorkError, blocking};
use super::stream::Streaming;
use crate::discovery::{self, BinlogFile, Found, IndexEntry};
use crate::status::{ActiveFacts, Proof, Step};

/// Tail objects of one binlog above which small neighbours are made one; readers never list many more than 64.
const MERGE_ABOVE: usize = 48;
/// Neighbours together larger than this part of a segment are left alone: they would be written again and again.
const MERGE_PART: u64 = 4;
/// An object larger than this part of a segment is not merged any more.
const MERGED_PART: u64 = 16;

/// What one tick did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The server began another file since the tick before.
    pub(crate) rotated: bool,
}

/// What a tick can tell of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Now.
    at_us: i64,
    /// Everything that was committed before this is in the files that can be read here; none where nobody knows.
    complete_us: Option<i64>,
}

/// Ships the active binlog.
#[derive(Debug)]
pub(crate) struct Tail {
    pipeline: Arc<Pipeline>,
    /// Where the files come from, if they are not the server's own.
    stream: Option<Arc<Streaming>>,
    active: Option<Active>,
}

/// The active binlog, opened.
#[derive(Debug)]
struct Active {
    binlog: Identified,
    path: PathBuf,
    /// Taken out while it works in the background.
    cutter: Option<Cutter>,
    /// A second handle, which keeps the inode from being given to another file.
    file: Arc<BinlogFile>,
    /// The tail is stored up to here.
    shipped: u64,
}

impl Tail {
    pub(crate) fn new(pipeline: Arc<Pipeline>, stream: Option<Arc<Streaming>>) -> Self {
        Self { pipeline, stream, active: None }
    }

    /// What a look at the index from now on can tell of.
    pub(crate) fn see(&self) -> Seen {
        let at_us = self.pipeline.clock.now_us();
        let complete_us = self.stream.as_ref().map_or(Some(at_us), |stream| stream.complete_us());
        Seen { at_us, complete_us }
    }

    /// Ships what is whole and new. `seen` was made before the index was read.
    pub(crate) async fn tick(&mut self, found: &Found, seen: Seen) -> Result<Tick, WorkError> {
        let Some(entry) = found.entries.last() else { return Ok(Tick::default()) };
        let rotated = self.leave(entry).await?;
        let result = self.ship_entry(entry, &found.source, seen).await;
        if result.is_err() {
            self.active = None;
        }
        // A file whose head is still being written has nothing to ship.
        match result {
            Ok(()) | Err(WorkError::Head(HeadError::Short) | WorkError::Stopped) => Ok(Tick { rotated }),
            Err(error) => {
                self.tell_behind(entry, seen).await;
                Err(error)
            }
        }
    }

    /// Puts on the board what the server has written while nothing could be shipped.
    async fn tell_behind(&self, entry: &IndexEntry, seen: Seen) {
        let path = entry.path.clone();
        let Ok(Ok(stat)) = blocking(move || discovery::stat(&path)).await else { return };
        self.pipeline.board.note(|board| {
            board.active = Some(behind(board.active.as_ref(), entry.name.as_str(), stat.size, seen.at_us));
        });
    }

    /// Ships the rest of a file that the server has left: the backlog may take its time until it is there.
    async fn leave(&mut self, entry: &IndexEntry) -> Result<bool, WorkError> {
        let Some(active) = &self.active else { return Ok(false) };
        if is_same_file(active, entry).await? {
            return Ok(false);
        }
        let Some(mut left) = self.active.take() else { return Ok(false) };
        if let Err(error) = self.ship(&mut left).await {
            tracing::debug!(event = "left", binlog = left.binlog.name.as_str(), "{error}");
        }
        Ok(true)
    }

    async fn ship_entry(&mut self, entry: &IndexEntry, source: &str, seen: Seen) -> Result<(), WorkError> {
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.open(entry, source).await?,
        };
        self.ship(&mut active).await?;
        self.tell(&active, seen).await?;
        self.active = Some(active);
        Ok(())
    }

    async fn open(&self, entry: &IndexEntry, source: &str) -> Result<Active, WorkError> {
        let (path, name, source) = (entry.path.clone(), entry.name.clone(), source.to_owned());
        let (file, held, known, binlog) = blocking(move || -> Result<_, WorkError> {
            let file = BinlogFile::open(&path).map_err(WorkError::Open)?;
            let held = file.again().map_err(WorkError::Open)?;
            let known = file.again().map_err(WorkError::Open)?;
            let binlog = identify(&file, &name, &source)?;
            Ok((file, held, known, binlog))
        })
        .await??;
        self.pipeline.met(&binlog);
        let size = binlog.stat.size;
        let progress = continuation::progress_of(&self.pipeline, (known, size), &binlog, Lane::Tail).await?;
        let extent = Extent { boundary: progress.boundary, start: progress.catalogued_to, limit: size };
        // A server that lost bytes in a crash goes on in another file; what was shipped of them stays, as a branch.
        let shipped = if progress.shipped_to <= size { progress.shipped_to } else { progress.catalogued_to };
        let (head, segment_bytes) = (Arc::clone(&binlog.head), self.pipeline.segment_bytes);
        let cutter = blocking(move || Cutter::open(file, &head, extent, segment_bytes)).await??;
        Ok(Active { binlog, path: entry.path.clone(), cutter: Some(cutter), file: Arc::new(held), shipped })
    }

    /// Ships everything whole that there is now.
    async fn ship(&self, active: &mut Active) -> Result<(), WorkError> {
        let id = active.binlog.id.clone();
        let Some(_claim) = self.pipeline.claim(&id) else { return Err(WorkError::Stopped) };
        let size = active.file.stat().map_err(WorkError::Open)?.size;
        if self.pipeline.is_expired(&id) || self.pipeline.ledger().progress(&id).is_done(size) {
            return Err(WorkError::Stopped);
        }
        active.grow(size)?;
        let limits = &self.pipeline.limits;
        loop {
            let begun = Instant::now();
            let Some((end, count)) =
                active.work(|cutter| Ok(cutter.find_full()?.map(|end| (end, cutter.waiting())))).await?
            else {
                break;
            };
            let room = limits.memory.take(Lane::Tail, end.saturating_sub(active.start()), count).await;
            let Some(piece) = active.work(move |cutter| cutter.take(end).map(Some)).await? else { break };
            self.pipeline.board.segments.add(Step::Read, begun.elapsed());
            self.store_full(active, piece).await?;
            drop(room);
        }
        let shipped = active.shipped;
        let _room = limits.memory.take(Lane::Tail, active.whole_to().saturating_sub(shipped), active.waiting()).await;
        let begun = Instant::now();
        if let Some(piece) = active.work(move |cutter| cutter.young(shipped)).await? {
            self.pipeline.board.segments.add(Step::Read, begun.elapsed());
            self.store_young(active, piece).await?;
            self.merge(active).await?;
        }
        active.check()
    }

    /// A segment's worth: it leaves the tail.
    async fn store_full(&self, active: &mut Active, piece: Piece) -> Result<(), WorkError> {
        let (id, start, raw) = (active.binlog.id.clone(), piece.start, piece.raw.clone());
        let tail = self.pipeline.ledger().tail(&id);
        let mut coverage = self.pipeline.archive.coverage(tail);
        let coverage = blocking(move || {
            coverage.feed(&id, start, &raw);
            coverage
        })
        .await?;
        let end = piece.end;
        let record = self.pipeline.store(draft(Place::Binlogs, &active.binlog, piece, Ending::none())).await?;
        self.pipeline.publish(&[record], coverage).await?;
        active.shipped = active.shipped.max(end);
        Ok(())
    }

    async fn store_young(&self, active: &mut Active, piece: Piece) -> Result<(), WorkError> {
        let end = piece.end;
        let ending = active.cutter.as_ref().map_or_else(Ending::none, |cutter| Ending::of_active(cutter.file_end()));
        let record = self.pipeline.store(draft(Place::Tail, &active.binlog, piece, ending)).await?;
        let now_us = self.pipeline.clock.now_us();
        self.pipeline.ledger().add(&record, now_us);
        active.shipped = end;
        Ok(())
    }

    /// Makes one object of many small ones.
    async fn merge(&self, active: &Active) -> Result<(), WorkError> {
        let tail = self.pipeline.ledger().tail(&active.binlog.id);
        if tail.len() < MERGE_ABOVE || self.pipeline.board.read().store.keeps_all(Instant::now()) {
            return Ok(());
        }
        let run = longest_small_run(&tail, self.pipeline.segment_bytes);
        // The file has their bytes still: nothing is fetched, and what is encrypted need not be opened.
        let raw = active.bytes_of(run).await;
        let merged = self.pipeline.archive.merge_tail(run, self.pipeline.codec, raw).await?;
        let Some(merged) = merged else { return Ok(()) };
        let keys: Vec<String> = run.iter().map(|record| record.key.to_string()).collect();
        let now_us = self.pipeline.clock.now_us();
        let mut ledger = self.pipeline.ledger();
        ledger.add(&merged, now_us);
        ledger.remove(&keys, now_us);
        Ok(())
    }

    /// Puts on the board how far the active binlog is shipped.
    async fn tell(&self, active: &Active, seen: Seen) -> Result<(), WorkError> {
        let size = active.file.stat().map_err(WorkError::Open)?.size;
        let read = active.cutter.as_ref().map_or(0, Cutter::offset);
        let is_whole = active.shipped >= read;
        let facts = ActiveFacts {
            binlog: active.binlog.name.as_str().to_owned(),
            position: size,
            shipped: active.shipped,
            unshipped_since_us: (!is_whole).then_some(seen.at_us),
        };
        let proof = seen.complete_us.filter(|_| is_whole);
        let proof = proof.map(|at_us| Proof { at_us, binlog: active.binlog.id.clone(), position: active.shipped });
        self.pipeline.board.note(|board| {
            board.successes.tail_us = seen.complete_us.or(board.successes.tail_us);
            let since_us = board
                .active
                .as_ref()
                .filter(|known| known.binlog == facts.binlog)
                .and_then(|known| known.unshipped_since_us);
            board.active = Some(ActiveFacts {
                unshipped_since_us: facts.unshipped_since_us.map(|us| since_us.unwrap_or(us)),
                ..facts
            });
            board.proof = proof.or(board.proof.take());
        });
        Ok(())
    }
}

impl Active {
    fn grow(&mut self, size: u64) -> Result<(), WorkError> {
        let Some(cutter) = &mut self.cutter else { return Err(WorkError::Stopped) };
        if size < cutter.offset().max(self.shipped) {
            return Err(CutError::Shorter { size, wanted: cutter.offset().max(self.shipped) }.into());
        }
        cutter.grow(size);
        Ok(())
    }

    fn whole_to(&self) -> u64 {
        self.cutter.as_ref().map_or(0, Cutter::boundary)
    }

    fn start(&self) -> u64 {
        self.cutter.as_ref().map_or(0, Cutter::start)
    }

    fn waiting(&self) -> usize {
        self.cutter.as_ref().map_or(0, Cutter::waiting)
    }

    /// Lets the cutter work where it holds up nothing else.
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

    /// The bytes of neighbouring tail objects as they stand in the file, if it still has them.
    async fn bytes_of(&self, run: &[SegmentRecord]) -> Option<Bytes> {
        let (first, last) = (run.first()?, run.last()?);
        let start = first.key.start;
        let length = usize::try_from(last.key.end.checked_sub(start)?).ok()?;
        let file = Arc::clone(&self.file);
        let read = blocking(move || {
            let mut bytes = vec![0; length];
            let count = file.read_at(start, &mut bytes).ok()?;
            (count == length).then(|| Bytes::from(bytes))
        });
        read.await.ok()?
    }

    /// Whether all that was read makes sense.
    fn check(&self) -> Result<(), WorkError> {
        let Some(cutter) = &self.cutter else { return Err(WorkError::Stopped) };
        match cutter.damage() {
            Some(reason) => Err(WorkError::Damaged { offset: cutter.damaged_at(), reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

/// What is known of the active binlog once it has grown to `size` and could not be shipped.
fn behind(known: Option<&ActiveFacts>, binlog: &str, size: u64, at_us: i64) -> ActiveFacts {
    let since_us = known.and_then(|known| known.unshipped_since_us);
    // A shorter one of that name is another file: the server began anew.
    let is_same = |known: &&ActiveFacts| known.binlog == binlog && known.shipped <= size;
    let shipped = known.filter(is_same).map_or(0, |known| known.shipped);
    let unshipped_since_us = (shipped < size).then(|| since_us.unwrap_or(at_us));
    ActiveFacts { binlog: binlog.to_owned(), position: size, shipped, unshipped_since_us }
}

/// Whether the index still ends in the file that is held open. A name that returns (RESET) is another file.
async fn is_same_file(active: &Active, entry: &IndexEntry) -> Result<bool, WorkError> {
    if active.path != entry.path {
        return Ok(false);
    }
    let (held, path) = (Arc::clone(&active.file), entry.path.clone());
    blocking(move || {
        Ok(held.stat().map_err(WorkError::Open)?.inode == discovery::stat(&path).map_err(WorkError::Open)?.inode)
    })
    .await?
}

/// The longest run of neighbours, each small, that together stay small enough. The newest stays: a reader that lists while it
/// moves would miss the end of the tail, and no hole would make it look again (T).
fn longest_small_run(tail: &[SegmentRecord], segment_bytes: u64) -> &[SegmentRecord] {
    let lengths: Vec<(u64, u64)> = tail.iter().map(|record| (record.key.start, record.key.end)).collect();
    let (start, end) = small_run(&lengths, segment_bytes);
    tail.get(start..end).unwrap_or_default()
}

fn small_run(ranges: &[(u64, u64)], segment_bytes: u64) -> (usize, usize) {
    let mut best = (0, 0);
    let (mut start, mut bytes) = (0, 0);
    let older = ranges.len().saturating_sub(1);
    for (at, (from, to)) in ranges.iter().enumerate().take(older) {
        let length = to - from;
        let follows = at > start && ranges[at - 1].1 == *from;
        if length > segment_bytes / MERGED_PART {
            (start, bytes) = (at + 1, 0);
            continue;
        }
        if at > start && (!follows || bytes + length > segment_bytes / MERGE_PART) {
            (start, bytes) = (at, 0);
        }
        bytes += length;
        if at + 1 - start > best.1 - best.0 {
            best = (start, at + 1);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{behind, small_run};
    use crate::status::ActiveFacts;

    #[test]
    fn what_cannot_be_shipped_is_behind_since_it_was_seen() {
        let whole = ActiveFacts { binlog: "b.1".into(), position: 100, shipped: 100, unshipped_since_us: None };
        let idle = behind(Some(&whole), "b.1", 100, 7);
        assert_eq!((idle.shipped, idle.unshipped_since_us), (100, None));
        let grown = behind(Some(&whole), "b.1", 150, 7);
        assert_eq!((grown.position, grown.shipped, grown.unshipped_since_us), (150, 100, Some(7)));
        // It stays behind since then, also in the binlog after it.
        let rotated = behind(Some(&grown), "b.2", 40, 9);
        assert_eq!((rotated.position, rotated.shipped, rotated.unshipped_since_us), (40, 0, Some(7)));
        let reset = behind(Some(&rotated), "b.2", 30, 11);
        assert_eq!((reset.position, reset.shipped), (30, 0));
        let whole = ActiveFacts { binlog: "b.1".into(), position: 100, shipped: 100, unshipped_since_us: None };
        assert_eq!(behind(Some(&whole), "b.1", 40, 9).unshipped_since_us, Some(9));
        assert_eq!(behind(None, "b.1", 40, 9).unshipped_since_us, Some(9));
    }

    #[test]
    fn small_neighbours_are_merged_and_large_ones_left_alone() {
        let segment = 1600;
        assert_eq!(small_run(&[], segment), (0, 0));
        assert_eq!(small_run(&[(0, 100), (100, 150), (150, 160), (160, 170)], segment), (0, 3));
        // The first is larger than a sixteenth of a segment.
        assert_eq!(small_run(&[(0, 101), (101, 150), (150, 160), (160, 170)], segment), (1, 3));
        // A hole: these do not follow each other.
        assert_eq!(small_run(&[(0, 10), (20, 30), (30, 40), (40, 50)], segment), (1, 3));
        // Together no more than a quarter of a segment.
        let many: Vec<(u64, u64)> = (0..10).map(|at| (at * 100, (at + 1) * 100)).collect();
        assert_eq!(small_run(&many, segment), (0, 4));
    }

    #[test]
    fn the_newest_is_left_alone() {
        assert_eq!(small_run(&[(0, 10), (10, 20)], 1600), (0, 1));
        assert_eq!(small_run(&[(0, 10), (10, 20), (20, 30)], 1600), (0, 2));
    }
}
