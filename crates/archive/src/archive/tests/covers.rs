//! A plan names ranges, not objects: other objects that hold the same bytes serve as well, and only those.

use bytes::BytesMut;
use pitr_recovery::RangeRef;

use super::*;
use crate::archive::ArchiveError;
use crate::digest::sha256;

/// The same binlog with other bytes from `at` on: a clone of the volume that went on writing.
fn fork(history: &History, at: u64) -> History {
    let mut raw = BytesMut::from(&history.raw[..]);
    raw[at as usize..].iter_mut().for_each(|byte| *byte ^= 0x20);
    History { raw: raw.freeze(), ..history.clone() }
}

fn range(history: &History, start: u64, end: u64) -> RangeRef {
    let raw_sha256 = sha256(&history.raw[start as usize..end as usize]);
    RangeRef { binlog: history.id.clone(), start, end, raw_sha256 }
}

#[tokio::test]
async fn a_range_is_put_together_from_what_covers_it_now() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 12);
    let at = |n: usize| history.boundary(n);
    // The range of the plan was one tail object, which has gone; two others and two segments hold its bytes.
    for (place, start, end) in [
        (Place::Binlogs, 0, at(4)),
        (Place::Tail, at(3), at(7)),
        (Place::Binlogs, at(6), at(9)),
        (Place::Tail, at(9), at(11)),
    ] {
        store(&archive, &history, place, (start, end)).await;
    }
    for (first, last) in [(0, 11), (2, 8), (3, 7), (4, 10), (5, 6)] {
        let wanted = range(&history, at(first), at(last));
        let raw = reader(&memory).read_range(&wanted, &[]).await.unwrap();
        assert_eq!(raw, history.raw.slice(at(first) as usize..at(last) as usize));
        let index = reader(&memory).read_index(&wanted, &[]).await.unwrap();
        let gtids: Vec<_> = index.entries.iter().map(|entry| entry.gtid).collect();
        let inside = history.transactions.iter().filter(|t| t.end > at(first) && t.end <= at(last));
        assert_eq!(gtids, inside.map(|transaction| transaction.gtid).collect::<Vec<_>>());
    }
    let beyond = reader(&memory).read_range(&range(&history, at(5), history.length()), &[]).await.unwrap_err();
    assert!(matches!(beyond, ArchiveError::RangeLost { .. }), "{beyond:?}");
}

#[tokio::test]
async fn of_two_histories_the_planned_one_is_read() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 12);
    let at = |n: usize| history.boundary(n);
    let twin = fork(&history, at(5));
    store(&archive, &history, Place::Binlogs, (0, at(4))).await;
    let (mine, its) = (history.clone(), twin.clone());
    for one in [&its, &mine] {
        store(&archive, one, Place::Binlogs, (at(4), at(8))).await;
        store(&archive, one, Place::Binlogs, (at(8), at(10))).await;
    }
    for one in [&history, &twin] {
        let wanted = range(one, at(1), at(10));
        let raw = reader(&memory).read_range(&wanted, &[]).await.unwrap();
        assert_eq!(raw, one.raw.slice(at(1) as usize..at(10) as usize));
    }
    let third = fork(&history, at(9));
    let other = reader(&memory).read_range(&range(&third, at(8), at(10)), &[]).await.unwrap_err();
    assert!(matches!(&other, ArchiveError::RangeChanged { reason, .. } if reason.contains("other bytes")), "{other:?}");
}

#[tokio::test]
async fn a_tail_object_with_other_bytes_is_kept_and_reported() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 12);
    let twin = fork(&history, history.boundary(5));
    let same = store(&archive, &history, Place::Tail, (0, history.boundary(4))).await;
    let other = store(&archive, &twin, Place::Tail, (history.boundary(4), history.boundary(8))).await;
    let mut coverage = crate::TailCoverage::of([same.clone(), other.clone()]);
    coverage.feed(&history.id, 0, &history.raw);
    let record = store(&archive, &history, Place::Binlogs, (0, history.length())).await;
    let published = archive.publish(&[record], coverage).await.unwrap();
    assert_eq!(published.covered, [same.key.to_string()]);
    assert_eq!(published.differing, [other.key.to_string()]);
    assert_eq!(the_only_key(&memory, "tail/").await, other.key.to_string());
    let report = reader(&memory).sweep_tail(&history.id.source).await.unwrap();
    assert_eq!((report.differing, report.covered), (vec![other.key.to_string()], vec![]));
    assert_eq!(the_only_key(&memory, "tail/").await, other.key.to_string());
}

#[tokio::test]
async fn what_a_predecessor_catalogued_in_part_is_swept_with_the_rest() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 12);
    let (middle, end) = (history.boundary(6), history.length());
    let tail = store(&archive, &history, Place::Tail, (0, history.boundary(9))).await;
    let first = store(&archive, &history, Place::Binlogs, (0, middle)).await;
    archive.write_page(&[first]).await.unwrap();
    let mut coverage = crate::TailCoverage::of([tail.clone()]);
    let rest = history.draft(Place::Binlogs, middle, end);
    coverage.feed(&history.id, middle, &rest.raw);
    let rest = archive.write_segment(rest, Codec::default()).await.unwrap();
    let published = archive.publish(&[rest], coverage).await.unwrap();
    assert_eq!(published.covered, [tail.key.to_string()]);
    assert!(memory.list("tail/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_range_is_passed_over_by_the_header_of_an_object_that_holds_just_it() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 12);
    let at = |n: usize| history.boundary(n);
    let whole = history.draft(Place::Binlogs, at(1), at(4));
    // The fifth transaction goes on in the next segment.
    let cut =
        crate::segment::SegmentDraft { ends_in_transaction: true, ..history.draft(Place::Binlogs, at(4), at(8) - 1) };
    let mut nameless = history.draft(Place::Binlogs, at(8), at(10));
    nameless.transactions[0].gtid = None;
    let gtids_of = |n: std::ops::Range<usize>| -> pitr_binlog::GtidSet {
        history.transactions[n].iter().filter_map(|transaction| transaction.gtid).collect()
    };
    for (draft, expected) in
        [(whole, Some((gtids_of(2..5), false))), (cut, Some((gtids_of(5..8), true))), (nameless, None)]
    {
        let record = archive.write_segment(draft, Codec::default()).await.unwrap();
        let (start, end) = (record.key.start, record.key.end);
        let wanted = range(&history, start, end);
        let told = reader(&memory).read_gtids(&wanted, &[record.stored_object()]).await.unwrap();
        assert_eq!(told.map(|told| (told.gtids, told.ends_in_transaction)), expected);
        // An object that is gone, and one with other bytes, tell nothing.
        let other = RangeRef { raw_sha256: [7; 32], ..wanted.clone() };
        assert_eq!(reader(&memory).read_gtids(&other, &[record.stored_object()]).await.unwrap(), None);
        memory.delete(&[record.key.to_string()]).await.unwrap();
        assert_eq!(reader(&memory).read_gtids(&wanted, &[record.stored_object()]).await.unwrap(), None);
    }
}
