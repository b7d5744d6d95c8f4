use super::{EventHeader, EventType, MalformedEvent, XaId};
use crate::gtid::{Gtid, GtidSet, GtidSource, Tag, Uuid};
use crate::reader::Reader;

/// The event that begins a transaction: MySQL's GTID, ANONYMOUS_GTID and GTID_TAGGED, MariaDB's GTID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GtidEvent {
    /// The GTID; none in an anonymous event.
    pub gtid: Option<Gtid>,
    /// MySQL: bit 0 says that there may be changes in statement format. MariaDB: the constants here.
    pub flags: u8,
    /// MySQL's logical clock: the latest transaction of the file that must be committed first.
    pub last_committed: i64,
    /// MySQL's logical clock: this transaction's number within the file.
    pub sequence_number: i64,
    /// When it was committed on the server that wrote this file (MySQL 8.0.1 and newer).
    pub immediate_commit_us: Option<i64>,
    /// When it was committed first. Equal to the immediate time where the event stores only one.
    pub original_commit_us: Option<i64>,
    /// The length of the whole transaction, this event included (MySQL 8.0.2 and newer).
    pub transaction_length: Option<u64>,
    /// MariaDB: the XID of an XA transaction.
    pub xa: Option<XaId>,
}

impl GtidEvent {
    /// MariaDB: no COMMIT follows, the next statement ends the group (`FL_STANDALONE`).
    pub const STANDALONE: u8 = 0x01;
    /// MariaDB: committed together with others; the commit id is stored (`FL_GROUP_COMMIT_ID`).
    pub const GROUP_COMMIT: u8 = 0x02;
    /// MariaDB: can be rolled back (`FL_TRANSACTIONAL`).
    pub const TRANSACTIONAL: u8 = 0x04;
    /// MariaDB: DDL (`FL_DDL`).
    pub const DDL: u8 = 0x20;
    /// MariaDB: ends with XA PREPARE (`FL_PREPARED_XA`).
    pub const PREPARED_XA: u8 = 0x40;
    /// MariaDB: decides an XA transaction (`FL_COMPLETED_XA`).
    pub const COMPLETED_XA: u8 = 0x80;

    /// Whether events of this type begin a transaction, so that `parse` can read them.
    #[must_use]
    pub const fn is_one(event_type: EventType) -> bool {
        matches!(
            event_type,
            EventType::GTID | EventType::ANONYMOUS_GTID | EventType::GTID_TAGGED | EventType::MARIADB_GTID
        )
    }

    /// Reads the body of such an event. The server id of a MariaDB GTID is that of the header.
    pub fn parse(header: &EventHeader, body: &[u8]) -> Result<Self, MalformedEvent> {
        let mut reader = Reader::new(body);
        let event = match header.event_type {
            EventType::GTID => parse_untagged(&mut reader, true),
            EventType::ANONYMOUS_GTID => parse_untagged(&mut reader, false),
            EventType::GTID_TAGGED => parse_tagged(&mut reader),
            EventType::MARIADB_GTID => parse_mariadb(&mut reader, header.server_id),
            _ => return Err(MalformedEvent("not a GTID event")),
        };
        event.ok_or(MalformedEvent("its body is not that of a GTID event"))
    }

    const fn new(gtid: Option<Gtid>, flags: u8) -> Self {
        Self {
            gtid,
            flags,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_us: None,
            original_commit_us: None,
            transaction_length: None,
            xa: None,
        }
    }
}

/// The only type of logical clock that has been written since MySQL 5.7.
const LOGICAL_CLOCK: u8 = 2;
/// Bit 55 of a 7-byte time says that a second time follows.
const TIME_BITS: u32 = 55;

/// Types 33 and 34 (`Gtid_event`): flags u8, UUID 16, number u64; since 5.7 clock type u8, last committed and sequence
/// number i64; since 8.0.1 times of 7 bytes; since 8.0.2 transaction length (packed). What follows is not needed.
fn parse_untagged(reader: &mut Reader<'_>, named: bool) -> Option<GtidEvent> {
    let flags = reader.u8()?;
    let uuid = Uuid(reader.array()?);
    let number = reader.u64()?;
    let gtid = if named { Some(mysql_gtid(uuid, None, number)?) } else { None };
    let mut event = GtidEvent::new(gtid, flags);
    if reader.u8() != Some(LOGICAL_CLOCK) {
        return Some(event);
    }
    event.last_committed = reader.u64()? as i64;
    event.sequence_number = reader.u64()? as i64;
    let Some(time) = reader.uint(7) else {
        return Some(event);
    };
    let immediate = time & ((1 << TIME_BITS) - 1);
    let original = if time >> TIME_BITS == 0 { immediate } else { reader.uint(7)? };
    event.immediate_commit_us = Some(immediate as i64);
    event.original_commit_us = Some(original as i64);
    event.transaction_length = reader.packed();
    Some(event)
}

