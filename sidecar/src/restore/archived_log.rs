//! The plan's binlogs as the replication source reads them: from the archive, a little ahead, cut at the stop.

mod beginning;
mod kept;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use pitr_archive::{Archive, ArchiveError};
use pitr_binlog::{GtidSet, Head, Scanner};
use pitr_recovery::{BinlogId, PlannedBinlog, PlannedRange};
use pitr_replay::{LogOpener, LogPiece, LogReader, ReadError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use self::beginning::Beginning;
use self::kept::Kept;
use super::stretch::{Stretch, reference, stretches_of};

/// Raw bytes of ranges that are in memory at once: being fetched, waiting, or being sent. A range that is larger than this is alone.
const READ_AHEAD_KIB: u32 = 48 << 10;
/// Raw bytes that a killed run may have fetched and its server not applied: what was in memory, relay logs, and the range that both
/// had in hand.
pub(super) const KEPT_BYTES: u64 = (READ_AHEAD_KIB as u64 + (32 << 10) + (16 << 10)) << 10;
/// Ranges that are fetched, checked and decompressed at once.
const FETCHES_AT_ONCE: usize = 4;
/// Ranges that wait to be sent; the bytes above are the real bound.
const RANGES_WAITING: usize = 64;

/// The log of one plan.
#[derive(Clone)]
pub(super) struct ArchivedLog {
    archive: Arc<Archive>,
    files: Arc<[PlannedBinlog]>,
    /// What the base holds: a replica that has no more needs the log from its beginning.
    base: Arc<GtidSet>,
    /// What was fetched last, for the run after a kill.
    kept: Arc<Kept>,
    /// Why the archive could not be read, for a verdict with a name.
    failure: Arc<Mutex<Option<ArchiveError>>>,
}

impl ArchivedLog {
    /// The log of a plan's files. What is fetched of it is kept for a while in a folder.
    pub(super) fn new(archive: Arc<Archive>, files: &[PlannedBinlog], base: &GtidSet, folder: PathBuf) -> Self {
        let kept = Arc::new(Kept::open(folder, KEPT_BYTES));
        Self { archive, files: files.into(), base: Arc::new(base.clone()), kept, failure: Arc::default() }
    }

    /// Takes the last failure of the archive.
    pub(super) fn take_failure(&self) -> Option<ArchiveError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, error: ArchiveError) -> ReadError {
        let text = format!("{:#}", anyhow::Error::msg(error.to_string()));
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        ReadError::new(text)
    }

    /// What was executed before a file, by its head.
    async fn previous(&self, file: &PlannedBinlog) -> Result<GtidSet, ReadError> {
        let range = reference(&file.id, &file.head);
        match self.archive.read_previous(&range, &file.head.objects).await.map_err(|error| self.failed(error))? {
            Some(previous) => Ok(previous),
            None => Ok(self.head(file).await?.previous),
        }
    }

    async fn head(&self, file: &PlannedBinlog) -> Result<Head, ReadError> {
        head_in(&self.range(&file.id, &file.head).await?, file)
    }

    async fn range(&self, binlog: &BinlogId, range: &PlannedRange) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.kept.read(range).await {
            return Ok(bytes);
        }
        let read = self.archive.read_range(&reference(binlog, range), &range.objects).await;
        let bytes = read.map_err(|error| self.failed(error))?;
        self.kept.keep(range, bytes.clone()).await;
        Ok(bytes)
    }

    /// The pieces that one step yields: a file's beginning, and bytes up to a seam. So what a plan is cut into decides what is put
    /// together, and is the same for every pass.
    async fn pieces(self, step: Step) -> Result<Vec<LogPiece>, ReadError> {
        let file = &self.files[step.file];
        let mut pieces = Vec::new();
        let bytes = match &step.part {
            Some(part) => Some((part, self.range(&file.id, &part.range).await?)),
            None => None,
        };
        let mut first = file.from;
        if let Some(left_out) = step.begins {
            let head = match &bytes {
                Some((part, bytes)) if part.range == file.head => head_in(bytes, file)?,
                Some(_) | None => self.head(file).await?,
            };
            let begins_at = step.part.as_ref().map_or(0, |part| part.from);
            first = first.max(head.length).max(begins_at);
            let (name, head) = (file.name.clone(), head.bytes.into());
            pieces.push(LogPiece::File { name, head, start: first, left_out });
        }
        if let Some((part, bytes)) = bytes {
            let (from, to) = (part.from.max(first), part.to);
            let place = |offset: u64| usize::try_from(offset - part.range.start).unwrap_or(usize::MAX);
            if from < to {
                let lost = || ReadError::new(format!("{} is shorter than its plan says", file.name));
                let cut = bytes.get(place(from)..place(to)).ok_or_else(lost)?;
                pieces.push(LogPiece::Bytes { start: from, bytes: bytes.slice_ref(cut) });
            }
            pieces.push(LogPiece::Seam);
        }
        Ok(pieces)
    }
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    file: usize,
    /// The file begins here, without those of its transactions that stand before.
    begins: Option<GtidSet>,
    /// What is sent of which range.
    part: Option<Part>,
}

