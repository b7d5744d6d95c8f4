//! `dedupe: gtid` over a store whose clock is set by hand: a primary and two replicas archive the same days; what the replicas only
//! say again takes little room a grace later, every byte of all three logs stays readable, and what a repeat is told by stays with
//! it. Also when a run dies at any call, when retention is at work meanwhile, and when an object is damaged.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::testing::{Fault, Faulty, History, TimedStore};
use pitr_archive::{
    Archive, Clock, Codec, Deduped, MergeEffort, ObjectClass, Place, RetentionRules, Store, TailCoverage,
    VerifyProgress, VerifyRules,
};
use pitr_binlog::{GtidSource, Uuid};
use pitr_recovery::{BinlogId, KeepReason, RetentionPolicy, Verdict, WithoutBase};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_US: i64 = 86_400_000_000;
const START: &str = "2026-11-01T00:00:00Z";
/// The primary's name comes between those of its replicas.
const PRIMARY: u8 = 4;
const SERVERS: [u8; 3] = [3, PRIMARY, 5];
const BOTH: VerifyRules = VerifyRules { percent: 100, deep: false };

/// Content that no codec makes smaller, the same for the same number.
fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What a server wrote on a day (from 1): the primary's four transactions, each with a few bytes of the server's own. `salt`: another
/// history with the same numbers.
fn binlog(server: u8, day: u64, salt: u64) -> History {
    let mut history = History::new(PRIMARY, day, 4);
    let start: Timestamp = START.parse().unwrap();
    let mut raw = history.raw[..126].to_vec();
    for (place, transaction) in history.transactions.iter_mut().enumerate() {
        transaction.commit_us = start.as_microsecond() + DAY_US * (day as i64 - 1) + place as i64 * 3_600_000_000;
        transaction.immediate_us = Some(transaction.commit_us + i64::from(server));
        transaction.start = raw.len() as u64;
        raw.extend([server; 8]);
        raw.extend(noise(day * 4 + place as u64 + salt, 20_000));
        transaction.end = raw.len() as u64;
    }
    history.id.source = Uuid([server; 16]).to_string();
    history.raw = raw.into();
    // More than a line of the catalog holds, as after years of failovers: then it only identifies the set.
    let old = GtidSource::MySql { uuid: Uuid([9; 16]), tag: None };
    (1..=1200).for_each(|n| history.previous.insert_range(&old, 3 * n..=3 * n));
    history
}

struct Life {
    store: Arc<TimedStore>,
    archive: Archive,
}

fn open(store: Arc<dyn Store>, time: &Arc<TimedStore>) -> Archive {
    let time = Arc::clone(time);
    let clock: Clock = Arc::new(move || time.now());
    Archive::open(store, clock)
}

impl Life {
    /// So many days of all three servers, archived as they go by, and then two days of nothing.
    async fn lived(days: u64) -> Self {
        let store = Arc::new(TimedStore::new(START.parse().unwrap()));
        let time = Arc::clone(&store);
        let clock: Clock = Arc::new(move || time.now());
        let archive = Archive::claim(Arc::clone(&store) as Arc<dyn Store>, clock, "shop/mysql").await.unwrap();
        let life = Self { store, archive };
        for day in 1..=days {
            life.store.pass(SignedDuration::from_hours(24));
            for server in SERVERS {
                life.store_binlog(&binlog(server, day, 0)).await;
            }
        }
        life.store.pass(SignedDuration::from_hours(48));
        life
    }

    fn of(store: TimedStore) -> Self {
        let store = Arc::new(store);
        let archive = open(Arc::clone(&store) as Arc<dyn Store>, &store);
        Self { store, archive }
    }

    /// In two segments: they do not begin where those of other servers do.
    async fn store_binlog(&self, history: &History) {
        let middle = history.boundary(if history.id.source.starts_with("05") { 2 } else { 1 });
        let mut records = Vec::new();
        for (from, to) in [(0, middle), (middle, history.length())] {
            let draft = history.draft(Place::Binlogs, from, to);
            records.push(self.archive.write_segment(draft, Codec::default()).await.unwrap());
        }
        self.archive.publish(&records, TailCoverage::default()).await.unwrap();
        self.archive.merge_pages(&history.id.source, MergeEffort::Idle).await.unwrap();
    }

