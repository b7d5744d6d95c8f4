//! A server's weeks over a store whose clock is set by hand: binlogs, base backups, retention several times a day. What was
//! promised stays, what a plan named stays for the grace, what expired goes without a trace; also when a run dies at any call,
//! when the store lets nothing go, and when two runs disagree. `make test-stores` lets days go by on a real S3 server.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod real_server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::backup::{BackupFacts, BackupReader, BackupWriter, EntryContent};
use pitr_archive::document::PruneDocument;
use pitr_archive::testing::{Fault, Faulty, History, Listener, Overheard, TimedStore};
use pitr_archive::{
    Archive, Codec, ListedObject, MergeEffort, ObjectClass, Place, Retained, RetentionRules, Store, StoreError, Swept,
    TailCoverage, Workspace,
};
use pitr_binlog::{Flavour, GtidSource, Uuid};
use pitr_recovery::{ExpireItem, Inventory, RetentionPolicy, Timeline, WithoutBase};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const WINDOW_DAYS: u64 = 4;
const START: &str = "2026-11-01T00:00:00Z";

fn rules(window_days: u64) -> RetentionRules {
    let policy = RetentionPolicy {
        window_us: (window_days * 86_400_000_000) as i64,
        keep_last: 1,
        pins: BTreeSet::new(),
        without_base: WithoutBase::Keep,
    };
    RetentionRules { policy, grace: DAY, force: false, running: None }
}

/// Binlog `day` (from 1): four transactions of its day, at 0, 6, 12 and 18 h.
fn binlog(day: u64) -> History {
    binlog_of(3, day, day)
}

fn binlog_of(server: u8, number: u64, day: u64) -> History {
    let mut history = History::new(server, number, 4);
    let start: Timestamp = START.parse().unwrap();
    for (number, transaction) in history.transactions.iter_mut().enumerate() {
        let at = start + HOUR * (24 * (day as i32 - 1) + 6 * number as i32);
        transaction.commit_us = at.as_microsecond();
        transaction.immediate_us = Some(transaction.commit_us);
    }
    // More than a line of the catalog holds, as after years of failovers: then it only identifies the set.
    let old = GtidSource::MySql { uuid: Uuid([9; 16]), tag: None };
    (1..=1200).for_each(|n| history.previous.insert_range(&old, 3 * n..=3 * n));
    history
}

struct Life {
    store: Arc<TimedStore>,
    archive: Arc<Archive>,
}

fn open(store: Arc<dyn Store>, time: &Arc<TimedStore>) -> Archive {
    Archive::open(store, time.clock())
}

impl Life {
    async fn begin() -> Self {
        Self::begin_on(TimedStore::new(START.parse().unwrap())).await
    }

    async fn begin_on(store: TimedStore) -> Self {
        let store = Arc::new(store);
        let archive = Archive::claim(Arc::clone(&store) as Arc<dyn Store>, store.clock(), "shop/mysql").await.unwrap();
        Self { store, archive: Arc::new(archive) }
    }

    fn of(store: TimedStore) -> Self {
        let store = Arc::new(store);
        let archive = Arc::new(open(Arc::clone(&store) as Arc<dyn Store>, &store));
        Self { store, archive }
    }

    /// A day: the binlog of the day before is catalogued, this day's goes to the tail; a base backup every third day.
    async fn day(&self, day: u64) {
        let today = binlog(day);
        let mut tail = Vec::new();
        for (from, to) in [(0, today.boundary(1)), (today.boundary(1), today.boundary(3))] {
            tail.push(self.archive.write_segment(today.draft(Place::Tail, from, to), Codec::default()).await.unwrap());
        }
        if day % 3 == 1 {
            self.backup(day).await;
        }
        let start: Timestamp = START.parse().unwrap();
        self.store.pass(self.store.now().duration_until(start + HOUR * 24 * (day as i32)));
        let mut coverage = TailCoverage::of(tail);
        let mut records = Vec::new();
        for (from, to) in [(0, today.boundary(2)), (today.boundary(2), today.length())] {
            let draft = today.draft(Place::Binlogs, from, to);
            coverage.feed(&today.id, from, &draft.raw);
            records.push(self.archive.write_segment(draft, Codec::default()).await.unwrap());
        }
        self.archive.publish(&records, coverage).await.unwrap();
        if day.is_multiple_of(4) {
            self.archive.merge_pages(&today.id.source, MergeEffort::Idle).await.unwrap();
        }
    }

