use std::ops::RangeInclusive;

use super::intervals::Intervals;
use super::sources::Sources;
use super::{Gtid, GtidSource};

/// A set of GTIDs: for each source, intervals of numbers. Holes are ordinary (T9).
///
/// Equal sets are equal values and have equal text: intervals are merged, sources without numbers are not kept.
/// A number outside a source's range (0, or for MySQL 2^63-1 and above) names no transaction and is never a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    pub(super) sources: Sources,
}

impl GtidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { sources: Sources::new() }
    }

    /// Whether no GTID is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether this GTID is in the set.
    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.sources.get(&gtid.source).is_some_and(|intervals| intervals.contains(gtid.number))
    }

    /// Adds one GTID. Constant time (but for finding the source) when numbers come in order.
    pub fn insert(&mut self, gtid: &Gtid) {
        self.insert_range(&gtid.source, gtid.number..=gtid.number);
    }

    /// Adds the numbers of an interval, as far as they are within the source's range.
    pub fn insert_range(&mut self, source: &GtidSource, numbers: RangeInclusive<u64>) {
        let (first, last) = ((*numbers.start()).max(1), (*numbers.end()).min(source.largest_number()));
        if !numbers.is_empty() && first <= last {
            self.sources.of(source).insert(first, last);
        }
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.union_with(other);
        all
    }

    /// Adds all of another set.
    pub fn union_with(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        for (source, intervals) in other.sources.iter() {
            let own = self.sources.of(source);
            if own.is_empty() {
                *own = intervals.clone();
            } else if let [interval] = intervals.as_slice() {
                // What a part of a log adds to a state is mostly this: it costs no new list.
                own.insert(interval.first, interval.last);
            } else {
                *own = own.union(intervals);
            }
        }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        self.per_source(|source, intervals| match other.sources.get(source) {
            Some(cut) => intervals.subtract(cut),
            None => intervals.clone(),
        })
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.per_source(|source, intervals| match other.sources.get(source) {
            Some(common) => intervals.intersect(common),
            None => Intervals::default(),
        })
    }

    fn per_source(&self, change: impl Fn(&GtidSource, &Intervals) -> Intervals) -> Self {
        let changed = self.sources.iter().map(|(source, intervals)| (*source, change(source, intervals)));
        Self { sources: changed.filter(|(_, intervals)| !intervals.is_empty()).collect() }
    }

    /// Whether all of this set is in the other.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.sources
            .iter()
            .all(|(source, intervals)| other.sources.get(source).is_some_and(|outer| intervals.is_subset_of(outer)))
    }

    /// Whether no GTID is in both sets.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.sources
            .iter()
            .all(|(source, intervals)| other.sources.get(source).is_none_or(|others| intervals.is_disjoint(others)))
    }

    /// The number of GTIDs in the set (`u64::MAX` when there are more).
    #[must_use]
    pub fn count(&self) -> u64 {
        self.sources.iter().fold(0, |sum: u64, (_, intervals)| sum.saturating_add(intervals.count()))
    }

    /// The sources that have a GTID in the set, in order.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = &GtidSource> + '_ {
        self.sources.iter().map(|(source, _)| source)
    }

    /// The intervals of one source, ascending, with a hole between any two.
    pub fn ranges(&self, source: &GtidSource) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.sources.get(source).into_iter().flat_map(Intervals::ranges)
    }

    /// All intervals of all sources.
    pub fn iter(&self) -> impl Iterator<Item = (GtidSource, RangeInclusive<u64>)> + '_ {
        self.sources.iter().flat_map(|(source, intervals)| intervals.ranges().map(|range| (*source, range)))
    }

    /// The highest number of one source.
    #[must_use]
    pub fn last(&self, source: &GtidSource) -> Option<u64> {
        self.sources.get(source).and_then(Intervals::last)
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut set = Self::new();
        for gtid in gtids {
            set.insert(&gtid);
        }
        set
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<I: IntoIterator<Item = Gtid>>(&mut self, gtids: I) {
        for gtid in gtids {
            self.insert(&gtid);
        }
    }
}
