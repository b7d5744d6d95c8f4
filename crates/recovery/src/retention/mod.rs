//! Retention: what may leave the archive, as a value. Nothing is deleted here, and nothing else decides what is.
//!
//! ```text
//! Timeline + RetentionRequest ──▶ ExpirePlan   each kept item with its reasons, each expired one with its rule
//! ```
//! The newest base backup that is older than the window stays, all later ones stay, and so does every binlog that a kept one may
//! need. The plan is then held against the timeline of what it leaves: an instant that was promised and would no longer plan
//! makes it keep more. Nor may it make a base backup serve a history that it does not serve now: that one goes, or what tells the two
//! apart stays.

mod mistaken;
mod promise;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::inventory::{BinlogId, RangeRef};
use crate::time::format_time;
use crate::timeline::Timeline;

pub use promise::Span;

/// What is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// How far back every instant must stay restorable, in microseconds.
    pub window_us: i64,
    /// Usable base backups to keep at least.
    pub keep_last: u64,
    /// Base backups that stay, with every binlog after them.
    pub pins: BTreeSet<String>,
    /// What happens while no base backup can be used.
    pub without_base: WithoutBase,
}

/// What happens to binlogs while no base backup can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutBase {
    /// They stay.
    Keep,
    /// They go by age.
    Age,
}

/// When the store took the newest object of each item, by its own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTimes {
    /// By id.
    pub backups: BTreeMap<String, i64>,
    /// By binlog.
    pub binlogs: BTreeMap<BinlogId, i64>,
}

/// What a plan is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRequest {
    /// What is to be kept.
    pub policy: RetentionPolicy,
    /// The instant at which ages are taken, by the store's clock.
    pub now_us: i64,
    /// The longest window that was promised so far, if any was.
    pub promised_us: Option<i64>,
    /// When the store took things. What is missing here counts as stored just now.
    pub stored: StoredTimes,
    /// Base backups that lack some of their content: no promise is kept by one of them.
    pub incomplete: BTreeSet<String>,
    /// Binlogs that are stored as what differs from others, each with those others: it says nothing without them.
    pub needs: BTreeMap<BinlogId, BTreeSet<BinlogId>>,
}

/// Something that retention decides about as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpireItem {
    /// A base backup.
    Backup(String),
    /// A binlog.
    Binlog(BinlogId),
}

/// Why an item stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// There is no base backup that could be used.
    NoBaseBackup,
    /// Its name is among the pins.
    Pinned,
    /// Less than a window has passed since this instant, at which it began to serve, was taken or was stored.
    Young {
        /// The latest of the three.
        since_us: i64,
    },
    /// It is the newest one that is older than the window: the window begins with it.
    Begins {
        /// The branch.
        branch: String,
    },
    /// It is one of the last so many.
    Last,
    /// A kept base backup needs it, or what follows it.
    Needed {
        /// The oldest such base backup.
        backup: String,
    },
    /// Without it a base backup that stays would be taken for one of another history, whose transactions have the same numbers.
    Tells {
        /// The base backup.
        backup: String,
    },
    /// Its server may still write to it.
    Open,
    /// Without it an instant of the window could no longer be restored.
    Promised,
    /// Where a base backup stands in it cannot be read now.
    Unread,
    /// Another binlog that stays is stored as what differs from it.
    Repeated {
        /// The first such binlog.
        by: BinlogId,
    },
}

/// Why an item goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpireRule {
    /// A base backup: a later one serves the whole window.
    Superseded {
        /// One that stays and is older than the window.
        by: Option<String>,
    },
    /// A base backup older than the window that lacks some of its content.
    Incomplete,
    /// A base backup older than the window, of a history whose numbers have returned: without the log that goes, it would be taken
    /// for one of what followed.
    Apart,
    /// A binlog older than the window: no base backup that stays needs it.
    NotNeeded,
    /// A binlog older than the window, while there is no base backup.
    Aged,
}

/// What becomes of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for at least one reason.
    Keep(Vec<KeepReason>),
    /// It goes.
    Expire(ExpireRule),
}

/// One item and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which item.
    pub item: ExpireItem,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The latest instant that it tells of: its last commit, or when a base backup was consistent.
    pub last_us: Option<i64>,
    /// Bytes in the archive; chunks that base backups share count for each.
    pub stored_bytes: u64,
}

/// What is to go and what stays, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpirePlan {
    /// The instant at which ages were taken.
    pub now_us: i64,
    /// From here on every instant that could be restored can still be restored.
    pub keeps_from_us: i64,
    /// Base backups, then binlogs, each by time.
    pub decisions: Vec<Decision>,
    /// Instants that were promised by a longer window and would no longer be reachable. To be refused unless it is forced.
    pub shrinks: Vec<Span>,
}

/// An answer, or what must be read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Read these indices, and ask again.
    Reads(Vec<RangeRef>),
    /// The plan.
    Plan(ExpirePlan),
}

impl ExpirePlan {
    /// What is to go.
    pub fn expired(&self) -> impl Iterator<Item = &ExpireItem> {
        self.decisions.iter().filter(|d| matches!(d.verdict, Verdict::Expire(_))).map(|decision| &decision.item)
    }

    /// Whether an item is to go. What the plan does not know stays.
    #[must_use]
    pub fn expires(&self, item: &ExpireItem) -> bool {
        self.expired().any(|expired| expired == item)
    }

    /// Whether all stays because there is no base backup.
    #[must_use]
    pub fn lacks_base(&self) -> bool {
        let without = |decision: &Decision| match &decision.verdict {
            Verdict::Keep(reasons) => reasons.contains(&KeepReason::NoBaseBackup),
            Verdict::Expire(_) => false,
        };
        self.decisions.iter().any(without)
    }
}

impl Timeline {
    /// What may leave the archive under a policy. To be asked again with the indices it names until there is a plan.
    #[must_use]
    pub fn expire(&self, request: &RetentionRequest) -> Expiry {
        let wanted = self.ranges_for_windows();
        if wanted.is_empty() { select::plan(self, request) } else { Expiry::Reads(wanted) }
    }
}

impl fmt::Display for ExpireItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(id) => f.write_str(id),
            Self::Binlog(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBaseBackup => f.write_str("there is no usable base backup: nothing expires"),
            Self::Pinned => f.write_str("pinned"),
            Self::Young { since_us } => write!(f, "younger than the window ({})", format_time(*since_us)),
            Self::Begins { branch } => write!(f, "the window of {branch} begins with it"),
            Self::Last => f.write_str("among the last base backups to keep"),
            Self::Needed { backup } => write!(f, "{backup} needs it"),
            Self::Tells { backup } => write!(f, "it tells {backup} from a history with the same numbers"),
            Self::Open => f.write_str("its server may still write to it"),
            Self::Promised => f.write_str("the window would shrink without it"),
            Self::Unread => f.write_str("what a base backup needs of it cannot be read now"),
            Self::Repeated { by } => write!(f, "{by} is stored as what differs from it"),
        }
    }
}

impl fmt::Display for ExpireRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { by: Some(by) } => write!(f, "{by} is older than the window, too, and serves all of it"),
            Self::Superseded { by: None } => f.write_str("older than the window, and no log leads on from it"),
            Self::Incomplete => f.write_str("older than the window, and some of its content is missing"),
            Self::Apart => f.write_str("older than the window, and from before its numbers were given again"),
            Self::NotNeeded => f.write_str("older than the window, and no base backup that stays needs it"),
            Self::Aged => f.write_str("older than the window; there is no base backup"),
        }
    }
}