    /// A base backup of the state at the beginning of a day: a file that changes, and one that never does.
    async fn backup(&self, day: u64) {
        let mut writer = BackupWriter::begin(Arc::clone(&self.archive), &id(day)).await.unwrap();
        writer.add_file("ibdata1", 0o640, &content("same", 0)[..]).await.unwrap();
        writer.add_file("shop/orders.ibd", 0o640, &content("orders", day)[..]).await.unwrap();
        writer.finish(facts(day, self.store.now()), &AtomicU64::new(0)).await.unwrap();
    }

    async fn retain(&self) -> (Retained, Swept) {
        let retained = self.archive.retain(&rules(WINDOW_DAYS)).await.unwrap();
        (retained, self.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap())
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// All that is there unmarked can be read, and the window is whole.
    async fn check(&self, days: u64) -> Inventory {
        let (inventory, report) = self.archive.inventory().await.unwrap();
        assert!(report.unreadable.is_empty() && report.unknown_keys.is_empty(), "{report:?}");
        self.read_all(&inventory).await;
        let timeline = self.archive.exact(Timeline::new(inventory.clone())).await.unwrap();
        let last = binlog(days).transactions[3].commit_us;
        let first = binlog(1).transactions[0].commit_us;
        let promised = (self.store.now().as_microsecond() - (WINDOW_DAYS * 86_400_000_000) as i64).max(first);
        let windows: Vec<(i64, i64)> = timeline.windows().iter().map(|w| (w.from_us, w.to_us)).collect();
        assert!(windows.iter().any(|w| w.0 <= promised && w.1 == last), "{windows:?} for {promised} to {last}");
        inventory
    }

    /// Everything that an inventory names can be fetched.
    async fn read_all(&self, inventory: &Inventory) {
        for of in &inventory.binlogs {
            let history = binlog(of.id.number);
            for range in &of.ranges {
                let raw = self.archive.read_range(&of.range_ref(range), &range.objects).await.unwrap();
                assert_eq!(raw, history.raw.slice(range.start as usize..range.end as usize));
            }
        }
        for backup in &inventory.backups {
            let reader = BackupReader::open(Arc::clone(&self.archive), &backup.id).await.unwrap();
            let day = backup.id.trim_start_matches("bb-").parse().unwrap();
            for (entry, wanted) in reader.entries().iter().zip([content("same", 0), content("orders", day)]) {
                let mut found = Vec::new();
                assert!(matches!(entry.content, EntryContent::File { .. }));
                reader.copy_file(entry, &mut found).await.unwrap();
                assert!(found == wanted, "{} of {}", entry.path, backup.id);
            }
        }
    }
}

fn facts(day: u64, snapshot_at: Timestamp) -> BackupFacts {
    BackupFacts {
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: "9.7.0".to_owned(),
        source: binlog(day).id.source,
        executed: binlog(day).previous,
        position: None,
        snapshot_at,
        settings: BTreeMap::new(),
    }
}

fn id(day: u64) -> String {
    format!("bb-{day:03}")
}

fn content(name: &str, day: u64) -> Vec<u8> {
    format!("{name} of day {day}\n").repeat(50).into_bytes()
}

/// What must be left of a life: days of binlogs and of base backups.
fn kept(days: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
    // A base backup is taken some hours into its day, later than those at which retention runs.
    let begins = days + 1 - WINDOW_DAYS;
    let anchor = (1..begins).rev().find(|day| day % 3 == 1).unwrap();
    let backups = (anchor..=days).filter(|day| day % 3 == 1).collect();
    ((anchor..=days).collect(), backups)
}

fn days_of(inventory: &Inventory) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let backups = inventory.backups.iter().map(|backup| backup.id.trim_start_matches("bb-").parse().unwrap());
    (inventory.binlogs.iter().map(|binlog| binlog.id.number).collect(), backups.collect())
}

