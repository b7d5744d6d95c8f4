//! Whether a file is the one of which something is archived. Its identity is its number and its head, and two files can share both: a
//! server that is reset within the second in which it began its log, or a copy of the volume that went on by itself.

use std::sync::Arc;

use pitr_recovery::BinlogId;

use super::ledger::Progress;
use super::memory::Lane;
use super::pipeline::{Pipeline, WorkError, blocking};
use crate::discovery::BinlogFile;

/// How far a file is archived: as the ledger says, if the last archived bytes that fit into it are its own. If they are others, nothing
/// of it counts as archived: it is stored from its beginning, both contents are kept, and that is told as a divergence.
pub(super) async fn progress_of(
    pipeline: &Arc<Pipeline>,
    (file, size): (BinlogFile, u64),
    id: &BinlogId,
    lane: Lane,
) -> Result<Progress, WorkError> {
    let progress = pipeline.ledger().progress(id);
    let Some((start, end, hashes)) = last_range(pipeline, id, size) else { return Ok(progress) };
    let _room = pipeline.limits.memory.take(lane, end - start, 0).await;
    let archive = Arc::clone(&pipeline.archive);
    let is_same = blocking(move || -> std::io::Result<bool> {
        let mut raw = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let count = file.read_at(start, &mut raw)?;
        Ok(count == raw.len() && hashes.iter().any(|hash| archive.is_content(&raw, hash)))
    });
    if is_same.await?.map_err(WorkError::Open)? {
        return Ok(progress);
    }
    tracing::error!(event = "divergence", binlog = %id, start, end, "the file has other bytes than what is archived of it");
    pipeline.board.note(|facts| facts.totals.divergences += 1);
    Ok(Progress::default())
}

/// The last archived range that ends within the file, and the hashes of all contents that are archived of it.
fn last_range(pipeline: &Pipeline, id: &BinlogId, size: u64) -> Option<(u64, u64, Vec<[u8; 32]>)> {
    let ledger = pipeline.ledger();
    let ranges = &ledger.binlog(id)?.ranges;
    let last = ranges.iter().filter(|range| range.end <= size).max_by_key(|range| (range.end, range.start))?;
    let same = ranges.iter().filter(|range| (range.start, range.end) == (last.start, last.end));
    Some((last.start, last.end, same.map(|range| range.raw_sha256).collect()))
}
