//! Events that a replication source makes up for its replica.

use super::{ChecksumAlgorithm, EventHeader, EventType, GtidEvent, MalformedEvent, write_crc32};
use crate::BinlogName;
use crate::gtid::{Gtid, GtidSource, Tag, Uuid};

/// Makes events: what all of them have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBuilder {
    /// The `server_id` in their headers.
    pub server_id: u32,
    /// The checksum that the replica expects.
    pub checksum: ChecksumAlgorithm,
}

/// MySQL's "this version is not known" (`UNKNOWN_SERVER_VERSION`).
const UNKNOWN_SERVER_VERSION: u64 = 999_999;

impl EventBuilder {
    /// The ROTATE event that a source sends before each file, so that its replica knows the name.
    #[must_use]
    pub fn artificial_rotate(&self, file: &BinlogName, position: u64) -> Vec<u8> {
        let body = [&position.to_le_bytes(), file.as_str().as_bytes()].concat();
        self.event(EventType::ROTATE, EventHeader::ARTIFICIAL, 0, &body)
    }

    /// The event that tells a replica that its source lives, with the position in the header. Positions beyond 4 GiB need
    /// version 2.
    #[must_use]
    pub fn heartbeat(&self, file: &BinlogName, position: u32) -> Vec<u8> {
        let mut event = self.event(EventType::HEARTBEAT, EventHeader::ARTIFICIAL, 0, file.as_str().as_bytes());
        event[13..17].copy_from_slice(&position.to_le_bytes());
        self.seal(&mut event);
        event
    }

    /// Version 2 of it, for replicas that ask for it (`USE_HEARTBEAT_EVENT_V2`): (field, length, value) with packed
    /// integers: 1 the file, 2 the position, 0 the end.
    #[must_use]
    pub fn heartbeat_v2(&self, file: &BinlogName, position: u64) -> Vec<u8> {
        let mut body = vec![1];
        push_packed(&mut body, file.as_str().len() as u64);
        body.extend_from_slice(file.as_str().as_bytes());
        let mut packed = Vec::new();
        push_packed(&mut packed, position);
        body.extend_from_slice(&[2, packed.len() as u8]);
        body.extend_from_slice(&packed);
        body.push(0);
        self.event(EventType::HEARTBEAT_V2, EventHeader::ARTIFICIAL, 0, &body)
    }

    /// A transaction that changes nothing and commits this GTID: GTID event, BEGIN (MySQL), COMMIT. Logical clock, times
    /// and header time are those of the transaction whose place it takes.
    #[must_use]
    pub fn empty_transaction(&self, gtid: &Gtid, place: &GtidEvent, timestamp: u32) -> Vec<u8> {
        match gtid.source {
            GtidSource::MySql { uuid, tag } => {
                let begin = self.query(b"BEGIN", timestamp);
                let commit = self.query(b"COMMIT", timestamp);
                let rest = (begin.len() + commit.len()) as u64;
                let (event_type, body) = match tag {
                    None => (EventType::GTID, self.untagged(uuid, gtid.number, place, rest)),
                    Some(tag) => (EventType::GTID_TAGGED, self.tagged((uuid, tag), gtid.number, place, rest)),
                };
                let first = self.event(event_type, 0, timestamp, &body);
                [first, begin, commit].concat()
            }
            GtidSource::MariaDb { domain, server_id } => {
                let mut body = gtid.number.to_le_bytes().to_vec();
                body.extend_from_slice(&domain.to_le_bytes());
                // No flags; the fixed part is 19 bytes long.
                body.resize(19, 0);
                let origin = Self { server_id, ..*self };
                [origin.event(EventType::MARIADB_GTID, 0, timestamp, &body), origin.query(b"COMMIT", timestamp)]
                    .concat()
            }
        }
    }

    /// The body of a GTID event whose transaction has `rest` bytes after it.
    fn untagged(&self, uuid: Uuid, number: u64, place: &GtidEvent, rest: u64) -> Vec<u8> {
        const LOGICAL_CLOCK: u8 = 2;
        let mut body = vec![0];
        body.extend_from_slice(&uuid.0);
        body.extend_from_slice(&number.to_le_bytes());
        body.push(LOGICAL_CLOCK);
        body.extend_from_slice(&place.last_committed.to_le_bytes());
        body.extend_from_slice(&place.sequence_number.to_le_bytes());
        push_times(&mut body, place);
        // The length counts itself. An empty transaction is between 125 and 250 bytes long: one byte.
        let length = (EventHeader::LENGTH + body.len() + 1 + self.checksum.length()) as u64 + rest;
        push_packed(&mut body, length);
        body
    }

