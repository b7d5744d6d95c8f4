//! From raw bytes and transactions to a stored object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use pitr_binlog::{BinlogName, Flavour, GtidSet, Head, IN_USE_OFFSET, TransactionFlags};
use pitr_recovery::{BinlogId, TransactionPoint};

use super::codec::{Codec, CodecError};
use super::header::{Closes, HeaderCodec, HeldSet, Parts, SegmentDamage, SegmentHeader, TransactionSummary};
use super::index::{self, IndexedTransaction};
use super::raw_bytes::RawBytes;
use super::wire::HeaderWire;
use super::{
    FRAME_HEADER_BYTES, HEADER_BYTES_MAX, HEADER_SET_BYTES_MAX, SEGMENT_RAW_BYTES_MAX, SKIPPABLE, SegmentRecord,
};
use crate::digest::{ShortHash, sha256};
use crate::layout::{Place, SegmentKey, is_source};
use crate::seal::{RawDigest, SealError, Sealer, Sealing};

/// The lowest bit of the first event's flags: the server is writing this file.
const IN_USE: u8 = 1;

/// A byte range of a binlog that is to be stored.
#[derive(Debug, Clone)]
pub struct SegmentDraft {
    /// Where to.
    pub place: Place,
    /// The binlog.
    pub binlog: BinlogId,
    /// Its name on the server.
    pub name: BinlogName,
    /// What its head says.
    pub origin: SegmentOrigin,
    /// Where in the raw file `raw` begins.
    pub start: u64,
    /// The bytes, with the in-use bit cleared.
    pub raw: RawBytes,
    /// The transactions that end in it, in log order.
    pub transactions: Vec<IndexedTransaction>,
    /// How the file ended, if this is its last segment.
    pub closes: Option<Closes>,
    /// From where on the file cannot be read.
    pub damage: Option<SegmentDamage>,
    /// It begins within a transaction.
    pub starts_in_transaction: bool,
    /// It ends within a transaction.
    pub ends_in_transaction: bool,
}

/// What all segments of a binlog have in common.
#[derive(Debug, Clone)]
pub struct SegmentOrigin {
    /// Who wrote the file.
    pub flavour: Flavour,
    /// The server's version text.
    pub server_version: String,
    /// The checksum algorithm of its events.
    pub checksum: String,
    /// The GTIDs of all earlier files.
    pub previous: Arc<GtidSet>,
}

impl From<&Head> for SegmentOrigin {
    fn from(head: &Head) -> Self {
        Self {
            flavour: head.format.flavour,
            server_version: head.format.server_version.clone(),
            checksum: head.format.checksum.to_string(),
            previous: Arc::new(head.previous.clone()),
        }
    }
}

/// Who encodes, and when.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    /// The archiver's clock.
    pub(crate) written_at: Timestamp,
    /// Program and version.
    pub(crate) writer: String,
}

/// What making one object took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodingTime {
    /// Hashing and compressing its bytes.
    pub compress: Duration,
    /// Encrypting them; none where they are stored in clear.
    pub encrypt: Option<Duration>,
}

/// A draft that no reader could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Nothing in it, or more than readers take.
    #[error("a segment of {0} bytes cannot be stored")]
    Length(u64),
    /// A name of a source that no key can hold.
    #[error("source \"{0}\" cannot stand in a key")]
    Source(String),
    /// The first event still says that the file is being written.
    #[error("the in-use bit is set")]
    InUse,
    /// A transaction that ends elsewhere, or the transactions are not in log order.
    #[error("the transaction at {start} does not belong to bytes {from}..{to} in this order")]
    Transactions {
        /// Where it begins.
        start: u64,
        /// Where the segment begins.
        from: u64,
        /// Where the segment ends.
        to: u64,
    },
    /// A header longer than readers take.
    #[error("a header of {0} bytes is too long")]
    Header(usize),
    /// Compressing failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Encrypting failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The header cannot be written as JSON.
    #[error("the header cannot be written: {0}")]
    Json(String),
}

