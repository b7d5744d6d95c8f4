//! Where a pass over the log begins: what a replica has executed is not fetched again, if that can be told without fetching it.

use futures::StreamExt as _;
use pitr_archive::RangeGtids;
use pitr_binlog::GtidSet;
use pitr_recovery::PlannedBinlog;
use pitr_replay::ReadError;

use super::super::stretch::{Stretch, stretches_of};
use super::ArchivedLog;

/// Headers that are asked for at once where a later run goes on: a small request each.
const HEADS_AT_ONCE: usize = 8;

/// Where a pass begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Beginning {
    /// The file.
    pub(super) file: usize,
    /// Which of its stretches is fetched first.
    pub(super) stretch: usize,
    /// The file's transactions before that stretch.
    pub(super) left_out: GtidSet,
}

impl ArchivedLog {
    /// A place before which nothing is missing in `executed`. Of logs that are not one server's unbroken run nothing is passed over:
    /// batches drop what has come before, and must see it.
    pub(super) async fn beginning(&self, executed: &GtidSet) -> Result<Beginning, ReadError> {
        if self.files.is_empty() || *executed == *self.base || !is_one_run(&self.files) {
            return Ok(Beginning::default());
        }
        let file = self.first_needed(executed).await?;
        let (stretch, left_out) = self.passed(&self.files[file], executed).await?;
        Ok(Beginning { file, stretch, left_out })
    }

    /// A file before which nothing is missing.
    async fn first_needed(&self, executed: &GtidSet) -> Result<usize, ReadError> {
        let previous = |number: usize| {
            let log = self.clone();
            async move { log.previous(&log.files[number]).await }
        };
        let mut heads = futures::stream::iter(0..self.files.len()).map(previous).buffered(HEADS_AT_ONCE).boxed();
        let Some(mut last) = heads.next().await.transpose()? else { return Ok(0) };
        let mut needed = 0;
        while let Some(next) = heads.next().await.transpose()? {
            if !tells_of_all(&last, &next) || !next.is_subset_of(executed) {
                break;
            }
            (needed, last) = (needed + 1, next);
        }
        // Two parts of one binlog, with a gap between them, have one head: it says nothing of the second one.
        while needed > 0 && self.files[needed - 1].id == self.files[needed].id {
            needed -= 1;
        }
        Ok(needed)
    }

    /// How many of a file's stretches hold nothing that is missing, and their transactions. Never all of them.
    async fn passed(&self, file: &PlannedBinlog, executed: &GtidSet) -> Result<(usize, GtidSet), ReadError> {
        let read = |stretch: Stretch<'_>| {
            let (log, range, reference) = (self.clone(), stretch.range.clone(), stretch.reference());
            async move {
                let told = log.archive.read_gtids(&reference, &range.objects).await;
                told.map_err(|error| log.failed(error))
            }
        };
        let stretches: Vec<Stretch<'_>> = stretches_of(file).collect();
        let all_but_the_last = stretches.split_last().map_or(&[][..], |(_, before)| before);
        let reads: Vec<_> = all_but_the_last.iter().copied().map(read).collect();
        let mut told = futures::stream::iter(reads).buffered(HEADS_AT_ONCE).boxed();
        let mut passed = Passed::default();
        while let Some(told) = told.next().await.transpose()? {
            if !passed.goes_on(told, executed) {
                break;
            }
        }
        Ok((passed.count, passed.transactions))
    }
}

/// What of a file is passed over.
#[derive(Debug, Default)]
struct Passed {
    /// Stretches, the last of which ends where a transaction does.
    count: usize,
    /// Their transactions.
    transactions: GtidSet,
    /// Stretches after those, which end within a transaction, and what else ends in them.
    open: (usize, GtidSet),
}

impl Passed {
    /// Looks at the next stretch, by what the range that holds it tells. False: something in it is missing, or may be.
    fn goes_on(&mut self, told: Option<RangeGtids>, executed: &GtidSet) -> bool {
        let Some(range) = told.filter(|range| range.gtids.is_subset_of(executed)) else { return false };
        self.open.0 += 1;
        self.open.1.union_with(&range.gtids);
        if !range.ends_in_transaction {
            let (count, transactions) = std::mem::take(&mut self.open);
            self.count += count;
            self.transactions.union_with(&transactions);
        }
        true
    }
}

/// Whether a head tells of all that the one before it does, and of the file between. Under another base name a server's log begins
/// with an empty head, and goes on without what it had under the first: whatever such a head says, more stands before it.
fn tells_of_all(last: &GtidSet, next: &GtidSet) -> bool {
    !next.is_empty() && last.is_subset_of(next)
}

