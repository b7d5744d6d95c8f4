use super::frame::{Need, WHOLE_EVENT_MAX};
use super::group::{Group, Step};
use super::{Counts, FileEnd, Head, ScanError};
use crate::event::{
    ChecksumAlgorithm, EventHeader, EventType, FormatDescription, GtidEvent, MalformedEvent, RotateEvent,
    crc32_matches, parse_gtid_list,
};
use crate::gtid::GtidSet;
use crate::{ENCRYPTED_MAGIC, MAGIC, Transaction, TransactionFlags};

/// The first four bytes of a file of MariaDB's binlog within InnoDB (`IBB_MAGIC`).
const INNODB_MAGIC: [u8; 4] = [0xfe, 0xfe, 0x0d, 0x01];

/// What the events passed so far amount to.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    stage: Stage,
    checksum: ChecksumAlgorithm,
    pub(super) head: Option<Head>,
    pub(super) boundary: u64,
    pub(super) group: Option<Group>,
    /// An event of unknown type stands before the next transaction.
    unknown_before: bool,
    pub(super) end: FileEnd,
    pub(super) counts: Counts,
}

/// What comes next in the file.
#[derive(Clone, Debug)]
enum Stage {
    Magic,
    FormatDescription,
    /// The set of GTIDs before this file, or the first event of a file without one.
    Previous(FormatDescription),
    Events,
}

impl Passage {
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Magic,
            checksum: ChecksumAlgorithm::None,
            head: None,
            boundary: 0,
            group: None,
            unknown_before: false,
            end: FileEnd::Open,
            counts: Counts { events: 0, transactions: 0, anonymous: 0, unknown_events: 0, incidents: 0 },
        }
    }

    pub(super) fn resume(head: &Head, at: u64) -> Self {
        Self {
            stage: Stage::Events,
            checksum: head.format.checksum,
            head: Some(head.clone()),
            boundary: at,
            ..Self::new()
        }
    }

    pub(super) const fn expects_magic(&self) -> bool {
        matches!(self.stage, Stage::Magic)
    }

    pub(super) fn magic(&mut self, found: [u8; 4]) -> Result<(), ScanError> {
        match found {
            MAGIC => self.stage = Stage::FormatDescription,
            ENCRYPTED_MAGIC => return Err(ScanError::Encrypted),
            INNODB_MAGIC => return Err(ScanError::InnodbBinlog),
            _ => return Err(ScanError::NotABinlog { found }),
        }
        Ok(())
    }

    /// Whether the next event ends in a CRC-32. That of a format description is only known from the event itself.
    pub(super) const fn has_checksums(&self) -> bool {
        matches!(self.checksum, ChecksumAlgorithm::Crc32)
    }

    /// Refuses what can't be an event before waiting for its end.
    pub(super) fn check_header(&self, header: &EventHeader, start: u64) -> Result<(), ScanError> {
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let first = matches!(self.stage, Stage::FormatDescription);
        let reason = if first && header.event_type != EventType::FORMAT_DESCRIPTION {
            "a binlog begins with a format description"
        } else if header.event_type == EventType(0) {
            "there is no such type"
        } else if size < EventHeader::LENGTH + self.checksum.length() {
            "shorter than a header"
        } else if Need::of(header.event_type) == Need::Whole && size > WHOLE_EVENT_MAX {
            "longer than any that a server writes"
        } else if self.end != FileEnd::Open {
            "it stands after the end of the file"
        } else {
            return Ok(());
        };
        Err(bad_event(header, start, MalformedEvent(reason)))
    }

    /// Takes the next event, whose checksum (but for a format description's) has been verified. `bytes` is all of it or
    /// as much as `Need` says.
    pub(super) fn event(
        &mut self,
        header: &EventHeader,
        bytes: &[u8],
        start: u64,
        sink: &mut dyn FnMut(Transaction),
    ) -> Result<(), ScanError> {
        self.counts.events += 1;
        if header.event_type == EventType::START_ENCRYPTION {
            return Err(ScanError::Encrypted);
        }
        let malformed = |reason| bad_event(header, start, reason);
        match &self.stage {
            Stage::Magic | Stage::FormatDescription => return self.format_description(header, bytes, start),
            Stage::Previous(format) => {
                let head = head(format, header, bytes, start).map_err(malformed)?;
                let is_part_of_it = head.length > start;
                self.boundary = head.length;
                self.head = Some(head);
                self.stage = Stage::Events;
                if is_part_of_it {
                    return Ok(());
                }
            }
            Stage::Events => {}
        }
        let body = body(header, bytes, self.checksum);
        let end = start + u64::from(header.size);
        if let Some(transaction) = self.body_event(header, body, start..end).map_err(malformed)? {
            self.counts.transactions += 1;
            self.counts.anonymous += u64::from(transaction.gtid.is_none());
            sink(transaction);
        }
        if self.group.is_none() {
            self.boundary = end;
        }
        Ok(())
    }

    fn format_description(&mut self, header: &EventHeader, bytes: &[u8], start: u64) -> Result<(), ScanError> {
        if header.flags & EventHeader::RELAY_LOG != 0 {
            return Err(ScanError::RelayLog);
        }
        if !crc32_matches(bytes) {
            return Err(ScanError::BadChecksum { offset: start, event_type: header.event_type });
        }
        let format = FormatDescription::parse(bytes).map_err(|reason| bad_event(header, start, reason))?;
        self.checksum = format.checksum;
        self.stage = Stage::Previous(format);
        Ok(())
    }

    /// An event after the head: control, or part of a transaction, which is returned if this ends it.
    fn body_event(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        range: std::ops::Range<u64>,
    ) -> Result<Option<Transaction>, MalformedEvent> {
        let event_type = header.event_type;
        match Role::of(header) {
            Role::Begins => {
                if self.group.is_some() {
                    return Err(MalformedEvent("a transaction begins before the one before it has ended"));
                }
                let mut group = Group::named(header, &GtidEvent::parse(header, body)?, range.start);
                self.hand_over_unknown(&mut group);
                self.group = Some(group);
                return Ok(None);
            }
            Role::EndsFile => {
                if self.group.is_some() {
                    return Err(MalformedEvent("the file ends before its last transaction has ended"));
                }
                self.end = match event_type {
                    EventType::ROTATE => FileEnd::Rotate { next: RotateEvent::parse(body)?.next },
                    _ => FileEnd::Stop,
                };
                return Ok(None);
            }
            Role::Unknown => {
                self.counts.unknown_events += 1;
                match &mut self.group {
                    Some(group) => group.flag(TransactionFlags::UNKNOWN_EVENT),
                    None => self.unknown_before = true,
                }
                return Ok(None);
            }
            Role::Control => return Ok(None),
            Role::Misplaced => return Err(MalformedEvent("it stands where only a new file has one")),
            Role::Content => {}
        }
        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                let mut group = Group::unnamed(header, range.start);
                self.hand_over_unknown(&mut group);
                group
            }
        };
        self.counts.incidents += u64::from(event_type == EventType::INCIDENT);
        match group.step(event_type, body)? {
            Step::Ends => Ok(Some(group.finish(range.end))),
            Step::Continues => {
                self.group = Some(group);
                Ok(None)
            }
        }
    }

    fn hand_over_unknown(&mut self, group: &mut Group) {
        if std::mem::take(&mut self.unknown_before) {
            group.flag(TransactionFlags::UNKNOWN_EVENT);
        }
    }
}

