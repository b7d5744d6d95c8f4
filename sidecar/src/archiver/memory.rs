//! The memory that pieces in work may take together. The tail has room of its own: a backlog never keeps it waiting for long.

use std::sync::Arc;

use pitr_archive::memory::{PROGRAM_BYTES, piece_bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit.
const UNIT_BYTES: u64 = 64 << 10;
/// What a transaction takes while its piece is scanned, indexed and encoded.
const TRANSACTION_BYTES: u64 = 256;

/// Who asks for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The binlog that the server writes.
    Tail,
    /// Binlogs that it has left.
    Backlog,
}

/// A budget of bytes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    tail: Budget,
    backlog: Budget,
}

#[derive(Debug, Clone)]
struct Budget {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Memory {
    /// What `pipeline.memory_limit` leaves for pieces of `segment_bytes`.
    pub(crate) fn new(limit: u64, segment_bytes: u64) -> Self {
        let pieces = limit.saturating_sub(PROGRAM_BYTES);
        let tail = piece_bytes(segment_bytes).min(pieces / 2);
        Self { tail: Budget::new(tail), backlog: Budget::new(pieces - tail) }
    }

    /// Waits until a piece fits. One that is larger than the whole budget waits until it is alone.
    pub(crate) async fn take(&self, lane: Lane, raw_bytes: u64, transactions: usize) -> Option<OwnedSemaphorePermit> {
        let budget = match lane {
            Lane::Tail => &self.tail,
            Lane::Backlog => &self.backlog,
        };
        budget.take(piece_bytes(raw_bytes) + transactions as u64 * TRANSACTION_BYTES).await
    }

    /// How many closed segments of that size are in work at once, at most.
    pub(crate) fn pieces(&self, segment_bytes: u64) -> usize {
        let pieces = u64::from(self.backlog.total) * UNIT_BYTES / piece_bytes(segment_bytes).max(1);
        usize::try_from(pieces).unwrap_or(1).max(1)
    }
}

impl Budget {
    fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.total);
        Arc::clone(&self.permits).acquire_many_owned(units).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, Memory, PROGRAM_BYTES};

    const SEGMENT: u64 = 8 << 20;

    #[tokio::test]
    async fn pieces_wait_for_room_and_a_huge_one_for_all_of_it() {
        let memory = Memory::new(PROGRAM_BYTES + 6 * SEGMENT, SEGMENT);
        assert_eq!((memory.pieces(SEGMENT), memory.pieces(8 * SEGMENT)), (2, 1));
        let first = memory.take(Lane::Backlog, SEGMENT, 0).await.unwrap();
        let second = memory.take(Lane::Backlog, SEGMENT, 0).await.unwrap();
        let third = memory.take(Lane::Backlog, SEGMENT, 0);
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending());
        // A full backlog keeps nothing of the tail's.
        assert!(futures::poll!(Box::pin(memory.take(Lane::Tail, SEGMENT, 0))).is_ready());
        drop(first);
        let third = third.await;
        drop((second, third));
        assert!(memory.take(Lane::Backlog, 1 << 40, 0).await.is_some());
    }

    #[tokio::test]
    async fn many_small_transactions_take_room_too() {
        let memory = Memory::new(PROGRAM_BYTES + 6 * SEGMENT, SEGMENT);
        let many = memory.take(Lane::Backlog, SEGMENT, 60_000).await.unwrap();
        assert!(futures::poll!(Box::pin(memory.take(Lane::Backlog, SEGMENT, 60_000))).is_pending());
        drop(many);
    }
}