    async fn dedupe(&self) -> Deduped {
        let done = self.archive.dedupe(DAY).await.unwrap();
        assert!(done.finished, "{done:?}");
        done
    }

    /// The repeats take the place of the whole segments.
    async fn settle(&self) -> u64 {
        self.store.pass(SignedDuration::from_hours(25));
        self.archive.sweep(DAY).await.unwrap().duplicates
    }

    async fn stored_bytes(&self) -> u64 {
        self.store.list("binlogs/").await.unwrap().iter().map(|object| object.length).sum()
    }

    /// All that is archived, binlog by binlog, byte by byte; nothing is reported as unreadable or missing.
    async fn read_all(&self) -> BTreeMap<BinlogId, Bytes> {
        let reader = open(Arc::clone(&self.store) as Arc<dyn Store>, &self.store);
        let (inventory, report) = reader.inventory().await.unwrap();
        assert!(report.unreadable.is_empty() && report.unknown_keys.is_empty(), "{report:?}");
        let mut all = BTreeMap::new();
        for binlog in &inventory.binlogs {
            let mut raw = Vec::new();
            for range in &binlog.ranges {
                let wanted = binlog.range_ref(range);
                assert_eq!(wanted.start, raw.len() as u64);
                raw.extend_from_slice(&reader.read_range(&wanted, &range.objects).await.unwrap());
                let index = reader.read_index(&wanted, &range.objects).await.unwrap();
                assert_eq!(index.entries.len() as u64, range.transactions);
            }
            all.insert(binlog.id.clone(), raw.into());
        }
        all
    }

    async fn sources(&self) -> BTreeMap<String, u64> {
        let mut sources = BTreeMap::new();
        for object in self.store.list("binlogs/").await.unwrap() {
            *sources.entry(object.key.split('/').nth(1).unwrap()[..2].to_owned()).or_default() += object.length;
        }
        sources
    }
}

fn expected(days: u64) -> BTreeMap<BinlogId, Bytes> {
    let all = (1..=days).flat_map(|day| SERVERS.map(|server| binlog(server, day, 0)));
    all.map(|history| (history.id, history.raw)).collect()
}

/// What is older than the window goes by age, for there is no base backup.
fn rules(window_days: i64) -> RetentionRules {
    let policy = RetentionPolicy {
        window_us: window_days * DAY_US,
        keep_last: 1,
        pins: BTreeSet::new(),
        without_base: WithoutBase::Age,
    };
    RetentionRules { policy, grace: DAY, force: true }
}

#[tokio::test]
async fn three_servers_take_the_room_of_little_more_than_one() {
    let life = Life::lived(4).await;
    let (before, one) = (life.stored_bytes().await, life.sources().await["03"]);
    let young = life.archive.dedupe(DAY * 30).await.unwrap();
    assert_eq!((young.repeats, young.unlike), (0, 0), "what is younger than the grace is left alone");
    let done = life.dedupe().await;
    assert_eq!((done.repeats, done.unlike), (16, 0), "{done:?}");
    assert!(done.whole_bytes - done.stored_bytes > before / 2, "{done:?} of {before}");
    assert_eq!(life.read_all().await, expected(4));
    assert_eq!(life.archive.sweep(DAY).await.unwrap().duplicates, 0, "the whole segments stay for a grace");
    assert_eq!(life.settle().await, 16);
    let (after, sources) = (life.stored_bytes().await, life.sources().await);
    assert_eq!(sources["03"], one);
    assert!(after * 100 < before * 45, "{before} bytes, now {after}: {sources:?}");
    assert_eq!(life.read_all().await, expected(4));
    // There is nothing more to do, and nothing to put right.
    assert_eq!(life.dedupe().await.repeats, 0);
    let swept = life.archive.sweep(DAY).await.unwrap();
    assert_eq!((swept.duplicates, swept.adopted, swept.unusable.len()), (0, 0, 0));
    let verified = life.archive.verify(BOTH, &VerifyProgress::default()).await.unwrap();
    assert_eq!((verified.findings, verified.segments_read), (vec![], 24));
    for server in SERVERS {
        let adoption = life.archive.adopt(&Uuid([server; 16]).to_string()).await.unwrap();
        assert!(adoption.adopted.is_empty() && adoption.unusable.is_empty(), "{adoption:?}");
    }
    let rebuilt = life.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!((rebuilt.segments, rebuilt.unusable.len()), (24, 0));
    assert_eq!(life.read_all().await, expected(4));
}

