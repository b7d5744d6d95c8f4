//! Damage of every kind is noticed where it is read, and named; bytes that are not those of the server are never given out.

use std::collections::BTreeSet;

use pitr_recovery::RangeRef;

use super::*;
use crate::archive::ArchiveError;
use crate::digest::ShortHash;
use crate::layout::{ObjectKey, SegmentKey};

fn range_of(record: &SegmentRecord) -> RangeRef {
    let header = &record.header;
    RangeRef { binlog: header.binlog.clone(), start: header.start, end: header.end, raw_sha256: header.raw_sha256 }
}

/// The object's bytes, damaged in all the ways that are tried.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let flipped = (0..whole.len()).step_by(3).map(|at| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    let cut = (0..whole.len()).step_by(29).map(|length| whole[..length].to_vec());
    let longer = [[whole, b"x"].concat(), [whole, whole].concat()];
    flipped.chain(cut).chain(longer).collect()
}

#[tokio::test]
async fn a_damaged_segment_is_never_served() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 8);
    let record = catalogued(&archive, &history).await;
    let (key, range) = (record.key.to_string(), range_of(&record));
    let known = [record.stored_object()];
    let index = reader(&memory).read_index(&range, &known).await.unwrap();
    let whole = memory.get(&key).await.unwrap();
    for bytes in damaged(&whole) {
        overwrite(&memory, &key, bytes).await;
        let reader = reader(&memory);
        match reader.read_range(&range, &known).await {
            Err(ArchiveError::RangeChanged { range: named, reason }) => {
                assert_eq!(*named, range);
                assert!(reason.contains("does not match the hash in its key"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        match reader.read_index(&range, &known).await {
            // What was read of it is whole.
            Ok(read) => assert_eq!(read, index),
            Err(ArchiveError::RangeChanged { .. }) => {}
            // A flip in the very digit of the format.
            Err(ArchiveError::Segment { key: named, .. }) => assert_eq!(named, key),
            Err(other) => panic!("{other:?}"),
        }
    }
    memory.delete(&[key]).await.unwrap();
    let lost = reader(&memory).read_range(&range, &known).await.unwrap_err();
    assert!(matches!(lost, ArchiveError::RangeLost { .. }), "{lost:?}");
    assert!(lost.to_string().contains(&range.binlog.to_string()), "{lost}");
}

#[tokio::test]
async fn a_damaged_tail_object_is_named_and_not_in_the_inventory() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 8);
    let first = store(&archive, &history, Place::Tail, (0, history.boundary(3))).await;
    let second = store(&archive, &history, Place::Tail, (history.boundary(3), history.boundary(5))).await;
    let key = second.key.to_string();
    let whole = memory.get(&key).await.unwrap();
    for bytes in damaged(&whole) {
        overwrite(&memory, &key, bytes).await;
        let reader = reader(&memory);
        let (inventory, report) = reader.inventory().await.unwrap();
        assert_eq!(report.unreadable.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&key]);
        let [binlog] = &inventory.binlogs[..] else { panic!("{inventory:?}") };
        assert_eq!(binlog.ranges.iter().map(|range| range.end).collect::<Vec<_>>(), [first.key.end]);
        let swept = reader.sweep_tail(&history.id.source).await.unwrap();
        assert_eq!((swept.kept, swept.unusable.len()), (vec![first.clone()], 1));
    }
}

