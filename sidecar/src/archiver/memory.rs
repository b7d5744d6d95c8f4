//! The memory that pieces in work may take together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the program itself, its connections and the compressor's tables take, and what an allocator gives back only later.
pub(crate) const PROGRAM_BYTES: u64 = 80 << 20;
/// One permit.
const UNIT_BYTES: u64 = 64 << 10;

/// A budget of bytes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Memory {
    /// What `pipeline.memory_limit` leaves for pieces.
    pub(crate) fn new(limit: u64) -> Self {
        let units = limit.saturating_sub(PROGRAM_BYTES) / UNIT_BYTES;
        let total = u32::try_from(units).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until a piece of `raw_bytes` fits: its bytes and, at worst as many, what they are encoded to. A piece larger than the
    /// whole budget waits until it is alone.
    pub(crate) async fn take(&self, raw_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = (2 * raw_bytes).div_ceil(UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX).clamp(1, self.total);
        Arc::clone(&self.permits).acquire_many_owned(units).await.ok()
    }

    /// How many pieces of that size fit at once.
    pub(crate) fn pieces(&self, raw_bytes: u64) -> usize {
        usize::try_from(u64::from(self.total) * UNIT_BYTES / (2 * raw_bytes).max(1)).unwrap_or(1).clamp(1, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[tokio::test]
    async fn pieces_wait_for_room_and_a_huge_one_for_all_of_it() {
        let memory = Memory::new(112 << 20);
        assert_eq!((memory.pieces(8 << 20), memory.pieces(64 << 20)), (2, 1));
        let first = memory.take(8 << 20).await.unwrap();
        let second = memory.take(8 << 20).await.unwrap();
        let third = memory.take(8 << 20);
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending());
        drop(first);
        let third = third.await;
        drop((second, third));
        assert!(memory.take(1 << 40).await.is_some());
    }
}
