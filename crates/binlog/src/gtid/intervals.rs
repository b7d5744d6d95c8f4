use std::ops::RangeInclusive;

/// One interval of numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Interval {
    pub first: u64,
    pub last: u64,
}

/// A set of numbers as intervals in ascending order; no two touch, so equal sets have equal intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Intervals(Vec<Interval>);

impl Intervals {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[Interval] {
        &self.0
    }

    pub(super) fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|i| i.first..=i.last)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().fold(0u64, |sum, i| sum.saturating_add((i.last - i.first).saturating_add(1)))
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|i| i.last)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|i| i.last < number);
        self.0.get(at).is_some_and(|i| i.first <= number)
    }

    /// Adds an interval. In order (as numbers of a log mostly come) this is constant time.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // The intervals that touch or overlap the new one are from..to.
        let from = match self.0.last() {
            Some(end) if end.last < first.saturating_sub(1) => self.0.len(),
            Some(end) if end.first <= first => self.0.len() - 1,
            Some(_) => self.0.partition_point(|i| i.last < first.saturating_sub(1)),
            None => 0,
        };
        let reach = last.saturating_add(1);
        let to = from + self.0[from..].partition_point(|i| i.first <= reach);
        if from == to {
            if self.0.is_empty() {
                // Most sources have one interval, and archives have very many sets.
                self.0.reserve_exact(1);
            }
            self.0.insert(from, Interval { first, last });
            return;
        }
        let joined = Interval { first: first.min(self.0[from].first), last: last.max(self.0[to - 1].last) };
        self.0[from] = joined;
        self.0.drain(from + 1..to);
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut merged = Self(Vec::with_capacity(self.0.len().max(other.0.len())));
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.first <= y.first => a.next(),
                (Some(_), None) => a.next(),
                (_, Some(_)) => b.next(),
                (None, None) => return merged,
            };
            if let Some(i) = next {
                merged.push(*i);
            }
        }
    }

    /// Appends an interval that does not begin before the last one.
    fn push(&mut self, i: Interval) {
        match self.0.last_mut() {
            Some(end) if i.first <= end.last.saturating_add(1) => end.last = end.last.max(i.last),
            _ => self.0.push(i),
        }
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().peekable();
        for i in &self.0 {
            let mut first = Some(i.first);
            while let (Some(from), Some(cut)) = (first, cuts.peek()) {
                if cut.last < from {
                    cuts.next();
                    continue;
                }
                if cut.first > i.last {
                    break;
                }
                if cut.first > from {
                    left.push(Interval { first: from, last: cut.first - 1 });
                }
                // A cut that reaches beyond this interval may also reach into the next one: it is not consumed.
                first = if cut.last >= i.last { None } else { Some(cut.last + 1) };
            }
            if let Some(from) = first {
                left.push(Interval { first: from, last: i.last });
            }
        }
        Self(left)
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut a, mut b) = (0, 0);
        while let (Some(x), Some(y)) = (self.0.get(a), other.0.get(b)) {
            let (first, last) = (x.first.max(y.first), x.last.min(y.last));
            if first <= last {
                common.push(Interval { first, last });
            }
            if x.last < y.last { a += 1 } else { b += 1 }
        }
        Self(common)
    }

    pub(super) fn is_subset_of(&self, other: &Self) -> bool {
        let mut outer = other.0.iter().peekable();
        self.0.iter().all(|i| {
            while outer.peek().is_some_and(|o| o.last < i.last) {
                outer.next();
            }
            outer.peek().is_some_and(|o| o.first <= i.first)
        })
    }

    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        let (mut a, mut b) = (0, 0);
        while let (Some(x), Some(y)) = (self.0.get(a), other.0.get(b)) {
            if x.first.max(y.first) <= x.last.min(y.last) {
                return false;
            }
            if x.last < y.last { a += 1 } else { b += 1 }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Numbers = BTreeSet<u64>;

    fn of(numbers: &Numbers) -> Intervals {
        let mut intervals = Intervals::default();
        for n in numbers {
            intervals.insert(*n, *n);
        }
        intervals
    }

    fn numbers(intervals: &Intervals) -> Numbers {
        intervals.ranges().flatten().collect()
    }

    /// Ascending, and a hole between any two neighbours.
    fn is_canonical(intervals: &Intervals) -> bool {
        intervals.0.iter().all(|i| i.first <= i.last) && intervals.0.windows(2).all(|w| w[0].last + 1 < w[1].first)
    }

    #[test]
    fn the_ends_of_the_number_range() {
        let mut all = Intervals::default();
        all.insert(u64::MAX, u64::MAX);
        all.insert(0, 0);
        assert_eq!(all.count(), 2);
        assert_eq!(all.subtract(&all), Intervals::default());
        all.insert(0, u64::MAX);
        assert_eq!(all.as_slice().len(), 1);
        assert_eq!(all.count(), u64::MAX, "saturates");
        let mut end = Intervals::default();
        end.insert(u64::MAX, u64::MAX);
        assert_eq!(all.subtract(&end).last(), Some(u64::MAX - 1));
        assert_eq!(end.union(&all), all);
    }

    #[test]
    fn an_empty_interval_adds_nothing() {
        let mut intervals = Intervals::default();
        intervals.insert(5, 4);
        assert!(intervals.is_empty());
    }

    proptest! {
        #[test]
        fn insert_is_that_of_a_set(parts in prop::collection::vec((0u64..60, 0u64..12), 0..20)) {
            let mut model = Numbers::new();
            let mut intervals = Intervals::default();
            for (first, length) in parts {
                model.extend(first..first + length);
                if length > 0 {
                    intervals.insert(first, first + length - 1);
                }
                prop_assert!(is_canonical(&intervals));
                prop_assert_eq!(&numbers(&intervals), &model);
            }
        }

        #[test]
        fn operations_are_those_of_sets(
            a in prop::collection::btree_set(0u64..50, 0..40),
            b in prop::collection::btree_set(0u64..50, 0..40),
        ) {
            let (x, y) = (of(&a), of(&b));
            let results = [x.union(&y), x.subtract(&y), x.intersect(&y)];
            let expected = [
                a.union(&b).copied().collect::<Numbers>(),
                a.difference(&b).copied().collect(),
                a.intersection(&b).copied().collect(),
            ];
            for (result, expected) in results.iter().zip(&expected) {
                prop_assert!(is_canonical(result));
                prop_assert_eq!(&numbers(result), expected);
            }
            prop_assert_eq!(x.is_subset_of(&y), a.is_subset(&b));
            prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
            prop_assert_eq!(x.count(), a.len() as u64);
            prop_assert_eq!(x.last(), a.last().copied());
            for n in 0..51 {
                prop_assert_eq!(x.contains(n), a.contains(&n));
            }
        }
    }
}