#[tokio::test]
async fn weeks_go_by_and_only_the_window_and_the_grace_are_left() {
    let finished = weeks_go_by(&Life::begin().await, 24).await;
    assert!(finished > 12, "{finished}");
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn days_go_by_on_a_real_server() {
    let server = real_server::RealServer::find();
    let store = server.store(&server.options()).await;
    let finished =
        weeks_go_by(&Life::begin_on(TimedStore::over(Arc::new(store), START.parse().unwrap())).await, 10).await;
    assert!(finished > 0, "{finished}");
}

/// So many days with retention; gives how many things went without a trace.
async fn weeks_go_by(life: &Life, days: u64) -> usize {
    let mut planned: Vec<(Timestamp, Inventory)> = Vec::new();
    let mut finished = 0;
    for day in 1..=days {
        life.day(day).await;
        for _ in 0..3 {
            let (retained, swept) = life.retain().await;
            assert!(!retained.refused && retained.undeletable.is_empty() && retained.broken.is_empty(), "{retained:?}");
            assert!(retained.rescued.is_empty() && swept.unusable.is_empty() && swept.adopted == 0, "{swept:?}");
            assert_eq!(swept.chunks_kept, None);
            finished += retained.finished.len();
            let inventory = life.check(day).await;
            if day > WINDOW_DAYS + 3 {
                assert_eq!(days_of(&inventory), kept(day), "on day {day}");
            }
            planned.push((life.store.now(), inventory));
            life.store.pass(HOUR * 3);
            // Whatever a plan named is there for as long as the grace.
            planned.retain(|(at, _)| life.store.now().duration_since(*at) < SignedDuration::from_hours(24));
            for (_, inventory) in &planned {
                life.read_all(inventory).await;
            }
        }
    }
    // Binlogs of the first weeks are gone with lines, marks and all; chunks that later backups share are not.
    let oldest = *kept(days).0.first().unwrap();
    let left: BTreeSet<u64> = life.keys("binlogs/").await.iter().map(|key| number(key)).collect();
    assert!(*left.first().unwrap() + 6 >= oldest, "{left:?} before {oldest}");
    assert_eq!(life.keys("expired/").await.len(), 1);
    assert!(life.keys("chunks/").await.len() <= kept(days).1.len() + 3);
    assert!(life.keys("catalog/").await.len() < 16);
    finished
}

/// The number of a segment's binlog.
fn number(key: &str) -> u64 {
    key.split('/').nth(2).unwrap().split('-').next().unwrap().parse().unwrap()
}

/// A life up to a day on which marks are due and new ones are to be made.
async fn lived(days: u64) -> Life {
    let life = Life::begin().await;
    for day in 1..=days {
        life.day(day).await;
        life.retain().await;
    }
    // An orphan, the chunks of a backup that died, and a tail object that the catalog covers.
    let old = binlog(days);
    life.archive.write_segment(old.draft(Place::Tail, 0, old.boundary(1)), Codec::None).await.unwrap();
    life.archive.write_segment(old.draft(Place::Binlogs, 0, old.boundary(2)), Codec::None).await.unwrap();
    let mut died = BackupWriter::begin(Arc::clone(&life.archive), "bb-died").await.unwrap();
    died.add_file("x", 0o640, &content("died", 1)[..]).await.unwrap();
    drop(died);
    life.store.pass(HOUR * 25);
    life
}

#[tokio::test]
async fn a_run_may_die_at_any_call_and_the_next_one_finishes() {
    const DAYS: u64 = 10;
    let life = lived(DAYS).await;
    let run = async |store: Arc<dyn Store>, time: &Arc<TimedStore>| {
        let archive = open(store, time);
        archive.retain(&rules(WINDOW_DAYS)).await?;
        archive.sweep(DAY, &Workspace::ENOUGH).await.map(drop)
    };
    let copy = Arc::new(life.store.copy().await);
    let counted = Arc::new(Faulty::new(Arc::clone(&copy), u64::MAX, Fault::Fails));
    run(Arc::clone(&counted) as Arc<dyn Store>, &copy).await.unwrap();
    let calls = counted.calls();
    let wanted = ended(&Life::of(copy.copy().await), DAYS).await;
    assert!(calls > 40, "{calls}");
    for at in 0..calls {
        for fault in [Fault::Fails, Fault::LosesReply, Fault::Dies, Fault::DiesAfter] {
            let store = Arc::new(life.store.copy().await);
            let faulty = Arc::new(Faulty::new(Arc::clone(&store), at, fault));
            let _died = run(faulty, &store).await;
            let life = Life::of(store.copy().await);
            life.check(DAYS).await;
            assert_eq!(ended(&life, DAYS).await, wanted, "{fault:?} at {at}");
        }
    }
}

/// Lets time pass until everything that was to go is gone; gives the keys that are left.
async fn ended(life: &Life, days: u64) -> Vec<String> {
    for _ in 0..5 {
        life.retain().await;
        life.check(days).await;
        life.store.pass(HOUR * 3);
    }
    let mut keys = life.keys("").await;
    // Pages and marks are named by what they hold.
    keys.retain(|key| !key.starts_with("expired/") && !key.starts_with("catalog/"));
    assert_eq!(life.keys("expired/").await.len(), 1);
    let named = catalogued(life).await;
    let stored: BTreeSet<String> = life.keys("binlogs/").await.into_iter().collect();
    assert!(stored.is_subset(&named), "what no page names: {:?}", stored.difference(&named).collect::<Vec<_>>());
    keys
}

async fn catalogued(life: &Life) -> BTreeSet<String> {
    let found = life.archive.discover(None).await.unwrap();
    found.catalogued.iter().map(|record| record.key.to_string()).collect()
}

#[tokio::test]
async fn what_nobody_names_is_swept_and_what_is_alone_is_adopted() {
    let life = lived(5).await;
    // A segment that no page names and no other object holds.
    let lone = binlog(6);
    life.archive.write_segment(lone.draft(Place::Binlogs, 0, lone.length()), Codec::None).await.unwrap();
    let young = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert_eq!((young.duplicates, young.covered, young.chunks, young.runs, young.adopted), (1, 1, 1, 1, 0));
    life.store.pass(HOUR * 25);
    let old = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert_eq!((old.duplicates, old.adopted, old.chunks), (0, 1, 0));
    assert!(life.check(6).await.binlogs.iter().any(|found| found.id == lone.id));
}

#[tokio::test]
async fn an_idle_server_that_is_seen_running_keeps_its_base() {
    let life = Life::begin().await;
    life.day(1).await;
    life.day(2).await;
    // Another server goes on from the state after the first day, and writes alone from then on.
    for day in 3..=12 {
        let mut today = binlog_of(7, day - 2, day);
        today.previous = today.previous.union(&binlog(2).previous);
        if day % 3 == 0 {
            let mut writer = BackupWriter::begin(Arc::clone(&life.archive), &id(day)).await.unwrap();
            writer.add_file("ibdata1", 0o640, &content("same", day)[..]).await.unwrap();
            let (source, executed) = (today.id.source.clone(), today.previous.clone());
            let facts = BackupFacts { source, executed, ..facts(day, life.store.now()) };
            writer.finish(facts, &AtomicU64::new(0)).await.unwrap();
        }
        life.store.pass(HOUR * 24);
        let draft = today.draft(Place::Binlogs, 0, today.length());
        let record = life.archive.write_segment(draft, Codec::default()).await.unwrap();
        life.archive.publish(&[record], TailCoverage::default()).await.unwrap();
    }
    let seen = RetentionRules { running: Some(binlog(1).id.source), ..rules(WINDOW_DAYS) };
    // The other's first base is a state of this one, too, and the newest that leads to its end.
    let (end, base) = (ExpireItem::Binlog(binlog(2).id), ExpireItem::Backup(id(3)));
    let marked = life.archive.retain(&seen).await.unwrap().marked;
    assert!(!marked.contains(&base) && !marked.contains(&end), "{marked:?}");
    assert!(marked.contains(&ExpireItem::Backup(id(1))), "what neither history needs goes: {marked:?}");
    // Where nobody sees it, the later history counts, and this one has left the window.
    let marked = life.archive.retain(&rules(WINDOW_DAYS)).await.unwrap().marked;
    assert!(marked.contains(&base) && marked.contains(&end), "{marked:?}");
}

#[tokio::test]
async fn a_mark_is_a_proposal() {
    let life = Life::begin().await;
    for day in 1..=11 {
        life.day(day).await;
    }
    // Somebody marks what this policy keeps.
    let short = RetentionRules { force: true, ..rules(1) };
    let marked = life.archive.retain(&short).await.unwrap().marked;
    assert!(!marked.is_empty());
    let hidden = life.archive.inventory().await.unwrap().0;
    assert!(hidden.binlogs.len() < kept(11).0.len());
    life.store.pass(HOUR * 30);
    let rescued = life.archive.retain(&rules(WINDOW_DAYS)).await.unwrap().rescued;
    assert!(!rescued.is_empty());
    let (binlogs, backups) = days_of(&life.check(11).await);
    assert!(binlogs.is_superset(&(7..=11).collect()) && backups.contains(&7), "{binlogs:?} {backups:?}");
}

#[tokio::test]
async fn a_shorter_window_needs_force_and_then_is_the_promise() {
    let life = lived(11).await;
    let before = life.keys("").await.len();
    let refused = life.archive.retain(&rules(1)).await.unwrap();
    assert!(refused.refused && !refused.proposal.plan.shrinks.is_empty() && refused.marked.is_empty());
    assert_eq!(life.keys("").await.len(), before);
    let forced = life.archive.retain(&RetentionRules { force: true, ..rules(1) }).await.unwrap();
    assert!(!forced.refused && !forced.marked.is_empty());
    assert!(!life.archive.retain(&rules(1)).await.unwrap().refused);
}

/// Lets nothing go but marks.
#[derive(Debug)]
struct Locked;

#[async_trait]
impl Listener for Locked {
    async fn deleting(&self, keys: &[String]) -> Result<(), StoreError> {
        match keys.iter().find(|key| !key.starts_with("expired/")) {
            None => Ok(()),
            Some(key) => Err(StoreError::Denied {
                operation: pitr_archive::Operation::Delete,
                key: key.clone(),
                reason: "AccessDenied: object lock".to_owned(),
            }),
        }
    }
}

/// Lets more than a day pass before it takes a manifest.
#[derive(Debug)]
struct Sleepy(Arc<TimedStore>);

#[async_trait]
impl Listener for Sleepy {
    async fn storing(&self, key: &str) -> Result<(), StoreError> {
        if key.ends_with("/manifest.json") {
            self.0.pass(HOUR * 26);
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_is_locked_stays_and_is_named_and_goes_when_the_lock_is_off() {
    let life = lived(10).await;
    let before: BTreeSet<String> = life.keys("binlogs/").await.into_iter().collect();
    let locked = open(Arc::new(Overheard::new(&life.store, Locked)), &life.store);
    let retained = locked.retain(&rules(WINDOW_DAYS)).await.unwrap();
    assert!(!retained.refused && !retained.undeletable.is_empty() && retained.deleted_objects == 0, "{retained:?}");
    let swept = locked.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert!(!swept.undeletable.is_empty() && swept.chunks == 0);
    assert_eq!(life.keys("binlogs/").await.into_iter().collect::<BTreeSet<_>>(), before);
    life.check(10).await;
    let (retained, _) = life.retain().await;
    assert!(retained.deleted_objects > 0 && retained.undeletable.is_empty());
    life.check(10).await;
}

#[tokio::test]
async fn what_cannot_be_read_forbids_everything_until_it_can() {
    let life = lived(10).await;
    let page = life.keys("catalog/").await.remove(0);
    let whole = life.store.get(&page).await.unwrap();
    life.store.put(&page, Bytes::from_static(b"nonsense"), ObjectClass::Control).await.unwrap();
    let before = life.keys("binlogs/").await;
    let retained = life.archive.retain(&rules(1)).await.unwrap();
    assert!(retained.refused);
    assert_eq!(retained.proposal.hindrances.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&page]);
    assert_eq!(life.keys("binlogs/").await, before);
    life.store.put(&page, whole, ObjectClass::Control).await.unwrap();
    let (retained, _) = life.retain().await;
    assert!(!retained.refused && retained.deleted_objects > 0);
}

#[tokio::test]
async fn what_is_said_to_help_helps() {
    let marked = lived(10).await;
    marked.archive.retain(&rules(WINDOW_DAYS)).await.unwrap();
    let of_mark = marked.keys("expired/").await.remove(0);
    let of_backup = marked.keys("backups/").await.into_iter().find(|key| key.ends_with("manifest.json")).unwrap();
    for (key, helps) in [(of_mark, "marked anew"), (of_backup, "cannot be restored without it")] {
        marked.store.put(&key, Bytes::from_static(b"nonsense"), ObjectClass::Control).await.unwrap();
        let refused = marked.archive.retain(&rules(WINDOW_DAYS)).await.unwrap();
        assert!(refused.refused);
        let item = PruneDocument::new(&refused.proposal, None, &rules(WINDOW_DAYS), String::new()).hindrances.remove(0);
        let fix = item.way_past("rebuild");
        assert!(item.key == key && fix.contains("delete it: ") && fix.contains(helps), "{fix}");
        marked.store.delete(&[key]).await.unwrap();
        assert!(!marked.archive.retain(&rules(WINDOW_DAYS)).await.unwrap().refused);
    }
}

/// A store that says that it has deleted what it keeps.
#[derive(Debug, Default)]
struct Keeping(Mutex<BTreeMap<String, ListedObject>>);

#[async_trait]
impl Listener for Keeping {
    async fn listed(&self, prefix: &str, listed: Vec<ListedObject>) -> Result<Vec<ListedObject>, StoreError> {
        if !prefix.starts_with("binlogs/") {
            return Ok(listed);
        }
        let mut kept = self.0.lock().unwrap();
        kept.extend(listed.into_iter().map(|object| (object.key.clone(), object)));
        Ok(kept.values().filter(|object| object.key.starts_with(prefix)).cloned().collect())
    }
}

#[tokio::test]
async fn what_is_deleted_is_looked_for_again() {
    let life = lived(10).await;
    let keeping = open(Arc::new(Overheard::new(&life.store, Keeping::default())), &life.store);
    let retained = keeping.retain(&rules(WINDOW_DAYS)).await.unwrap();
    assert!(!retained.undeletable.is_empty() && retained.undeletable.iter().all(|key| key.starts_with("binlogs/")));
    // Its lines stay as long as the objects.
    let marked = keeping.retain(&rules(WINDOW_DAYS)).await.unwrap();
    assert_eq!(marked.undeletable.len(), retained.undeletable.len());
    life.check(10).await;
}

#[tokio::test]
async fn a_base_without_its_content_serves_no_window() {
    let life = Life::begin().await;
    for day in 1..=11 {
        life.day(day).await;
    }
    // The window begins with this one; somebody's own script took a chunk of it.
    let anchor = *kept(11).1.first().unwrap();
    let chunks = life.keys("chunks/").await;
    let chunk = chunks.iter().find(|key| key.ends_with(&format!("-{}.zst", id(anchor)))).unwrap();
    life.store.delete(std::slice::from_ref(chunk)).await.unwrap();
    let retained = life.archive.retain(&rules(WINDOW_DAYS)).await.unwrap();
    assert_eq!(retained.proposal.incomplete, BTreeMap::from([(id(anchor), 1)]));
    let days = days_of(&life.archive.inventory().await.unwrap().0);
    let earlier = anchor - 3;
    assert!(days.1.contains(&earlier) && days.0.contains(&earlier), "{days:?}: the one before serves the window");
    assert!(!days.1.contains(&anchor) && !retained.marked.is_empty(), "{days:?}");
}

#[tokio::test]
async fn a_pin_that_names_nothing_stops_everything_unless_forced() {
    let life = lived(10).await;
    let mut pinned = rules(WINDOW_DAYS);
    pinned.policy.pins.insert("bb-0010".to_owned());
    let before = life.keys("b").await;
    let refused = life.archive.retain(&pinned).await.unwrap();
    assert!(refused.refused && refused.marked.is_empty());
    assert_eq!(refused.proposal.unknown_pins, ["bb-0010"]);
    assert_eq!(life.keys("b").await, before, "backups and binlogs");
    assert!(!life.archive.retain(&RetentionRules { force: true, ..pinned }).await.unwrap().refused);
}

#[tokio::test]
async fn a_manifest_that_waited_while_the_host_slept_is_taken_back() {
    let life = lived(5).await;
    let sleepy = Overheard::new(&life.store, Sleepy(Arc::clone(&life.store)));
    let sleepy = Life { archive: Arc::new(open(Arc::new(sleepy), &life.store)), store: Arc::clone(&life.store) };
    let mut writer = BackupWriter::begin(Arc::clone(&sleepy.archive), "bb-slept").await.unwrap();
    writer.add_file("ibdata1", 0o640, &content("new", 7)[..]).await.unwrap();
    let facts = facts(7, life.store.now());
    let error = writer.finish(facts, &AtomicU64::new(0)).await.unwrap_err();
    assert!(matches!(error, pitr_archive::ArchiveError::BackupNotRenewed { .. }), "{error:?}");
    assert!(life.keys("backups/bb-slept/").await.iter().all(|key| !key.ends_with("manifest.json")));
}

#[tokio::test]
async fn an_orphan_stays_where_its_twin_is_damaged() {
    let life = lived(5).await;
    let twin = binlog(3);
    life.archive.write_segment(twin.draft(Place::Binlogs, 0, twin.boundary(2)), Codec::None).await.unwrap();
    let named = life.archive.discover(None).await.unwrap().catalogued;
    let named = named.iter().find(|known| known.key.binlog == twin.id && known.key.start == 0).unwrap().key.to_string();
    let mut bytes = life.store.get(&named).await.unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    life.store.put(&named, bytes.into(), ObjectClass::Content).await.unwrap();
    life.store.pass(HOUR * 25);
    let swept = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert_eq!(swept.adopted, 1, "{swept:?}");
    assert!(swept.unusable.iter().any(|(key, _)| *key == named), "{swept:?}");
    let (inventory, _) = life.archive.inventory().await.unwrap();
    life.read_all(&inventory).await;
}

#[tokio::test]
async fn what_lost_an_object_already_is_not_rescued_even_before_it_is_due() {
    let life = lived(10).await;
    let short = RetentionRules { force: true, ..rules(1) };
    let marked = life.archive.retain(&short).await.unwrap().marked;
    let binlogs = marked.into_iter().filter_map(|item| match item {
        ExpireItem::Binlog(id) => Some(id),
        ExpireItem::Backup(_) => None,
    });
    let binlog = binlogs.max_by_key(|id| id.number).unwrap();
    // A run with a shorter grace began with one of them.
    let object = life.keys(&Place::Binlogs.binlog_prefix(&binlog)).await.remove(0);
    life.store.delete(&[object]).await.unwrap();
    let retained = life.archive.retain(&RetentionRules { force: true, ..rules(WINDOW_DAYS) }).await.unwrap();
    let item = ExpireItem::Binlog(binlog);
    assert!(retained.broken.contains(&item) && !retained.rescued.contains(&item), "{retained:?}");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_keeps_all_chunks() {
    let life = lived(5).await;
    let manifest = "backups/bb-001/manifest.json";
    life.store.put(manifest, Bytes::from_static(b"{}"), ObjectClass::Control).await.unwrap();
    let swept = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert!(swept.chunks == 0 && swept.chunks_kept.is_some(), "{swept:?}");
}

#[tokio::test]
async fn a_backup_that_is_being_taken_keeps_its_chunks() {
    let life = lived(5).await;
    let mut writer = BackupWriter::begin(Arc::clone(&life.archive), "bb-slow").await.unwrap();
    writer.add_file("slow", 0o640, &content("slow", 9)[..]).await.unwrap();
    let slow: Vec<String> = life.keys("chunks/").await.into_iter().filter(|key| key.contains("bb-slow")).collect();
    assert_eq!(slow.len(), 1);
    // Its chunks get older than the grace while its claim is renewed.
    for _ in 0..60 {
        life.store.pass(SignedDuration::from_mins(40));
        writer.add_file("more", 0o640, &content("same", 0)[..]).await.unwrap();
        life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    }
    assert!(life.keys("chunks/").await.contains(&slow[0]));
    drop(writer);
    life.store.pass(HOUR * 25);
    life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert!(!life.keys("chunks/").await.contains(&slow[0]));
}
