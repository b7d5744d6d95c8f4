//! Branches: histories that share a beginning and then disagree about what followed.

use pitr_binlog::GtidSet;

/// A maximal path through the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// `br-...`, made from where it begins or forks.
    pub id: String,
    /// Whether it is known to be the one that the newest live server is on.
    pub live: bool,
    /// The streams along it, oldest first.
    pub streams: Vec<String>,
    /// The server whose log it ends in; none for a base backup that no log continues.
    pub source: Option<String>,
    /// What is executed at its end.
    pub end: GtidSet,
    /// The commit time of its last transaction.
    pub last_us: Option<i64>,
    /// Where it leaves the branch that it is compared with: the live one, or the first.
    pub fork: Option<Fork>,
    /// The archive saw bytes that the server lost in a crash: this is what they hold.
    pub ahead: bool,
}

/// Where two branches part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The other branch.
    pub from: String,
    /// What both have executed.
    pub shared: GtidSet,
    /// What only this branch has.
    pub own: GtidSet,
    /// The commit time of the last transaction before the fork.
    pub at_us: Option<i64>,
}

/// Something about the archive that needs a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Two streams have the same GTIDs for different transactions: numbers returned (RESET), or a twin wrote.
    Collision {
        /// The streams.
        streams: (String, String),
        /// GTIDs among which the disagreement lies.
        gtids: GtidSet,
    },
    /// One binlog was archived with two contents (a cloned volume, a stale twin).
    Divergence {
        /// The binlog.
        binlog: crate::BinlogId,
        /// Where the two begin to differ, as far as ranges tell.
        offset: u64,
    },
    /// The archive saw more of a binlog than the server kept after a crash.
    Ahead {
        /// The binlog.
        binlog: crate::BinlogId,
        /// Where the server's file ends.
        offset: u64,
        /// The transactions behind it.
        gtids: GtidSet,
    },
    /// A binlog could not be read to its end.
    Damaged {
        /// The binlog.
        binlog: crate::BinlogId,
        /// The first byte that makes no sense.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Bytes of a binlog were archived and can no longer be read: their objects are damaged or gone, and no others hold them.
    Lost {
        /// The binlog.
        binlog: crate::BinlogId,
        /// The first byte that cannot be read.
        start: u64,
        /// The byte after the last one.
        end: u64,
    },
}
