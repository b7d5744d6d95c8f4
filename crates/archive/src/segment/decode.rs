//! From a stored object to its header, index and raw bytes. Nothing read here is trusted before it is checked.

use pitr_recovery::BinlogId;

use super::header::{HeaderCodec, SegmentHeader};
use super::index::{self, IndexedTransaction};
use super::repeat::{Repeat, Repeated};
use super::wire::{FORMAT, HeaderWire};
use super::{FRAME_HEADER_BYTES, HEADER_BYTES_MAX, SEGMENT_RAW_BYTES_MAX, SKIPPABLE};
use crate::digest::sha256;
use crate::layout::SegmentKey;
use crate::seal::{self, HashKey, Identities, Opened, RawDigest, SealError};

/// Why an object is no segment that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The bytes are not those that were stored.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A later version of the format.
    #[error("written in format {found}, this version reads format {FORMAT}")]
    NewerFormat {
        /// The format.
        found: u32,
    },
    /// It is encrypted, and there is no identity.
    #[error("encrypted to {}", recipients.join(", "))]
    Encrypted {
        /// To whom.
        recipients: Vec<String>,
    },
    /// It is encrypted, and the identities that there are do not open it.
    #[error("encrypted to {}, whose identity is not among those at hand", recipients.join(", "))]
    WrongIdentity {
        /// To whom.
        recipients: Vec<String>,
    },
    /// It is stored as what differs from other segments, without which it says nothing.
    #[error("stored as what differs from {of}: the archive reads it")]
    Repeat {
        /// The first of those.
        of: String,
    },
    /// A codec that this version does not read.
    #[error("compressed with \"{name}\", which this version does not read")]
    UnknownCodec {
        /// Its name.
        name: String,
    },
}

fn damaged(what: impl Into<String>) -> SegmentError {
    SegmentError::Damaged(what.into())
}

/// What the first bytes of an object give.
#[derive(Debug)]
pub(crate) enum HeaderRead {
    /// The header.
    Header(Box<SegmentHeader>),
    /// Not all of it: so many bytes are needed from the object's start.
    NeedsBytes(u64),
}

/// Reads the header from the first bytes of the object at `key`.
pub(crate) fn header_of(first: &[u8], key: &SegmentKey) -> Result<HeaderRead, SegmentError> {
    let Some(frame) = first.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(HeaderRead::NeedsBytes(FRAME_HEADER_BYTES as u64));
    };
    let length = frame_length(frame).ok_or_else(|| damaged("it does not begin with a header"))?;
    if length > HEADER_BYTES_MAX {
        return Err(damaged(format!("a header of {length} bytes is too long")));
    }
    let end = FRAME_HEADER_BYTES + length;
    let Some(json) = first.get(FRAME_HEADER_BYTES..end) else {
        return Ok(HeaderRead::NeedsBytes(end as u64));
    };
    let header = parse_json(json)?;
    check(&header, key)?;
    Ok(HeaderRead::Header(Box::new(header)))
}

/// Reads the header of a whole segment, or of its first bytes.
///
/// # Errors
/// [`SegmentError`] when the bytes are no segment at `key`, or too few.
pub fn read_header(first: &[u8], key: &SegmentKey) -> Result<SegmentHeader, SegmentError> {
    match header_of(first, key)? {
        HeaderRead::Header(header) => Ok(*header),
        HeaderRead::NeedsBytes(_) => Err(damaged("it ends within its header")),
    }
}

/// What a stored object holds, for whoever has the object and not its key.
#[derive(Debug)]
pub struct OpenedSegment {
    /// Its header.
    pub header: SegmentHeader,
    /// Its index.
    pub transactions: Vec<IndexedTransaction>,
    /// The raw bytes, verified; or why they cannot be had (encrypted, damaged, an unknown codec).
    pub raw: Result<Vec<u8>, SegmentError>,
}

/// Opens a whole stored object. CPU-bound: for a thread that may block.
///
/// # Errors
/// [`SegmentError`] when header or index are not valid.
pub fn open_segment(object: &[u8]) -> Result<OpenedSegment, SegmentError> {
    let length =
        object.first_chunk().and_then(frame_length).ok_or_else(|| damaged("it does not begin with a header"))?;
    if length > HEADER_BYTES_MAX {
        return Err(damaged(format!("a header of {length} bytes is too long")));
    }
    let json = object.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length);
    let header = parse_json(json.ok_or_else(|| damaged("it ends within its header"))?)?;
    let parts = &header.parts;
    if parts.index_at > parts.payload_at || header.end.saturating_sub(header.start) > SEGMENT_RAW_BYTES_MAX {
        return Err(damaged("its parts are not valid"));
    }
    let transactions = index_of(&header, object)?.ok_or_else(|| damaged("it ends within its index"))?;
    let raw = raw_bytes(&header, object, None, &Identities::default()).map(|(raw, _)| raw);
    Ok(OpenedSegment { header, transactions, raw })
}

fn frame_length(frame: &[u8; FRAME_HEADER_BYTES]) -> Option<usize> {
    let [a, b, c, d, length @ ..] = *frame;
    ([a, b, c, d] == SKIPPABLE).then(|| u32::from_le_bytes(length) as usize)
}

fn parse_json(json: &[u8]) -> Result<SegmentHeader, SegmentError> {
    /// Enough to refuse a later format by name, whatever its other fields are.
    #[derive(serde::Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let unreadable = |error: serde_json::Error| damaged(format!("the header cannot be read: {error}"));
    let OnlyFormat { format } = serde_json::from_slice(json).map_err(unreadable)?;
    if format != FORMAT {
        return Err(SegmentError::NewerFormat { found: format });
    }
    let wire: HeaderWire<'_> = serde_json::from_slice(json).map_err(unreadable)?;
    wire.header().map_err(|field| damaged(format!("the header's \"{field}\" is not valid")))
}

