//! `dedupe: gtid` over a store whose clock is set by hand: a primary and two replicas archive the same days; what the replicas only
//! say again takes little room a grace later, every byte of all three logs stays readable, and what a repeat is told by stays with
//! it. Also when a run dies at any call, when retention is at work meanwhile, and when an object is damaged.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod three_servers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::testing::{Fault, Faulty, Listener, Overheard, TimedStore};
use pitr_archive::{Archive, ObjectClass, Operation, Store, StoreError, VerifyProgress, Workspace};
use pitr_binlog::Uuid;
use pitr_recovery::{KeepReason, Verdict};

use three_servers::{BOTH, DAY, Life, SERVERS, START, binlog, expected, open, rules};

#[tokio::test]
async fn three_servers_take_the_room_of_little_more_than_one() {
    let life = Life::lived(4).await;
    let (before, one) = (life.stored_bytes().await, life.sources().await["03"]);
    let young = life.archive.dedupe(DAY * 30, &Workspace::ENOUGH).await.unwrap();
    assert_eq!((young.repeats, young.unlike), (0, 0), "what is younger than the grace is left alone");
    let done = life.dedupe().await;
    assert_eq!((done.repeats, done.unlike), (16, 0), "{done:?}");
    assert!(done.whole_bytes - done.stored_bytes > before / 2, "{done:?} of {before}");
    assert_eq!(life.read_all().await, expected(4));
    assert_eq!(
        life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap().duplicates,
        0,
        "the whole segments stay for a grace"
    );
    assert_eq!(life.settle().await, 16);
    let (after, sources) = (life.stored_bytes().await, life.sources().await);
    assert_eq!(sources["03"], one);
    assert!(after * 100 < before * 45, "{before} bytes, now {after}: {sources:?}");
    assert_eq!(life.read_all().await, expected(4));
    // There is nothing more to do, and nothing to put right.
    assert_eq!(life.dedupe().await.repeats, 0);
    let swept = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
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
        archive.dedupe(DAY, &Workspace::ENOUGH).await?;
        time.pass(SignedDuration::from_hours(25));
        archive.sweep(DAY, &Workspace::ENOUGH).await
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
        life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
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
    // What takes more memory than there is stays as it is.
    let small = Workspace { bytes: 1 << 20, ..Workspace::ENOUGH };
    assert_eq!(life.copy().await.archive.dedupe(DAY, &small).await.unwrap().repeats, 0);
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
    let swept = life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap();
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

/// The bytes that the inventory says it holds, of one server.
async fn held(life: &Life, source: &str) -> u64 {
    let (inventory, _) = life.archive.inventory().await.unwrap();
    let of = inventory.binlogs.iter().filter(|binlog| binlog.id.source.starts_with(source));
    of.flat_map(|binlog| &binlog.ranges).filter(|range| range.is_held()).map(|range| range.end - range.start).sum()
}

#[tokio::test]
async fn a_whole_segment_serves_in_place_of_a_repeat_that_is_lost_while_it_is_there() {
    let life = Life::lived(2).await;
    let wholes = life.keys("binlogs/05").await;
    life.dedupe().await;
    let all = held(&life, "05").await;
    let repeats: Vec<String> = life.keys("binlogs/05").await.into_iter().filter(|key| !wholes.contains(key)).collect();
    assert_eq!((wholes.len(), repeats.len()), (4, 4));
    life.damage(&repeats[1]).await;
    let verified = life.verify(100).await;
    assert_eq!(verified.findings.iter().map(|found| &found.what).collect::<Vec<_>>(), [&repeats[1]]);
    assert_eq!(held(&life, "05").await, all);
    assert_eq!(life.read_all().await, expected(2));
    // No sweep takes it, and the next verification reads it, too.
    assert_eq!(life.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap().duplicates, 7);
    assert_eq!(life.verify(100).await.findings.len(), 1);
    assert_eq!(life.read_all().await, expected(2));
    // It is claimed no longer than it is there.
    let last: Vec<String> = life.keys("binlogs/05").await.into_iter().filter(|key| wholes.contains(key)).collect();
    assert_eq!(last.len(), 1);
    life.store.delete(&last).await.unwrap();
    assert!(held(&life, "05").await < all);
}

#[tokio::test]
async fn what_is_told_by_a_lost_segment_does_not_wait_for_its_turn() {
    let life = Life::lived(2).await;
    life.dedupe().await;
    life.settle().await;
    let base = life.keys("binlogs/03").await.remove(0);
    life.damage(&base).await;
    let objects = |verified: pitr_archive::Verified| {
        verified.findings.into_iter().map(|found| found.what).collect::<BTreeSet<_>>()
    };
    let told = objects(life.copy().await.verify(100).await);
    assert!(told.len() > 2, "{told:?}");
    // The part that finds the base finds at once all that is told by it. An earlier part may have come upon a repeat; then the whole
    // segment that it stands for is missed, too.
    let found = loop {
        let found = objects(life.verify(10).await);
        if found.contains(&base) {
            break found;
        }
    };
    assert!(found.is_superset(&told), "{found:?}");
}

#[tokio::test]
async fn a_repeat_that_no_page_names_is_named_where_it_stands_alone() {
    let life = Life::lived(1).await;
    life.dedupe().await;
    life.settle().await;
    // What names it is lost, and what it is told by has a mark.
    for page in life.keys("catalog/05").await {
        life.store.delete(&[page]).await.unwrap();
    }
    life.mark(&binlog(3, 1, 0).id).await;
    let source = Uuid([5; 16]).to_string();
    let started = life.copy().await;
    assert_eq!(started.archive.adopt(&source).await.unwrap().adopted.len(), 2);
    let swept = life.copy().await;
    assert_eq!(swept.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap().adopted, 2);
    let rebuilt = life.copy().await;
    let done = rebuilt.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap();
    assert_eq!((done.segments, done.unusable.len()), (6, 0));
    // The next plan sees what it needs, and the mark goes.
    for named in [started, swept, rebuilt] {
        named.archive.retain(&rules(30)).await.unwrap();
        assert_eq!(named.read_all().await, expected(1));
    }
}

#[tokio::test]
async fn a_repeat_that_no_page_names_is_not_named_beside_its_whole_segment() {
    let life = Life::lived(1).await;
    life.dedupe().await;
    life.store.delete(&life.keys("catalog/").await).await.unwrap();
    life.store.pass(SignedDuration::from_hours(48));
    let catalogued = async |life: &Life| {
        let (inventory, report) = life.archive.inventory().await.unwrap();
        (inventory.binlogs.iter().map(|binlog| binlog.ranges.len()).sum::<usize>(), report.repeats)
    };
    let started = life.copy().await;
    for server in SERVERS {
        assert_eq!(started.archive.adopt(&Uuid([server; 16]).to_string()).await.unwrap().adopted.len(), 2);
    }
    let swept = life.copy().await;
    assert_eq!(swept.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap().adopted, 6);
    let rebuilt = life.copy().await;
    assert_eq!(rebuilt.archive.rebuild_catalog(&VerifyProgress::default()).await.unwrap().segments, 6);
    for life in [started, swept, rebuilt] {
        assert_eq!(catalogued(&life).await, (6, 0));
        // It is made again; then the whole segment goes, and what was left behind.
        assert_eq!(life.dedupe().await.repeats, 4);
        assert_eq!(life.settle().await, 8);
        assert_eq!((catalogued(&life).await, life.keys("binlogs/").await.len()), ((6, 4), 6));
        assert_eq!(life.read_all().await, expected(1));
    }
}

/// Objects of the lowest server are under a lock.
#[derive(Debug)]
struct Locked;

#[async_trait]
impl Listener for Locked {
    async fn deleting(&self, keys: &[String]) -> Result<(), StoreError> {
        match keys.iter().find(|key| key.starts_with("binlogs/03")) {
            Some(key) => {
                let (key, reason) = (key.clone(), "AccessDenied".to_owned());
                Err(StoreError::Denied { operation: Operation::Delete, key, reason })
            }
            None => Ok(()),
        }
    }
}

#[tokio::test]
async fn what_told_others_goes_though_their_lines_stay_for_long() {
    let life = Life::lived(1).await;
    life.dedupe().await;
    life.settle().await;
    // Of a page with very many lines a few dead ones are not worth another.
    for day in 2..=12 {
        life.store.pass(SignedDuration::from_hours(24));
        for server in SERVERS {
            life.store_binlog(&binlog(server, day, 0)).await;
        }
    }
    // Only the first day is older than the window. For some time nobody may delete what the others are told by.
    let locked = open(Arc::new(Overheard::new(&life.store, Locked)), &life.store);
    for run in 0..16 {
        life.store.pass(SignedDuration::from_hours(6));
        let archive = if run < 8 { &locked } else { &life.archive };
        if run == 8 {
            assert_eq!(life.archive.inventory().await.unwrap().1.hidden_binlogs, 3, "their lines are there");
        }
        let days = (life.store.now().as_second() - START.parse::<Timestamp>().unwrap().as_second()) / 86_400;
        archive.retain(&rules(days - 4)).await.unwrap();
        let sources = life.keys("binlogs/").await.into_iter().filter(|key| key.contains("/0000000001-"));
        let left: BTreeSet<String> = sources.map(|key| key[8..10].to_owned()).collect();
        let wanted: &[&str] = if run < 4 {
            &["03", "04", "05"]
        } else if run < 8 {
            &["03"]
        } else {
            &[]
        };
        assert!(left.iter().eq(wanted), "{left:?} after run {run}");
    }
    assert_eq!(life.keys("binlogs/").await.len(), 66);
}

/// Held while a segment is read.
struct Room(Arc<AtomicBool>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_sweep_reads_segments_only_where_there_is_room() {
    let life = Life::lived(1).await;
    life.dedupe().await;
    life.store.delete(&life.keys("catalog/").await).await.unwrap();
    life.store.pass(SignedDuration::from_hours(48));
    let (taken, is_taken) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let room = || -> BoxFuture<'_, Box<dyn Send>> {
        taken.fetch_add(1, Ordering::Relaxed);
        assert!(!is_taken.swap(true, Ordering::Relaxed), "nobody holds it and waits for it");
        Box::pin(async { Box::new(Room(Arc::clone(&is_taken))) as Box<dyn Send> })
    };
    let space = Workspace { bytes: Workspace::ENOUGH.bytes, room: &room };
    assert_eq!(life.archive.sweep(DAY, &space).await.unwrap().adopted, 6);
    // Six whole segments and four repeats, and for each of those the whole one beside it.
    assert_eq!(taken.into_inner(), 14);
}

/// Before the first repeat is named, another run makes and names all of them.
#[derive(Debug)]
struct Rival {
    archive: Archive,
    has_run: AtomicBool,
}

#[async_trait]
impl Listener for Rival {
    async fn storing(&self, key: &str) -> Result<(), StoreError> {
        if key.starts_with("binlogs/") && !self.has_run.swap(true, Ordering::Relaxed) {
            assert_eq!(self.archive.dedupe(DAY, &Workspace::ENOUGH).await.unwrap().repeats, 4);
        }
        Ok(())
    }
}

#[tokio::test]
async fn two_runs_at_once_name_one_repeat_of_each() {
    let life = Life::lived(1).await;
    let other = open(Arc::clone(&life.store) as Arc<dyn Store>, &life.store);
    let rival = Overheard::new(&life.store, Rival { archive: other, has_run: AtomicBool::new(false) });
    open(Arc::new(rival), &life.store).dedupe(DAY, &Workspace::ENOUGH).await.unwrap();
    assert_eq!(life.archive.inventory().await.unwrap().1.repeats, 4);
    life.settle().await;
    life.settle().await;
    assert_eq!(life.keys("binlogs/").await.len(), 6, "what lost the race goes");
    assert_eq!(life.read_all().await, expected(1));
}
