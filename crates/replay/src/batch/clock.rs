use std::collections::VecDeque;

use pitr_binlog::event::LogicalClock;

/// Batches whose first numbers are remembered. What depends on an older one waits for the youngest forgotten one.
const REMEMBERED: usize = 1 << 16;

/// The logical clock of what is sent, made from that of the file: a batch waits for all batches that hold a transaction
/// which one of its own must wait for.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The file's numbers of the first transactions of the batches that are remembered.
    firsts: VecDeque<i64>,
    /// The file's last number so far.
    last: i64,
    /// Batches so far.
    count: i64,
}

impl Clock {
    /// The place of the next batch, of transactions with these places in the file.
    pub(super) fn place(&mut self, batch: impl Iterator<Item = LogicalClock> + Clone) -> LogicalClock {
        let forgotten = self.count - self.firsts.len() as i64;
        let waits_for = |clock: LogicalClock| {
            forgotten + self.firsts.partition_point(|first| *first <= clock.last_committed) as i64
        };
        // What waits for a transaction of its own batch comes after it there, and after everything before the batch.
        let last_committed = batch.clone().map(waits_for).max().unwrap_or(self.count);
        let first = batch.clone().map(|clock| clock.sequence_number).min().unwrap_or(i64::MAX);
        let in_order = self.firsts.is_empty() || self.last < first;
        self.last = batch.map(|clock| clock.sequence_number).max().unwrap_or(self.last);
        if !in_order {
            // Numbers that go back say nothing about what came before: it all comes first.
            self.firsts.clear();
        }
        let last_committed = if in_order { last_committed } else { self.count };
        self.firsts.push_back(first);
        self.count += 1;
        if self.firsts.len() > REMEMBERED {
            self.firsts.pop_front();
        }
        LogicalClock { last_committed, sequence_number: self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(clock: &mut Clock, batch: &[(i64, i64)]) -> (i64, i64) {
        let batch = batch.iter().map(|(last_committed, sequence_number)| LogicalClock {
            last_committed: *last_committed,
            sequence_number: *sequence_number,
        });
        let placed = clock.place(batch);
        (placed.last_committed, placed.sequence_number)
    }

    #[test]
    fn a_batch_waits_for_the_batches_of_what_its_transactions_wait_for() {
        let mut clock = Clock::default();
        assert_eq!(place(&mut clock, &[(0, 1), (0, 2), (1, 3)]), (0, 1));
        assert_eq!(place(&mut clock, &[(0, 4), (0, 5)]), (0, 2));
        // 3 is in the first batch, 4 in the second.
        assert_eq!(place(&mut clock, &[(2, 6), (3, 7)]), (1, 3));
        assert_eq!(place(&mut clock, &[(4, 8)]), (2, 4));
        // Within the batch: all before it.
        assert_eq!(place(&mut clock, &[(2, 9), (9, 10)]), (4, 5));
        // 11 and 12 were dropped.
        assert_eq!(place(&mut clock, &[(12, 13)]), (5, 6));
    }

    #[test]
    fn what_is_forgotten_or_out_of_order_is_waited_for() {
        let mut clock = Clock::default();
        for number in 1..=REMEMBERED as i64 + 10 {
            assert_eq!(place(&mut clock, &[(number - 1, number)]), (number - 1, number));
        }
        let count = REMEMBERED as i64 + 10;
        assert_eq!(place(&mut clock, &[(3, count + 1)]), (10, count + 1));
        assert_eq!(place(&mut clock, &[(0, 1)]), (count + 1, count + 2));
        assert_eq!(place(&mut clock, &[(0, 2)]), (count + 1, count + 3));
        assert_eq!(place(&mut clock, &[(1, 3)]), (count + 2, count + 4));
        // A number within the last batch is another clock's.
        assert_eq!(place(&mut clock, &[(3, 4), (3, 9)]), (count + 4, count + 5));
        assert_eq!(place(&mut clock, &[(3, 6)]), (count + 5, count + 6));
    }
}
