use crate::MAGIC;
use crate::event::{CRC_LENGTH, EventHeader, EventType, QueryEvent};

/// The largest event that is kept in memory whole: a head with a set of GTIDs. 64 MiB are two million intervals.
pub(super) const WHOLE_EVENT_MAX: usize = 64 << 20;
/// What is kept of a fixed-size event; a padded one of MariaDB is longer.
const SMALL_EVENT: usize = 4 << 10;
/// A buffer that has grown beyond this is given back after its event.
const BUFFER_KEPT: usize = 1 << 20;

/// How much of an event the scanner has to see at once. All of it is checked against its checksum in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// All of it: longer than `WHOLE_EVENT_MAX` is an error.
    Whole,
    /// So many bytes from its beginning.
    Prefix(usize),
}

impl Need {
    pub(super) const fn of(event_type: EventType) -> Self {
        match event_type {
            EventType::FORMAT_DESCRIPTION | EventType::PREVIOUS_GTIDS | EventType::GTID_LIST | EventType::ROTATE => {
                Self::Whole
            }
            EventType::QUERY | EventType::QUERY_COMPRESSED | EventType::EXECUTE_LOAD_QUERY => {
                Self::Prefix(QueryEvent::PREFIX_LENGTH_MAX)
            }
            EventType::GTID
            | EventType::ANONYMOUS_GTID
            | EventType::GTID_TAGGED
            | EventType::MARIADB_GTID
            | EventType::XA_PREPARE => Self::Prefix(SMALL_EVENT),
            _ => Self::Prefix(EventHeader::LENGTH),
        }
    }

    const fn limit(self) -> usize {
        match self {
            Self::Whole => WHOLE_EVENT_MAX,
            Self::Prefix(length) => length,
        }
    }
}

/// An event that comes in several pieces: its beginning as far as needed, and its checksum as it runs.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    kept: Vec<u8>,
    keep: usize,
    seen: u64,
    checksum: crc32fast::Hasher,
    stored: [u8; CRC_LENGTH],
}

impl Partial {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), keep: 0, seen: 0, checksum: crc32fast::Hasher::new(), stored: [0; CRC_LENGTH] }
    }

    /// How many bytes are there.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// The beginning, as far as it is needed.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The event's header, once it is there.
    pub(super) fn header(&self) -> Option<EventHeader> {
        self.kept.first_chunk().map(EventHeader::parse)
    }

    /// Takes bytes of the four that a file begins with, and returns how many.
    pub(super) fn take_magic(&mut self, bytes: &[u8]) -> usize {
        self.take_up_to(MAGIC.len(), bytes)
    }

    /// Takes bytes of the header, and returns how many.
    pub(super) fn take_header(&mut self, bytes: &[u8]) -> usize {
        let taken = self.take_up_to(EventHeader::LENGTH, bytes);
        if let Some(header) = self.header() {
            self.keep = Need::of(header.event_type).limit();
            self.checksum.update(&self.kept);
        }
        taken
    }

    fn take_up_to(&mut self, length: usize, bytes: &[u8]) -> usize {
        let taken = (length - self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..taken]);
        self.seen += taken as u64;
        taken
    }

    /// Takes bytes after the header, at most up to the event's end, and returns how many.
    pub(super) fn take_body(&mut self, bytes: &[u8], size: u32) -> usize {
        let missing = u64::from(size) - self.seen;
        let taken = usize::try_from(missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
        let bytes = &bytes[..taken];
        let keep = self.keep.saturating_sub(self.kept.len()).min(taken);
        self.kept.extend_from_slice(&bytes[..keep]);
        // Up to `end` the event is hashed; after it stands the checksum, if the file has them.
        let end = u64::from(size) - CRC_LENGTH as u64;
        let hashed = usize::try_from(end.saturating_sub(self.seen)).map_or(taken, |hashed| hashed.min(taken));
        self.checksum.update(&bytes[..hashed]);
        let first = (self.seen + hashed as u64).saturating_sub(end) as usize;
        for (to, from) in self.stored.iter_mut().skip(first).zip(&bytes[hashed..]) {
            *to = *from;
        }
        self.seen += taken as u64;
        taken
    }

    /// Whether the last four bytes of a complete event are the CRC-32 of the others.
    pub(super) fn checksum_matches(&self) -> bool {
        self.checksum.clone().finalize() == u32::from_le_bytes(self.stored)
    }

    /// Ready for the next event.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(BUFFER_KEPT);
        self.seen = 0;
        self.checksum.reset();
    }
}
