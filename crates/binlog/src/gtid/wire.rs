//! MySQL's binary form of a GTID set: the body of PREVIOUS_GTIDS events and of COM_BINLOG_DUMP_GTID
//! (`Gtid_set::encode`, `add_gtid_encoding`).
//!
//! Untagged: number of sources u64; per source UUID 16, number of intervals u64, then first u64 and last+1 u64 each.
//! Tagged, used as soon as one tag is in the set: bytes 0 and 7 of the first number are 1 and its bytes 1 to 6 are the
//! number of sources; per source a length-prefixed tag follows the UUID.

use super::single::LARGEST_MYSQL_NUMBER;
use super::{GtidSet, GtidSource, Tag, Uuid};
use crate::reader::Reader;

/// Bytes that are no GTID set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the encoded GTID set is not valid at byte {offset}: {reason}")]
pub struct GtidWireError {
    /// Where, from the beginning of the set.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

const TAGGED: u64 = 1;

impl GtidSet {
    /// The set as MySQL sends it. MariaDB's GTIDs have no such form and are left out.
    #[must_use]
    pub fn encode_mysql(&self) -> Vec<u8> {
        let mysql = || {
            self.sources.iter().filter_map(|(source, intervals)| match source {
                GtidSource::MySql { uuid, tag } => Some((uuid, tag, intervals)),
                GtidSource::MariaDb { .. } => None,
            })
        };
        let tagged = mysql().any(|(_, tag, _)| tag.is_some());
        let count = mysql().count() as u64;
        let header = if tagged { TAGGED | count << 8 | TAGGED << 56 } else { count };
        let mut bytes = header.to_le_bytes().to_vec();
        for (uuid, tag, intervals) in mysql() {
            bytes.extend_from_slice(&uuid.0);
            if tagged {
                let text = tag.as_ref().map_or("", Tag::as_str);
                // A variable-length integer below 128 is one byte, shifted by one.
                bytes.push((text.len() as u8) << 1);
                bytes.extend_from_slice(text.as_bytes());
            }
            bytes.extend_from_slice(&(intervals.as_slice().len() as u64).to_le_bytes());
            for interval in intervals.as_slice() {
                bytes.extend_from_slice(&interval.first.to_le_bytes());
                bytes.extend_from_slice(&(interval.last + 1).to_le_bytes());
            }
        }
        bytes
    }

    /// Reads a set as MySQL writes it. Everything must be used up, and intervals must ascend, as the server demands.
    pub fn decode_mysql(bytes: &[u8]) -> Result<Self, GtidWireError> {
        let mut reader = Reader::new(bytes);
        let mut set = Self::new();
        let outcome = decode(&mut reader, &mut set);
        let rest = if reader.is_empty() { Ok(()) } else { Err("bytes after the end") };
        match outcome.and(rest) {
            Ok(()) => Ok(set),
            Err(reason) => Err(GtidWireError { offset: reader.position(), reason }),
        }
    }
}

const SHORT: &str = "ends too early";

fn decode(reader: &mut Reader<'_>, set: &mut GtidSet) -> Result<(), &'static str> {
    let header = reader.u64().ok_or(SHORT)?;
    let (tagged, count) = match header >> 56 {
        0 => (false, header),
        TAGGED => (true, header << 8 >> 16),
        _ => return Err("unknown format"),
    };
    for _ in 0..count {
        let uuid = Uuid(reader.array().ok_or(SHORT)?);
        let tag = if tagged { decode_tag(reader)? } else { None };
        let source = GtidSource::MySql { uuid, tag };
        let intervals = reader.u64().ok_or(SHORT)?;
        let mut after = 0;
        for _ in 0..intervals {
            let first = reader.u64().ok_or(SHORT)?;
            let end = reader.u64().ok_or(SHORT)?;
            if first <= after || end <= first || end - 1 > LARGEST_MYSQL_NUMBER {
                return Err("intervals out of order");
            }
            set.insert_range(&source, first..=end - 1);
            after = end;
        }
    }
    Ok(())
}

fn decode_tag(reader: &mut Reader<'_>) -> Result<Option<Tag>, &'static str> {
    let length = reader.varint().ok_or(SHORT)?;
    if length == 0 {
        return Ok(None);
    }
    let text = usize::try_from(length).ok().and_then(|length| reader.take(length)).ok_or(SHORT)?;
    Tag::from_bytes(text).map(Some).ok_or("not a tag")
}
