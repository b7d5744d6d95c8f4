//! A LIST is no snapshot: what it misses is looked for again before it counts as a hole.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Archive, MemoryStore, Place, Store, catalogued, claimed, clock, store};
use crate::layout::TAIL_PREFIX;
use crate::store::{ListedObject, ObjectClass, ObjectInfo, StoreError};
use crate::testing::History;

/// Hides an object from the first listings of the tail, as a LIST does when the object is stored behind the place that it has
/// reached, or merged into one there.
#[derive(Debug)]
struct Blinking {
    inner: Arc<MemoryStore>,
    hidden: String,
    looks: usize,
    listings: AtomicUsize,
}

#[async_trait]
impl Store for Blinking {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        self.inner.put(key, bytes, class).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let mut listed = self.inner.list(prefix).await?;
        if prefix == TAIL_PREFIX && self.listings.fetch_add(1, Ordering::SeqCst) < self.looks {
            listed.retain(|object| object.key != self.hidden);
        }
        Ok(listed)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// How far each binlog's tail reaches for a reader from whose first looks this object is hidden, and how often it looked.
async fn seen(memory: &Arc<MemoryStore>, hidden: &str, looks: usize) -> (Vec<Vec<u64>>, usize) {
    let listings = AtomicUsize::new(0);
    let store = Arc::new(Blinking { inner: Arc::clone(memory), hidden: hidden.to_owned(), looks, listings });
    let reader = Archive::open(Arc::clone(&store) as Arc<dyn Store>, clock());
    let (inventory, report) = reader.inventory().await.unwrap();
    assert!(report.unreadable.is_empty(), "{report:?}");
    let ends = inventory.binlogs.iter().map(|binlog| binlog.ranges.iter().map(|range| range.end).collect());
    (ends.collect(), store.listings.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_hole_counts_when_it_looked_the_same_three_times() {
    let (memory, archive) = claimed().await;
    let history = History::new(7, 1, 6);
    let ends: Vec<u64> = (0..3).map(|at| history.boundary(at)).collect();
    store(&archive, &history, Place::Tail, (0, ends[0])).await;
    let middle = store(&archive, &history, Place::Tail, (ends[0], ends[1])).await.key.to_string();
    store(&archive, &history, Place::Tail, (ends[1], ends[2])).await;
    assert_eq!(seen(&memory, &middle, 0).await, (vec![ends.clone()], 1));
    assert_eq!(seen(&memory, &middle, 1).await, (vec![ends.clone()], 2));
    assert_eq!(seen(&memory, &middle, 2).await, (vec![ends.clone()], 3));
    // It really is not there.
    assert_eq!(seen(&memory, &middle, usize::MAX).await, (vec![vec![ends[0], ends[2]]], 3));
}

#[tokio::test]
async fn an_end_that_is_missing_before_another_binlog_is_a_hole() {
    let (memory, archive) = claimed().await;
    let (first, second) = (History::new(7, 1, 4), History::new(7, 2, 4));
    let begun = first.boundary(1);
    store(&archive, &first, Place::Tail, (0, begun)).await;
    let end = store(&archive, &first, Place::Tail, (begun, first.length())).await.key.to_string();
    store(&archive, &second, Place::Tail, (0, second.boundary(0))).await;
    let all = vec![vec![begun, first.length()], vec![second.boundary(0)]];
    assert_eq!(seen(&memory, &end, 1).await, (all.clone(), 2));
    assert_eq!(seen(&memory, &end, 0).await, (all, 1));
}

#[tokio::test]
async fn an_archive_that_is_whole_is_listed_once() {
    let (memory, archive) = claimed().await;
    for number in 1..=3 {
        catalogued(&archive, &History::new(7, number, 4)).await;
    }
    let active = History::new(7, 4, 4);
    store(&archive, &active, Place::Tail, (0, active.boundary(2))).await;
    assert_eq!(seen(&memory, "", 0).await.1, 1);
}
