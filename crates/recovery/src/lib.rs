//! What can be recovered and how, as a pure function of what the archive holds.
//!
//! ```text
//! Inventory ── Timeline::new ──▶ streams, branches, gaps, windows
//!                   └─ plan(PlanRequest) ──▶ RestorePlan  or  Unrecoverable
//! ```
//!
//! No I/O, no clock, no async. All times are microseconds since 1970 (`*_us`). The same code runs in the sidecar, in the
//! plugin, and from a bucket alone. A timeline is computed from what ranges say about themselves; where a point inside a
//! range matters (where a base backup stands, where a restore stops), it asks for that range's transaction index.

mod branch;
pub mod code;
mod collision;
mod continuity;
mod coverage;
mod entry;
mod gap;
mod gap_cause;
mod gtids;
mod inventory;
mod log;
mod path;
mod plan;
mod planner;
mod retention;
mod section;
mod short_id;
mod standing;
mod stream;
mod stretch;
mod survey;
mod target;
mod time;
mod timeline;
mod unlogged;
mod unrecoverable;
mod ways;
mod window;

pub use branch::{Branch, Fork, Problem};
pub use code::Code;
pub use gap::{Gap, GapCause};
pub use inventory::{
    ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Damage, IndexEntry, Indices, Inventory, RangeFlags,
    RangeKind, RangeRef, StoredObject, TransactionIndex, TransactionPoint,
};
pub use plan::{
    BoundaryTransaction, LaterBeforeTarget, PlanParts, PlanWarning, PlannedBinlog, PlannedRange, RestorePlan, Stop,
};
pub use retention::{
    Decision, ExpireItem, ExpirePlan, ExpireRule, Expiry, KeepReason, RetentionPolicy, RetentionRequest, Span,
    StoredTimes, Verdict, WithoutBase,
};
pub use stream::Stream;
pub use stretch::Stretch;
pub use target::{Clock, MAX_TIME_REGRESSION_US, PlanRequest, RecoveryTarget, RestorePace, UnknownClock};
pub use time::{Rfc3339, SECOND_US, TimeError, TimeTarget, format_time, parse_time};
pub use timeline::Timeline;
pub use unrecoverable::Unrecoverable;
pub use window::{BackupReach, Window, WindowEnd};
