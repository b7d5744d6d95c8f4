//! Events without what only their place in a file decides: then a replica's log and its source's are nearly the same bytes.

use super::{ChecksumAlgorithm, EventHeader, MalformedEvent, crc32_matches, write_crc32};
use crate::MAGIC;

/// Where in an event its end position stands.
const LOG_POS: std::ops::Range<usize> = 13..17;

/// Zeroes end position and checksum of the whole events that stand from `offset` of their file on, for as long as both are what
/// place and content make them. Gives how many bytes from the first one on were gone over: [`unmask`] of those undoes it.
pub fn mask(bytes: &mut [u8], offset: u64, checksum: ChecksumAlgorithm) -> usize {
    let mut at = first_event(bytes, offset);
    while let Some(event) = event_at(bytes, at, checksum) {
        let end = at + event.len();
        let is_placed = event[LOG_POS] == position(offset, end);
        if !is_placed || (checksum == ChecksumAlgorithm::Crc32 && !crc32_matches(event)) {
            break;
        }
        event[LOG_POS].fill(0);
        let content = event.len() - checksum.length();
        event[content..].fill(0);
        at = end;
    }
    at
}

/// Undoes [`mask`]: `masked` are the bytes that it went over.
///
/// # Errors
/// They are no events, one behind the other.
pub fn unmask(masked: &mut [u8], offset: u64, checksum: ChecksumAlgorithm) -> Result<(), MalformedEvent> {
    let mut at = first_event(masked, offset);
    while at < masked.len() {
        let event = event_at(masked, at, checksum).ok_or(MalformedEvent("not a row of whole events"))?;
        at += event.len();
        event[LOG_POS].copy_from_slice(&position(offset, at));
        if checksum == ChecksumAlgorithm::Crc32 {
            write_crc32(event);
        }
    }
    Ok(())
}

fn first_event(bytes: &[u8], offset: u64) -> usize {
    if offset == 0 && bytes.starts_with(&MAGIC) { MAGIC.len() } else { 0 }
}

fn event_at(bytes: &mut [u8], at: usize, checksum: ChecksumAlgorithm) -> Option<&mut [u8]> {
    let rest = bytes.get_mut(at..)?;
    let size = EventHeader::parse(rest.first_chunk()?).size as usize;
    if size < EventHeader::LENGTH + checksum.length() { None } else { rest.get_mut(..size) }
}

/// The lower 32 bits of a place in the file, as events have it.
fn position(offset: u64, end: usize) -> [u8; 4] {
    (offset.wrapping_add(end as u64) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use proptest::prelude::*;

    /// Events with these bodies at an offset, one behind the other.
    fn events(offset: u64, bodies: &[Vec<u8>], checksum: ChecksumAlgorithm) -> Vec<u8> {
        let mut bytes = if offset == 0 { MAGIC.to_vec() } else { Vec::new() };
        for body in bodies {
            let size = EventHeader::LENGTH + body.len() + checksum.length();
            let log_pos = (offset + (bytes.len() + size) as u64) as u32;
            let header = EventHeader {
                timestamp: 7,
                event_type: EventType::QUERY,
                server_id: 3,
                size: size as u32,
                log_pos,
                flags: 0,
            };
            let mut event = [&header.to_bytes()[..], body].concat();
            event.resize(size, 0);
            if checksum == ChecksumAlgorithm::Crc32 {
                write_crc32(&mut event);
            }
            bytes.extend(event);
        }
        bytes
    }

    fn undone(bytes: &[u8], offset: u64, checksum: ChecksumAlgorithm) -> (usize, Vec<u8>) {
        let mut masked = bytes.to_vec();
        let length = mask(&mut masked, offset, checksum);
        unmask(&mut masked[..length], offset, checksum).unwrap();
        (length, masked)
    }

    proptest! {
        #[test]
        fn unmask_undoes_mask(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            offset in prop_oneof![Just(0), 1..1_u64 << 40],
            has_checksums: bool,
            cut in 0..60_usize,
            slip in prop::option::of((any::<prop::sample::Index>(), 1..=u8::MAX)),
        ) {
            let checksum = if has_checksums { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None };
            let mut bytes = events(offset, &bodies, checksum);
            if slip.is_none() && cut == 0 {
                prop_assert_eq!(undone(&bytes, offset, checksum).0, bytes.len());
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some((at, by)) = slip.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }
            prop_assert_eq!(undone(&bytes, offset, checksum).1, bytes);
        }

        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200), offset: u64, has_checksums: bool) {
            let checksum = if has_checksums { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None };
            prop_assert_eq!(undone(&bytes, offset, checksum).1, bytes);
        }
    }

    #[test]
    fn the_same_events_elsewhere_are_the_same_bytes() {
        let bodies = [b"insert".to_vec(), b"commit".to_vec()];
        let mut here = events(120, &bodies, ChecksumAlgorithm::Crc32);
        let mut there = events((1 << 32) - 20, &bodies, ChecksumAlgorithm::Crc32);
        assert_ne!(here, there);
        assert_eq!(mask(&mut here, 120, ChecksumAlgorithm::Crc32), here.len());
        assert_eq!(mask(&mut there, (1 << 32) - 20, ChecksumAlgorithm::Crc32), there.len());
        assert_eq!(here, there);
        assert!(unmask(&mut here[..30], 120, ChecksumAlgorithm::Crc32).is_err());
    }
}