/// What an event is to the file it stands in.
enum Role {
    /// The beginning of a transaction.
    Begins,
    /// A part of a transaction.
    Content,
    /// Nothing that concerns transactions.
    Control,
    /// The file's last event.
    EndsFile,
    /// A second head.
    Misplaced,
    /// A type that we don't know, and that must not be ignored.
    Unknown,
}

impl Role {
    const fn of(header: &EventHeader) -> Self {
        match header.event_type {
            event_type if GtidEvent::is_one(event_type) => Self::Begins,
            EventType::ROTATE | EventType::STOP => Self::EndsFile,
            EventType::FORMAT_DESCRIPTION | EventType::START_V3 => Self::Misplaced,
            EventType::PREVIOUS_GTIDS
            | EventType::GTID_LIST
            | EventType::BINLOG_CHECKPOINT
            | EventType::HEARTBEAT
            | EventType::HEARTBEAT_V2
            | EventType::IGNORABLE => Self::Control,
            event_type if event_type.is_known() => Self::Content,
            _ if header.flags & EventHeader::IGNORABLE != 0 => Self::Control,
            _ => Self::Unknown,
        }
    }
}

/// The head of a file whose first event after the format description is this one.
fn head(format: &FormatDescription, header: &EventHeader, bytes: &[u8], start: u64) -> Result<Head, MalformedEvent> {
    let body = body(header, bytes, format.checksum);
    let previous = match header.event_type {
        EventType::PREVIOUS_GTIDS => {
            Some(GtidSet::decode_mysql(body).map_err(|_| MalformedEvent("its body is not an encoded set of GTIDs"))?)
        }
        EventType::GTID_LIST => Some(parse_gtid_list(body)?),
        _ => None,
    };
    let mut raw = format.event_bytes.clone();
    let (previous, length) = match previous {
        Some(previous) => {
            raw.extend_from_slice(bytes);
            (previous, start + u64::from(header.size))
        }
        None => (GtidSet::new(), start),
    };
    Ok(Head { format: format.clone(), previous, length, bytes: raw })
}

/// What of `bytes` is between header and checksum.
fn body<'a>(header: &EventHeader, bytes: &'a [u8], checksum: ChecksumAlgorithm) -> &'a [u8] {
    let end = (header.size as usize).saturating_sub(checksum.length()).min(bytes.len());
    bytes.get(EventHeader::LENGTH..end).unwrap_or_default()
}

const fn bad_event(header: &EventHeader, start: u64, malformed: MalformedEvent) -> ScanError {
    ScanError::BadEvent { offset: start, event_type: header.event_type, reason: malformed.0 }
}
