//! What is known to have existed and is not archived.

use std::fmt;

use pitr_binlog::{BinlogName, GtidSet};

use crate::inventory::BinlogId;

/// Transactions of one branch that the archive does not hold and that nobody else's log supplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// `gap-...`, made from what is missing and where.
    pub id: String,
    /// The branch.
    pub branch: String,
    /// Why they are missing.
    pub cause: GapCause,
    /// Which transactions.
    pub missing: GtidSet,
    /// How many.
    pub transactions: u64,
    /// The commit time of the last archived transaction before it.
    pub after_us: Option<i64>,
    /// The commit time of the first archived transaction after it.
    pub before_us: Option<i64>,
    /// The last instant that can be reached before it.
    pub reachable_to_us: Option<i64>,
    /// The first instant that can be reached again after it.
    pub reachable_from_us: Option<i64>,
    /// The base backup from which instants after it can be reached: with one the gap is closed.
    pub closed_by: Option<String>,
}

impl Gap {
    /// Whether nothing after it can be reached yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.closed_by.is_none()
    }
}

/// Why transactions are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Whole binlogs of a server are not archived.
    MissingBinlogs {
        /// The server.
        source: String,
        /// The first one.
        first: BinlogName,
        /// The last one.
        last: BinlogName,
    },
    /// A part of a binlog is not archived.
    MissingRange {
        /// The binlog.
        binlog: BinlogId,
        /// Its name.
        name: BinlogName,
        /// The first missing byte.
        start: u64,
        /// The byte after the last missing one; none when only the next binlog tells that something is missing.
        end: Option<u64>,
    },
    /// A binlog could not be read to its end.
    Damaged {
        /// The binlog.
        binlog: BinlogId,
        /// Its name.
        name: BinlogName,
        /// The first byte that makes no sense.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A part of a binlog was archived, and can no longer be read: its objects are damaged or gone.
    Lost {
        /// The binlog.
        binlog: BinlogId,
        /// Its name.
        name: BinlogName,
        /// The first byte that cannot be read.
        start: u64,
        /// The byte after the last one.
        end: u64,
    },
    /// The server itself says that its log has a hole.
    Incident {
        /// The binlog.
        binlog: BinlogId,
        /// Its name.
        name: BinlogName,
    },
    /// A binlog holds transactions without GTID, which no set can account for.
    WithoutGtids {
        /// The binlog.
        binlog: BinlogId,
        /// Its name.
        name: BinlogName,
    },
    /// A server's log begins with transactions of its own that no archived log holds: errant ones, never archived.
    NeverArchived {
        /// The server.
        source: String,
    },
    /// A server executed transactions that none of its binlogs holds: a base backup has them, its log does not. What the log holds
    /// between two base backups that differ in this is not all that happened.
    NeverLogged {
        /// The server.
        source: String,
    },
    /// Another server's log ended before this one's begins.
    BetweenServers {
        /// The server before.
        before: String,
        /// The server after.
        after: String,
    },
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingBinlogs { first, last, .. } if first == last => write!(f, "{first} is not archived"),
            Self::MissingBinlogs { first, last, .. } => write!(f, "{first} to {last} are not archived"),
            Self::MissingRange { name, start, end: Some(end), .. } => {
                write!(f, "bytes {start} to {end} of {name} are not archived")
            }
            Self::MissingRange { name, start, end: None, .. } => {
                write!(f, "{name} is not archived from byte {start} on")
            }
            Self::Damaged { name, offset, reason, .. } => write!(f, "{name} is damaged at byte {offset}: {reason}"),
            Self::Lost { name, start, end, .. } => {
                write!(f, "bytes {start} to {end} of {name} are lost in the archive: damaged, gone or withheld")
            }
            Self::Incident { name, .. } => write!(f, "the server reports lost events in {name}"),
            Self::WithoutGtids { name, .. } => write!(f, "{name} holds transactions without GTID"),
            Self::NeverArchived { source } => write!(f, "errant transactions of server {source} were never archived"),
            Self::NeverLogged { source } => {
                write!(f, "server {source} executed transactions that it did not write to its log")
            }
            Self::BetweenServers { before, after } => {
                write!(f, "the log of server {after} begins after what is archived of server {before}")
            }
        }
    }
}
