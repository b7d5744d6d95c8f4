//! A segment: a byte range of one binlog as one object (archive-format.md "Segment").
//!
//! ```text
//! ┌ skippable frame ┐┌ skippable frame ┐┌ zstd frame ┐
//! │ header: JSON    ││ index: columns  ││ payload    │     zstd -dc *.zst > binlog.000042
//! └─────────────────┘└─────────────────┘└────────────┘
//! ```

mod codec;
mod decode;
mod encode;
mod header;
mod index;
pub mod memory;
mod raw_bytes;
mod repeat;
mod streams;
mod varint;
mod wire;
mod zstd_frames;

use std::fmt::Write as _;
use std::sync::Arc;

use pitr_recovery::StoredObject;

pub use codec::{Codec, CodecError, UnknownCodec};
pub use decode::{OpenedSegment, SegmentError, open_segment, read_header};
pub use encode::{DraftError, EncodingTime, SegmentDraft, SegmentOrigin};
pub use header::{Closes, HeaderCodec, HeldSet, Parts, SegmentDamage, SegmentHeader, TransactionSummary};
pub use index::IndexedTransaction;
pub use raw_bytes::RawBytes;
pub use repeat::{Repeat, RepeatOf};

pub(crate) use codec::{WINDOW_LOG_MAX, decompress};
pub(crate) use decode::{HeaderRead, header_of, index_of, raw_bytes};
pub(crate) use encode::{Stamp, encode};
pub(crate) use repeat::{REPEATED_BYTES_MAX, Repeated, encode_repeat};
pub(crate) use wire::{FORMAT, HeaderWire};

use crate::digest::Digest;
use crate::layout::SegmentKey;

/// The length of nearly every key.
const KEY_BYTES: usize = 128;

/// The magic number of a zstd skippable frame, which any decoder passes over.
const SKIPPABLE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();

/// Magic and length of a frame.
const FRAME_HEADER_BYTES: usize = 8;

/// The largest header that is read.
const HEADER_BYTES_MAX: usize = 16 << 20;

/// A set with a longer text is left out of the header, and read from the file's own event if need be.
const HEADER_SET_BYTES_MAX: usize = 4 << 20;

/// The largest segment that is read, decompressed. Archivers cut at 32 MiB, and a huge transaction at twice that.
pub const SEGMENT_RAW_BYTES_MAX: u64 = 256 << 20;

/// A segment that is stored: where, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Its key.
    pub key: SegmentKey,
    /// Its stored length.
    pub length: u64,
    /// Hash of the stored object, whose beginning stands in the key; unknown when only the header was fetched.
    pub sha256: Option<Digest>,
    /// What it says of itself.
    pub header: Arc<SegmentHeader>,
}

impl SegmentRecord {
    /// The object as plans name it.
    #[must_use]
    pub fn stored_object(&self) -> StoredObject {
        // Room for all of a usual key at once: an inventory has very many.
        let mut key = String::with_capacity(KEY_BYTES);
        let _never = write!(key, "{}", self.key);
        StoredObject { key, length: self.length, sha256_begins: self.key.hash.0 }
    }
}