impl Step {
    /// What is fetched for it, unpacked.
    fn raw_bytes(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.range.end - part.range.start)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    range: PlannedRange,
    from: u64,
    to: u64,
}

/// The log as fetches from a place on. The first one of each file begins it.
fn steps_from(files: &[PlannedBinlog], beginning: Beginning) -> Vec<Step> {
    let Beginning { file: first, stretch, left_out } = beginning;
    let mut steps: Vec<Step> = Vec::new();
    for (number, file) in files.iter().enumerate().skip(first) {
        let part = |stretch: Stretch<'_>| Part { range: stretch.range.clone(), from: stretch.from, to: stretch.to };
        let mut parts: Vec<Option<Part>> = stretches_of(file).map(part).map(Some).collect();
        parts.drain(..if number == first { stretch.min(parts.len()) } else { 0 });
        if parts.is_empty() {
            parts.push(None);
        }
        let mut begins = Some(if number == first { left_out.clone() } else { GtidSet::new() });
        steps.extend(parts.into_iter().map(|part| Step { file: number, begins: begins.take(), part }));
    }
    steps
}

fn head_in(bytes: &[u8], file: &PlannedBinlog) -> Result<Head, ReadError> {
    let mut scanner = Scanner::new();
    // Only the head is wanted; what is wrong further on is found when it is sent.
    let scanned = scanner.feed(bytes, &mut |_| {});
    match (scanner.head(), scanned) {
        (Some(head), _) => Ok(head.clone()),
        (None, Err(error)) => Err(ReadError::new(format!("{} has no head: {error}", file.name))),
        (None, Ok(())) => Err(ReadError::new(format!("{} has no head", file.name))),
    }
}

impl LogOpener for ArchivedLog {
    fn open(&self, executed: &GtidSet) -> Box<dyn LogReader> {
        Box::new(Pass { log: self.clone(), executed: executed.clone(), pieces: None })
    }
}

/// One pass over the log.
struct Pass {
    log: ArchivedLog,
    executed: GtidSet,
    pieces: Option<Pieces>,
}

/// Pieces fetched ahead, and what is left of the last fetch.
struct Pieces {
    fetched: mpsc::Receiver<Result<Vec<LogPiece>, ReadError>>,
    left: std::vec::IntoIter<LogPiece>,
    /// Fetches while pieces are being sent; ends with this value.
    _reader: JoinSet<()>,
}