/// The stored object, its record, and what it took. CPU-bound: for a thread that may block. `compressed` is called when only the object's
/// hash is missing.
pub(crate) fn encode(
    draft: SegmentDraft,
    (codec, sealer): (Codec, Option<&Sealer>),
    stamp: Stamp,
    compressed: impl FnOnce(),
) -> Result<(Bytes, SegmentRecord, EncodingTime), DraftError> {
    let begun = Instant::now();
    let length = draft.raw.len() as u64;
    check(&draft, length)?;
    let codec = codec.for_length(draft.raw.len());
    let transactions = summary(&draft);
    let encoded_index = index::encode(draft.start, draft.transactions.iter())?;
    let mut header = SegmentHeader {
        start: draft.start,
        end: draft.start + length,
        raw_sha256: draft.raw.hash(&RawDigest(sealer.map(Sealer::hash_key))),
        hash_key: sealer.map(|sealer| sealer.hash_key().id()),
        codec: HeaderCodec::Known(codec),
        recipients: sealer.map(|s| s.recipients().iter().map(ToString::to_string).collect()).unwrap_or_default(),
        parts: Parts { index_at: 0, payload_at: 0, index_sha256: sha256(&encoded_index) },
        nonce: format!("{:016x}", rand::random::<u64>()),
        transactions,
        previous: (draft.start == 0).then(|| HeldSet::Whole(draft.origin.previous.as_ref().clone())),
        closes: draft.closes,
        checksum: draft.origin.checksum,
        damage: draft.damage,
        starts_in_transaction: draft.starts_in_transaction,
        ends_in_transaction: draft.ends_in_transaction,
        written_at: stamp.written_at,
        writer: stamp.writer,
        binlog: draft.binlog,
        name: draft.name,
        flavour: draft.origin.flavour,
        server_version: draft.origin.server_version,
    };
    let mut stored_as = codec;
    let (mut object, mut payload) = assemble(&mut header, &encoded_index, &draft.raw, (codec, sealer))?;
    if codec != Codec::None && payload.bytes >= length {
        // What does not shrink is stored as it is: then reading it costs nothing either.
        drop(object);
        stored_as = Codec::None;
        (object, payload) = assemble(&mut header, &encoded_index, &draft.raw, (stored_as, sealer))?;
    }
    drop(draft.raw);
    let mut took = EncodingTime { compress: begun.elapsed(), encrypt: None };
    if let Some(sealing) = payload.sealing {
        sealing.finish(&mut object)?;
        took.encrypt = Some(begun.elapsed().saturating_sub(took.compress));
    }
    compressed();
    let sha256 = sha256(&object);
    let key = SegmentKey {
        place: draft.place,
        binlog: header.binlog.clone(),
        start: header.start,
        end: header.end,
        hash: ShortHash::of_digest(&sha256),
        compression: stored_as.compression(),
        encrypted: sealer.is_some(),
    };
    let record = SegmentRecord { key, length: object.len() as u64, sha256: Some(sha256), header: Arc::new(header) };
    Ok((object.into(), record, took))
}

/// A payload that stands in its object, not sealed yet.
struct Payload {
    /// Its compressed bytes.
    bytes: u64,
    sealing: Option<Sealing>,
}

/// Header, index and payload, one behind the other.
fn assemble(
    header: &mut SegmentHeader,
    encoded_index: &[u8],
    raw: &[u8],
    (codec, sealer): (Codec, Option<&Sealer>),
) -> Result<(Vec<u8>, Payload), DraftError> {
    header.codec = HeaderCodec::Known(codec);
    let json = header_json(header, encoded_index.len())?;
    let mut object = Vec::with_capacity(json.len() + encoded_index.len() + 2 * FRAME_HEADER_BYTES);
    put_frame(&mut object, &json);
    put_frame(&mut object, encoded_index);
    let sealing = sealer.map(|sealer| sealer.begin_onto(&mut object)).transpose()?;
    let object = codec.compress_onto(raw, object)?;
    let bytes = match &sealing {
        None => object.len() as u64 - header.parts.payload_at,
        Some(sealing) => sealing.content_bytes(&object) as u64,
    };
    Ok((object, Payload { bytes, sealing }))
}

