//! The plan's log in stretches: every byte of it once, each in the range that holds it.

use pitr_recovery::{BinlogId, PlannedBinlog, PlannedRange, RangeRef};

/// A part of one range of a binlog: bytes `from..to` of the raw file, never none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch<'a> {
    /// The binlog.
    pub(super) file: &'a PlannedBinlog,
    /// The range.
    pub(super) range: &'a PlannedRange,
    /// First byte.
    pub(super) from: u64,
    /// Byte after the last one.
    pub(super) to: u64,
}

impl Stretch<'_> {
    /// The whole range, as the archive knows it.
    pub(super) fn reference(&self) -> RangeRef {
        reference(&self.file.id, self.range)
    }

    /// Where an offset in the raw file is in the range's bytes; none if it is before them.
    pub(super) fn place(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.range.start)?).ok()
    }
}

/// A planned range, as the archive knows it.
pub(super) fn reference(binlog: &BinlogId, range: &PlannedRange) -> RangeRef {
    RangeRef { binlog: binlog.clone(), start: range.start, end: range.end, raw_sha256: range.raw_sha256 }
}

/// A file's ranges, cut where they overlap and at both ends.
pub(super) fn stretches_of(file: &PlannedBinlog) -> impl Iterator<Item = Stretch<'_>> {
    let mut position = file.from;
    file.ranges.iter().filter_map(move |range| {
        let (from, to) = (range.start.max(position), range.end.min(file.to));
        if from >= to {
            return None;
        }
        position = to;
        Some(Stretch { file, range, from, to })
    })
}

/// A planned binlog with these ranges, for tests.
#[cfg(test)]
pub(super) fn planned(ranges: &[(u64, u64)], from: u64, to: u64) -> PlannedBinlog {
    let range = |start, end| PlannedRange { start, end, raw_sha256: [0; 32], objects: Vec::new() };
    PlannedBinlog {
        id: BinlogId { source: "s".into(), number: 1, head: [0; 8] },
        name: pitr_binlog::BinlogName::parse("binlog.000001").unwrap(),
        head: range(0, 100),
        ranges: ranges.iter().map(|(start, end)| range(*start, *end)).collect(),
        from,
        to,
    }
}

#[cfg(test)]
mod tests {
    use super::{planned, stretches_of};

    fn stretches(ranges: &[(u64, u64)], from: u64, to: u64) -> Vec<(u64, u64)> {
        stretches_of(&planned(ranges, from, to)).map(|stretch| (stretch.from, stretch.to)).collect()
    }

    #[test]
    fn ranges_are_cut_where_they_overlap_and_at_both_ends() {
        let expected = [(157, 1000), (1000, 1500), (1500, 1700)];
        assert_eq!(stretches(&[(0, 1000), (800, 1500), (1500, 3000)], 157, 1700), expected);
    }

    #[test]
    fn a_range_that_brings_nothing_is_passed_over() {
        assert_eq!(stretches(&[(0, 1000), (200, 900), (900, 1100)], 157, 1100), [(157, 1000), (1000, 1100)]);
        assert_eq!(stretches(&[], 157, 157), []);
    }
}