#[tokio::test]
async fn a_run_may_die_at_any_call() {
    let life = Life::lived(2).await;
    let wanted = expected(2);
    let run = async |store: Arc<dyn Store>, time: &Arc<TimedStore>| {
        let archive = open(store, time);
        archive.dedupe(DAY).await?;
        time.pass(SignedDuration::from_hours(25));
        archive.sweep(DAY).await
    };
    let copy = Arc::new(life.store.copy().await);
    let counted = Arc::new(Faulty::new(Arc::clone(&copy), u64::MAX, Fault::Fails));
    run(Arc::clone(&counted) as Arc<dyn Store>, &copy).await.unwrap();
    let (calls, least) = (counted.calls(), Life::of(copy.copy().await).stored_bytes().await);
    assert!(calls > 60, "{calls}");
    for at in 0..calls {
        for fault in [Fault::Fails, Fault::LosesReply, Fault::Dies, Fault::DiesAfter] {
            let store = Arc::new(life.store.copy().await);
            let _died = run(Arc::new(Faulty::new(Arc::clone(&store), at, fault)), &store).await;
            let life = Life::of(store.copy().await);
            assert_eq!(life.read_all().await, wanted, "{fault:?} at {at}");
            life.settle().await;
            life.dedupe().await;
            life.settle().await;
            assert_eq!(life.read_all().await, wanted, "{fault:?} at {at}, and again");
            // A repeat that no page named was one of two, and went; or it was named, and the whole segment did.
            let stored = life.stored_bytes().await;
            assert!(stored.abs_diff(least) < 200, "{fault:?} at {at}: {stored}, not {least}");
        }
    }
}

#[tokio::test]
async fn what_a_repeat_is_told_by_stays_with_it_and_goes_with_it() {
    let life = Life::lived(4).await;
    life.dedupe().await;
    life.settle().await;
    // What the repeats are told by was stored days before them, and alone it would go.
    let retained = life.archive.retain(&rules(3)).await.unwrap();
    assert!(retained.marked.is_empty(), "{:?}", retained.proposal.plan.decisions);
    let decisions = retained.proposal.plan.decisions.iter();
    let repeated = decisions.filter(|decision| match &decision.verdict {
        Verdict::Keep(reasons) => reasons.iter().any(|reason| matches!(reason, KeepReason::Repeated { .. })),
        Verdict::Expire(_) => false,
    });
    assert_eq!(repeated.count(), 4, "{:?}", retained.proposal.plan.decisions);
    assert_eq!(life.read_all().await, expected(4));
    // All of it goes in the end, and what depends goes first.
    for _ in 0..40 {
        life.store.pass(SignedDuration::from_hours(6));
        let retained = life.archive.retain(&rules(3)).await.unwrap();
        assert!(retained.broken.is_empty(), "{retained:?}");
        life.archive.sweep(DAY).await.unwrap();
        let all = life.read_all().await;
        assert!(all.iter().all(|(id, raw)| expected(4).get(id) == Some(raw)), "{:?}", all.keys());
    }
    assert_eq!(life.store.list("binlogs/").await.unwrap(), []);
    assert_eq!(life.store.list("catalog/").await.unwrap(), []);
}