fn mysql_gtid(uuid: Uuid, tag: Option<Tag>, number: u64) -> Option<Gtid> {
    let source = GtidSource::MySql { uuid, tag };
    (1..=source.largest_number()).contains(&number).then_some(Gtid { source, number })
}

/// Type 42: a message of `mysql::serialization`: format version, message size, id of the last field that a reader must
/// know, then (field id, value) in ascending order (`Gtid_event::define_fields`).
fn parse_tagged(reader: &mut Reader<'_>) -> Option<GtidEvent> {
    const FORMAT_VERSION: u64 = 1;
    const LAST_KNOWN_FIELD: u64 = 11;
    let version = reader.varint()?;
    let _size = reader.varint()?;
    let last_required = reader.varint()?;
    if version != FORMAT_VERSION || last_required > LAST_KNOWN_FIELD + 1 {
        return None;
    }
    let mut event = GtidEvent::new(None, 0);
    let (mut uuid, mut number, mut tag) = (None, None, None);
    while let Some(field) = reader.varint() {
        match field {
            0 => event.flags = u8::try_from(reader.varint()?).ok()?,
            1 => uuid = Some(parse_uuid(reader)?),
            2 => number = Some(u64::try_from(reader.signed_varint()?).ok()?),
            3 => tag = parse_tag(reader)?,
            4 => event.last_committed = reader.signed_varint()?,
            5 => event.sequence_number = reader.signed_varint()?,
            6 => event.immediate_commit_us = Some(i64::try_from(reader.varint()?).ok()?),
            7 => event.original_commit_us = Some(i64::try_from(reader.varint()?).ok()?),
            8 => event.transaction_length = Some(reader.varint()?),
            // Server versions, the group's ticket, and what later servers add.
            _ => break,
        }
    }
    event.original_commit_us = event.original_commit_us.or(event.immediate_commit_us);
    event.gtid = Some(mysql_gtid(uuid?, tag, number?)?);
    Some(event)
}

/// Each byte is a variable-length integer of its own.
fn parse_uuid(reader: &mut Reader<'_>) -> Option<Uuid> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(reader.varint()?).ok()?;
    }
    Some(Uuid(bytes))
}

fn parse_tag(reader: &mut Reader<'_>) -> Option<Option<Tag>> {
    let length = usize::try_from(reader.varint()?).ok()?;
    let text = reader.take(length)?;
    if text.is_empty() { Some(None) } else { Tag::from_bytes(text).map(Some) }
}

/// Type 162 (`Gtid_log_event` of MariaDB): number u64, domain u32, flags u8, commit id u64 if flagged, XID if flagged
/// (format u32, two lengths u8, data); flags of later versions and padding follow.
fn parse_mariadb(reader: &mut Reader<'_>, server_id: u32) -> Option<GtidEvent> {
    let number = reader.u64()?;
    let domain = reader.u32()?;
    let flags = reader.u8()?;
    let gtid = Gtid { source: GtidSource::MariaDb { domain, server_id }, number };
    let mut event = GtidEvent::new(Some(gtid), flags);
    if flags & GtidEvent::GROUP_COMMIT != 0 {
        reader.u64()?;
    }
    if flags & (GtidEvent::PREPARED_XA | GtidEvent::COMPLETED_XA) != 0 {
        let format_id = reader.u32()? as i32;
        let (gtrid, bqual) = (reader.u8()?, reader.u8()?);
        event.xa = Some(XaId::new(format_id, reader.take(gtrid.into())?, reader.take(bqual.into())?)?);
    }
    (number > 0).then_some(event)
}

/// Reads the body of a MariaDB GTID_LIST: number of entries u32 (its upper 4 bits are flags), then per entry domain u32,
/// server id u32, last number u64. Each entry is read as all numbers up to the last.
pub fn parse_gtid_list(body: &[u8]) -> Result<GtidSet, MalformedEvent> {
    const COUNT_BITS: u32 = 28;
    const SHORT: MalformedEvent = MalformedEvent("the GTID list ends too early");
    let mut reader = Reader::new(body);
    let count = reader.u32().ok_or(SHORT)? & ((1 << COUNT_BITS) - 1);
    let mut set = GtidSet::new();
    for _ in 0..count {
        let domain = reader.u32().ok_or(SHORT)?;
        let server_id = reader.u32().ok_or(SHORT)?;
        let last = reader.u64().ok_or(SHORT)?;
        set.insert_range(&GtidSource::MariaDb { domain, server_id }, 1..=last);
    }
    Ok(set)
}
