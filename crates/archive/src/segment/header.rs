//! What a segment says about itself.

use jiff::Timestamp;
use pitr_binlog::{BinlogName, Flavour, GtidSet, TransactionFlags};
use pitr_recovery::{BinlogId, TransactionPoint};

use super::codec::Codec;
use super::repeat::Repeat;
use crate::digest::{Digest, sha256};
use crate::seal::HashKeyId;

/// The header of a segment: everything that a reader wants to know without decoding the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The binlog.
    pub binlog: BinlogId,
    /// Its name on the server.
    pub name: BinlogName,
    /// Who wrote it.
    pub flavour: Flavour,
    /// The server's version text.
    pub server_version: String,
    /// First byte in the raw file.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Hash of the raw bytes: SHA-256 in clear, HMAC-SHA256 where the payload is encrypted.
    pub raw_sha256: Digest,
    /// Which key that hash is made with; none: it is in clear.
    pub hash_key: Option<HashKeyId>,
    /// How the payload is compressed.
    pub codec: HeaderCodec,
    /// The recipients that it is encrypted to; empty when it is not.
    pub recipients: Vec<String>,
    /// Where things are in the object.
    pub parts: Parts,
    /// Random: no two encodings of a range have the same key.
    pub nonce: String,
    /// What is in it.
    pub transactions: TransactionSummary,
    /// The GTIDs of all earlier files; only in a file's first segment.
    pub previous: Option<HeldSet>,
    /// Whether it is the file's last segment, and why the file ended.
    pub closes: Option<Closes>,
    /// The checksum algorithm of the file's events, as `@@binlog_checksum` has it.
    pub checksum: String,
    /// From where on the file cannot be read, and why.
    pub damage: Option<SegmentDamage>,
    /// It begins within a transaction.
    pub starts_in_transaction: bool,
    /// It ends within a transaction.
    pub ends_in_transaction: bool,
    /// When it was encoded, by the archiver's clock. Nothing is decided by it.
    pub written_at: Timestamp,
    /// Who encoded it.
    pub writer: String,
}

impl SegmentHeader {
    /// What its bytes are told by, if it is stored as what differs from another server's log.
    #[must_use]
    pub fn repeat(&self) -> Option<&Repeat> {
        match &self.codec {
            HeaderCodec::Repeat(repeat) => Some(repeat),
            HeaderCodec::Known(_) | HeaderCodec::Other(_) => None,
        }
    }
}

/// How a payload is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderCodec {
    /// A codec that we read.
    Known(Codec),
    /// As what differs from the bytes of another server's log (`dedupe: gtid`).
    Repeat(Box<Repeat>),
    /// Another, by name.
    Other(String),
}

/// Where index and payload are in the stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// First byte of the compressed index.
    pub index_at: u64,
    /// First byte of the payload, and so the byte after the index.
    pub payload_at: u64,
    /// Hash of the compressed index.
    pub index_sha256: Digest,
}

/// What a segment's transactions are, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSummary {
    /// How many end in it: a transaction belongs to the segment that holds its last byte.
    pub count: u64,
    /// How many of those have no GTID.
    pub without_gtid: u64,
    /// Their GTIDs.
    pub gtids: HeldSet,
    /// The first in log order.
    pub first: Option<TransactionPoint>,
    /// The last in log order.
    pub last: Option<TransactionPoint>,
    /// The earliest commit time; 0 when there is no transaction.
    pub min_commit_us: i64,
    /// The latest commit time; 0 when there is no transaction.
    pub max_commit_us: i64,
    /// By how much at most a commit time lies below an earlier one.
    pub step_back_us: i64,
    /// A commit time is only known to the second.
    pub whole_seconds: bool,
    /// What is in any of them.
    pub flags: TransactionFlags,
}

/// A GTID set, or where it is too long to be repeated everywhere, what identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldSet {
    /// The set.
    Whole(GtidSet),
    /// Its count and the hash of its text.
    Digest {
        /// How many GTIDs it has.
        count: u64,
        /// Hash of its canonical text.
        sha256: Digest,
    },
}

impl HeldSet {
    /// Whether this is, or identifies, `set`.
    #[must_use]
    pub fn is(&self, set: &GtidSet) -> bool {
        match self {
            Self::Whole(held) => held == set,
            Self::Digest { count, sha256: held } => {
                *count == set.count() && *held == sha256(set.to_string().as_bytes())
            }
        }
    }

    /// The set, where it is whole.
    #[must_use]
    pub fn whole(&self) -> Option<&GtidSet> {
        match self {
            Self::Whole(set) => Some(set),
            Self::Digest { .. } => None,
        }
    }
}

/// How a binlog ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closes {
    /// The server went on in another file.
    Rotate {
        /// That file.
        next: BinlogName,
    },
    /// The server shut down.
    Stop,
    /// The server ended without a word, and there is a later file.
    Crash,
}

/// A file that cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDamage {
    /// Where in the raw file.
    pub offset: u64,
    /// Why.
    pub reason: String,
}