#[tokio::test]
async fn a_repeat_may_be_told_by_a_repeat() {
    let life = Life::lived(0).await;
    for server in [4, 5] {
        life.store_binlog(&binlog(server, 1, 0)).await;
    }
    life.store.pass(SignedDuration::from_hours(25));
    assert_eq!(life.dedupe().await.repeats, 2);
    // A server whose name comes before theirs catches up later.
    life.store_binlog(&binlog(3, 1, 0)).await;
    assert_eq!(life.settle().await, 2);
    assert_eq!(life.dedupe().await.repeats, 2);
    assert_eq!(life.settle().await, 2);
    assert_eq!(life.read_all().await, expected(1));
    let sources = life.sources().await;
    assert!(sources["04"] * 3 < sources["03"] && sources["05"] * 3 < sources["03"], "{sources:?}");
    let verified = life.archive.verify(BOTH, &VerifyProgress::default()).await.unwrap();
    assert_eq!((verified.findings, verified.segments_read), (vec![], 6));
}

#[tokio::test]
async fn numbers_that_mean_something_else_are_no_repeats() {
    let life = Life::lived(2).await;
    // A replica whose rows went their own way, under the numbers of the primary.
    let strange = Life::lived(0).await;
    for day in 1..=2 {
        strange.store_binlog(&binlog(3, day, 0)).await;
        strange.store_binlog(&binlog(5, day, 1_000_000)).await;
    }
    strange.store.pass(SignedDuration::from_hours(48));
    let done = strange.dedupe().await;
    assert_eq!((done.repeats, done.unlike), (0, 4), "{done:?}");
    // It is not tried again and again.
    assert_eq!(strange.dedupe().await.unlike, 0);
    assert_eq!(life.dedupe().await.repeats, 8);
}

#[tokio::test]
async fn nothing_is_told_by_what_is_on_its_way_out() {
    let life = Life::lived(3).await;
    // All binlogs of the lowest server are marked by somebody who thinks better of it later.
    life.archive.retain(&rules(2)).await.unwrap();
    let done = life.dedupe().await;
    assert_eq!(done.repeats, 0, "{done:?}");
    life.store.pass(SignedDuration::from_hours(3));
    life.archive.retain(&rules(30)).await.unwrap();
    assert_eq!(life.dedupe().await.repeats, 12);
    assert_eq!(life.read_all().await, expected(3));
}

#[tokio::test]
async fn damage_is_named_and_the_whole_segment_stays_while_its_repeat_cannot_be_read() {
    let life = Life::lived(2).await;
    life.dedupe().await;
    let listed = life.store.list("binlogs/03").await.unwrap();
    let base = listed.iter().max_by_key(|object| object.length).unwrap().key.clone();
    let mut bytes = life.store.get(&base).await.unwrap().to_vec();
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    let whole = life.store.get(&base).await.unwrap();
    life.store.put(&base, bytes.into(), ObjectClass::Content).await.unwrap();
    life.store.pass(SignedDuration::from_hours(48));
    let swept = life.archive.sweep(DAY).await.unwrap();
    assert!((1..8).contains(&swept.duplicates), "{swept:?}");
    // The two others are whole still, by segments that had to stay.
    let (inventory, _) = life.archive.inventory().await.unwrap();
    let mut unread = 0;
    for archived in &inventory.binlogs {
        for range in &archived.ranges {
            match life.archive.read_range(&archived.range_ref(range), &range.objects).await {
                Ok(raw) => {
                    let server = u8::from_str_radix(&archived.id.source[..2], 16).unwrap();
                    let history = (1..=2).map(|day| binlog(server, day, 0)).find(|h| h.id == archived.id).unwrap();
                    assert_eq!(raw, history.raw.slice(range.start as usize..range.end as usize));
                }
                Err(_) if archived.id.source.starts_with("03") => unread += 1,
                Err(error) => panic!("{} {}: {error}", archived.id, range.start),
            }
        }
    }
    assert_eq!(unread, 1);
    let verified = life.archive.verify(BOTH, &VerifyProgress::default()).await.unwrap();
    assert!(verified.findings.iter().any(|finding| finding.what == base), "{:?}", verified.findings);
    assert!(verified.findings.iter().any(|finding| finding.reason.contains(&base)), "{:?}", verified.findings);
    life.store.put(&base, whole, ObjectClass::Content).await.unwrap();
    assert_eq!(life.read_all().await, expected(2));
}
