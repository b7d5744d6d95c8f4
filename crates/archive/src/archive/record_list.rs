//! Records by their keys. Of a large archive there are very many: a list in order takes a third of what a tree of them does, and gives it
//! back to the system in one piece.

use crate::layout::SegmentKey;
use crate::segment::SegmentRecord;

/// Records in the order of their keys, each key once.
#[derive(Debug, Clone, Default)]
pub struct RecordList(Vec<SegmentRecord>);

impl RecordList {
    /// The record of a segment.
    #[must_use]
    pub fn get(&self, key: &SegmentKey) -> Option<&SegmentRecord> {
        self.place(key).ok().and_then(|place| self.0.get(place))
    }

    /// Whether it has a record of a segment.
    #[must_use]
    pub fn contains(&self, key: &SegmentKey) -> bool {
        self.place(key).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &SegmentRecord> {
        self.0.iter()
    }

    /// Adds records in any order; one takes the place of another with its key.
    pub(super) fn add(&mut self, more: impl IntoIterator<Item = SegmentRecord>) {
        let known = self.0.len();
        self.0.extend(more);
        if known == self.0.len() {
            return;
        }
        self.0.sort_by(|a, b| a.key.cmp(&b.key));
        self.0.dedup_by(|later, earlier| {
            let is_same = later.key == earlier.key;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
    }

    /// Takes out some of them.
    pub(super) fn take_out(&mut self, goes: impl FnMut(&mut SegmentRecord) -> bool) -> Vec<SegmentRecord> {
        self.0.extract_if(.., goes).collect()
    }

    fn place(&self, key: &SegmentKey) -> Result<usize, usize> {
        self.0.binary_search_by(|record| record.key.cmp(key))
    }
}

impl IntoIterator for RecordList {
    type Item = SegmentRecord;
    type IntoIter = std::vec::IntoIter<SegmentRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::History;
    use crate::{Archive, Codec, MemoryStore, Place};

    #[tokio::test]
    async fn records_are_in_order_and_the_last_of_a_key_counts() {
        let archive = Archive::open(Arc::new(MemoryStore::new()), Arc::new(jiff::Timestamp::now));
        let mut records = Vec::new();
        for number in 1..=4 {
            let binlog = History::new(1, number, 2);
            let draft = binlog.draft(Place::Binlogs, 0, binlog.length());
            records.push(archive.write_segment(draft, Codec::None).await.unwrap());
        }
        let [first, second, third, fourth] = <[SegmentRecord; 4]>::try_from(records).unwrap();
        let mut list = RecordList::default();
        list.add([third.clone(), first.clone()]);
        let longer = SegmentRecord { length: first.length + 1, ..first.clone() };
        list.add([second.clone(), longer.clone()]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [&longer, &second, &third]);
        assert_eq!((list.get(&first.key), list.get(&fourth.key)), (Some(&longer), None));
        assert_eq!(list.take_out(|record| record.key == second.key), std::slice::from_ref(&second));
        assert!(!list.contains(&second.key) && list.contains(&third.key) && list.len() == 2);
        assert_eq!(list.into_iter().collect::<Vec<_>>(), [longer, third]);
    }
}
