//! Putting transactions together, so that a server commits many as one.
//!
//! ```text
//! parts of events ─▶ Candidate: whole, and on the white list? ─▶ run of mergeable transactions ─▶ partition ─▶ batches
//!                        │ no: it stands alone, its bytes go on as they come                        │
//!                        └─────────────── each with its place in a new logical clock ◀──────────────┘
//! ```
//!
//! A batch bears the GTID of its first transaction; those of the others are holes in the executed set until the caller
//! fills them, which [`Holes`] tells. "The first is executed" means "the whole batch is": it is one transaction.
//!
//! What is put together depends on nothing but the bytes of the log, [`Windows`] and what is to be skipped: not on how the
//! bytes arrive, nor on what the replica has by now. So a second pass makes the same batches, and whatever a killed
//! restore left is understood.
//!
//! A batch does not cross a seam of the log either, so a pass may begin at one: from the beginning of a batch on, all that follow are the
//! same whatever came before.
//!
//! Two servers' logs may hold one transaction twice. What has come before in the log is dropped, so every pass over the logs of
//! several servers must begin at the first of them; one server's log may be begun at any file or seam.

mod batcher;
mod candidate;
mod clock;
mod holes;
mod partition;
mod payload;
#[cfg(test)]
mod tests;

use pitr_binlog::GtidSet;

pub(crate) use self::batcher::Batcher;
pub use self::holes::{Holes, Recording, left_open};
pub(crate) use self::payload::unpacked;

/// What the same log and the same [`Windows`] are cut into changes with this number. The batches of another version cannot
/// be made again.
pub const CUTTER_VERSION: u32 = 3;

/// A larger transaction gains nothing by company, and is not held in memory. In bytes of its events.
const TRANSACTION_BYTES_MAX: usize = 128 << 10;
/// Events of one batch, in bytes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How transactions are put together. All of it must be the same for every pass over one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Batches that are to be applied side by side: the replica's workers.
    pub workers: u32,
    /// Transactions in a batch, at most.
    pub cap: u32,
    /// What the replica had executed, without a hole of ours, before the first batch was sent: never in a batch.
    pub start: GtidSet,
}
