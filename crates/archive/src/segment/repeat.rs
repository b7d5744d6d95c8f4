//! `dedupe: gtid`: a segment as what differs from the bytes of another server's log that has the same transactions.
//!
//! A replica writes its source's transactions again: other positions, checksums, logical clocks, times of commit, else the same
//! bytes. So the payload is a zstd frame of the segment's bytes with those bytes before it (`zstd --patch-from`), both without
//! what a place in a file decides ([`mask`]). It gives the segment's own bytes back, to the last one.

use std::sync::Arc;

use bytes::Bytes;
use pitr_binlog::event::{ChecksumAlgorithm, mask, unmask};

use super::encode::{DraftError, Stamp, header_json, put_frame};
use super::header::{HeaderCodec, SegmentHeader};
use super::zstd_frames::{decompress_after, zstd_after};
use super::{FRAME_HEADER_BYTES, SEGMENT_RAW_BYTES_MAX, SegmentRecord};
use crate::digest::{Digest, ShortHash, sha256};
use crate::layout::{Compression, Place, SegmentKey};

/// No segment refers to more bytes than this.
pub(crate) const REPEATED_BYTES_MAX: u64 = 64 << 20;

/// No segment refers to more pieces than this.
const PIECES_MAX: usize = 64;

/// What a segment is told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// Pieces of other servers' segments: their bytes, one behind the other, are what its own are compared with.
    pub of: Vec<RepeatOf>,
    /// How many of its bytes, from the first on, are stored without positions and checksums.
    pub masked: u64,
    /// The stored length of the whole segment in whose place it stands.
    pub instead_of: u64,
}

/// A piece of another segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatOf {
    /// The segment. Others that hold its range with the same hash serve as well.
    pub key: SegmentKey,
    /// The hash of its raw bytes.
    pub raw_sha256: Digest,
    /// The piece's first byte in the raw file.
    pub from: u64,
    /// The byte after its last one.
    pub to: u64,
}

impl Repeat {
    /// Whether the segment at `key` may refer to all this. Only to servers whose name comes before its own (T): else two segments
    /// could be told by each other.
    pub(super) fn check(&self, key: &SegmentKey) -> Result<(), &'static str> {
        if key.compression != Compression::Zstd || key.encrypted {
            return Err("its codec is not that of its key");
        }
        let is_right = |of: &RepeatOf| {
            of.key.binlog.source < key.binlog.source
                && of.key.place == Place::Binlogs
                && (of.key.start..=of.key.end).contains(&of.from)
                && of.from < of.to
                && of.to <= of.key.end
                && of.key.end - of.key.start <= SEGMENT_RAW_BYTES_MAX
        };
        let is_of_others = !self.of.is_empty() && self.of.len() <= PIECES_MAX && self.of.iter().all(is_right);
        let bytes = self.of.iter().fold(0_u64, |sum, of| sum.saturating_add(of.to.saturating_sub(of.from)));
        if !is_of_others || bytes > REPEATED_BYTES_MAX || self.masked > key.end - key.start {
            return Err("what it refers to is not valid");
        }
        Ok(())
    }
}

/// The bytes that a repeat is told by, put together.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    bytes: Vec<u8>,
}

impl Repeated {
    /// Room for so many bytes.
    pub(crate) fn of_length(bytes: u64) -> Self {
        Self { bytes: Vec::with_capacity(usize::try_from(bytes).unwrap_or(0)) }
    }

    /// Adds a piece of a segment with these raw bytes. `None`: it does not lie in them.
    pub(crate) fn add(&mut self, of: &RepeatOf, raw: &[u8], checksum: &str) -> Option<()> {
        let place = |offset: u64| usize::try_from(offset.checked_sub(of.key.start)?).ok();
        let piece = raw.get(place(of.from)?..place(of.to)?)?;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        mask(&mut self.bytes[at..], of.from, algorithm(checksum));
        Some(())
    }

    /// The raw bytes of a segment whose payload this is.
    pub(super) fn raw(&self, header: &SegmentHeader, repeat: &Repeat, payload: &[u8]) -> Result<Vec<u8>, String> {
        let length = usize::try_from(header.end - header.start).map_err(|error| error.to_string())?;
        let masked = usize::try_from(repeat.masked).map_err(|error| error.to_string())?;
        let mut raw = decompress_after(&self.bytes, payload, length).map_err(|error| error.to_string())?;
        let events = raw.get_mut(..masked).ok_or("it holds less than its header says")?;
        unmask(events, header.start, algorithm(&header.checksum)).map_err(|error| error.to_string())?;
        if raw.len() == length { Ok(raw) } else { Err("it holds less than its header says".to_owned()) }
    }
}

/// What is stored in the place of a whole segment, given by its header, its index as it is stored, and its raw bytes, which are
/// used up. CPU-bound: for a thread that may block.
pub(crate) fn encode_repeat(
    whole: &SegmentRecord,
    encoded_index: &[u8],
    mut raw: Vec<u8>,
    (of, repeated): (Vec<RepeatOf>, &Repeated),
    stamp: Stamp,
) -> Result<(Bytes, SegmentRecord), DraftError> {
    let masked = mask(&mut raw, whole.header.start, algorithm(&whole.header.checksum)) as u64;
    let payload = zstd_after(&repeated.bytes, &raw)?;
    drop(raw);
    let mut header = SegmentHeader {
        codec: HeaderCodec::Repeat(Box::new(Repeat { of, masked, instead_of: whole.length })),
        nonce: format!("{:016x}", rand::random::<u64>()),
        written_at: stamp.written_at,
        writer: stamp.writer,
        ..whole.header.as_ref().clone()
    };
    let json = header_json(&mut header, encoded_index.len())?;
    let mut object = Vec::with_capacity(json.len() + encoded_index.len() + payload.len() + 2 * FRAME_HEADER_BYTES);
    put_frame(&mut object, &json);
    put_frame(&mut object, encoded_index);
    object.extend_from_slice(&payload);
    let sha256 = sha256(&object);
    let key = SegmentKey { hash: ShortHash::of_digest(&sha256), compression: Compression::Zstd, ..whole.key.clone() };
    let record = SegmentRecord { key, length: object.len() as u64, sha256: Some(sha256), header: Arc::new(header) };
    Ok((object.into(), record))
}

/// How events are protected where a header says so; of what nobody knows, only positions are masked.
fn algorithm(checksum: &str) -> ChecksumAlgorithm {
    if checksum == "CRC32" { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None }
}
