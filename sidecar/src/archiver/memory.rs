//! The memory that pieces in work may take together. The tail has room of its own: a backlog never keeps it waiting for long.

use std::sync::Arc;

use pitr_archive::memory::{PROGRAM_BYTES, piece_bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit.
const UNIT_BYTES: u64 = 64 << 10;
/// What a transaction takes while its piece is scanned, indexed and encoded.
const TRANSACTION_BYTES: u64 = 256;

/// Of the backlog's memory, the part of pieces as they were read: more of them wait than are being compressed.
const RAW_PART: (u64, u64) = (5, 9);

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
    /// Pieces of the backlog as they were read, until they are compressed.
    raw: Budget,
    /// What they are compressed to, until it is stored. Whoever has room here waits for no other, so nobody waits for ever.
    encoded: Budget,
}

/// Room that was given, until dropped.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Lets go of what is more than so many bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        if let Some(permit) = &mut self.0 {
            let more = permit.num_permits().saturating_sub(units(bytes) as usize);
            drop(permit.split(more));
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
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
        let raw = (pieces - tail) / RAW_PART.1 * RAW_PART.0;
        Self { tail: Budget::new(tail), raw: Budget::new(raw), encoded: Budget::new(pieces - tail - raw) }
    }

    /// Waits until a piece fits. One that is larger than the whole budget waits until it is alone. The tail's room is for what it is
    /// compressed to as well.
    pub(crate) async fn take(&self, lane: Lane, raw_bytes: u64, transactions: usize) -> Room {
        let transactions = transactions as u64 * TRANSACTION_BYTES;
        match lane {
            Lane::Tail => self.tail.take(piece_bytes(raw_bytes) + transactions).await,
            Lane::Backlog => self.raw.take(raw_bytes + transactions).await,
        }
    }

    /// Makes room that was taken for a piece of the backlog fit what it has become, if that can be had at once.
    pub(crate) fn fit(&self, room: &mut Room, raw_bytes: u64, transactions: usize) -> bool {
        self.raw.fit(room, raw_bytes + transactions as u64 * TRANSACTION_BYTES)
    }

    /// Waits until what a piece of the backlog is compressed to fits, at worst.
    pub(crate) async fn take_encoded(&self, raw_bytes: u64) -> Room {
        self.encoded.take(piece_bytes(raw_bytes) - raw_bytes).await
    }

    /// Bytes of all pieces of the backlog together.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        (u64::from(self.raw.total) + u64::from(self.encoded.total)) * UNIT_BYTES
    }

    /// Waits until nothing of the backlog is in work, and keeps it so.
    pub(crate) async fn take_all(&self) -> (Room, Room) {
        // In the order in which pieces ask: nobody waits in a circle.
        (self.raw.take(u64::MAX).await, self.encoded.take(u64::MAX).await)
    }

    /// How many closed segments of that size are in work at once, at most.
    pub(crate) fn pieces(&self, segment_bytes: u64) -> usize {
        let pieces = self.backlog_bytes() / piece_bytes(segment_bytes).max(1);
        usize::try_from(pieces).unwrap_or(1).max(1)
    }
}

impl Budget {
    fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    async fn take(&self, bytes: u64) -> Room {
        Room(Arc::clone(&self.permits).acquire_many_owned(units(bytes).clamp(1, self.total)).await.ok())
    }

    fn fit(&self, room: &mut Room, bytes: u64) -> bool {
        room.shrink(bytes);
        let Some(permit) = &mut room.0 else { return true };
        let held = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
        let missing = units(bytes).min(self.total).saturating_sub(held);
        if missing == 0 {
            return true;
        }
        let more = Arc::clone(&self.permits).try_acquire_many_owned(missing);
        more.map(|more| permit.merge(more)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, Memory, PROGRAM_BYTES};

    const SEGMENT: u64 = 8 << 20;
    const MIB: u64 = 1 << 20;

    /// 16 MiB for the tail, 20 for raw pieces, 16 for encoded ones.
    fn memory() -> Memory {
        Memory::new(PROGRAM_BYTES + 52 * MIB, SEGMENT)
    }

    #[tokio::test]
    async fn pieces_wait_for_room_and_a_huge_one_for_all_of_it() {
        let memory = memory();
        assert_eq!((memory.pieces(SEGMENT), memory.pieces(8 * SEGMENT)), (2, 1));
        let first = memory.take(Lane::Backlog, SEGMENT, 0).await;
        let second = memory.take(Lane::Backlog, SEGMENT, 0).await;
        let third = memory.take(Lane::Backlog, SEGMENT, 0);
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending());
        // A full backlog keeps nothing of the tail's, nor of what is being compressed.
        assert!(futures::poll!(Box::pin(memory.take(Lane::Tail, SEGMENT, 0))).is_ready());
        assert!(futures::poll!(Box::pin(memory.take_encoded(SEGMENT))).is_ready());
        drop(first);
        let third = third.await;
        drop((second, third));
        drop(memory.take(Lane::Backlog, 1 << 40, 0).await);
    }

    #[tokio::test]
    async fn all_of_the_backlogs_room_is_had_by_one_and_none_of_the_tails() {
        let memory = memory();
        assert_eq!(memory.backlog_bytes(), 36 * MIB);
        let piece = memory.take(Lane::Backlog, SEGMENT, 0).await;
        let mut all = Box::pin(memory.take_all());
        assert!(futures::poll!(all.as_mut()).is_pending());
        let encoded = memory.take_encoded(SEGMENT).await;
        drop((piece, encoded));
        let all = all.await;
        assert!(futures::poll!(Box::pin(memory.take(Lane::Tail, SEGMENT, 0))).is_ready());
        assert!(futures::poll!(Box::pin(memory.take(Lane::Backlog, MIB, 0))).is_pending());
        drop(all);
        drop(memory.take(Lane::Backlog, SEGMENT, 0).await);
    }

    #[tokio::test]
    async fn many_small_transactions_take_room_too() {
        let memory = memory();
        let many = memory.take(Lane::Backlog, SEGMENT, 30_000).await;
        assert!(futures::poll!(Box::pin(memory.take(Lane::Backlog, SEGMENT, 30_000))).is_pending());
        drop(many);
    }

    #[tokio::test]
    async fn room_follows_what_a_piece_becomes() {
        let memory = memory();
        let mut small = memory.take(Lane::Backlog, SEGMENT, 0).await;
        assert!(memory.fit(&mut small, MIB, 0));
        let mut other = memory.take(Lane::Backlog, 2 * SEGMENT, 0).await;
        // 3 MiB are left: so much more may be had at once, and no more.
        assert!(memory.fit(&mut small, 4 * MIB, 0) && !memory.fit(&mut other, 3 * SEGMENT, 0));
        assert!(memory.fit(&mut other, MIB, 0) && !memory.fit(&mut small, 1 << 40, 0));
        drop(other);
        assert!(memory.fit(&mut small, 1 << 40, 0));
        let mut encoded = memory.take_encoded(2 * SEGMENT).await;
        assert!(futures::poll!(Box::pin(memory.take_encoded(SEGMENT))).is_pending());
        encoded.shrink(3 * MIB);
        assert!(futures::poll!(Box::pin(memory.take_encoded(SEGMENT))).is_ready());
    }
}