fn check(draft: &SegmentDraft, length: u64) -> Result<(), DraftError> {
    if !(1..=SEGMENT_RAW_BYTES_MAX).contains(&length) || draft.start.checked_add(length).is_none() {
        return Err(DraftError::Length(length));
    }
    if !is_source(&draft.binlog.source) {
        return Err(DraftError::Source(draft.binlog.source.clone()));
    }
    let end = draft.start + length;
    if let Some(at) = IN_USE_OFFSET.checked_sub(draft.start) {
        let flags = usize::try_from(at).ok().and_then(|at| draft.raw.get(at));
        if flags.is_some_and(|flags| flags & IN_USE != 0) {
            return Err(DraftError::InUse);
        }
    }
    let mut position = 0;
    for transaction in &draft.transactions {
        let ends_here = transaction.end > draft.start && transaction.end <= end;
        if !ends_here || transaction.start < position || transaction.start >= transaction.end {
            return Err(DraftError::Transactions { start: transaction.start, from: draft.start, to: end });
        }
        position = transaction.end;
    }
    Ok(())
}

fn summary(draft: &SegmentDraft) -> TransactionSummary {
    let transactions = &draft.transactions;
    let mut gtids = GtidSet::new();
    let mut summary = TransactionSummary {
        count: transactions.len() as u64,
        without_gtid: 0,
        gtids: HeldSet::Whole(GtidSet::new()),
        first: transactions.first().map(point),
        last: transactions.last().map(point),
        min_commit_us: transactions.iter().map(|t| t.commit_us).min().unwrap_or(0),
        max_commit_us: transactions.iter().map(|t| t.commit_us).max().unwrap_or(0),
        step_back_us: 0,
        whole_seconds: transactions.iter().any(|t| t.whole_second),
        flags: TransactionFlags::NONE,
    };
    let mut latest_us = i64::MIN;
    for transaction in transactions {
        match &transaction.gtid {
            Some(gtid) => gtids.insert(gtid),
            None => summary.without_gtid += 1,
        }
        latest_us = latest_us.max(transaction.commit_us);
        summary.step_back_us = summary.step_back_us.max(latest_us.saturating_sub(transaction.commit_us));
        summary.flags |= transaction.flags;
    }
    summary.gtids = HeldSet::Whole(gtids);
    summary
}

fn point(transaction: &IndexedTransaction) -> TransactionPoint {
    TransactionPoint {
        gtid: transaction.gtid,
        commit_us: transaction.commit_us,
        start: transaction.start,
        end: transaction.end,
    }
}

/// The header as JSON. It says where index and payload are, which depends on its own length: so it is written until
/// that no longer changes.
pub(super) fn header_json(header: &mut SegmentHeader, index_length: usize) -> Result<Vec<u8>, DraftError> {
    let mut wire = HeaderWire::of(header, HEADER_SET_BYTES_MAX);
    loop {
        let json = serde_json::to_vec(&wire).map_err(|error| DraftError::Json(error.to_string()))?;
        if json.len() > HEADER_BYTES_MAX {
            return Err(DraftError::Header(json.len()));
        }
        let index_at = (2 * FRAME_HEADER_BYTES + json.len()) as u64;
        let payload_at = index_at + index_length as u64;
        if (wire.index_at, wire.payload_at) == (index_at, payload_at) {
            (header.parts.index_at, header.parts.payload_at) = (index_at, payload_at);
            return Ok(json);
        }
        // More digits only ever make it longer, so this ends.
        (wire.index_at, wire.payload_at) = (index_at, payload_at);
    }
}

pub(super) fn put_frame(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(&SKIPPABLE);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(content);
}
