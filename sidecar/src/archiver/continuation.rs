//! Whether a file is the one of which something is archived. Its identity is its number and its head, and two files can share both: a
//! server that is reset within the second in which it began its log, or a copy of the volume that went on by itself.

use std::sync::Arc;

use bytes::Bytes;
use pitr_archive::IndexedTransaction;
use pitr_binlog::{Head, Scanner};
use pitr_recovery::{ArchivedRange, BinlogId, RangeRef};

use super::head::Identified;
use super::ledger::Progress;
use super::memory::Lane;
use super::pipeline::{Pipeline, WorkError, blocking};
use crate::discovery::BinlogFile;

/// How far a file is archived: as the ledger says, if the last archived bytes that fit into it are its own. If they are others, nothing
/// of it counts as archived: it is stored from its beginning, both contents are kept, and that is told as a divergence.
pub(super) async fn progress_of(
    pipeline: &Arc<Pipeline>,
    (file, size): (BinlogFile, u64),
    binlog: &Identified,
    lane: Lane,
) -> Result<Progress, WorkError> {
    let id = &binlog.id;
    let progress = pipeline.ledger().progress(id);
    let archived = last_range(pipeline, id, size);
    let Some((start, end)) = archived.first().map(|range| (range.start, range.end)) else { return Ok(progress) };
    let _room = pipeline.limits.memory.take(lane, end - start, 0).await;
    let (archive, hashes) = (Arc::clone(&pipeline.archive), archived.clone());
    let read = blocking(move || -> std::io::Result<Option<(Bytes, bool)>> {
        let mut raw = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let count = file.read_at(start, &mut raw)?;
        let is_same = hashes.iter().any(|range| archive.is_content(&raw, &range.raw_sha256));
        Ok((count == raw.len()).then(|| (raw.into(), is_same)))
    });
    let read = read.await?.map_err(WorkError::Open)?;
    if let Some((raw, is_same)) = read
        && (is_same || is_told_alike(pipeline, (id, &archived), &binlog.head, raw).await?)
    {
        return Ok(progress);
    }
    tracing::error!(event = "divergence", binlog = %id, start, end, "the file has other bytes than what is archived of it");
    pipeline.board.note(|facts| facts.totals.divergences += 1);
    Ok(Progress::default())
}

/// All contents that are archived of the last archived range that ends within the file.
fn last_range(pipeline: &Pipeline, id: &BinlogId, size: u64) -> Vec<ArchivedRange> {
    let ledger = pipeline.ledger();
    let Some(ranges) = ledger.binlog(id).map(|binlog| &binlog.ranges) else { return Vec::new() };
    let fitting = ranges.iter().filter(|range| range.end <= size);
    let Some(last) = fitting.max_by_key(|range| (range.end, range.start)) else { return Vec::new() };
    ranges.iter().filter(|range| (range.start, range.end) == (last.start, last.end)).cloned().collect()
}

/// Where a hash was made with a key that is not here any more (encryption was turned off, or the key changed), the transactions tell.
async fn is_told_alike(
    pipeline: &Pipeline,
    (id, archived): (&BinlogId, &[ArchivedRange]),
    head: &Arc<Head>,
    raw: Bytes,
) -> Result<bool, WorkError> {
    let mut indices = Vec::new();
    for range in archived {
        let (binlog, raw_sha256) = (id.clone(), range.raw_sha256);
        let reference = RangeRef { binlog, start: range.start, end: range.end, raw_sha256 };
        let index = pipeline.archive.index_of_unknown_key(&reference, &range.objects).await;
        indices.extend(index?.map(|index| (range.start, index)));
    }
    let Some((start, _)) = indices.first() else { return Ok(false) };
    if archived.iter().all(|range| range.end <= head.length) {
        // The head has its hash in the binlog's identity.
        return Ok(true);
    }
    let (start, head) = (*start, Arc::clone(head));
    let found = blocking(move || transactions_in(&raw, start, &head)).await?;
    Ok(found.is_some_and(|found| indices.iter().any(|(_, index)| tells(index) && *index == found)))
}

/// Whether nothing but the same bytes can have this index: each transaction has a GTID, and a commit time in microseconds.
fn tells(index: &[IndexedTransaction]) -> bool {
    !index.is_empty() && index.iter().all(|entry| entry.gtid.is_some() && !entry.whole_second)
}

/// The transactions of whole bytes that begin at a boundary, or with the file. `None`: they are not whole.
fn transactions_in(raw: &[u8], start: u64, head: &Head) -> Option<Vec<IndexedTransaction>> {
    let mut scanner = match start {
        0 => Scanner::new(),
        inside if inside < head.length => return None,
        boundary => Scanner::resume(head, boundary),
    };
    let mut found = Vec::new();
    scanner.feed(raw, &mut |transaction| found.push(IndexedTransaction::from(&transaction))).ok()?;
    (scanner.boundary() == start + raw.len() as u64).then_some(found)
}
