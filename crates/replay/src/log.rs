use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use pitr_binlog::{BinlogName, GtidSet};

/// One pass over the log to replay, from its first piece to its exact stop.
///
/// Order is the log's: a [`LogPiece::File`], then its bytes without a hole, then the next file. The bytes begin and end at
/// transaction boundaries; where the pieces between are cut does not matter, only where the seams are. The future of a call is
/// always awaited to its end, unless the whole pass is given up.
#[async_trait]
pub trait LogReader: Send {
    /// The next piece, or `None` after the last.
    async fn next(&mut self) -> Result<Option<LogPiece>, ReadError>;
}

/// Opens a pass over the log: one for each time that the replica asks for it.
pub trait LogOpener: Send + Sync {
    /// A new pass. It begins with a file, and within it at its first transaction or at a seam that is a transaction boundary; what is
    /// before that is left out, and all of it is in `executed`: the replica has it. Leaving out nothing is right too, only slower: the
    /// source passes over what the replica has. Every pass has the same seams.
    fn open(&self, executed: &GtidSet) -> Box<dyn LogReader>;
}

/// A piece of the log to replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// A binlog begins.
    File {
        /// The binlog's name on its server.
        name: BinlogName,
        /// The file's bytes from 4 on: FORMAT_DESCRIPTION and PREVIOUS_GTIDS.
        head: Bytes,
        /// The offset of the first byte that follows: the end of the head, or a transaction boundary after it.
        start: u64,
        /// The file's transactions before `start`.
        left_out: GtidSet,
    },
    /// Raw bytes of the binlog that began last.
    Bytes {
        /// Their offset in the file.
        start: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// No batch has transactions that end before and after this place: where a transaction ends here, too, a later pass may begin.
    Seam,
}

/// The log could not be read on; the text says why, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    reason: String,
}

impl ReadError {
    /// An error with its reason: lower case, no full stop, no secrets.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ReadError {}