/// The header must say what the key says.
fn check(header: &SegmentHeader, key: &SegmentKey) -> Result<(), SegmentError> {
    let BinlogId { source, number, head } = &header.binlog;
    let same = (source, number, head) == (&key.binlog.source, &key.binlog.number, &key.binlog.head)
        && (header.start, header.end) == (key.start, key.end);
    if !same {
        return Err(damaged("its header belongs to another key"));
    }
    if let HeaderCodec::Known(codec) = &header.codec
        && codec.compression() != key.compression
    {
        return Err(damaged("its codec is not that of its key"));
    }
    if let HeaderCodec::Repeat(repeat) = &header.codec {
        repeat.check(key).map_err(damaged)?;
    }
    if key.encrypted == header.recipients.is_empty() || key.encrypted != header.hash_key.is_some() {
        return Err(damaged("its key and its header differ about encryption"));
    }
    if header.end - header.start > SEGMENT_RAW_BYTES_MAX {
        return Err(damaged("its range is longer than any segment's"));
    }
    let parts = &header.parts;
    if parts.index_at > parts.payload_at {
        return Err(damaged("its parts overlap"));
    }
    Ok(())
}

/// Reads the index from the object's first bytes. `None`: more are needed, up to the header's `payload_at`.
pub(crate) fn index_of(header: &SegmentHeader, first: &[u8]) -> Result<Option<Vec<IndexedTransaction>>, SegmentError> {
    let at = |offset: u64| usize::try_from(offset).map_err(|_| damaged("its parts are not valid"));
    let Some(encoded) = first.get(at(header.parts.index_at)?..at(header.parts.payload_at)?) else {
        return Ok(None);
    };
    if sha256(encoded) != header.parts.index_sha256 {
        return Err(damaged("its index does not match its hash"));
    }
    let entries = index::decode(encoded, header.start).ok_or_else(|| damaged("its index cannot be decoded"))?;
    let inside = entries.iter().all(|entry| entry.end > header.start && entry.end <= header.end);
    if entries.len() as u64 != header.transactions.count || !inside {
        return Err(damaged("its index does not match its header"));
    }
    Ok(Some(entries))
}

/// The raw bytes of a whole object, checked against the header, and the key of its hash where it is encrypted. CPU-bound: for a
/// thread that may block. `repeated`: what a repeat differs from.
pub(crate) fn raw_bytes(
    header: &SegmentHeader,
    object: &[u8],
    repeated: Option<&Repeated>,
    identities: &Identities,
) -> Result<(Vec<u8>, Option<HashKey>), SegmentError> {
    let codec = match &header.codec {
        HeaderCodec::Known(codec) => *codec,
        HeaderCodec::Repeat(repeat) => return Ok((raw_of_repeat(header, repeat, object, repeated)?, None)),
        HeaderCodec::Other(name) => return Err(SegmentError::UnknownCodec { name: name.clone() }),
    };
    let too_long = || damaged("its parts are not valid");
    let payload_at = usize::try_from(header.parts.payload_at).map_err(|_| too_long())?;
    let payload = object.get(payload_at..).ok_or_else(|| damaged("it ends before its payload"))?;
    let length = usize::try_from(header.end - header.start).map_err(|_| too_long())?;
    let opened = opened(header, payload, identities)?;
    let content = opened.as_ref().map_or(payload, Opened::content);
    let raw = codec.decompress(content, length).map_err(|error| damaged(error.to_string()))?;
    let key = opened.as_ref().map(|opened| &opened.hash_key);
    if raw.len() != length || RawDigest(key).of(&raw) != header.raw_sha256 {
        return Err(damaged("its bytes do not match their hash"));
    }
    let key = key.cloned();
    Ok((raw, key))
}

fn raw_of_repeat(
    header: &SegmentHeader,
    repeat: &Repeat,
    object: &[u8],
    repeated: Option<&Repeated>,
) -> Result<Vec<u8>, SegmentError> {
    let of = || repeat.of.first().map(|of| of.key.to_string()).unwrap_or_default();
    let repeated = repeated.ok_or_else(|| SegmentError::Repeat { of: of() })?;
    let payload_at = usize::try_from(header.parts.payload_at).ok();
    let payload = payload_at.and_then(|at| object.get(at..)).ok_or_else(|| damaged("it ends before its payload"))?;
    let raw = repeated.raw(header, repeat, payload).map_err(damaged)?;
    if RawDigest(None).of(&raw) != header.raw_sha256 {
        return Err(damaged("its bytes do not match their hash"));
    }
    Ok(raw)
}

/// What is in an encrypted payload; none for one in clear.
fn opened(header: &SegmentHeader, payload: &[u8], identities: &Identities) -> Result<Option<Opened>, SegmentError> {
    let recipients = || header.recipients.clone();
    if header.recipients.is_empty() {
        return Ok(None);
    }
    if identities.is_empty() {
        return Err(SegmentError::Encrypted { recipients: recipients() });
    }
    let opened = seal::open(identities, payload).map_err(|error| match error {
        SealError::WrongIdentity => SegmentError::WrongIdentity { recipients: recipients() },
        error => damaged(error.to_string()),
    })?;
    if Some(opened.hash_key.id()) != header.hash_key {
        return Err(damaged("its hash key is not the one that its header names"));
    }
    Ok(Some(opened))
}