    /// The same for a GTID with a tag.
    fn tagged(&self, (uuid, tag): (Uuid, Tag), number: u64, place: &GtidEvent, rest: u64) -> Vec<u8> {
        let immediate = place.immediate_commit_us.unwrap_or(0) as u64;
        let original = place.original_commit_us.map_or(immediate, |us| us as u64);
        let message = |length: u64| {
            let mut fields = vec![0, 0, 1 << 1];
            for byte in uuid.0 {
                push_varint(&mut fields, byte.into());
            }
            push_field(&mut fields, 2, number << 1);
            push_field(&mut fields, 3, tag.as_str().len() as u64);
            fields.extend_from_slice(tag.as_str().as_bytes());
            push_field(&mut fields, 4, zigzag(place.last_committed));
            push_field(&mut fields, 5, zigzag(place.sequence_number));
            push_field(&mut fields, 6, immediate);
            if original != immediate {
                push_field(&mut fields, 7, original);
            }
            push_field(&mut fields, 8, length);
            push_field(&mut fields, 9, UNKNOWN_SERVER_VERSION);
            framed(0, &fields)
        };
        // The length counts itself; whatever its value, an empty transaction needs two bytes for it.
        let frame = EventHeader::LENGTH + self.checksum.length();
        let length = (frame + message(300).len()) as u64 + rest;
        message(length)
    }

    fn query(&self, sql: &[u8], timestamp: u32) -> Vec<u8> {
        // Thread, duration, schema length, error, status length: all 0; then the NUL of an empty schema.
        let body = [&[0; 14], sql].concat();
        self.event(EventType::QUERY, 0, timestamp, &body)
    }

    fn event(&self, event_type: EventType, flags: u16, timestamp: u32, body: &[u8]) -> Vec<u8> {
        let size = EventHeader::LENGTH + body.len() + self.checksum.length();
        let header =
            EventHeader { timestamp, event_type, server_id: self.server_id, size: size as u32, log_pos: 0, flags };
        let mut event = Vec::with_capacity(size);
        event.extend_from_slice(&header.to_bytes());
        event.extend_from_slice(body);
        event.resize(size, 0);
        self.seal(&mut event);
        event
    }

    fn seal(&self, event: &mut [u8]) {
        if self.checksum == ChecksumAlgorithm::Crc32 {
            write_crc32(event);
        }
    }
}

/// Turns a whole ANONYMOUS_GTID event into a GTID event of the same length, so that a server that knows no other way can
/// tell transactions of a log without GTIDs apart.
pub fn name_anonymous(
    event: &mut [u8],
    uuid: Uuid,
    number: u64,
    checksum: ChecksumAlgorithm,
) -> Result<(), MalformedEvent> {
    const UUID_AT: usize = EventHeader::LENGTH + 1;
    const NUMBER_AT: usize = UUID_AT + 16;
    if event.get(4) != Some(&EventType::ANONYMOUS_GTID.0) || event.len() < NUMBER_AT + 8 + checksum.length() {
        return Err(MalformedEvent("not an ANONYMOUS_GTID event"));
    }
    event[4] = EventType::GTID.0;
    event[UUID_AT..NUMBER_AT].copy_from_slice(&uuid.0);
    event[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&number.to_le_bytes());
    if checksum == ChecksumAlgorithm::Crc32 {
        write_crc32(event);
    }
    Ok(())
}

/// Seven bytes of the immediate time; if the original one differs, bit 55 says so and it follows.
fn push_times(body: &mut Vec<u8>, place: &GtidEvent) {
    let immediate = place.immediate_commit_us.unwrap_or(0) as u64;
    let original = place.original_commit_us.map_or(immediate, |us| us as u64);
    let mark = if original == immediate { 0 } else { 1 << 55 };
    body.extend_from_slice(&(immediate | mark).to_le_bytes()[..7]);
    if original != immediate {
        body.extend_from_slice(&original.to_le_bytes()[..7]);
    }
}

/// Version 1, size of the message (which counts itself), the last field that a reader must know, and the fields.
pub(super) fn framed(last_required: u64, fields: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for guess in 3..=19 {
        message.clear();
        push_varint(&mut message, 1);
        push_varint(&mut message, (fields.len() + guess) as u64);
        push_varint(&mut message, last_required);
        if message.len() == guess {
            break;
        }
    }
    message.extend_from_slice(fields);
    message
}

pub(super) const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn push_field(fields: &mut Vec<u8>, id: u64, value: u64) {
    push_varint(fields, id);
    push_varint(fields, value);
}

/// The reverse of `Reader::varint`.
pub(super) fn push_varint(bytes: &mut Vec<u8>, value: u64) {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    if bits > 56 {
        bytes.push(0xff);
        bytes.extend_from_slice(&value.to_le_bytes());
        return;
    }
    let more = (bits - 1) / 7;
    let marker = (1u64 << more) - 1;
    let raw = value << (more + 1) | marker;
    bytes.extend_from_slice(&raw.to_le_bytes()[..=more]);
}

/// The reverse of `Reader::packed`.
pub(super) fn push_packed(bytes: &mut Vec<u8>, value: u64) {
    let wide = value.to_le_bytes();
    match value {
        0..=250 => bytes.push(wide[0]),
        251..=0xffff => {
            bytes.push(252);
            bytes.extend_from_slice(&wide[..2]);
        }
        0x1_0000..=0xff_ffff => {
            bytes.push(253);
            bytes.extend_from_slice(&wide[..3]);
        }
        _ => {
            bytes.push(254);
            bytes.extend_from_slice(&wide);
        }
    }
}