/// Bytes that count against what may be in memory until the last slice of them is gone.
struct Counted {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Fetches steps in order, several at once, as far ahead as there is room.
async fn read_ahead(log: ArchivedLog, steps: Vec<Step>, to: mpsc::Sender<Result<Vec<LogPiece>, ReadError>>) {
    let room = Arc::new(Semaphore::new(READ_AHEAD_KIB as usize));
    let fetch = |step: Step| {
        let (log, room) = (log.clone(), Arc::clone(&room));
        async move {
            let kib = step.raw_bytes().div_ceil(1024).clamp(1, u64::from(READ_AHEAD_KIB)) as u32;
            let room = room.acquire_many_owned(kib).await.map_err(|_| ReadError::new("the reader has ended"))?;
            log.pieces(step).await.map(|pieces| counted(pieces, room))
        }
    };
    let mut fetched = futures::stream::iter(steps).map(fetch).buffered(FETCHES_AT_ONCE).boxed();
    while let Some(pieces) = fetched.next().await {
        let failed = pieces.is_err();
        if to.send(pieces).await.is_err() || failed {
            return;
        }
    }
}

/// A step has at most one piece with bytes.
fn counted(pieces: Vec<LogPiece>, room: OwnedSemaphorePermit) -> Vec<LogPiece> {
    let mut room = Some(room);
    let count = |piece| match (piece, room.take()) {
        (LogPiece::Bytes { start, bytes }, Some(room)) => {
            LogPiece::Bytes { start, bytes: Bytes::from_owner(Counted { bytes, _room: room }) }
        }
        (piece, taken) => {
            room = taken;
            piece
        }
    };
    pieces.into_iter().map(count).collect()
}

/// Begins a pass where a replica that has executed this set needs it.
async fn begin(log: ArchivedLog, executed: GtidSet) -> Result<Pieces, ReadError> {
    let steps = steps_from(&log.files, log.beginning(&executed).await?);
    let (to, fetched) = mpsc::channel(RANGES_WAITING);
    let mut reader = JoinSet::new();
    reader.spawn(read_ahead(log, steps, to));
    Ok(Pieces { fetched, left: Vec::new().into_iter(), _reader: reader })
}

#[async_trait]
impl LogReader for Pass {
    async fn next(&mut self) -> Result<Option<LogPiece>, ReadError> {
        if self.pieces.is_none() {
            self.pieces = Some(begin(self.log.clone(), self.executed.clone()).await?);
        }
        let Some(pieces) = &mut self.pieces else { return Ok(None) };
        loop {
            if let Some(piece) = pieces.left.next() {
                return Ok(Some(piece));
            }
            match pieces.fetched.recv().await {
                Some(more) => pieces.left = more?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pitr_recovery::PlannedBinlog;

    use super::super::stretch::planned;
    use super::{Beginning, steps_from};

    /// The file, whether it begins there, and what is sent of it.
    type Told = (usize, bool, Option<(u64, u64)>);

    fn steps(files: &[PlannedBinlog], beginning: Beginning) -> Vec<Told> {
        let told = |step: super::Step| (step.file, step.begins.is_some(), step.part.map(|part| (part.from, part.to)));
        steps_from(files, beginning).into_iter().map(told).collect()
    }

    #[test]
    fn the_first_fetch_begins_the_file_even_without_bytes() {
        let files = [planned(&[], 157, 157), planned(&[(0, 1000), (800, 1500)], 157, 1500)];
        let expected = [(0, true, None), (1, true, Some((157, 1000))), (1, false, Some((1000, 1500)))];
        assert_eq!(steps(&files, Beginning::default()), expected);
    }

    #[test]
    fn a_later_pass_begins_within_a_file_and_the_files_after_it_are_whole() {
        let two = planned(&[(0, 1000), (1000, 1500)], 157, 1500);
        let left_out: pitr_binlog::GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9".parse().unwrap();
        let beginning = Beginning { file: 1, stretch: 1, left_out: left_out.clone() };
        let files = [two.clone(), two.clone(), two];
        let expected = [(1, true, Some((1000, 1500))), (2, true, Some((157, 1000))), (2, false, Some((1000, 1500)))];
        assert_eq!(steps(&files, beginning.clone()), expected);
        let begins: Vec<_> = steps_from(&files, beginning).into_iter().filter_map(|step| step.begins).collect();
        assert_eq!(begins, [left_out, pitr_binlog::GtidSet::new()]);
    }
}