#[tokio::test]
async fn an_object_under_another_key_is_never_served() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 8);
    let middle = history.boundary(4);
    let first = store(&archive, &history, Place::Binlogs, (0, middle)).await;
    let second = store(&archive, &history, Place::Binlogs, (middle, history.length())).await;
    let bytes = memory.get(&second.key.to_string()).await.unwrap();
    overwrite(&memory, &first.key.to_string(), bytes.clone()).await;
    let swapped = reader(&memory).read_range(&range_of(&first), &[first.stored_object()]).await.unwrap_err();
    assert!(matches!(swapped, ArchiveError::RangeChanged { .. }), "{swapped:?}");
    // Forged: the hash in the key is right, the range in it is not.
    let forged = SegmentKey { start: 0, end: middle, hash: ShortHash::of(&bytes), ..second.key.clone() };
    memory.delete(&[first.key.to_string()]).await.unwrap();
    overwrite(&memory, &forged.to_string(), bytes).await;
    match reader(&memory).read_range(&range_of(&first), &[]).await.unwrap_err() {
        ArchiveError::RangeChanged { reason, .. } => assert!(reason.contains("belongs to another key"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let adoption = reader(&memory).adopt(&history.id.source).await.unwrap();
    assert_eq!(adoption.adopted.iter().map(|record| &record.key).collect::<Vec<_>>(), [&second.key]);
    assert_eq!(adoption.unusable.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [forged.to_string()]);
}

#[tokio::test]
async fn a_damaged_page_is_named_and_made_again() {
    let (memory, archive) = claimed().await;
    let (first, second) = (History::new(1, 1, 4), History::new(1, 2, 4));
    catalogued(&archive, &first).await;
    let page = the_only_key(&memory, "catalog/").await;
    let whole = memory.get(&page).await.unwrap();
    catalogued(&archive, &second).await;
    for bytes in damaged(&whole) {
        overwrite(&memory, &page, bytes).await;
        let (inventory, report) = reader(&memory).inventory().await.unwrap();
        assert_eq!(report.unreadable.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&page]);
        assert_eq!(inventory.binlogs.iter().map(|binlog| &binlog.id).collect::<Vec<_>>(), [&second.id]);
    }
    let adoption = reader(&memory).adopt(&first.id.source).await.unwrap();
    assert_eq!(adoption.adopted.len(), 1);
    assert_eq!(reader(&memory).inventory().await.unwrap().0.binlogs.len(), 2);
}

#[tokio::test]
async fn a_damaged_page_does_not_hold_up_merges() {
    let (memory, archive) = claimed().await;
    for number in 1..=6 {
        catalogued(&archive, &History::new(1, number, 2)).await;
    }
    let pages: Vec<String> = memory.list("catalog/").await.unwrap().into_iter().map(|page| page.key).collect();
    overwrite(&memory, &pages[2], "damaged").await;
    let source = History::new(1, 1, 2).id.source;
    assert_eq!(reader(&memory).merge_pages(&source, crate::MergeEffort::Idle).await.unwrap(), 1);
    let left: BTreeSet<String> = memory.list("catalog/").await.unwrap().into_iter().map(|page| page.key).collect();
    assert!(left.len() == 2 && left.contains(&pages[2]), "{left:?}");
    assert_eq!(reader(&memory).inventory().await.unwrap().0.binlogs.len(), 5);
}

#[tokio::test]
async fn a_damaged_mark_hides_nothing_and_is_named() {
    let (memory, archive) = claimed().await;
    let history = History::new(1, 1, 4);
    catalogued(&archive, &history).await;
    let head = ShortHash(history.id.head);
    let marks = format!(
        r#"{{"format":1,"binlogs":[{{"source":"{}","seq":1,"head":"{head}","since":"2026-11-21T00:00:00Z"}}]}}"#,
        history.id.source
    );
    let key = ObjectKey::Marks { generation: 1, hash: ShortHash::of(marks.as_bytes()) }.to_string();
    overwrite(&memory, &key, marks.clone()).await;
    let (inventory, report) = archive.inventory().await.unwrap();
    assert_eq!((inventory.binlogs.len(), report.hidden_binlogs), (0, 1));
    assert!(report.marked.contains(&history.id));
    overwrite(&memory, &key, marks.replace("\"seq\":1", "\"seq\":2")).await;
    let (inventory, report) = archive.inventory().await.unwrap();
    assert_eq!((inventory.binlogs.len(), report.hidden_binlogs), (1, 0));
    assert_eq!(report.unreadable[0].0, key);
}

#[tokio::test]
async fn what_does_not_belong_is_reported_and_left_alone() {
    let (memory, archive) = claimed().await;
    catalogued(&archive, &History::new(1, 1, 4)).await;
    for key in ["tail/README", "catalog/x/y/z", "expired/now", "backups/mine.tar", "binlogs/x/y"] {
        overwrite(&memory, key, "somebody's").await;
    }
    let (inventory, report) = archive.inventory().await.unwrap();
    assert_eq!(inventory.binlogs.len(), 1);
    let named: BTreeSet<&str> =
        report.unknown_keys.iter().chain(report.unreadable.iter().map(|(key, _)| key)).map(String::as_str).collect();
    assert_eq!(named, BTreeSet::from(["tail/README", "catalog/x/y/z", "expired/now", "backups/mine.tar"]));
    assert_eq!(memory.get("tail/README").await.unwrap(), "somebody's");
}

#[tokio::test]
async fn another_format_and_another_workload_are_refused_by_name() {
    let (memory, _) = claimed().await;
    let other = Archive::claim(Arc::clone(&memory) as Arc<dyn Store>, clock(), "other/mysql").await.unwrap_err();
    assert!(matches!(&other, ArchiveError::ForeignWorkload { found, .. } if found == "shop/mysql"), "{other:?}");
    overwrite(&memory, "archive.json", r#"{"format":2,"tenants":[]}"#).await;
    let newer = reader(&memory).inventory().await.unwrap_err();
    assert_eq!(newer.to_string(), "\"archive.json\" is written in format 2, this version reads format 1");
    overwrite(&memory, "archive.json", r#"{"format":1,"workload":"shop/mysql","later":true}"#).await;
    reader(&memory).inventory().await.unwrap();
    overwrite(&memory, "archive.json", "{").await;
    assert!(matches!(reader(&memory).inventory().await.unwrap_err(), ArchiveError::Unreadable { .. }));
    memory.delete(&["archive.json".to_owned()]).await.unwrap();
    assert!(matches!(reader(&memory).inventory().await.unwrap_err(), ArchiveError::NoArchive { .. }));
    let page = zstd::encode_all(&br#"{"key":"k","format":2}"#[..], 1).unwrap();
    let mut page = page;
    page.extend(zstd::encode_all(&b"\n"[..], 1).unwrap());
    overwrite(&memory, "archive.json", r#"{"format":1,"workload":"shop/mysql"}"#).await;
    overwrite(&memory, &format!("catalog/s/00-{}.jsonl.zst", ShortHash::of(&page)), page).await;
    let newer = reader(&memory).inventory().await.unwrap_err();
    assert!(matches!(newer, ArchiveError::NewerFormat { found: 2, .. }), "{newer:?}");
}
