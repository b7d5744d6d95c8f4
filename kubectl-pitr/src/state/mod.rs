//! What is known of an archive and its sidecars: documents as they come, merged into one picture of a workload.
//!
//! ```text
//! heartbeats of the pods ─┐
//! windows and backups ────┼─ merge ─▶ WorkloadState ─ findings ─▶ rendered
//! the archive itself ─────┘
//! ```

mod backups;
mod checks;
mod findings;
mod heartbeat;
mod merge;
mod timeline;
mod times;
mod windows;

pub use backups::{Backup, Backups};
pub use checks::{Area, Check, ClusterFacts, HeldBack, Mark, checks};
pub use findings::{Finding, Health, Judged, Limits, PURGE_SECONDS, judge};
pub use heartbeat::{Active, Archive, BaseBackups, Closed, Heartbeat, Server, Store, Verify, Window};
pub use merge::{Beat, Pod, WorkloadState, from_archive, merge};
pub use timeline::{BinlogRow, Binlogs, BranchRow, SegmentRow, StreamRow, Timeline, TransactionRow};
pub use times::micros;
pub use windows::{Gap, WindowRow, Windows};

/// The newest document schema that this plugin reads.
pub const SCHEMA_VERSION: u64 = 1;
