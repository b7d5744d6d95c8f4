//! The JSON that both programs share, converted by hand: domain types are not serialisable (a derive would be a promise to
//! every old reader). Names are camelCase, times UTC with microseconds; unknown fields are ignored.

mod backups;
mod binlogs;
mod cycle;
mod failure;
mod heartbeat;
mod instant;
mod page;
mod plan;
mod plan_wire;
mod prune;
mod store_check;
#[cfg(test)]
mod tests;
mod timeline;
mod verify;
mod windows;

pub use backups::{BackupItem, BackupsDocument};
pub use binlogs::{BinlogFilter, BinlogItem, BinlogsDocument, SegmentItem};
pub use cycle::CycleDocument;
pub use failure::ErrorDocument;
pub use heartbeat::{
    ActiveBinlog, ArchiveState, BackupSummary, ClosedBinlog, GAPS_MAX, GapSummary, Heartbeat, ServerState, StoreState,
    UnreadableObjects, VerifyState, WindowSummary,
};
pub use instant::Instant;
pub use page::Page;
pub use plan::{DocumentError, PlanDocument, plan_hash};
pub use prune::{DedupedItem, DoneItem, ExpiryItem, ProblemItem, PruneDocument, SpanItem};
pub use store_check::{StoreCheckDocument, StoreStep};
pub use timeline::{BranchItem, ChangeItem, StreamItem, TimelineDocument, TransactionItem};
pub use verify::{FindingItem, RebuiltItem, VerifyDocument};
pub use windows::{GapItem, WindowItem, WindowsDocument};

/// The version of every document; readers take this one and the two before.
pub const SCHEMA_VERSION: u32 = 1;

/// The API that documents belong to.
pub const API_VERSION: &str = "kubectl-pitr/v1";
