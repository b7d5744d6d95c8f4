//! A restore as a value: the base backup, the bytes to replay, the exact stop and the set of transactions at the end.

use pitr_binlog::{BinlogName, Gtid, GtidSet, TransactionFlags};

use crate::inventory::{BaseBackup, BinlogId, StoredObject, TransactionPoint};
use crate::target::{Clock, RecoveryTarget};

/// A plan. [`crate::Timeline::plan`] makes it: holding one proves that nothing is missing between the base and the stop, but for
/// a gap that was allowed by name and that [`PlanWarning::AcrossGap`] tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct RestorePlan(PlanParts);

/// The facts of a plan, for whoever writes it down or reads it back.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanParts {
    /// What the archive belongs to.
    pub workload: String,
    /// What was asked for.
    pub target: RecoveryTarget,
    /// Whose clock decided about a time.
    pub clock: Clock,
    /// Where to start.
    pub base: BaseBackup,
    /// The branch that the stop lies on.
    pub branch: String,
    /// The stream whose log order decides about the stop; none when the base alone is the answer and no log is near.
    pub stream: Option<String>,
    /// The binlogs to replay, in order, cut at the stop.
    pub files: Vec<PlannedBinlog>,
    /// The point before the first byte that is not applied; none when nothing is replayed.
    pub stop: Option<Stop>,
    /// The last transaction before the stop, whether replayed or in the base.
    pub last_applied: Option<BoundaryTransaction>,
    /// The first transaction after the stop, if one is archived.
    pub first_excluded: Option<BoundaryTransaction>,
    /// What a time target leaves out although it is not later than it.
    pub later_before_target: LaterBeforeTarget,
    /// How many transactions, replayed or not, share the stop's second; the second of the first one not applied, else of the
    /// last one applied.
    pub same_second: u64,
    /// What the restored server must have executed in the end, no more and no less. GTIDs of `skip` are in it.
    pub expected: GtidSet,
    /// GTIDs to commit empty.
    pub skip: GtidSet,
    /// How many transactions are replayed.
    pub transactions: u64,
    /// How many raw bytes are replayed.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<PlanWarning>,
    /// The grain of the commit times that decided: 1 microsecond, or a whole second.
    pub resolution_us: i64,
}

/// One binlog of a plan. Its head is always sent; then the bytes `from..to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBinlog {
    /// Which binlog.
    pub id: BinlogId,
    /// Its name.
    pub name: BinlogName,
    /// The range that begins the file: its format description and previous GTIDs are read from it. It may be one of `ranges`.
    pub head: PlannedRange,
    /// The ranges that cover `from..to`, in order. Neighbours may overlap.
    pub ranges: Vec<PlannedRange>,
    /// The first byte to send: a transaction boundary.
    pub from: u64,
    /// The byte after the last one to send: a transaction boundary.
    pub to: u64,
}

/// A range of a plan, named by content. Whoever fetches it may use any object that covers it with the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRange {
    /// First byte in the raw file.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Hash of the raw bytes.
    pub raw_sha256: [u8; 32],
    /// The objects known to hold it.
    pub objects: Vec<StoredObject>,
}

/// A point in one server's log: a transaction boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The binlog.
    pub binlog: BinlogId,
    /// Its name.
    pub name: BinlogName,
    /// The first byte not applied.
    pub offset: u64,
}

/// A transaction next to the stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryTransaction {
    /// The binlog it lies in.
    pub binlog: BinlogId,
    /// The name of that binlog.
    pub name: BinlogName,
    /// Where it lies, its GTID and its time.
    pub at: TransactionPoint,
    /// When the server that wrote this log committed it, where that is known and another time.
    pub logged_us: Option<i64>,
    /// What is in it.
    pub flags: TransactionFlags,
}

/// Transactions that a time target leaves out although they are not later than it: they follow the stop in log order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaterBeforeTarget {
    /// How many.
    pub count: u64,
    /// The first of them in log order.
    pub first: Option<Box<BoundaryTransaction>>,
}

/// What a plan does not make right by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanWarning {
    /// Commit times are only known to the second.
    WholeSeconds,
    /// Transactions at or before the target follow the stop.
    TimesStepBack {
        /// How far they reach back before the target.
        by_us: i64,
    },
    /// XA transactions are replayed: some may stay prepared at the end.
    XaTransactions,
    /// Changes are replayed as SQL text: they may have another effect.
    Statements,
    /// Transactions of engines without rollback are replayed.
    NonTransactional,
    /// These GTIDs are committed empty: what depends on them may fail or differ.
    Skipped(GtidSet),
    /// Between the stop and the target the archive only knows that nothing was seen to be committed.
    ProvenByServer {
        /// Until when.
        to_us: i64,
    },
    /// The base backup itself has no log in the archive: its own time is all there is.
    BaseAlone,
    /// What was asked for cannot be reached: the plan's target is the latest instant before it that can.
    Nearest {
        /// What was asked for.
        asked: RecoveryTarget,
    },
    /// By the other clock the same time means another stop.
    OtherClock {
        /// The clock that did not decide.
        clock: Clock,
        /// How many more transactions it would apply, fewer if negative; none where it leads to no plan, or
        /// that would take too much to find out.
        more: Option<i64>,
        /// The first transaction that it would not apply.
        before: Option<Gtid>,
    },
    /// The replay leads across a gap, without the transactions that are missing in it. A row that does not fit then stops it.
    AcrossGap {
        /// The gap's id.
        gap: String,
        /// The transactions that will be missing.
        missing: GtidSet,
    },
}

impl RestorePlan {
    pub(crate) const fn new(parts: PlanParts) -> Self {
        Self(parts)
    }

    /// A plan made elsewhere and stored: whoever calls this has checked its hash.
    #[must_use]
    pub const fn from_parts(parts: PlanParts) -> Self {
        Self(parts)
    }

    /// The same plan with something more that the user should know.
    pub(crate) fn warned(mut self, warning: PlanWarning) -> Self {
        self.0.warnings.push(warning);
        self
    }

    /// All facts of the plan.
    #[must_use]
    pub const fn parts(&self) -> &PlanParts {
        &self.0
    }

    /// Where to start.
    #[must_use]
    pub const fn base(&self) -> &BaseBackup {
        &self.0.base
    }

    /// The binlogs to replay, in order.
    #[must_use]
    pub fn files(&self) -> &[PlannedBinlog] {
        &self.0.files
    }

    /// What the restored server must have executed in the end.
    #[must_use]
    pub const fn expected(&self) -> &GtidSet {
        &self.0.expected
    }

    /// GTIDs to commit empty.
    #[must_use]
    pub const fn skip(&self) -> &GtidSet {
        &self.0.skip
    }
}

impl BoundaryTransaction {
    /// Its GTID, if it has one.
    #[must_use]
    pub const fn gtid(&self) -> Option<Gtid> {
        self.at.gtid
    }

    /// Its commit time.
    #[must_use]
    pub const fn commit_us(&self) -> i64 {
        self.at.commit_us
    }

    /// The same by one of two clocks.
    #[must_use]
    pub fn us(&self, clock: Clock) -> i64 {
        match clock {
            Clock::Original => self.at.commit_us,
            Clock::Immediate => self.logged_us.unwrap_or(self.at.commit_us),
        }
    }
}
