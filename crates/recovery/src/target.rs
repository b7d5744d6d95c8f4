//! Where a restore shall stop.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use pitr_binlog::{BinlogName, Gtid};

use crate::time::{Rfc3339, SECOND_US};

/// The point up to which a restore applies the log. Whatever follows it in log order is excluded, whatever its time or GTID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// Up to, not including, the first transaction in log order that was committed later (T1).
    Time(i64),
    /// Everything archived.
    Latest,
    /// Up to, not including, this transaction.
    BeforeGtid(Gtid),
    /// Up to and including this transaction.
    ThroughGtid(Gtid),
    /// Up to the transaction boundary at or before a position of one server's log.
    Position {
        /// The server, where the archive knows several; a unique prefix is enough.
        source: Option<String>,
        /// The binlog.
        name: BinlogName,
        /// The offset in it.
        pos: u64,
    },
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(us) => Rfc3339(*us).fmt(f),
            Self::Latest => f.write_str("latest"),
            Self::BeforeGtid(gtid) => write!(f, "before {gtid}"),
            Self::ThroughGtid(gtid) => write!(f, "through {gtid}"),
            Self::Position { source: None, name, pos } => write!(f, "{name}:{pos}"),
            Self::Position { source: Some(source), name, pos } => write!(f, "{name}:{pos} of {source}"),
        }
    }
}

/// Whose clock decides about a time target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// That of the server where a transaction came into being: the same on every server of a topology. Clients can set it
    /// (`original_commit_timestamp`).
    #[default]
    Original,
    /// That of the server that wrote the log: what this server showed at that instant. Where a log does not say it, the
    /// commit time.
    Immediate,
}

impl Clock {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Immediate,
            Self::Immediate => Self::Original,
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Original => "original",
            Self::Immediate => "immediate",
        })
    }
}

impl FromStr for Clock {
    type Err = UnknownClock;

    fn from_str(text: &str) -> Result<Self, UnknownClock> {
        [Self::Original, Self::Immediate].into_iter().find(|clock| clock.to_string() == text).ok_or(UnknownClock)
    }
}

/// A text that names no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock is \"original\" or \"immediate\"")]
pub struct UnknownClock;

/// How far commit times may step back before a time target in the stepped interval is refused, unless asked otherwise.
pub const MAX_TIME_REGRESSION_US: i64 = SECOND_US;

/// How fast restores of an archive were, as far as it was measured: what decides which base backup takes the least time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestorePace {
    /// Bytes of a base backup's data, unpacked, and the milliseconds until a server could start on them.
    pub base: Option<(u64, u64)>,
    /// Transactions, and the milliseconds in which they were replayed.
    pub replay: Option<(u64, u64)>,
}

/// What is asked of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// Where to stop.
    pub target: RecoveryTarget,
    /// Whose clock decides about a time.
    pub clock: Clock,
    /// The base backup to start from, instead of the cheapest one; a unique prefix is enough.
    pub from_backup: Option<String>,
    /// Base backups that nobody at hand can open: none of them is chosen, unless it is named.
    pub sealed: BTreeSet<String>,
    /// What the cheapest is reckoned by.
    pub pace: RestorePace,
    /// The branch, instead of the live one; a unique prefix is enough.
    pub branch: Option<String>,
    /// Transactions to leave out: their GTIDs are committed empty.
    pub skip: Vec<Gtid>,
    /// Until when the server of the live branch was seen to have committed nothing that is not archived.
    pub proven_to_us: Option<i64>,
    /// How far before a time target the excluded transactions at or before it may reach.
    pub max_regression_us: i64,
    /// Stop early all the same where they reach further.
    pub accept_early_stop: bool,
    /// Take the latest instant that can be reached instead, where a time cannot: never a later one.
    pub nearest: bool,
    /// Replay across this gap, without the transactions that are missing in it, where nothing else leads to the target; a
    /// unique prefix is enough.
    pub allow_gap: Option<String>,
}

impl PlanRequest {
    /// A request with nothing but a target.
    #[must_use]
    pub const fn new(target: RecoveryTarget) -> Self {
        Self {
            target,
            clock: Clock::Original,
            from_backup: None,
            sealed: BTreeSet::new(),
            pace: RestorePace { base: None, replay: None },
            branch: None,
            skip: Vec::new(),
            proven_to_us: None,
            max_regression_us: MAX_TIME_REGRESSION_US,
            accept_early_stop: false,
            nearest: false,
            allow_gap: None,
        }
    }
}
