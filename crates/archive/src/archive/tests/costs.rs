//! Requests are money and time: they are counted.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::archive::locked;
use crate::store::{Counting, FileStore, Operation, StoreCounts};
use crate::testing::{Fault, Faulty};
use crate::{MergeEffort, TailCoverage};

fn counted(memory: &Arc<MemoryStore>) -> (Archive, StoreCounts) {
    let counting = Counting::new(Arc::clone(memory));
    let counts = counting.counts();
    (Archive::open(Arc::new(counting), clock()), counts)
}

fn requests(counts: &StoreCounts) -> [(&'static str, u64); 5] {
    Operation::ALL.map(|operation| {
        let name = match operation {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::List => "list",
            Operation::Delete => "delete",
        };
        (name, counts.calls(operation))
    })
}

fn total(counts: &StoreCounts) -> u64 {
    requests(counts).iter().map(|(_, calls)| calls).sum()
}

#[tokio::test]
async fn an_inventory_of_a_thousand_binlogs_takes_ten_requests() {
    let (memory, _) = claimed().await;
    let (writer, counts) = counted(&memory);
    let source = History::new(1, 1, 1).id.source;
    let mut merges = 0;
    for number in 1..=1000 {
        catalogued(&writer, &History::new(1, number, 1)).await;
        if number % 8 == 0 {
            merges += writer.merge_pages(&source, MergeEffort::Busy).await.unwrap();
        }
    }
    // A segment and a page each; a merge stores one page and deletes with one request.
    assert_eq!(counts.calls(Operation::Put), 2000 + merges as u64);
    assert_eq!(counts.calls(Operation::Delete), merges as u64);
    assert!(merges <= 70, "{merges}");
    writer.merge_pages(&source, MergeEffort::Idle).await.unwrap();
    let (archive, counts) = counted(&memory);
    let (inventory, report) = archive.inventory().await.unwrap();
    assert_eq!((inventory.binlogs.len(), report.unreadable.len()), (1000, 0));
    assert!(total(&counts) <= 10, "{:?}", requests(&counts));
    // With a hole everything is listed again, and nothing is read again.
    catalogued(&writer, &History::new(1, 1005, 1)).await;
    writer.merge_pages(&source, MergeEffort::Idle).await.unwrap();
    let (archive, counts) = counted(&memory);
    assert_eq!(archive.inventory().await.unwrap().0.binlogs.len(), 1001);
    assert!(total(&counts) <= 10, "{:?}", requests(&counts));
}

#[tokio::test]
async fn a_closed_binlog_costs_its_segments_a_page_and_a_delete() {
    let (memory, _) = claimed().await;
    let (archive, counts) = counted(&memory);
    let history = History::new(1, 1, 12);
    let mut tail = Vec::new();
    for (from, to) in [
        (0, history.boundary(3)),
        (history.boundary(3), history.boundary(8)),
        (history.boundary(8), history.boundary(11)),
    ] {
        tail.push(store(&archive, &history, Place::Tail, (from, to)).await);
    }
    assert_eq!(requests(&counts), [("put", 3), ("get", 0), ("head", 0), ("list", 0), ("delete", 0)]);
    let mut coverage = TailCoverage::of(tail);
    let mut records = Vec::new();
    for (from, to) in [(0, history.boundary(5)), (history.boundary(5), history.length())] {
        let draft = history.draft(Place::Binlogs, from, to);
        coverage.feed(&history.id, from, &draft.raw);
        records.push(archive.write_segment(draft, Codec::default()).await.unwrap());
    }
    let published = archive.publish(&records, coverage).await.unwrap();
    assert_eq!(published.covered.len(), 3);
    assert_eq!(requests(&counts), [("put", 3 + 2 + 1), ("get", 0), ("head", 0), ("list", 0), ("delete", 1)]);
    assert!(locked(&archive.stored).is_empty(), "nothing is remembered of what is in the catalog or never comes there");
}

#[tokio::test]
async fn a_second_inventory_reads_no_tail_object_again() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 40);
    for n in 0..39 {
        let from = if n == 0 { 0 } else { history.boundary(n - 1) };
        store(&archive, &history, Place::Tail, (from, history.boundary(n))).await;
    }
    let (reader, counts) = counted(&memory);
    reader.inventory().await.unwrap();
    let first = total(&counts);
    reader.inventory().await.unwrap();
    // archive.json, and the lists of results of verification, marks, tail, catalog and base backups.
    assert_eq!((first, total(&counts) - first), (39 + 6, 6));
}

#[tokio::test]
async fn a_failed_delete_is_made_up_for_and_fails_nothing() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 4);
    let tail = store(&archive, &history, Place::Tail, (0, history.boundary(3))).await;
    // Segment, page, and then the delete fails.
    let faulty = Arc::new(Faulty::new(Arc::clone(&memory), 2, Fault::Fails));
    let archive = Archive::open(faulty, clock());
    let mut coverage = TailCoverage::of([tail.clone()]);
    coverage.feed(&history.id, 0, &history.raw);
    let record = store(&archive, &history, Place::Binlogs, (0, history.length())).await;
    let published = archive.publish(&[record], coverage).await.unwrap();
    assert_eq!(published.covered, [tail.key.to_string()]);
    assert_eq!(the_only_key(&memory, "tail/").await, tail.key.to_string());
    archive.settle().await.unwrap();
    assert!(memory.list("tail/").await.unwrap().is_empty());
}

#[tokio::test]
async fn where_directories_are_seen_late_redundant_objects_stay_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let files = Arc::new(FileStore::new(directory.path()));
    let archive = Archive::claim(Arc::clone(&files) as Arc<dyn Store>, clock(), "shop/mysql").await.unwrap();
    let history = History::new(1, 1, 4);
    let tail = store(&archive, &history, Place::Tail, (0, history.boundary(3))).await;
    let mut coverage = TailCoverage::of([tail]);
    coverage.feed(&history.id, 0, &history.raw);
    let record = store(&archive, &history, Place::Binlogs, (0, history.length())).await;
    let begun = Instant::now();
    archive.publish(&[record], coverage).await.unwrap();
    archive.settle().await.unwrap();
    assert_eq!(files.list("tail/").await.unwrap().len(), 1);
    let due = locked(&archive.discards)[0].due;
    assert!(due >= begun + Duration::from_secs(120));
    locked(&archive.discards)[0].due = begun;
    archive.settle().await.unwrap();
    assert!(files.list("tail/").await.unwrap().is_empty());
}
