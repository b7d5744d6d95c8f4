//! Verification finds whatever is done to an object, names it, and is not stopped by it; the catalog can be made again.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::backup::{BackupFacts, BackupWriter};
use pitr_archive::testing::{Fault, Faulty, History, Listener, Overheard, TimedStore};
use pitr_archive::{
    Archive, Codec, Counting, FindingKind, MergeEffort, ObjectClass, Operation, Place, Quarantine, Store, StoreError,
    Verified, VerifyProgress, VerifyRules,
};
use pitr_binlog::Flavour;
use pitr_recovery::{PlanRequest, RecoveryTarget, Timeline};

const ALL: VerifyRules = VerifyRules { percent: 100, deep: false };
const BINLOGS: u64 = 6;

fn open(store: Arc<dyn Store>, time: &Arc<TimedStore>) -> Archive {
    Archive::open(store, time.clock())
}

struct Archived {
    store: Arc<TimedStore>,
    archive: Arc<Archive>,
}

impl Archived {
    /// Some binlogs in two segments each, an open one in the tail, and a base backup of two files.
    async fn new() -> Self {
        let store = Arc::new(TimedStore::new("2026-11-01T00:00:00Z".parse().unwrap()));
        let archive =
            Arc::new(Archive::claim(Arc::clone(&store) as Arc<dyn Store>, store.clock(), "shop/mysql").await.unwrap());
        for number in 1..=BINLOGS {
            let history = History::new(4, number, 6);
            let mut records = Vec::new();
            for (from, to) in [(0, history.boundary(2)), (history.boundary(2), history.length())] {
                let draft = history.draft(Place::Binlogs, from, to);
                records.push(archive.write_segment(draft, Codec::default()).await.unwrap());
            }
            archive.write_page(&records).await.unwrap();
        }
        let open = History::new(4, BINLOGS + 1, 6);
        archive.write_segment(open.draft(Place::Tail, 0, open.boundary(2)), Codec::default()).await.unwrap();
        let mut writer = BackupWriter::begin(Arc::clone(&archive), "bb-1").await.unwrap();
        for name in ["ibdata1", "shop/orders.ibd"] {
            writer.add_file(name, 0o640, name.repeat(100).as_bytes()).await.unwrap();
        }
        let facts = BackupFacts {
            method: "clone".to_owned(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            source: History::new(4, 1, 6).id.source,
            executed: History::new(4, 2, 6).previous,
            position: None,
            snapshot_at: Timestamp::from_microsecond(1_700_000_000_006_500).unwrap(),
            settings: BTreeMap::new(),
        };
        writer.finish(facts, &AtomicU64::new(0)).await.unwrap();
        store.pass(SignedDuration::from_hours(3));
        Self { store, archive }
    }

    async fn copy(&self) -> Self {
        let store = Arc::new(self.store.copy().await);
        let archive = Arc::new(open(Arc::clone(&store) as Arc<dyn Store>, &store));
        Self { store, archive }
    }

    async fn verify(&self) -> Verified {
        self.archive.verify(ALL, &VerifyProgress::default()).await.unwrap()
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    async fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        self.store.put(key, bytes.into(), ObjectClass::Control).await.unwrap();
        // As old as it was: what is damaged does not look young.
        self.store.pass(SignedDuration::from_hours(3));
    }
}

#[tokio::test]
async fn all_is_well_with_what_nobody_touched() {
    let archived = Archived::new().await;
    let progress = VerifyProgress::default();
    let verified = archived.archive.verify(ALL, &progress).await.unwrap();
    assert_eq!(verified.findings, []);
    assert_eq!((verified.segments, verified.segments_read), (2 * BINLOGS + 1, 2 * BINLOGS + 1));
    assert_eq!((verified.chunks, verified.chunks_read, verified.recorded), (2, 2, true));
    let (total, done) = (progress.total.load(Ordering::Relaxed), progress.done.load(Ordering::Relaxed));
    assert_eq!((total, done), (verified.bytes_read, verified.bytes_read));
    let last = archived.archive.last_verified().await.unwrap().unwrap();
    assert_eq!((last.at, last.findings), (verified.at, 0));
    // Another run replaces the result.
    archived.verify().await;
    assert_eq!(archived.keys("verified/").await.len(), 1);
}

/// The store has lost this object's content, and lists it.
#[derive(Debug)]
struct Lost(String);

#[async_trait]
impl Listener for Lost {
    async fn asked(&self, key: &str) -> Result<(), StoreError> {
        if key == self.0 {
            return Err(StoreError::NotFound { operation: Operation::Get, key: key.to_owned() });
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_a_store_lists_and_does_not_give_is_missing() {
    let archived = Archived::new().await;
    for lost in [archived.keys("binlogs/").await, archived.keys("chunks/").await].concat() {
        let hollow = Overheard::new(&archived.store, Lost(lost.clone()));
        let archive = open(Arc::new(hollow), &archived.store);
        let verified = archive.verify(ALL, &VerifyProgress::default()).await.unwrap();
        let missing = |finding: &&pitr_archive::Finding| finding.kind == FindingKind::Missing && finding.what == lost;
        assert!(verified.findings.iter().any(|finding| missing(&finding)), "{lost}: {:?}", verified.findings);
    }
}

/// Somebody's lifecycle rule has put this object into a class from which it must be restored first.
#[derive(Debug)]
struct Cold(String);

#[async_trait]
impl Listener for Cold {
    async fn asked(&self, key: &str) -> Result<(), StoreError> {
        if key == self.0 {
            let (key, reason) = (key.to_owned(), "InvalidObjectState".to_owned());
            return Err(StoreError::Withheld { operation: Operation::Get, key, reason });
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_a_store_withholds_is_named_and_stops_nothing() {
    let archived = Archived::new().await;
    for cold in [archived.keys("binlogs/").await.remove(0), archived.keys("chunks/").await.remove(0)] {
        let store = Overheard::new(&archived.store, Cold(cold.clone()));
        let archive = open(Arc::new(store), &archived.store);
        let verified = archive.verify(ALL, &VerifyProgress::default()).await.unwrap();
        let found: Vec<_> = verified.findings.iter().map(|finding| (finding.kind, finding.what.clone())).collect();
        assert_eq!(found, [(FindingKind::Withheld, cold.clone())]);
        assert_eq!(verified.segments_read + verified.chunks_read, verified.segments + verified.chunks - 1);
        assert!(verified.recorded && archive.last_verified().await.unwrap().unwrap().quarantined.holds(&cold));
    }
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flip(usize),
    Truncate,
    Swap,
    Delete,
}

#[tokio::test]
async fn whatever_is_done_to_an_object_is_found_and_stops_nothing() {
    let archived = Archived::new().await;
    let keys: Vec<String> = archived.keys("").await.into_iter().filter(|key| key != "archive.json").collect();
    assert!(keys.len() > 20);
    let mut state = 0x5eed_u64;
    for (number, key) in keys.iter().enumerate() {
        let mut harms = vec![Harm::Truncate, Harm::Swap, Harm::Delete];
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            harms.push(Harm::Flip((state >> 20) as usize));
        }
        for harm in harms {
            let gone_without_trace = key.starts_with("tail/") || key.ends_with("manifest.json");
            if harm == Harm::Delete && gone_without_trace {
                continue;
            }
            let copy = archived.copy().await;
            let mut bytes = copy.store.get(key).await.unwrap().to_vec();
            match harm {
                Harm::Flip(at) if key.ends_with("manifest.json") => {
                    // A manifest vouches for its files; of itself only what is read can be checked.
                    let place = bytes.windows(5).position(|text| text == b"\"id\":").unwrap() + 6;
                    bytes[place + at % 2] ^= 1;
                }
                Harm::Flip(at) => {
                    let place = at / 8 % bytes.len();
                    bytes[place] ^= 1 << (at % 8);
                }
                Harm::Truncate => bytes.truncate(bytes.len() / 2),
                Harm::Swap => bytes = copy.store.get(&keys[(number + 1) % keys.len()]).await.unwrap().to_vec(),
                Harm::Delete => {}
            }
            if harm == Harm::Delete {
                copy.store.delete(std::slice::from_ref(key)).await.unwrap();
            } else {
                copy.overwrite(key, bytes).await;
            }
            let verified = copy.verify().await;
            assert!(!verified.findings.is_empty(), "{harm:?} of {key}");
            if !key.starts_with("catalog/") && !key.starts_with("backups/") {
                let named = verified.findings.iter().any(|finding| finding.what == *key);
                assert!(named, "{harm:?} of {key}: {:?}", verified.findings);
                // The rest was read all the same.
                assert!(verified.segments_read + verified.chunks_read > 2 * BINLOGS, "{verified:?}");
            }
        }
    }
}

/// What the archive claims, as exact as it gets.
async fn exact(archived: &Archived) -> Timeline {
    let (inventory, _) = archived.archive.inventory().await.unwrap();
    archived.archive.exact(Timeline::new(inventory)).await.unwrap()
}

/// The instants that are claimed to be recoverable, in microseconds.
fn windows(timeline: &Timeline) -> Vec<(i64, i64)> {
    timeline.windows().iter().map(|window| (window.from_us, window.to_us)).collect()
}

/// Those, what a plan for the last transaction of all is refused with, and what is said of gaps and lost bytes.
async fn claimed(archived: &Archived) -> (Vec<(i64, i64)>, Option<String>, Vec<String>) {
    let timeline = exact(archived).await;
    let windows = windows(&timeline);
    let gaps = timeline.gaps().iter().map(|gap| gap.cause.to_string());
    let told = gaps.chain(timeline.problems().iter().map(|problem| format!("{problem:?}"))).collect();
    let last = History::new(4, BINLOGS, 6).transactions[5].gtid.unwrap();
    let request = PlanRequest::new(RecoveryTarget::ThroughGtid(last));
    let (_, answer) = archived.archive.plan(timeline, &request).await.unwrap();
    (windows, answer.err().map(|answer| answer.to_string()), told)
}

#[tokio::test]
async fn windows_and_plans_leave_out_what_was_found_lost_until_it_is_back() {
    let archived = Archived::new().await;
    let whole = claimed(&archived).await;
    assert_eq!((whole.0.len(), &whole.1, whole.2.len()), (1, &None, 0));
    let segments = archived.keys("binlogs/").await;
    let commit = |binlog: u64, n: usize| History::new(4, binlog, 6).transactions[n].commit_us;
    for (lost, end, cause) in [
        // The second half of the third binlog; the first half of the fourth, and with it all of that; the end of all.
        (&segments[5], commit(3, 2), "of binlog.000003 are lost in the archive"),
        (&segments[6], commit(3, 5), "of binlog.000004 are lost in the archive"),
        (&segments[11], commit(6, 2), "of binlog.000006 are lost in the archive"),
    ] {
        let copy = archived.copy().await;
        let bytes = copy.store.get(lost).await.unwrap();
        copy.store.delete(std::slice::from_ref(lost)).await.unwrap();
        assert_eq!(windows(&exact(&copy).await), whole.0, "nobody has looked yet");
        assert_eq!(copy.verify().await.findings.len(), 1);
        let (found, refused, told) = claimed(&copy).await;
        assert_eq!(found, [(whole.0[0].0, end)], "{lost}");
        assert!(refused.as_ref().unwrap().contains(cause), "{refused:?}");
        assert!(told.iter().any(|told| told.starts_with("Lost {")), "{told:?}");
        assert!(told.iter().any(|told| told.contains(cause)), "{told:?}");
        // It is put back, and looked at.
        copy.overwrite(lost, bytes.to_vec()).await;
        copy.verify().await;
        assert_eq!(claimed(&copy).await, whole, "{lost}");
    }
}

#[tokio::test]
async fn what_another_object_holds_is_not_lost() {
    let archived = Archived::new().await;
    let whole = claimed(&archived).await;
    let history = History::new(4, 6, 6);
    // Another archiver cut the last binlog differently.
    let record = archived
        .archive
        .write_segment(history.draft(Place::Binlogs, 0, history.length()), Codec::default())
        .await
        .unwrap();
    archived.archive.write_page(&[record]).await.unwrap();
    let half = archived.keys("binlogs/").await.into_iter().rfind(|key| key.contains("0000000006-")).unwrap();
    archived.overwrite(&half, b"no segment".to_vec()).await;
    let verified = archived.verify().await;
    assert_eq!(verified.findings.iter().map(|finding| &finding.what).collect::<Vec<_>>(), [&half]);
    assert_eq!(claimed(&archived).await, whole);
}

#[tokio::test]
async fn a_base_backup_that_lacks_chunks_serves_nothing_until_they_are_back() {
    let archived = Archived::new().await;
    let chunk = archived.keys("chunks/").await.remove(0);
    let right = archived.store.get(&chunk).await.unwrap().to_vec();
    archived.overwrite(&chunk, [&right[1..], &[1]].concat()).await;
    let verified = archived.verify().await;
    assert_eq!(verified.lost_backups, BTreeMap::from([("bb-1".to_owned(), 1)]));
    let (inventory, report) = archived.archive.inventory().await.unwrap();
    assert_eq!((inventory.backups.len(), report.hidden_backups), (0, BTreeSet::from(["bb-1".to_owned()])));
    archived.overwrite(&chunk, right).await;
    archived.verify().await;
    assert_eq!(archived.archive.inventory().await.unwrap().0.backups.len(), 1);
}

#[tokio::test]
async fn a_status_costs_no_more_than_a_list_and_a_get_for_what_was_verified() {
    let archived = Archived::new().await;
    archived.verify().await;
    let counting = Counting::new(Arc::clone(&archived.store) as Arc<dyn Store>);
    let counts = counting.counts();
    let archive = open(Arc::new(counting), &archived.store);
    let (_, report) = archive.inventory().await.unwrap();
    // archive.json, a page each, a manifest, a segment in the tail, what was verified; lists of that, marks, tail, catalog, backups.
    assert_eq!(counts.calls(Operation::Get), 1 + BINLOGS + 1 + 1 + 1, "{counts:?}");
    assert_eq!(counts.calls(Operation::List), 5);
    assert_eq!(report.verified.unwrap(), archive.last_verified().await.unwrap().unwrap());
}

#[tokio::test]
async fn samples_rotate_until_all_was_read() {
    let archived = Archived::new().await;
    let bad = archived.keys("binlogs/").await.remove(5);
    let right = archived.store.get(&bad).await.unwrap().to_vec();
    let mut bytes = right.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    archived.overwrite(&bad, bytes).await;
    let quarter = VerifyRules { percent: 25, deep: false };
    let (mut read, mut found, mut parts) = (0, Vec::new(), BTreeSet::new());
    for run in 1..=4 {
        let verified = archived.archive.verify(quarter, &VerifyProgress::default()).await.unwrap();
        read += verified.segments_read + verified.chunks_read;
        found.push(verified.findings.len() as u64);
        parts.extend(verified.slices.current.iter().copied());
        assert_eq!(verified.slices.complete_since().is_some(), run == 4);
        archived.store.pass(SignedDuration::from_hours(24));
    }
    // Damage that was found is read by each run from then on, and told: the next part does not hide it.
    let first = found.iter().position(|found| *found > 0).unwrap();
    let again = found.len() - 1 - first;
    assert!(
        found[..first].iter().all(|found| *found == 0) && found[first..].iter().all(|found| *found == 1),
        "{found:?}"
    );
    assert_eq!((parts.len(), read), (100, 2 * BINLOGS + 1 + 2 + again as u64));
    // The fifth run reads what the first one read.
    let verified = archived.archive.verify(quarter, &VerifyProgress::default()).await.unwrap();
    assert_eq!(verified.slices.current, (0..25).collect());
    let last = archived.archive.last_verified().await.unwrap().unwrap();
    assert_eq!((last.damaged, last.quarantined), (1, Quarantine::of([bad.clone()])));
    // It ends with the damage.
    archived.overwrite(&bad, right).await;
    assert_eq!(archived.archive.verify(quarter, &VerifyProgress::default()).await.unwrap().findings, []);
    let last = archived.archive.last_verified().await.unwrap().unwrap();
    assert_eq!((last.damaged, last.quarantined), (0, Quarantine::default()));
}

#[tokio::test]
async fn a_catalog_that_is_made_again_says_the_same() {
    let archived = Archived::new().await;
    let source = History::new(4, 1, 6).id.source;
    let before = archived.archive.inventory().await.unwrap().0;
    for harm in 0..3 {
        let copy = archived.copy().await;
        match harm {
            // All pages are lost.
            0 => copy.store.delete(&copy.keys("catalog/").await).await.unwrap(),
            // One is damaged, others were merged.
            1 => {
                copy.archive.merge_pages(&source, MergeEffort::Idle).await.unwrap();
                let page = copy.keys("catalog/").await.remove(0);
                copy.overwrite(&page, vec![0; 99]).await;
            }
            // None is.
            _ => {}
        }
        let rebuilt = copy.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
        assert_eq!((rebuilt.segments, rebuilt.pages, rebuilt.unusable.len()), (2 * BINLOGS, 1, 0));
        assert_eq!(copy.keys("catalog/").await.len(), 1);
        let after = copy.archive.inventory().await.unwrap().0;
        assert_eq!((&after.binlogs, &after.backups), (&before.binlogs, &before.backups), "{harm}");
        assert_eq!(copy.verify().await.findings, []);
    }
}

#[tokio::test]
async fn a_catalog_made_again_names_no_stranger_that_is_damaged() {
    let archived = Archived::new().await;
    archived.store.delete(&archived.keys("catalog/").await).await.unwrap();
    let bad = archived.keys("binlogs/").await.remove(1);
    let mut bytes = archived.store.get(&bad).await.unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    archived.overwrite(&bad, bytes).await;
    let rebuilt = archived.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!(rebuilt.unusable.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&bad]);
    assert_eq!(rebuilt.segments, 2 * BINLOGS - 1);
}

#[tokio::test]
async fn a_listing_that_is_late_takes_no_young_line_away() {
    let archived = Archived::new().await;
    let history = History::new(4, BINLOGS + 1, 6);
    let draft = history.draft(Place::Binlogs, 0, history.length());
    let record = archived.archive.write_segment(draft, Codec::default()).await.unwrap();
    archived.archive.write_page(std::slice::from_ref(&record)).await.unwrap();
    // Another host stored it just now, and this one does not see it yet.
    let key = record.key.to_string();
    let bytes = archived.store.get(&key).await.unwrap();
    archived.store.delete(std::slice::from_ref(&key)).await.unwrap();
    let rebuilt = archived.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!(rebuilt.segments, 2 * BINLOGS + 1);
    archived.overwrite(&key, bytes.to_vec()).await;
    assert!(archived.archive.discover(None).await.unwrap().catalogued.contains(&record.key));
    // What is gone for longer is gone.
    archived.store.delete(&[key]).await.unwrap();
    archived.store.pass(SignedDuration::from_hours(2));
    let rebuilt = archived.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!(rebuilt.segments, 2 * BINLOGS);
}

#[tokio::test]
async fn a_rebuilding_may_die_at_any_call() {
    let archived = Archived::new().await;
    let before = archived.archive.inventory().await.unwrap().0;
    let mut at = 0;
    loop {
        let copy = archived.copy().await;
        let faulty = Arc::new(Faulty::new(Arc::clone(&copy.store), at, Fault::DiesAfter));
        let dying = open(Arc::clone(&faulty) as Arc<dyn Store>, &copy.store);
        let died = dying.rebuild_catalog(&VerifyProgress::default()).await.is_err();
        let after = copy.archive.inventory().await.unwrap().0;
        assert_eq!((&after.binlogs, &after.backups), (&before.binlogs, &before.backups), "call {at}");
        copy.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
        assert_eq!(copy.archive.inventory().await.unwrap().0.binlogs, before.binlogs);
        if !died {
            break;
        }
        at += 1;
    }
    assert!(at > 15, "{at}");
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_keeps_its_line() {
    let archived = Archived::new().await;
    let bad = archived.keys("binlogs/").await.remove(2);
    archived.store.put(&bad, Bytes::from_static(b"no segment"), ObjectClass::Content).await.unwrap();
    let rebuilt = archived.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!(rebuilt.unusable.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&bad]);
    assert_eq!(rebuilt.segments, 2 * BINLOGS);
    let findings = archived.verify().await.findings;
    assert!(findings.iter().any(|finding| finding.what == bad && finding.kind == FindingKind::Damaged), "{findings:?}");
}
