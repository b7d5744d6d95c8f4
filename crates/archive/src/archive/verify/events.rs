//! The events in a segment: their checksums, and whether the index fits them.

use std::collections::BTreeSet;

use pitr_binlog::MAGIC;
use pitr_binlog::event::{ChecksumAlgorithm, Event};

use crate::segment::{IndexedTransaction, SegmentHeader};

/// Walks all events that lie whole in a segment. `Err`: what is wrong.
///
/// A segment that begins inside a transaction begins anywhere in an event: its hash is all there is to check.
pub(super) fn check_events(header: &SegmentHeader, index: &[IndexedTransaction], raw: &[u8]) -> Result<(), String> {
    if header.starts_in_transaction {
        return Ok(());
    }
    let checksum = match header.checksum.as_str() {
        "CRC32" => ChecksumAlgorithm::Crc32,
        _ => ChecksumAlgorithm::None,
    };
    // Behind damage nothing could be read when it was written either.
    let sound = header.damage.as_ref().map_or(header.end, |damage| damage.offset.clamp(header.start, header.end));
    let sound = usize::try_from(sound - header.start).unwrap_or(usize::MAX).min(raw.len());
    let mut rest = &raw[..sound];
    if header.start == 0 {
        rest = rest.strip_prefix(&MAGIC).ok_or("it does not begin as a binlog does")?;
    }
    let mut boundaries = BTreeSet::new();
    loop {
        let offset = header.start + (sound - rest.len()) as u64;
        boundaries.insert(offset);
        if rest.is_empty() {
            break;
        }
        match Event::split_first(rest, checksum) {
            Ok((_, after)) => rest = after,
            // The piece ends inside an event.
            Err(_) if header.ends_in_transaction && !has_whole_event(rest) => break,
            Err(error) => return Err(format!("the event at offset {offset}: {}", error.0)),
        }
    }
    let is_event = |offset: u64| offset < header.start || offset > header.end || boundaries.contains(&offset);
    match index.iter().find(|entry| !is_event(entry.start) || !is_event(entry.end)) {
        Some(entry) => Err(format!(
            "its index names a transaction at {}..{}, where no event begins or ends",
            entry.start, entry.end
        )),
        None => Ok(()),
    }
}

/// Whether the first event is there to its end.
fn has_whole_event(bytes: &[u8]) -> bool {
    let size = bytes.get(9..13).and_then(|size| size.first_chunk::<4>()).map(|size| u32::from_le_bytes(*size));
    size.and_then(|size| usize::try_from(size).ok()).is_some_and(|size| size <= bytes.len())
}