/// Whether the files are one server's, each followed by its next: else a transaction may be in two of them, as where a server was made
/// again under its own name.
fn is_one_run(files: &[PlannedBinlog]) -> bool {
    files.windows(2).all(|two| {
        let (id, next) = (&two[0].id, &two[1].id);
        id == next || (id.source == next.source && id.number + 1 == next.number)
    })
}

#[cfg(test)]
mod tests {
    use pitr_archive::RangeGtids;
    use pitr_binlog::GtidSet;
    use pitr_recovery::{BinlogId, PlannedBinlog};

    use super::super::super::stretch::planned;
    use super::{Passed, is_one_run, tells_of_all};

    fn set(numbers: &str) -> GtidSet {
        match numbers {
            "" => GtidSet::new(),
            numbers => format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{numbers}").parse().unwrap(),
        }
    }

    /// Stretches that are passed over, and their transactions, where this is executed: of each its GTIDs, and whether it ends where
    /// a transaction does.
    fn passed(stretches: &[(&str, bool)], executed: &str) -> (usize, GtidSet) {
        let mut passed = Passed::default();
        for (gtids, is_whole) in stretches {
            let told = RangeGtids { gtids: set(gtids), ends_in_transaction: !is_whole };
            if !passed.goes_on(Some(told), &set(executed)) {
                break;
            }
        }
        (passed.count, passed.transactions)
    }

    #[test]
    fn what_is_executed_is_passed_over_up_to_the_first_stretch_that_lacks_something() {
        for (executed, count, transactions) in [
            ("", 0, ""),
            ("1", 0, ""),
            ("1-2", 1, "1-2"),
            ("1-3", 1, "1-2"),
            ("1-4", 2, "1-4"),
            ("1-9", 3, "1-5"),
            // The others of a batch whose first is 2 are not recorded.
            ("1-2:4-5", 1, "1-2"),
            ("2-5", 0, ""),
        ] {
            let log = [("1-2", true), ("3-4", true), ("5", true)];
            assert_eq!(passed(&log, executed), (count, set(transactions)), "{executed:?}");
        }
    }

    #[test]
    fn no_pass_begins_within_a_transaction() {
        // 2 begins in the first stretch, and ends in the third.
        let log = [("1", false), ("", false), ("2-3", true), ("4", true)];
        for (executed, count, transactions) in
            [("1", 0, ""), ("1-2", 0, ""), ("1-3", 3, "1-3"), ("1-4", 4, "1-4"), ("1:3-4", 0, "")]
        {
            assert_eq!(passed(&log, executed), (count, set(transactions)), "{executed:?}");
        }
    }

    #[test]
    fn a_stretch_that_tells_nothing_ends_what_is_passed_over() {
        let mut passed = Passed::default();
        let told = |gtids| Some(RangeGtids { gtids: set(gtids), ends_in_transaction: false });
        assert!(passed.goes_on(told("1"), &set("1-9")) && !passed.goes_on(None, &set("1-9")));
        assert_eq!((passed.count, passed.transactions), (1, set("1")));
    }

    #[test]
    fn one_servers_unbroken_run_is_told_from_other_logs() {
        let file = |source: &str, number| PlannedBinlog {
            id: BinlogId { source: source.into(), number, head: [0; 8] },
            ..planned(&[], 157, 157)
        };
        assert!(is_one_run(&[]));
        // A gap within a binlog makes two parts of it.
        assert!(is_one_run(&[file("a", 1), file("a", 2), file("a", 2), file("a", 3)]));
        assert!(!is_one_run(&[file("a", 1), file("a", 2), file("b", 1)]));
        // Made again from a copy, under its own name.
        assert!(!is_one_run(&[file("a", 7), file("a", 1)]));
        assert!(!is_one_run(&[file("a", 1), file("a", 3)]));
    }

    #[test]
    fn a_head_under_another_base_name_tells_of_nothing_before_it() {
        let cases = [
            ("", "1-100", true),
            ("1-100", "1-150", true),
            ("1-100", "1-100", true), // an empty file
            ("1-100", "", false),     // renamed
            ("", "", false),          // renamed after its first file
            ("1-100", "101-150", false),
        ];
        for (last, next, expected) in cases {
            assert_eq!(tells_of_all(&set(last), &set(next)), expected, "{last:?} {next:?}");
        }
    }
}
