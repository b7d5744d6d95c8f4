use std::io;

use pitr_binlog::BinlogName;

use crate::cutter::Uncuttable;
use crate::log::ReadError;
use crate::splitter::Broken;

/// The text of the ERR packet (code 1236) that ends a stream which sent the whole plan. The replica's receiver stops for
/// good and shows it in `performance_schema.replication_connection_status`.
pub const END_OF_PLAN: &str = "pitr: end of plan";

/// What no server can have done by itself.
pub(crate) const TORN: &str = "the server has executed a part of what it was sent as one transaction";

/// Why the source itself ended a stream. The replica gets it as the text of an ERR packet, begun by "pitr: ", and its
/// receiver stops for good; whether to start it again is for the caller to decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFailure {
    /// The reader of the log gave up.
    #[error("the log cannot be read: {reason}")]
    Unreadable {
        /// What the reader said.
        reason: String,
    },
    /// The bytes that were read are no binlog, or not in order.
    #[error("the log is damaged at {binlog}:{offset}: {reason}")]
    Damaged {
        /// The file.
        binlog: BinlogName,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// An event bears the replica's own `server_id`: the replica would drop it without a word (T44).
    #[error("the event at {binlog}:{offset} has the replica's own server_id {server_id}")]
    SharedServerId {
        /// The file.
        binlog: BinlogName,
        /// Where in the file.
        offset: u64,
        /// The number that both have.
        server_id: u32,
    },
    /// A transaction without a GTID: a replica that positions itself by GTIDs can't apply it.
    #[error("the transaction at {binlog}:{offset} has no GTID")]
    Anonymous {
        /// The file.
        binlog: BinlogName,
        /// Where in the file.
        offset: u64,
    },
    /// The replica has executed one of the transactions of a batch, but not the batch: something else has written to it.
    #[error("at {binlog}:{offset}: {TORN}")]
    Torn {
        /// The file.
        binlog: BinlogName,
        /// Where in the file the batch was put together.
        offset: u64,
    },
    /// The log is MariaDB's, whose replicas negotiate otherwise.
    #[error("{binlog} is not a MySQL binlog")]
    NotMySql {
        /// The file.
        binlog: BinlogName,
    },
}

impl SourceFailure {
    pub(crate) fn unreadable(error: &ReadError) -> Self {
        Self::Unreadable { reason: error.to_string() }
    }
}

/// Why a stream ended before the plan did.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// The connection is lost: the replica will come again.
    Lost(io::Error),
    /// The source itself can't go on: the replica must be told.
    Failed(SourceFailure),
}

/// A [`StreamEnd`] that lacks the name of the file that it is about.
#[derive(Debug)]
pub(crate) enum Fault {
    Lost(io::Error),
    Unreadable(ReadError),
    InFile(InFile),
}

/// A [`SourceFailure`] at an offset of the file in hand.
#[derive(Debug)]
pub(crate) enum InFile {
    Damaged(Broken),
    Anonymous(u64),
    Torn(u64),
    SharedServerId(u64),
    NotMySql,
}

impl InFile {
    /// Why the transaction at this offset can't be sent.
    pub(crate) fn of(uncuttable: Uncuttable, at: u64) -> Self {
        match uncuttable {
            Uncuttable::Malformed(reason) => Self::Damaged(Broken { offset: at, reason }),
            Uncuttable::Anonymous => Self::Anonymous(at),
            Uncuttable::Torn => Self::Torn(at),
        }
    }

    pub(crate) fn named(self, binlog: BinlogName, server_id: u32) -> SourceFailure {
        match self {
            Self::Damaged(Broken { offset, reason }) => SourceFailure::Damaged { binlog, offset, reason },
            Self::Anonymous(offset) => SourceFailure::Anonymous { binlog, offset },
            Self::Torn(offset) => SourceFailure::Torn { binlog, offset },
            Self::SharedServerId(offset) => SourceFailure::SharedServerId { binlog, offset, server_id },
            Self::NotMySql => SourceFailure::NotMySql { binlog },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<InFile> for Fault {
    fn from(fault: InFile) -> Self {
        Self::InFile(fault)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::InFile(InFile::Damaged(broken))
    }
}
