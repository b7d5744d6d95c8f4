//! A LIST is no snapshot: what it misses is looked for again before it counts as a hole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{Archive, MemoryStore, Place, Store, catalogued, claimed, clock, store};
use crate::layout::TAIL_PREFIX;
use crate::store::{ListedObject, StoreError};
use crate::testing::{History, Listener, Overheard};

/// Hides an object from the first listings of the tail, as a LIST does when the object is stored behind the place that it has
/// reached, or merged into one there.
#[derive(Debug)]
struct Blinking {
    hidden: String,
    looks: usize,
    listings: AtomicUsize,
}

#[async_trait]
impl Listener for Blinking {
    async fn listed(&self, prefix: &str, mut listed: Vec<ListedObject>) -> Result<Vec<ListedObject>, StoreError> {
        if prefix == TAIL_PREFIX && self.listings.fetch_add(1, Ordering::SeqCst) < self.looks {
            listed.retain(|object| object.key != self.hidden);
        }
        Ok(listed)
    }
}

/// How far each binlog's tail reaches for a reader from whose first looks this object is hidden, and how often it looked.
async fn seen(memory: &Arc<MemoryStore>, hidden: &str, looks: usize) -> (Vec<Vec<u64>>, usize) {
    let listings = AtomicUsize::new(0);
    let store = Arc::new(Overheard::new(memory, Blinking { hidden: hidden.to_owned(), looks, listings }));
    let reader = Archive::open(Arc::clone(&store) as Arc<dyn Store>, clock());
    let (inventory, report) = reader.inventory().await.unwrap();
    assert!(report.unreadable.is_empty(), "{report:?}");
    let ends = inventory.binlogs.iter().map(|binlog| binlog.ranges.iter().map(|range| range.end).collect());
    (ends.collect(), store.listener.listings.load(Ordering::SeqCst))
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

/// Stores the same bytes in other pieces between each listing and what is read of it, so many times.
#[derive(Debug)]
struct Restless {
    archive: Archive,
    memory: Arc<MemoryStore>,
    history: History,
    moves: AtomicUsize,
}

#[async_trait]
impl Listener for Restless {
    async fn listed(&self, prefix: &str, listed: Vec<ListedObject>) -> Result<Vec<ListedObject>, StoreError> {
        let moves = self.moves.load(Ordering::SeqCst);
        if prefix == TAIL_PREFIX && moves > 0 {
            self.moves.store(moves - 1, Ordering::SeqCst);
            let keys: Vec<String> = listed.iter().map(|object| object.key.clone()).collect();
            self.memory.delete(&keys).await?;
            let (half, end) = (self.history.boundary(0), self.history.boundary(1));
            let pieces = if keys.len() == 1 { vec![(0, half), (half, end)] } else { vec![(0, end)] };
            for piece in pieces {
                store(&self.archive, &self.history, Place::Tail, piece).await;
            }
        }
        Ok(listed)
    }
}

#[tokio::test]
async fn a_tail_that_moves_at_each_look_is_never_taken_for_nothing() {
    for (moves, rests) in [(1, true), (20, true), (usize::MAX, false)] {
        let (memory, archive) = claimed().await;
        let history = History::new(7, 1, 4);
        let end = history.boundary(1);
        store(&archive, &history, Place::Tail, (0, end)).await;
        let restless = Restless { archive, memory: Arc::clone(&memory), history, moves: AtomicUsize::new(moves) };
        let reader = Archive::open(Arc::new(Overheard::new(&memory, restless)), clock());
        let (inventory, report) = reader.inventory().await.unwrap();
        let reached = inventory.binlogs.first().and_then(|binlog| binlog.ranges.iter().map(|range| range.end).max());
        assert_eq!((reached, report.unreadable.is_empty()), (rests.then_some(end), rests), "{moves} moves: {report:?}");
    }
}
