use pitr_binlog::event::LogicalClock;

use super::{BATCH_BYTES_MAX, Windows};

/// A window must have so many transactions for each worker to be cut for all of them. In a narrower one each batch would
/// cost more than it takes off the others; so transactions that wait for each other are put together instead.
const WIDE: usize = 2;

/// What a transaction is to the partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) clock: LogicalClock,
    /// Bytes of its events.
    pub(super) bytes: usize,
    /// Session settings as its predecessor in the run has them: only such transactions share a batch.
    pub(super) same_settings: bool,
}

impl Windows {
    fn wide(&self) -> usize {
        self.workers.max(1) as usize * WIDE
    }

    fn cap(&self) -> usize {
        self.cap.max(1) as usize
    }

    /// Transactions that are looked at together, at most.
    pub(super) fn span(&self) -> usize {
        self.workers.max(1) as usize * self.cap()
    }

    /// Bytes of them, at most.
    pub(super) fn span_bytes(&self) -> usize {
        self.workers.max(1) as usize * BATCH_BYTES_MAX
    }

    /// The batches at the beginning of a run of mergeable transactions, as their lengths: those of one wide window, or
    /// one batch.
    ///
    /// A window is made of a transaction and its followers as long as they need not wait for it or for each other: all
    /// they wait for comes before the first. The log itself promises it.
    pub(super) fn next_batches(&self, run: &[Item]) -> Vec<usize> {
        let window = self.window(run);
        if window >= self.wide() { self.slices(&run[..window]) } else { vec![self.contiguous(run)] }
    }

    fn window(&self, run: &[Item]) -> usize {
        let Some(first) = run.first() else { return 0 };
        let apart = |item: &&Item| item.clock.last_committed < first.clock.sequence_number;
        1 + run[1..].iter().take(self.span() - 1).take_while(apart).count()
    }

    /// As many slices as there are workers, of equal bytes as far as possible; more where a limit cuts them.
    fn slices(&self, window: &[Item]) -> Vec<usize> {
        let total: usize = window.iter().map(|item| item.bytes).sum();
        let share = total.div_ceil(self.workers.max(1) as usize);
        let (mut lengths, mut done) = (Vec::new(), 0);
        while done < window.len() {
            let length = self.batch(&window[done..], share);
            lengths.push(length);
            done += length;
        }
        lengths
    }

    /// One batch over narrow windows; a wide one that follows is left for all workers.
    fn contiguous(&self, run: &[Item]) -> usize {
        let mut end = 0;
        while end < run.len().min(self.cap()) {
            let window = self.window(&run[end..]);
            if end > 0 && window >= self.wide() {
                break;
            }
            end += window;
        }
        self.batch(&run[..end], BATCH_BYTES_MAX)
    }

    /// How many of the first transactions make a batch of about so many bytes.
    fn batch(&self, run: &[Item], about: usize) -> usize {
        let (mut length, mut bytes) = (0, 0);
        for item in run.iter().take(self.cap()) {
            let full = bytes >= about || bytes + item.bytes > BATCH_BYTES_MAX || !item.same_settings;
            if length > 0 && full {
                break;
            }
            length += 1;
            bytes += item.bytes;
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use pitr_binlog::GtidSet;

    use super::*;

    fn windows(workers: u32, cap: u32) -> Windows {
        Windows { workers, cap, start: GtidSet::new() }
    }

    /// Transactions of 100 bytes that begin at `first`, with what each waits for.
    fn run(first: i64, last_committed: &[i64]) -> Vec<Item> {
        let item = |(n, last_committed): (usize, &i64)| {
            let clock = LogicalClock { last_committed: *last_committed, sequence_number: first + n as i64 };
            Item { clock, bytes: 100, same_settings: true }
        };
        last_committed.iter().enumerate().map(item).collect()
    }

    #[test]
    fn a_wide_window_is_cut_for_all_workers() {
        assert_eq!(windows(4, 200).next_batches(&run(5, &[4; 16])), [4, 4, 4, 4]);
        assert_eq!(windows(4, 200).next_batches(&run(5, &[1, 0, 4, 2, 3, 4, 1, 0, 4])), [3, 3, 3]);
        assert_eq!(windows(2, 3).next_batches(&run(5, &[4; 16])), [3, 3]);
        // 13 waits for 5: not in the window of 5.
        assert_eq!(windows(4, 200).next_batches(&run(5, &[4, 4, 4, 4, 4, 4, 4, 4, 5, 5])), [2, 2, 2, 2]);
    }

    #[test]
    fn narrow_windows_are_put_together_up_to_a_wide_one() {
        // Each waits for the one before.
        let chain: Vec<i64> = (0..50).collect();
        assert_eq!(windows(4, 200).next_batches(&run(1, &chain)), [50]);
        assert_eq!(windows(4, 20).next_batches(&run(1, &chain)), [20]);
        let then_wide = [&chain[..5], &[5; 8]].concat();
        assert_eq!(windows(4, 200).next_batches(&run(1, &then_wide)), [5]);
        assert_eq!(windows(4, 200).next_batches(&run(6, &[5; 8])), [2, 2, 2, 2]);
        assert_eq!(windows(4, 1).next_batches(&run(6, &[5; 8])), [1]);
    }

    #[test]
    fn sizes_and_settings_cut_a_batch() {
        let mut wide = run(5, &[4; 8]);
        wide[0].bytes = BATCH_BYTES_MAX;
        assert_eq!(windows(2, 200).next_batches(&wide), [1, 7]);
        let mut narrow = run(5, &[4, 5, 6, 7, 8]);
        narrow[2].bytes = BATCH_BYTES_MAX - 150;
        assert_eq!(windows(4, 200).next_batches(&narrow), [2]);
        let mut changed = run(5, &[4; 8]);
        changed[3].same_settings = false;
        assert_eq!(windows(2, 200).next_batches(&changed), [3, 4, 1]);
        changed[0].same_settings = false;
        assert_eq!(windows(2, 200).next_batches(&changed), [3, 4, 1]);
    }
}
