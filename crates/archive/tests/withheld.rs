//! An object that its storage class withholds, or whose bytes are gone, is named by whoever meets it and stops nothing else: no
//! verification, no retention, no sweep, no start of an archiver, no rebuilding of the catalog.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::backup::{BackupFacts, BackupWriter};
use pitr_archive::testing::{History, Listener, Overheard, TimedStore};
use pitr_archive::{
    Archive, ArchiveError, Codec, FindingKind, Operation, Place, RetentionRules, Store, StoreError, VerifyProgress,
    VerifyRules, Workspace,
};
use pitr_binlog::{Flavour, GtidSource, Uuid};
use pitr_recovery::{ExpireItem, PlanRequest, RecoveryTarget, RetentionPolicy, Timeline, WithoutBase};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BINLOGS: u64 = 4;

/// An object is there, and is not given.
#[derive(Debug)]
struct Cold(String);

#[async_trait]
impl Listener for Cold {
    async fn asked(&self, key: &str) -> Result<(), StoreError> {
        if key != self.0 {
            return Ok(());
        }
        let (key, reason) = (key.to_owned(), "InvalidObjectState".to_owned());
        Err(StoreError::Withheld { operation: Operation::Get, key, reason })
    }
}

fn binlog(number: u64) -> History {
    let mut history = History::new(4, number, 6);
    // More than a line of the catalog holds, as after years of failovers: then it only identifies the set.
    let old = GtidSource::MySql { uuid: Uuid([9; 16]), tag: None };
    (1..=1200).for_each(|n| history.previous.insert_range(&old, 3 * n..=3 * n));
    history
}

struct Archived {
    store: Arc<TimedStore>,
    archive: Arc<Archive>,
}

impl Archived {
    /// Some closed binlogs in two segments each, an open one in the tail, an old segment in the tail that the catalog covers, one that no
    /// page names, and a base backup from the middle of the last segment of a binlog.
    async fn new() -> Self {
        let store = Arc::new(TimedStore::new("2026-11-01T00:00:00Z".parse().unwrap()));
        let archive = Arc::new(Archive::claim(Arc::clone(&store) as _, store.clock(), "shop/mysql").await.unwrap());
        let archived = Self { store, archive };
        for number in 1..=BINLOGS {
            let history = binlog(number);
            let mut records = Vec::new();
            for (from, to) in [(0, history.boundary(2)), (history.boundary(2), history.length())] {
                records.push(archived.segment(&history, Place::Binlogs, (from, to)).await);
            }
            archived.archive.write_page(&records).await.unwrap();
        }
        archived.segment(&binlog(1), Place::Tail, (0, binlog(1).boundary(1))).await;
        archived.segment(&binlog(BINLOGS + 1), Place::Tail, (0, binlog(BINLOGS + 1).boundary(2))).await;
        archived.segment(&binlog(2), Place::Binlogs, (0, binlog(2).boundary(1))).await;
        archived.back_up("bb-1", 2).await;
        archived.store.pass(SignedDuration::from_hours(48));
        archived
    }

    async fn segment(&self, history: &History, place: Place, (from, to): (u64, u64)) -> pitr_archive::SegmentRecord {
        self.archive.write_segment(history.draft(place, from, to), Codec::default()).await.unwrap()
    }

