//! The plan's binlogs as the replication source reads them: from the archive, a little ahead, cut at the stop.

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

use super::stretch::{Stretch, reference, stretches_of};

/// Raw bytes of ranges that are in memory at once: being fetched, waiting, or being sent. A range that is larger than this is alone.
const READ_AHEAD_KIB: u32 = 48 << 10;
/// Ranges that are fetched, checked and decompressed at once.
const FETCHES_AT_ONCE: usize = 4;
/// Heads that are asked for at once where a later run goes on: a small request each.
const HEADS_AT_ONCE: usize = 8;
/// Ranges that wait to be sent; the bytes above are the real bound.
const RANGES_WAITING: usize = 64;

/// The log of one plan.
#[derive(Clone)]
pub(super) struct ArchivedLog {
    archive: Arc<Archive>,
    files: Arc<[PlannedBinlog]>,
    /// What the base holds: a replica that has no more needs the log from its beginning.
    base: Arc<GtidSet>,
    /// Why the archive could not be read, for a verdict with a name.
    failure: Arc<Mutex<Option<ArchiveError>>>,
}

impl ArchivedLog {
    /// The log of a plan's files.
    pub(super) fn new(archive: Arc<Archive>, files: &[PlannedBinlog], base: &GtidSet) -> Self {
        Self { archive, files: files.into(), base: Arc::new(base.clone()), failure: Arc::default() }
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

    /// A file before which nothing is missing in `executed`. Of several servers' logs none is passed over: batches drop what has
    /// come before, and must see it.
    async fn first_needed(&self, executed: &GtidSet) -> Result<usize, ReadError> {
        if *executed == *self.base || is_from_several_servers(&self.files) {
            return Ok(0);
        }
        let previous = |number: usize| {
            let log = self.clone();
            async move { log.previous(&log.files[number]).await }
        };
        let mut heads = futures::stream::iter(0..self.files.len()).map(previous).buffered(HEADS_AT_ONCE).boxed();
        let Some(mut last) = heads.next().await.transpose()? else { return Ok(0) };
        let mut needed = 0;
        while let Some(next) = heads.next().await.transpose()? {
            if !tells_of_all(&last, &next) || !next.is_subset_of(executed) {
                break;
            }
            (needed, last) = (needed + 1, next);
        }
        // Two parts of one binlog, with a gap between them, have one head: it says nothing of the second one.
        while needed > 0 && self.files[needed - 1].id == self.files[needed].id {
            needed -= 1;
        }
        Ok(needed)
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
        self.archive.read_range(&reference(binlog, range), &range.objects).await.map_err(|error| self.failed(error))
    }

    /// The pieces that one step yields: a file's beginning, and bytes.
    async fn pieces(self, step: Step) -> Result<Vec<LogPiece>, ReadError> {
        let file = &self.files[step.file];
        let mut pieces = Vec::new();
        let bytes = match &step.part {
            Some(part) => Some((part, self.range(&file.id, &part.range).await?)),
            None => None,
        };
        let mut first = file.from;
        if step.begins {
            let head = match &bytes {
                Some((part, bytes)) if part.range == file.head => head_in(bytes, file)?,
                Some(_) | None => self.head(file).await?,
            };
            first = first.max(head.length);
            pieces.push(LogPiece::File { name: file.name.clone(), head: head.bytes.into(), start: first });
        }
        if let Some((part, bytes)) = bytes {
            let (from, to) = (part.from.max(first), part.to);
            let place = |offset: u64| usize::try_from(offset - part.range.start).unwrap_or(usize::MAX);
            if from < to {
                let lost = || ReadError::new(format!("{} is shorter than its plan says", file.name));
                let cut = bytes.get(place(from)..place(to)).ok_or_else(lost)?;
                pieces.push(LogPiece::Bytes { start: from, bytes: bytes.slice_ref(cut) });
            }
        }
        Ok(pieces)
    }
}

/// Whether a head tells of all that the one before it does, and of the file between. Under another base name a server's log begins
/// with an empty head, and goes on without what it had under the first: whatever such a head says, more stands before it.
fn tells_of_all(last: &GtidSet, next: &GtidSet) -> bool {
    !next.is_empty() && last.is_subset_of(next)
}

/// Whether the files are of more than one server: then a transaction may be in two of them.
fn is_from_several_servers(files: &[PlannedBinlog]) -> bool {
    files.iter().any(|file| file.id.source != files[0].id.source)
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    file: usize,
    /// Whether the file begins here.
    begins: bool,
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

/// A file as fetches, the first of which begins it.
fn steps_of(number: usize, file: &PlannedBinlog) -> Vec<Step> {
    let part = |stretch: Stretch<'_>| Part { range: stretch.range.clone(), from: stretch.from, to: stretch.to };
    let mut parts: Vec<Option<Part>> = stretches_of(file).map(part).map(Some).collect();
    if parts.is_empty() {
        parts.push(None);
    }
    parts.into_iter().enumerate().map(|(at, part)| Step { file: number, begins: at == 0, part }).collect()
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
    let first = if log.files.is_empty() { 0 } else { log.first_needed(&executed).await? };
    let files = log.files.iter().enumerate().skip(first);
    let steps: Vec<Step> = files.flat_map(|(number, file)| steps_of(number, file)).collect();
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
    use pitr_recovery::{BinlogId, PlannedBinlog};

    use super::super::stretch::planned;
    use super::{is_from_several_servers, steps_of, tells_of_all};

    #[test]
    fn the_first_fetch_begins_the_file_even_without_bytes() {
        let steps = |file: &PlannedBinlog| -> Vec<_> {
            steps_of(0, file)
                .into_iter()
                .map(|step| (step.begins, step.part.map(|part| (part.from, part.to))))
                .collect()
        };
        assert_eq!(steps(&planned(&[], 157, 157)), [(true, None)]);
        let two = [(true, Some((157, 1000))), (false, Some((1000, 1500)))];
        assert_eq!(steps(&planned(&[(0, 1000), (800, 1500)], 157, 1500)), two);
    }

    #[test]
    fn logs_of_several_servers_are_told_from_those_of_one() {
        let file = |source: &str, number| PlannedBinlog {
            id: BinlogId { source: source.into(), number, head: [0; 8] },
            ..planned(&[], 157, 157)
        };
        assert!(!is_from_several_servers(&[]));
        assert!(!is_from_several_servers(&[file("a", 1), file("a", 2)]));
        assert!(is_from_several_servers(&[file("a", 1), file("a", 2), file("b", 1)]));
    }

    #[test]
    fn a_head_under_another_base_name_tells_of_nothing_before_it() {
        let set = |numbers: &str| match numbers {
            "" => pitr_binlog::GtidSet::new(),
            numbers => format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{numbers}").parse().unwrap(),
        };
        let cases = [
            ("", "1-100", true),
            ("1-100", "1-150", true),
            ("1-100", "1-100", true), // an empty file
            ("1-100", "", false),     // renamed
            ("", "", false),          // renamed after its first file
            ("1-100", "101-150", false),
        ];
        for (last, next, expected) in cases {
            assert_eq!(tells_of_all(&set(last), &set(next)), expected, "{last:?} {next:?}");
        }
    }
}
