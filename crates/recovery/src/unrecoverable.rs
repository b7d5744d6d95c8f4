//! Answers of the domain to a target that cannot be reached. They are no machine errors.

use pitr_binlog::{BinlogName, Flavour, Gtid};

use crate::code::{self, Code};
use crate::gap::{Gap, GapCause};
use crate::inventory::RangeRef;
use crate::plan::BoundaryTransaction;
use crate::target::RecoveryTarget;
use crate::time::Rfc3339;

/// Why a target cannot be reached. Nothing is clamped: the nearest targets that can be reached are facts for the message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unrecoverable {
    /// There is nothing to start from.
    #[error("the archive holds no base backup")]
    NoBaseBackup,
    /// No base backup is old enough.
    #[error("{target} is before the first usable base backup{}", at(*.first_us))]
    BeforeFirstBackup {
        /// What was asked for.
        target: RecoveryTarget,
        /// The first instant that can be reached on this branch.
        first_us: Option<i64>,
    },
    /// The base backup that was named exists and cannot serve this target.
    #[error("base backup \"{backup}\" cannot reach {target}")]
    BackupDoesNotReach {
        /// The base backup.
        backup: String,
        /// What was asked for.
        target: RecoveryTarget,
        /// From when on it serves, if the archive continues it at all.
        from_us: Option<i64>,
    },
    /// No base backup has this id, or several begin with it.
    #[error("\"{id}\" names {matches} base backups")]
    NoSuchBackup {
        /// What was written.
        id: String,
        /// How many ids begin with it.
        matches: usize,
    },
    /// The target lies where transactions are missing.
    #[error("{target} cannot be reached: it lies in {} ({}, {})", .gap.id, .gap.cause, transactions(.gap.transactions))]
    InGap {
        /// What was asked for.
        target: RecoveryTarget,
        /// The gap.
        gap: Box<Gap>,
    },
    /// The branch has no gap of this id, or several begin with it.
    #[error("\"{id}\" names {matches} gaps of branch {branch}")]
    NoSuchGap {
        /// What was written.
        id: String,
        /// The branch.
        branch: String,
        /// How many ids begin with it.
        matches: usize,
    },
    /// The target lies after the end of what is archived, and nobody knows what was committed between.
    #[error("{} is after the recoverable end ({})", Rfc3339(*.target_us), Rfc3339(*.end_us))]
    AfterLastArchived {
        /// What was asked for.
        target_us: i64,
        /// The end.
        end_us: i64,
    },
    /// No archived log holds this transaction.
    #[error("{gtid} is not in the archive")]
    GtidNotArchived {
        /// What was asked for.
        gtid: Gtid,
        /// The highest number archived of the same source.
        newest: Option<u64>,
    },
    /// Every base backup that leads there contains this transaction already.
    #[error("{gtid} is already in every base backup that leads there")]
    GtidInsideEveryBase {
        /// What was asked for.
        gtid: Gtid,
    },
    /// Only other branches have this transaction.
    #[error("{gtid} is not on branch {branch}, but on {}", .others.join(", "))]
    GtidOnOtherBranch {
        /// What was asked for.
        gtid: Gtid,
        /// The branch that was looked at.
        branch: String,
        /// Branches that have it.
        others: Vec<String>,
    },
    /// A GTID is the other flavour's.
    #[error("\"{gtid}\" is no {flavour} GTID")]
    WrongFlavour {
        /// What was written.
        gtid: Gtid,
        /// The flavour of the archive.
        flavour: Flavour,
    },
    /// A transaction to be skipped is not replayed by this plan.
    #[error("{gtid} cannot be skipped: this plan does not replay it")]
    SkipNotReplayed {
        /// What was asked for.
        gtid: Gtid,
    },
    /// Several branches cover the target, they differ, and none is known to be the live one.
    #[error("{} {} cover {target}; {}", .branches.join(" and "), both(.branches), how_many_differ(*.differing))]
    SeveralBranches {
        /// What was asked for.
        target: RecoveryTarget,
        /// The branches.
        branches: Vec<String>,
        /// How many transactions one of the first two has and the other has not.
        differing: u64,
    },
    /// No branch has this id, or several begin with it.
    #[error("\"{id}\" names {matches} branches")]
    NoSuchBranch {
        /// What was written.
        id: String,
        /// How many ids begin with it.
        matches: usize,
    },
    /// The target lies behind a place that cannot be read.
    #[error("{target} cannot be reached: {}", .gap.cause)]
    Damaged {
        /// What was asked for.
        target: RecoveryTarget,
        /// What is missing because of it.
        gap: Box<Gap>,
    },
    /// The target lies in, or behind, what was archived last and cannot be read any more.
    #[error("{target} cannot be reached: {cause}")]
    Lost {
        /// What was asked for.
        target: RecoveryTarget,
        /// The last instant that can be reached before it.
        end_us: Option<i64>,
        /// What is lost.
        cause: Box<GapCause>,
    },
    /// The target lies behind transactions without GTID: their base needs a position, which is not supported.
    #[error("{target} cannot be reached: {name} holds transactions without GTID")]
    WithoutGtids {
        /// What was asked for.
        target: RecoveryTarget,
        /// The binlog.
        name: BinlogName,
    },
    /// The archive knows several servers, and each may have had a binlog of this name; or one server had two, and nothing tells which
    /// is meant.
    #[error("{name} may be one of {} binlogs", .sources.len())]
    AmbiguousPosition {
        /// The binlog.
        name: BinlogName,
        /// The servers; one may stand there twice, after RESET BINARY LOGS.
        sources: Vec<String>,
    },
    /// No archived binlog has this name.
    #[error("{name} is not in the archive")]
    NoSuchBinlog {
        /// The binlog.
        name: BinlogName,
    },
    /// The binlog is not archived up to this position.
    #[error("position {pos} is beyond what is archived of {name} (up to {end})")]
    PositionBeyond {
        /// The binlog.
        name: BinlogName,
        /// What was asked for.
        pos: u64,
        /// The end of what is archived.
        end: u64,
    },
    /// Too many transactions at or before the target follow the one that ends it.
    #[error(
        "{} cannot be reached exactly: {} at or before it {} {}, which is later",
        Rfc3339(*.target_us), transactions(*.count), if *.count == 1 { "follows" } else { "follow" }, name_of(.culprit)
    )]
    TimesStepBack {
        /// What was asked for.
        target_us: i64,
        /// The first transaction later than the target: a restore would stop before it. Use it as a GTID target.
        culprit: Box<BoundaryTransaction>,
        /// How many transactions at or before the target follow it.
        count: u64,
        /// How far they reach back before the target.
        by_us: i64,
    },
    /// An index that the plan needs was not read: call [`crate::Timeline::ranges_to_read`] until it asks for nothing.
    #[error("the index of bytes {} to {} of {} was not read", .range.start, .range.end, .range.binlog)]
    IndexNotRead {
        /// The range.
        range: RangeRef,
    },
}

