use super::{CRC_LENGTH, ChecksumAlgorithm, EventHeader, EventType, MalformedEvent, clear_in_use};
use crate::Flavour;
use crate::reader::Reader;

/// The first event of each file: who wrote it, and how to read the rest (`Format_description_event`,
/// `control_events.h`: version u16, server version 50 bytes, created u32, header length u8, one post-header length per
/// event type, checksum algorithm u8, CRC-32, the last also in files whose other events have none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// The format's version: 4 since MySQL 5.0.
    pub binlog_version: u16,
    /// The server's version text, e.g. "9.7.0" or "10.11.14-MariaDB-log".
    pub server_version: String,
    /// MySQL or MariaDB, by the version text.
    pub flavour: Flavour,
    /// How the events of this file are protected.
    pub checksum: ChecksumAlgorithm,
    /// The in-use bit: the file is being written, or its server crashed. Cleared in `event_bytes`.
    pub in_use: bool,
    /// When the file was made, in seconds, if the server started with it; else 0.
    pub created: u32,
    /// The length of the fixed part of each event type's body, from type 1 on.
    pub post_header_lengths: Vec<u8>,
    /// The whole event, in-use bit cleared.
    pub event_bytes: Vec<u8>,
}

const SERVER_VERSION_LENGTH: usize = 50;
impl FormatDescription {
    /// Reads a whole event, checksum included.
    pub fn parse(event: &[u8]) -> Result<Self, MalformedEvent> {
        const SHORT: MalformedEvent = MalformedEvent("the format description ends too early");
        let mut reader = Reader::new(event);
        let header = EventHeader::parse(&reader.array().ok_or(SHORT)?);
        let binlog_version = reader.u16().ok_or(SHORT)?;
        let version = reader.take(SERVER_VERSION_LENGTH).ok_or(SHORT)?;
        let created = reader.u32().ok_or(SHORT)?;
        let header_length = reader.u8().ok_or(SHORT)?;
        if binlog_version != 4 || usize::from(header_length) != EventHeader::LENGTH {
            return Err(MalformedEvent("the format description is not of binlog version 4"));
        }
        let version = version.split(|b| *b == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(version).into_owned();
        let flavour = Flavour::of_server_version(&server_version);
        // MySQL before 5.6.1 and MariaDB before 5.3 had neither algorithm nor checksum here. They are not read.
        let rest = reader.rest();
        let (lengths, tail) = rest.split_at_checked(rest.len().wrapping_sub(1 + CRC_LENGTH)).ok_or(SHORT)?;
        let checksum = match tail[0] {
            0 => ChecksumAlgorithm::None,
            1 => ChecksumAlgorithm::Crc32,
            _ => return Err(MalformedEvent("unknown checksum algorithm")),
        };
        let mut event_bytes = event.to_vec();
        clear_in_use(&mut event_bytes);
        Ok(Self {
            binlog_version,
            server_version,
            flavour,
            checksum,
            in_use: header.flags & EventHeader::IN_USE != 0,
            created,
            post_header_lengths: lengths.to_vec(),
            event_bytes,
        })
    }

    /// The length of the fixed part of this event type's body, if the server knew the type.
    #[must_use]
    pub fn post_header_length(&self, event_type: EventType) -> Option<usize> {
        let index = usize::from(event_type.0).checked_sub(1)?;
        self.post_header_lengths.get(index).map(|length| usize::from(*length))
    }
}
