//! A GTID event with another place in its file's logical clock, for transactions that a replication source puts together.

use super::build::{framed, push_packed, push_varint, zigzag};
use super::{ChecksumAlgorithm, EventHeader, EventType, MalformedEvent, write_crc32};
use crate::reader::Reader;

/// Where in the body of an untagged event the logical clock stands: after flags u8, UUID and number u64.
const CLOCK_AT: usize = 1 + 16 + 8;
/// Type of clock u8, last committed i64, sequence number i64.
const CLOCK_LENGTH: usize = 1 + 8 + 8;
/// Bit 55 of the first time, in the last of its bytes, says that a second one follows.
const SECOND_TIME: u8 = 0x80;

/// A place in the logical clock of a binlog (MySQL 5.7 and newer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalClock {
    /// The latest transaction of the file that must be committed first.
    pub last_committed: i64,
    /// The transaction's own number.
    pub sequence_number: i64,
}

/// The same whole event with another clock, and with the length of a transaction that has `rest` bytes after it. What the
/// event does not have (a length before MySQL 8.0.2) it does not get; everything else stays.
///
/// # Errors
/// Not a GTID event with a logical clock.
pub fn renumbered(
    event: &[u8],
    checksum: ChecksumAlgorithm,
    clock: LogicalClock,
    rest: u64,
) -> Result<Vec<u8>, MalformedEvent> {
    const NONE: MalformedEvent = MalformedEvent("not a GTID event with a logical clock");
    let header = event.first_chunk().map(EventHeader::parse).ok_or(NONE)?;
    let end = event.len().checked_sub(checksum.length()).ok_or(NONE)?;
    let body = event.get(EventHeader::LENGTH..end).ok_or(NONE)?;
    // What a body's length adds to the transaction's.
    let around = rest + (EventHeader::LENGTH + checksum.length()) as u64;
    let body = match header.event_type {
        EventType::GTID => untagged(body, clock, around),
        EventType::GTID_TAGGED => tagged(&mut Reader::new(body), clock, around),
        _ => None,
    };
    let body = body.ok_or(NONE)?;
    let size = EventHeader::LENGTH + body.len() + checksum.length();
    let header = EventHeader { size: size as u32, ..header };
    let mut event = Vec::with_capacity(size);
    event.extend_from_slice(&header.to_bytes());
    event.extend_from_slice(&body);
    event.resize(size, 0);
    if checksum == ChecksumAlgorithm::Crc32 {
        write_crc32(&mut event);
    }
    Ok(event)
}

fn untagged(body: &[u8], clock: LogicalClock, around: u64) -> Option<Vec<u8>> {
    let mut new = body.get(..CLOCK_AT + CLOCK_LENGTH)?.to_vec();
    new[CLOCK_AT + 1..CLOCK_AT + 9].copy_from_slice(&clock.last_committed.to_le_bytes());
    new[CLOCK_AT + 9..].copy_from_slice(&clock.sequence_number.to_le_bytes());
    let mut reader = Reader::new(&body[new.len()..]);
    let Some(immediate) = reader.take(7) else {
        new.extend_from_slice(reader.rest());
        return Some(new);
    };
    new.extend_from_slice(immediate);
    if immediate[6] & SECOND_TIME != 0 {
        new.extend_from_slice(reader.take(7)?);
    }
    if reader.packed().is_none() {
        new.extend_from_slice(reader.rest());
        return Some(new);
    }
    // The length counts its own bytes: more of them never need fewer.
    let others = around + (new.len() + reader.rest().len()) as u64;
    let length = [1, 3, 4, 9].into_iter().map(|own| (own, others + own)).find(|(own, length)| {
        let mut packed = Vec::new();
        push_packed(&mut packed, *length);
        packed.len() as u64 == *own
    });
    push_packed(&mut new, length?.1);
    new.extend_from_slice(reader.rest());
    Some(new)
}

/// The message again with other values in fields 4, 5 and 8; what comes after 8 is copied as it is.
fn tagged(reader: &mut Reader<'_>, clock: LogicalClock, around: u64) -> Option<Vec<u8>> {
    const LENGTH_FIELD: u64 = 8;
    let _version = reader.varint()?;
    let _size = reader.varint()?;
    let last_required = reader.varint()?;
    let (mut before, mut has_length) = (Vec::new(), false);
    let mut clock_fields = Some(clock);
    let after = loop {
        let from_here = reader.rest();
        let Some(id) = reader.varint() else { break from_here };
        if id >= 4
            && let Some(clock) = clock_fields.take()
        {
            push_varint(&mut before, 4);
            push_varint(&mut before, zigzag(clock.last_committed));
            push_varint(&mut before, 5);
            push_varint(&mut before, zigzag(clock.sequence_number));
        }
        match id {
            4 | 5 => {
                reader.varint()?;
                continue;
            }
            LENGTH_FIELD => {
                reader.varint()?;
                has_length = true;
                break reader.rest();
            }
            id if id > LENGTH_FIELD => break from_here,
            1 => (0..16).try_for_each(|_| reader.varint().map(drop))?,
            3 => {
                let length = usize::try_from(reader.varint()?).ok()?;
                reader.take(length)?;
            }
            _ => drop(reader.varint()?),
        }
        before.extend_from_slice(&from_here[..from_here.len() - reader.rest().len()]);
    };
    if clock_fields.is_some() {
        return None;
    }
    let message = |length: u64| {
        let mut fields = before.clone();
        if has_length {
            push_varint(&mut fields, LENGTH_FIELD);
            push_varint(&mut fields, length);
        }
        fields.extend_from_slice(after);
        framed(last_required, &fields)
    };
    let mut body = message(around);
    // The length counts its own bytes: a longer message may need another byte for it, once.
    for _ in 0..3 {
        body = message(around + body.len() as u64);
    }
    Some(body)
}