fn transactions(count: u64) -> String {
    if count == 1 { "1 transaction".to_owned() } else { format!("{count} transactions") }
}

fn at(us: Option<i64>) -> String {
    us.map_or_else(String::new, |us| format!(" ({})", Rfc3339(us)))
}

const fn both(branches: &[String]) -> &'static str {
    if branches.len() == 2 { "both" } else { "all" }
}

fn how_many_differ(count: u64) -> String {
    format!("{} {}", transactions(count), if count == 1 { "differs" } else { "differ" })
}

fn name_of(transaction: &BoundaryTransaction) -> String {
    match transaction.gtid() {
        Some(gtid) => gtid.to_string(),
        None => format!("the one at {}:{}", transaction.name, transaction.at.start),
    }
}

impl Unrecoverable {
    /// The code under which users find this.
    #[must_use]
    pub const fn code(&self) -> &'static Code {
        match self {
            Self::NoBaseBackup
            | Self::BeforeFirstBackup { .. }
            | Self::BackupDoesNotReach { .. }
            | Self::NoSuchBackup { .. } => &code::NO_USABLE_BACKUP,
            Self::InGap { .. } | Self::NoSuchGap { .. } => &code::TARGET_IN_GAP,
            Self::AfterLastArchived { .. } => &code::AFTER_THE_END,
            Self::GtidNotArchived { .. }
            | Self::GtidInsideEveryBase { .. }
            | Self::GtidOnOtherBranch { .. }
            | Self::SkipNotReplayed { .. } => &code::GTID_NOT_REACHABLE,
            Self::WrongFlavour { .. } => &code::GTID_UNREADABLE,
            Self::SeveralBranches { .. } | Self::NoSuchBranch { .. } => &code::SEVERAL_BRANCHES,
            Self::Damaged { .. } | Self::Lost { .. } => &code::DAMAGED_BELOW_TARGET,
            Self::WithoutGtids { .. } => &code::WITHOUT_GTIDS,
            Self::AmbiguousPosition { .. } | Self::NoSuchBinlog { .. } | Self::PositionBeyond { .. } => {
                &code::POSITION_AMBIGUOUS
            }
            Self::TimesStepBack { .. } => &code::TIMES_STEP_BACK,
            Self::IndexNotRead { .. } => &code::BUG,
        }
    }

    /// The last instant before the target that can be reached, where that is known.
    #[must_use]
    pub fn nearest_before_us(&self) -> Option<i64> {
        match self {
            Self::InGap { gap, .. } | Self::Damaged { gap, .. } => gap.reachable_to_us,
            Self::AfterLastArchived { end_us, .. } => Some(*end_us),
            Self::Lost { end_us, .. } => *end_us,
            _ => None,
        }
    }

    /// The first instant after the target that can be reached, where that is known.
    #[must_use]
    pub fn next_after_us(&self) -> Option<i64> {
        match self {
            Self::InGap { gap, .. } | Self::Damaged { gap, .. } => gap.reachable_from_us,
            Self::BeforeFirstBackup { first_us, .. } => *first_us,
            Self::BackupDoesNotReach { from_us, .. } => *from_us,
            _ => None,
        }
    }

    pub(crate) fn lost(target: RecoveryTarget, end_us: Option<i64>, cause: GapCause) -> Self {
        Self::Lost { target, end_us, cause: Box::new(cause) }
    }

    pub(crate) fn in_gap(target: RecoveryTarget, gap: Gap) -> Self {
        let gap = Box::new(gap);
        match &gap.cause {
            GapCause::Damaged { .. } | GapCause::Lost { .. } => Self::Damaged { target, gap },
            GapCause::WithoutGtids { name, .. } => Self::WithoutGtids { target, name: name.clone() },
            _ => Self::InGap { target, gap },
        }
    }
}
