use super::MalformedEvent;
use crate::BinlogName;
use crate::reader::Reader;

/// The name of the next file (`Rotate_event`: position u64, name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateEvent {
    /// Where to go on in the next file: 4.
    pub position: u64,
    /// The next file.
    pub next: BinlogName,
}

impl RotateEvent {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedEvent> {
        let mut reader = Reader::new(body);
        let position = reader.u64().ok_or(MalformedEvent("the ROTATE event ends too early"))?;
        // A server whose log_bin is a path writes the file's name alone, as does one from a stream.
        let name = std::str::from_utf8(reader.rest()).ok().and_then(|text| BinlogName::parse(text).ok());
        Ok(Self { position, next: name.ok_or(MalformedEvent("the ROTATE event names no binlog"))? })
    }
}

/// A hole that the server reports (`Incident_event`: number u16, length u8, message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentEvent<'a> {
    /// 1: events were lost.
    pub number: u16,
    /// The server's own words.
    pub message: &'a [u8],
}

impl<'a> IncidentEvent<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, MalformedEvent> {
        const SHORT: MalformedEvent = MalformedEvent("the INCIDENT event ends too early");
        let mut reader = Reader::new(body);
        let number = reader.u16().ok_or(SHORT)?;
        let length = reader.u8().ok_or(SHORT)?;
        Ok(Self { number, message: reader.take(length.into()).ok_or(SHORT)? })
    }
}

/// Reads the body of an XID event: the number of the transaction within its server.
pub fn parse_xid(body: &[u8]) -> Result<u64, MalformedEvent> {
    Reader::new(body).u64().ok_or(MalformedEvent("the XID event ends too early"))
}

/// A compressed transaction (`Transaction_payload_event`): (field, length, value) with packed integers; the event ends
/// with field 0 and the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadEvent<'a> {
    /// How the payload is compressed.
    pub compression: Compression,
    /// The length of the events within.
    pub uncompressed_size: u64,
    /// The events, compressed. They have no checksums.
    pub payload: &'a [u8],
}

/// How something in a log is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zstd: MySQL's transaction payloads.
    Zstd,
    /// zlib: MariaDB's compressed events.
    Zlib,
    /// Not at all.
    None,
    /// A number that we don't know.
    Unknown(u64),
}

impl<'a> PayloadEvent<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, MalformedEvent> {
        Self::read(&mut Reader::new(body)).ok_or(MalformedEvent("its body is not that of a TRANSACTION_PAYLOAD event"))
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        const END: u64 = 0;
        const SIZE: u64 = 1;
        const COMPRESSION: u64 = 2;
        const UNCOMPRESSED_SIZE: u64 = 3;
        let (mut size, mut compression, mut uncompressed) = (None, None, None);
        loop {
            let field = reader.packed()?;
            if field == END {
                break;
            }
            let length = usize::try_from(reader.packed()?).ok()?;
            let mut value = Reader::new(reader.take(length)?);
            match field {
                SIZE => size = Some(usize::try_from(value.packed()?).ok()?),
                COMPRESSION => compression = Some(value.packed()?),
                UNCOMPRESSED_SIZE => uncompressed = Some(value.packed()?),
                _ => {}
            }
        }
        let payload = reader.take(size?)?;
        let compression = match compression? {
            0 => Compression::Zstd,
            255 => Compression::None,
            other => Compression::Unknown(other),
        };
        Some(Self { compression, uncompressed_size: uncompressed.unwrap_or(size? as u64), payload })
    }
}
