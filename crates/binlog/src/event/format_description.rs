use super::{CRC_LENGTH, ChecksumAlgorithm, EventHeader, EventType, MalformedEvent, clear_in_use};
use crate::Flavour;
use crate::reader::Reader;

/// The first event of each file: who wrote it, and how to read the rest (`Format_description_event`,
/// `control_events.h`: version u16, server version 50 bytes, created u32, header length u8, one post-header length per
/// event type, checksum algorithm u8, CRC-32).
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
/// The version with which MySQL began to store an algorithm in this event (`checksum_version_split`).
const MYSQL_CHECKSUMS_SINCE: [u32; 3] = [5, 6, 1];
/// The same of MariaDB.
const MARIADB_CHECKSUMS_SINCE: [u32; 3] = [5, 3, 0];

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
        let rest = reader.rest();
        let (lengths, checksum) = if has_checksum_field(flavour, &server_version) {
            let (lengths, tail) = rest.split_at_checked(rest.len().wrapping_sub(1 + CRC_LENGTH)).ok_or(SHORT)?;
            (lengths, Some(tail[0]))
        } else {
            (rest, None)
        };
        let checksum = match checksum {
            None | Some(0) => ChecksumAlgorithm::None,
            Some(1) => ChecksumAlgorithm::Crc32,
            Some(_) => return Err(MalformedEvent("unknown checksum algorithm")),
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

    /// Whether the event itself ends in a CRC-32: so since the algorithm is stored, even where that is "none".
    #[must_use]
    pub fn is_checksummed(&self) -> bool {
        has_checksum_field(self.flavour, &self.server_version)
    }
}

fn has_checksum_field(flavour: Flavour, server_version: &str) -> bool {
    let since = match flavour {
        Flavour::MySql => MYSQL_CHECKSUMS_SINCE,
        Flavour::MariaDb => MARIADB_CHECKSUMS_SINCE,
    };
    version_numbers(server_version) >= since
}

/// The first three numbers of a version text: [8, 0, 42] of "8.0.42-33-log".
fn version_numbers(version: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(version.split('.')) {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        *number = part[..digits].parse().unwrap_or(0);
    }
    numbers
}