    /// A base backup of the state after five transactions of a binlog.
    async fn back_up(&self, id: &str, number: u64) {
        let mut writer = BackupWriter::begin(Arc::clone(&self.archive), id).await.unwrap();
        writer.add_file("ibdata1", 0o640, &b"data"[..]).await.unwrap();
        let mut executed = binlog(number).previous;
        binlog(number).transactions[..5].iter().for_each(|done| executed.insert(&done.gtid.unwrap()));
        let facts = BackupFacts {
            method: "clone".to_owned(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            source: binlog(1).id.source,
            executed,
            position: None,
            snapshot_at: Timestamp::from_microsecond(binlog(number).transactions[4].commit_us + 1).unwrap(),
            settings: BTreeMap::new(),
        };
        writer.finish(facts, &AtomicU64::new(0)).await.unwrap();
    }

    /// The same archive, of which one object is withheld.
    async fn without(&self, cold: &str) -> (Arc<TimedStore>, Archive) {
        let store = Arc::new(self.store.copy().await);
        let overheard = Overheard::new(&store, Cold(cold.to_owned()));
        let archive = Archive::open(Arc::new(overheard), store.clock());
        (store, archive)
    }
}

fn rules(without_base: WithoutBase) -> RetentionRules {
    let policy = RetentionPolicy { window_us: 3_600_000_000, keep_last: 1, pins: BTreeSet::new(), without_base };
    RetentionRules { policy, grace: DAY, force: true, running: None }
}

#[tokio::test]
async fn no_object_that_is_withheld_stops_anything_else() {
    let archived = Archived::new().await;
    let (inventory, _) = archived.archive.inventory().await.unwrap();
    let wanted = Timeline::new(inventory).ranges_for_windows();
    assert_eq!(wanted.len(), 1, "an index is needed: {wanted:?}");
    let source = binlog(1).id.source;
    let all = archived.store.list("").await.unwrap().into_iter().map(|object| object.key);
    for cold in all.filter(|key| key != "archive.json") {
        let (_, archive) = archived.without(&cold).await;
        let verified =
            archive.verify(VerifyRules { percent: 100, deep: true }, &VerifyProgress::default()).await.unwrap();
        assert!(verified.findings.iter().any(|found| found.what == cold || found.reason.contains("Invalid")), "{cold}");
        let is_lost = |finding: &&pitr_archive::Finding| finding.kind == FindingKind::Missing;
        assert_eq!(verified.findings.iter().find(is_lost), None, "{cold}");
        let retained = archive.retain(&rules(WithoutBase::Keep)).await.unwrap();
        assert!(retained.refused || retained.proposal.hindrances.is_empty(), "{cold}");
        archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
        archive.adopt(&source).await.unwrap();
        archive.sweep_tail(&source).await.unwrap();
        let (inventory, _) = archive.inventory().await.unwrap();
        archive.exact(Timeline::new(inventory)).await.unwrap();
        archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_withheld_is_no_reason_to_let_anything_go() {
    let archived = Archived::new().await;
    let (inventory, _) = archived.archive.inventory().await.unwrap();
    let wanted = &Timeline::new(inventory.clone()).ranges_for_windows()[0];
    let binlog = inventory.binlogs.iter().find(|binlog| binlog.id == wanted.binlog).unwrap();
    let cold = &binlog.ranges.iter().find(|range| range.start == wanted.start).unwrap().objects[0].key;
    let (_, archive) = archived.without(cold).await;
    // It may be had again: a read says so.
    let read = archive.read_index(wanted, &[]).await;
    assert!(matches!(&read, Err(ArchiveError::Store(StoreError::Withheld { key, .. })) if key == cold), "{read:?}");
    // Or it is gone for good.
    let (store, _) = archived.without("").await;
    store.delete(std::slice::from_ref(cold)).await.unwrap();
    let gone = Archive::open(Arc::clone(&store) as _, store.clock());
    let both = [&archive, &gone].into_iter();
    for (archive, without_base) in both.flat_map(|archive| [(archive, WithoutBase::Keep), (archive, WithoutBase::Age)])
    {
        let retained = archive.retain(&rules(without_base)).await.unwrap();
        // The first binlog is older than the base backup, and goes as it would; nothing else does.
        let first = ExpireItem::Binlog(inventory.binlogs[0].id.clone());
        assert!(!retained.refused && retained.proposal.hindrances.is_empty());
        assert!(retained.proposal.plan.expired().all(|item| *item == first), "{:?}", retained.proposal.plan);
    }
}

#[tokio::test]
async fn an_index_that_is_withheld_stands_in_the_way_of_no_plan_that_does_without_it() {
    let archived = Archived::new().await;
    archived.back_up("bb-2", 4).await;
    let (inventory, _) = archived.archive.inventory().await.unwrap();
    let wanted = Timeline::new(inventory.clone()).ranges_for_windows();
    assert_eq!(wanted.len(), 2, "one for each base: {wanted:?}");
    let last = binlog(BINLOGS).transactions[5].gtid.unwrap();
    let request = PlanRequest::new(RecoveryTarget::ThroughGtid(last));
    for (range, is_of_older) in wanted.iter().map(|range| (range, range.binlog.number == 2)) {
        let binlog = inventory.binlogs.iter().find(|binlog| binlog.id == range.binlog).unwrap();
        let cold = &binlog.ranges.iter().find(|held| held.start == range.start).unwrap().objects[0].key;
        let (_, archive) = archived.without(cold).await;
        let (_, plan) = archive.plan(Timeline::new(inventory.clone()), &request).await.unwrap();
        assert_eq!(
            plan.ok().map(|plan| plan.parts().base.id.clone()),
            is_of_older.then(|| "bb-2".to_owned()),
            "{cold}"
        );
    }
}

#[tokio::test]
async fn what_another_object_holds_is_read_from_it() {
    let archived = Archived::new().await;
    let history = binlog(3);
    // Another archiver cut it differently.
    let whole = archived.segment(&history, Place::Binlogs, (0, history.length())).await;
    archived.archive.write_page(&[whole]).await.unwrap();
    let (inventory, _) = archived.archive.inventory().await.unwrap();
    let id = &history.id;
    let binlog = inventory.binlogs.iter().find(|binlog| binlog.id == *id).unwrap();
    let half = binlog.ranges.iter().find(|range| range.start == 0 && range.end < history.length()).unwrap();
    let (_, archive) = archived.without(&half.objects[0].key).await;
    let raw = archive.read_range(&binlog.range_ref(half), &half.objects).await.unwrap();
    assert_eq!(raw, history.raw.slice(..half.end as usize));
    assert_eq!(archive.read_index(&binlog.range_ref(half), &half.objects).await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn a_copy_in_the_tail_serves_where_the_end_of_a_binlog_is_lost() {
    let archived = Archived::new().await;
    let history = binlog(BINLOGS);
    let range = (history.boundary(2), history.length());
    archived.segment(&history, Place::Tail, range).await;
    let windows = async || {
        let (inventory, _) = archived.archive.inventory().await.unwrap();
        archived.archive.exact(Timeline::new(inventory)).await.unwrap().windows().to_vec()
    };
    let whole = windows().await;
    let lost = archived.store.list("binlogs/").await.unwrap().pop().unwrap().key;
    archived.store.delete(&[lost]).await.unwrap();
    archived.archive.verify(VerifyRules { percent: 100, deep: false }, &VerifyProgress::default()).await.unwrap();
    assert_eq!((whole.len(), windows().await), (1, whole));
}

#[tokio::test]
async fn a_drill_that_is_withheld_is_one_that_nobody_knows_of() {
    let archived = Archived::new().await;
    let drill = |verified, seconds| pitr_archive::Drill {
        at: archived.store.now(),
        target: "--to latest".to_owned(),
        verified,
        code: None,
        message: None,
        seconds,
        gtid_set: None,
        pace: pitr_archive::Pace::default(),
    };
    assert!(archived.archive.record_drill(&drill(true, 1)).await.unwrap());
    assert!(archived.archive.record_drill(&drill(false, 2)).await.unwrap());
    let failed = archived.store.list("drills/").await.unwrap().pop().unwrap().key;
    let (store, archive) = archived.without(&failed).await;
    let drills = archive.last_drills().await.unwrap();
    assert_eq!((drills.verified, drills.failed), (Some(drill(true, 1)), None));

    // A later one comes after it, also when it is given again.
    assert!(archive.record_drill(&drill(true, 3)).await.unwrap());
    let drills = Archive::open(Arc::clone(&store) as _, Arc::new(move || store.now())).last_drills().await.unwrap();
    assert_eq!((drills.verified, drills.failed), (Some(drill(true, 3)), None));
}

#[tokio::test]
async fn a_claim_that_is_withheld_keeps_all_chunks_and_nothing_else() {
    let archived = Archived::new().await;
    let running = BackupWriter::begin(Arc::clone(&archived.archive), "bb-2").await.unwrap();
    let claim = archived.store.list("backups/bb-2/").await.unwrap().pop().unwrap().key;
    let (_, archive) = archived.without(&claim).await;
    let swept = archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert!(swept.chunks == 0 && swept.chunks_kept.as_ref().is_some_and(|why| why.contains(&claim)), "{swept:?}");
    drop(running);
}

#[tokio::test]
async fn a_page_that_may_name_what_nobody_can_read_stays_and_is_named() {
    let archived = Archived::new().await;
    let pages = async |store: &TimedStore| {
        let listed = store.list("catalog/").await.unwrap().into_iter();
        listed.map(|object| object.key).collect::<BTreeSet<String>>()
    };
    let damaged = pages(&archived.store).await;
    for page in &damaged {
        let garbage = bytes::Bytes::from_static(b"not a page");
        archived.store.put(page, garbage, pitr_archive::ObjectClass::Control).await.unwrap();
    }
    let segment = archived.store.list("binlogs/").await.unwrap()[0].key.clone();

    let (store, archive) = archived.without(&segment).await;
    let rebuilt = archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    let named = rebuilt.unusable.iter().filter(|(_, reason)| reason.contains(&segment)).map(|(key, _)| key.clone());
    assert_eq!(named.collect::<BTreeSet<String>>(), damaged, "{rebuilt:?}");
    assert!(pages(&store).await.is_superset(&damaged));

    // Once the segment is back, nothing depends on those pages.
    let (store, archive) = archived.without("").await;
    let rebuilt = archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert!(rebuilt.unusable.is_empty() && pages(&store).await.is_disjoint(&damaged), "{rebuilt:?}");
}
