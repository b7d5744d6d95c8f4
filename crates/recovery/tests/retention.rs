//! Retention against brute force: over random histories, with time going by, no instant that was promised stops planning, and
//! each still leads to the state that it led to before anything went. And what it decides in plain cases, item by item.
//!
//! `PITR_ORACLE_CASES` and `PITR_ORACLE_SEED` run more or other histories.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

#[allow(dead_code, reason = "shared with the oracle")]
mod story;
#[allow(dead_code, reason = "shared with the oracle")]
mod truth;
#[allow(dead_code, reason = "shared with the oracle")]
mod world;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pitr_binlog::{Flavour, Gtid, GtidSet, GtidSource, TransactionFlags, Uuid};
use pitr_recovery::{
    BinlogId, Closed, ExpireItem, ExpirePlan, ExpireRule, Expiry, KeepReason, PlanRequest, RangeKind, RecoveryTarget,
    RetentionPolicy, RetentionRequest, StoredTimes, Timeline, Verdict, WithoutBase,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use story::{Script, gtids, scripts, tell};
use truth::Truth;
use world::{File, Span, Tx, World, backup, boundary, file_id, name};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Asks until there is a plan.
fn expire(world: &World, timeline: &Timeline, request: &RetentionRequest) -> ExpirePlan {
    let mut timeline = timeline.clone();
    for _ in 0..20 {
        match timeline.expire(request) {
            Expiry::Plan(plan) => return plan,
            Expiry::Reads(wanted) => {
                assert!(!wanted.is_empty());
                timeline = timeline.with_indices(world.indices(&wanted));
            }
        }
    }
    panic!("the plan never has enough indices");
}

fn without(world: &World, plan: &ExpirePlan) -> World {
    let mut world = world.clone();
    world.backups.retain(|backup| !plan.expires(&ExpireItem::Backup(backup.id.clone())));
    for file in &mut world.files {
        if plan.expires(&ExpireItem::Binlog(file.id.clone())) {
            file.archived.clear();
        }
    }
    world
}

/// When the store took what it has: at its last commit, or when it was taken.
fn stored(world: &World) -> StoredTimes {
    let last = |file: &File| file.txs.iter().map(|tx| tx.us).max().unwrap_or(1_000_000_000);
    let mut binlogs: BTreeMap<_, i64> = BTreeMap::new();
    for file in &world.files {
        let known = binlogs.entry(file.id.clone()).or_insert(i64::MIN);
        *known = last(file).max(*known);
    }
    StoredTimes { binlogs, backups: world.backups.iter().map(|b| (b.id.clone(), b.snapshot_us)).collect() }
}

#[derive(Debug, Default)]
struct Seen {
    cases: Cell<u32>,
    expired_backups: Cell<u32>,
    expired_binlogs: Cell<u32>,
    instants: Cell<u32>,
}

fn count(what: &Cell<u32>, more: usize) {
    what.set(what.get() + more as u32);
}

#[test]
fn expiring_never_shrinks_what_was_promised() {
    let cases = number("PITR_ORACLE_CASES", 600) as u32;
    let seed = number("PITR_ORACLE_SEED", 0x6b65_6570);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 5000,
        ..Config::default()
    };
    let seen = Seen::default();
    let given = (scripts(), 1..60_i64, 0..3_u64, any::<u8>());
    TestRunner::new(config)
        .run(&given, |(script, tenths, keep_last, luck)| {
            check(&script, (tenths, keep_last, luck), &seen).map_err(TestCaseError::fail)
        })
        .unwrap();
    println!("PITR_ORACLE_SEED={seed} PITR_ORACLE_CASES={cases}: {seen:?}");
    // A plan that expires nothing breaks nothing.
    assert!(seen.expired_backups.get() * 20 > seen.cases.get(), "{seen:?}");
    assert!(seen.expired_binlogs.get() * 5 > seen.cases.get(), "{seen:?}");
    assert!(seen.instants.get() > seen.cases.get(), "{seen:?}");
}

fn check(script: &Script, (tenths, keep_last, luck): (i64, u64, u8), seen: &Seen) -> Result<(), String> {
    let story = tell(script);
    let truth = Truth::of(&story);
    if truth.has_hidden_collision() {
        // What never came to the archive tells nothing, with or without retention: as in the oracle.
        return Ok(());
    }
    let times = stored(&story.world);
    let all = times.binlogs.values().chain(times.backups.values());
    let (first, last) = (all.clone().min().copied().unwrap_or(0), all.max().copied().unwrap_or(0));
    let window_us = tenths * 100_000;
    let pins = story.world.backups.iter().filter(|_| luck.is_multiple_of(8)).take(1).map(|b| b.id.clone()).collect();
    let policy = RetentionPolicy { window_us, keep_last, pins, without_base: WithoutBase::Keep };
    let mut world = story.world.clone();
    for step in 1..=3 {
        count(&seen.cases, 1);
        let now_us = first + (last - first) * step / 3 + window_us / 2 + i64::from(luck) * 1000;
        let request = RetentionRequest {
            policy: policy.clone(),
            now_us,
            promised_us: Some(window_us),
            stored: times.clone(),
            incomplete: BTreeSet::new(),
            needs: needs(&world, i64::from(luck)),
        };
        let before = world.timeline();
        let plan = expire(&world, &before, &request);
        let after_world = without(&world, &plan);
        check_items(&plan, &request, &world)?;
        check_promise(&truth, (&world, &before), (&after_world, &after_world.timeline()), (&request, seen))?;
        world = after_world;
    }
    Ok(())
}

/// Binlogs that are stored as what differs from binlogs of servers whose names come before: any may be, as luck has it.
fn needs(world: &World, luck: i64) -> BTreeMap<BinlogId, BTreeSet<BinlogId>> {
    let mut needs: BTreeMap<BinlogId, BTreeSet<BinlogId>> = BTreeMap::new();
    for (place, file) in world.files.iter().enumerate() {
        let others = world.files.iter().enumerate().filter(|(_, other)| other.id.source < file.id.source);
        for (_, other) in others.filter(|(other, _)| (3 * place + 5 * other) as i64 % 4 == luck.rem_euclid(4)) {
            needs.entry(file.id.clone()).or_default().insert(other.id.clone());
        }
    }
    needs
}

/// What goes is old by every clock, pinned by nobody, not the last there is, and nothing that stays is told by it.
fn check_items(plan: &ExpirePlan, request: &RetentionRequest, world: &World) -> Result<(), String> {
    if !plan.shrinks.is_empty() {
        return Err(format!("the same window shrinks: {:?}", plan.shrinks));
    }
    for item in plan.expired() {
        let (pinned, us) = match item {
            ExpireItem::Backup(id) => (request.policy.pins.contains(id), request.stored.backups[id]),
            ExpireItem::Binlog(id) => (false, request.stored.binlogs[id]),
        };
        if pinned || us > plan.keeps_from_us {
            return Err(format!("{item} goes, stored at {us}, pinned: {pinned}"));
        }
    }
    let stays = |id: &BinlogId| !plan.expires(&ExpireItem::Binlog(id.clone()));
    let archived = world.files.iter().filter(|file| !file.archived.is_empty() && stays(&file.id));
    for needed in archived.filter_map(|file| request.needs.get(&file.id)).flatten() {
        if !stays(needed) {
            return Err(format!("{needed} goes, and something that stays is told by it"));
        }
    }
    if plan.lacks_base() && plan.expired().next().is_some() {
        return Err("without a base backup something goes".to_owned());
    }
    let backups = |item: &&ExpireItem| matches!(item, ExpireItem::Backup(_));
    let left = world.backups.len() - plan.expired().filter(backups).count();
    if (left as u64) < request.policy.keep_last.min(1).min(world.backups.len() as u64) {
        return Err(format!("{left} base backups are left"));
    }
    Ok(())
}

fn check_promise(
    truth: &Truth<'_>,
    (before_world, before): (&World, &Timeline),
    (after_world, after): (&World, &Timeline),
    (request, seen): (&RetentionRequest, &Seen),
) -> Result<(), String> {
    let from_us = request.now_us - request.policy.window_us;
    count(&seen.expired_backups, before_world.backups.len() - after_world.backups.len());
    let archived = |world: &World| world.files.iter().filter(|file| !file.archived.is_empty()).count();
    count(&seen.expired_binlogs, archived(before_world) - archived(after_world));
    for branch in before.branches() {
        let windows = || before.windows().iter().filter(|window| window.branch == branch.id);
        let Some(last_us) = windows().map(|window| window.to_us).max() else { continue };
        if !branch.live && last_us < from_us {
            continue;
        }
        let same: Vec<&str> = after.branches().iter().filter(|b| b.end == branch.end).map(|b| b.id.as_str()).collect();
        let state = |(world, timeline): (&World, &Timeline), branch: &str, us: i64| {
            // What is older than the window is the last state: when it was reached may not be known any more.
            let target = if us < from_us { RecoveryTarget::Latest } else { RecoveryTarget::Time(us) };
            let request = PlanRequest { branch: Some(branch.to_owned()), ..PlanRequest::new(target) };
            world.plan(timeline, &request).ok().map(|plan| truth.replay(&plan))
        };
        let commits = before_world.files.iter().flat_map(|file| file.txs.iter().map(|tx| tx.us));
        let edges = windows().flat_map(|window| [window.from_us, window.to_us]);
        let instants: BTreeSet<i64> =
            commits.chain(edges).chain([from_us]).flat_map(|us| [us - 1, us, us + 1]).collect();
        for us in instants.into_iter().filter(|us| *us >= from_us.min(last_us)) {
            if !windows().any(|window| (window.from_us..=window.to_us).contains(&us)) {
                continue;
            }
            count(&seen.instants, 1);
            let wanted = state((before_world, before), &branch.id, us);
            let found: Vec<_> = same.iter().map(|branch| state((after_world, after), branch, us)).collect();
            // Where two servers wrote at once, or numbers returned, an instant is a state of either log.
            let ambiguous = !truth.orderly || truth.has_collision();
            let is_right = |state: &BTreeSet<u32>, wanted: &BTreeSet<u32>| {
                state == wanted || (ambiguous && truth.is_some_servers(us, state))
            };
            let equal =
                found.iter().any(|found| matches!((found, &wanted), (Some(Ok(a)), Some(Ok(b))) if is_right(a, b)));
            if !equal && matches!(wanted, Some(Ok(_))) {
                return Err(format!("{us} on {}: {wanted:?} before, {found:?} after", branch.id));
            }
        }
    }
    Ok(())
}

const DAY: i64 = 86_400_000_000;
const SERVER: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
const START: i64 = 1_000 * DAY;

fn gtid(number: u64) -> Gtid {
    Gtid { source: GtidSource::MySql { uuid: Uuid([0xaa; 16]), tag: None }, number }
}

/// One server that commits twice a day, at 6 and 18 h, with one binlog a day, the last of which is open; base backups of some days, at noon.
fn daily(days: u64, bases: &[u64]) -> World {
    let tx = |n: u64| {
        let us = START + (n as i64) * DAY / 2 + DAY / 4;
        let flags = TransactionFlags::NONE;
        Tx { id: n as u32, gtid: Some(gtid(n + 1)), us, here_us: us, flags, whole_second: false }
    };
    let file = |day: u64| {
        let before: Vec<Tx> = (0..2 * day).map(tx).collect();
        let closed = if day + 1 == days { Closed::Open } else { Closed::Rotated { next: name(day + 2) } };
        File {
            id: file_id(SERVER, day + 1, 0),
            previous: gtids(&before),
            txs: vec![tx(2 * day), tx(2 * day + 1)],
            closed,
            damage: None,
            archived: vec![Span { start: 0, end: boundary(2), kind: RangeKind::Catalogued }],
            lost: Vec::new(),
        }
    };
    let base = |(place, day): (usize, &u64)| {
        let executed: Vec<Tx> = (0..=2 * day).map(tx).collect();
        backup(&format!("bb-{place}"), SERVER, gtids(&executed), START + (*day as i64) * DAY + DAY / 2)
    };
    World {
        flavour: Flavour::MySql,
        files: (0..days).map(file).collect(),
        backups: bases.iter().enumerate().map(base).collect(),
        running: None,
    }
}

fn policy(days: i64) -> RetentionPolicy {
    RetentionPolicy { window_us: days * DAY, keep_last: 1, pins: BTreeSet::new(), without_base: WithoutBase::Keep }
}

fn at(world: &World, policy: RetentionPolicy, day: i64) -> RetentionRequest {
    RetentionRequest {
        policy,
        now_us: START + day * DAY,
        promised_us: None,
        stored: stored(world),
        incomplete: BTreeSet::new(),
        needs: BTreeMap::new(),
    }
}

#[test]
fn what_a_binlog_is_told_by_stays_with_it() {
    let world = daily(12, &[1, 4, 7, 10]);
    let kept = |request: &RetentionRequest| gone(&world, request).1;
    let plain = at(&world, policy(5), 12);
    let expired = kept(&plain);
    assert!(expired.len() >= 2, "{expired:?}");
    // The first stays because the second does, which stays because the last one does.
    let id = |place: usize| world.files[place].id.clone();
    let (first, second, last) = (id(expired[0]), id(expired[1]), id(world.files.len() - 1));
    let needs =
        BTreeMap::from([(last, BTreeSet::from([second.clone()])), (second.clone(), BTreeSet::from([first.clone()]))]);
    let request = RetentionRequest { needs, ..plain };
    assert_eq!(kept(&request), expired[2..]);
    let why = reasons(&world, &request, &ExpireItem::Binlog(first));
    assert_eq!(why, Verdict::Keep(vec![KeepReason::Repeated { by: second }]));
}

/// What goes: base backups by number, binlogs by day.
fn gone(world: &World, request: &RetentionRequest) -> (Vec<usize>, Vec<usize>) {
    let plan = expire(world, &world.timeline(), request);
    let is_gone = |item: ExpireItem| plan.expires(&item);
    let backups = world.backups.iter().enumerate().filter(|(_, b)| is_gone(ExpireItem::Backup(b.id.clone())));
    let binlogs = world.files.iter().enumerate().filter(|(_, file)| is_gone(ExpireItem::Binlog(file.id.clone())));
    (backups.map(|(n, _)| n).collect(), binlogs.map(|(n, _)| n).collect())
}

fn reasons(world: &World, request: &RetentionRequest, item: &ExpireItem) -> Verdict {
    let plan = expire(world, &world.timeline(), request);
    plan.decisions.into_iter().find(|decision| decision.item == *item).unwrap().verdict
}

#[test]
fn the_newest_base_older_than_the_window_stays_with_all_after_it() {
    // Bases of the days 1, 4, 7, 10; it is day 12 and the window is five days: it begins with the base of day 4.
    let world = daily(12, &[1, 4, 7, 10]);
    let request = at(&world, policy(5), 12);
    assert_eq!(gone(&world, &request), (vec![0], vec![0, 1, 2, 3]));
    let anchor = reasons(&world, &request, &ExpireItem::Backup("bb-1".to_owned()));
    assert!(
        matches!(&anchor, Verdict::Keep(reasons) if matches!(reasons[..], [KeepReason::Begins { .. }])),
        "{anchor:?}"
    );
    let rule = reasons(&world, &request, &ExpireItem::Backup("bb-0".to_owned()));
    assert_eq!(rule, Verdict::Expire(ExpireRule::Superseded { by: Some("bb-1".to_owned()) }));
    let binlog = reasons(&world, &request, &ExpireItem::Binlog(world.files[4].id.clone()));
    assert_eq!(binlog, Verdict::Keep(vec![KeepReason::Needed { backup: "bb-1".to_owned() }]));
    // A day later nothing more goes: the base of day 7 is not older than five days before day 12.
    assert_eq!(
        gone(&without(&world, &expire(&world, &world.timeline(), &request)), &at(&world, policy(5), 12)),
        (vec![], vec![])
    );
    // The base of day 7 was taken at noon: half a day later it is old enough.
    let mut later = at(&world, policy(5), 12);
    later.now_us += DAY / 2;
    assert_eq!(gone(&world, &later), (vec![0, 1], vec![0, 1, 2, 3, 4, 5, 6]));
}

#[test]
fn no_window_relies_on_a_base_without_its_content() {
    let world = daily(12, &[1, 4, 7, 10]);
    let lacking = |bases: &[&str], policy: RetentionPolicy| RetentionRequest {
        incomplete: bases.iter().map(|id| (*id).to_owned()).collect(),
        ..at(&world, policy, 12)
    };
    // The window would begin with bb-1 (day 4): what bb-0 needs stays, and bb-1 itself is of no use to anybody.
    let request = lacking(&["bb-1"], policy(5));
    assert_eq!(gone(&world, &request), (vec![1], vec![0]));
    let rule = reasons(&world, &request, &ExpireItem::Backup("bb-1".to_owned()));
    assert_eq!(rule, Verdict::Expire(ExpireRule::Incomplete));
    // The last ones that are kept are ones that can be used.
    let last = RetentionPolicy { keep_last: 1, ..policy(1) };
    assert_eq!(gone(&world, &lacking(&["bb-3"], last.clone())).0, [0, 1, 3]);
    // A young one and a pinned one stay, but nothing goes for their sake.
    let pinned = RetentionPolicy { pins: BTreeSet::from(["bb-1".to_owned()]), ..policy(5) };
    assert_eq!(gone(&world, &lacking(&["bb-1", "bb-3"], pinned)), (vec![], vec![0]));
    // Without any that has its content, nothing goes.
    assert_eq!(gone(&world, &lacking(&["bb-0", "bb-1", "bb-2", "bb-3"], policy(5))), (vec![], vec![]));
}

#[test]
fn without_a_base_nothing_goes_unless_by_age() {
    let world = daily(12, &[]);
    let request = at(&world, policy(5), 12);
    assert_eq!(gone(&world, &request), (vec![], vec![]));
    assert!(expire(&world, &world.timeline(), &request).lacks_base());
    let by_age = RetentionPolicy { without_base: WithoutBase::Age, ..policy(5) };
    assert_eq!(gone(&world, &at(&world, by_age, 12)), (vec![], vec![0, 1, 2, 3, 4, 5, 6]));
    // A base that no log leads on from is none, and does not go either.
    let mut world = daily(12, &[1]);
    world.files.retain(|file| file.id.number > 4);
    assert_eq!(gone(&world, &at(&world, policy(5), 12)), (vec![], vec![]));
}

#[test]
fn pins_and_the_last_ones_stay() {
    let world = daily(12, &[1, 4, 7, 10]);
    let pinned = RetentionPolicy { pins: BTreeSet::from(["bb-0".to_owned()]), ..policy(5) };
    assert_eq!(gone(&world, &at(&world, pinned, 12)), (vec![], vec![0]));
    let last = RetentionPolicy { keep_last: 3, ..policy(1) };
    assert_eq!(gone(&world, &at(&world, last, 12)), (vec![0], vec![0, 1, 2, 3]));
    let last = RetentionPolicy { keep_last: 0, ..policy(1) };
    assert_eq!(gone(&world, &at(&world, last, 12)), (vec![0, 1, 2], (0..10).collect()));
}

/// The same, but at the end of a day the server lost that day's two transactions in a crash and gave their numbers again.
fn crashed(days: u64, day: u64, bases: &[u64]) -> World {
    let mut world = daily(days, bases);
    let numbers = |count: u64| {
        (1..=count).map(gtid).fold(GtidSet::new(), |mut set, gtid| {
            set.insert(&gtid);
            set
        })
    };
    for (later, file) in (0..).zip(&mut world.files).filter(|(number, _)| *number > day) {
        file.previous = numbers(2 * later - 2);
        for (tx, number) in file.txs.iter_mut().zip(2 * later - 1..) {
            tx.gtid = Some(gtid(number));
        }
    }
    for (base, taken) in world.backups.iter_mut().zip(bases).filter(|(_, taken)| **taken > day) {
        base.executed = numbers(2 * taken - 1);
    }
    world
}

#[test]
fn what_tells_a_base_from_returned_numbers_goes_with_it_or_stays() {
    // The base of day 4 has a transaction that the crash took. Days later it would be one of the last two base backups.
    let world = crashed(12, 4, &[2, 4, 9, 10]);
    let last = RetentionPolicy { keep_last: 3, ..policy(1) };
    let request = at(&world, last, 12);
    let (backups, binlogs) = gone(&world, &request);
    assert_eq!(backups, [1], "the third last is the one before it");
    assert!(!binlogs.contains(&5), "{binlogs:?}");
    let rule = reasons(&world, &request, &ExpireItem::Backup("bb-1".to_owned()));
    assert_eq!(rule, Verdict::Expire(ExpireRule::Apart));
    // Pinned it stays, and with it the logs of both histories.
    let pinned = RetentionPolicy { pins: BTreeSet::from(["bb-1".to_owned()]), ..policy(1) };
    let request = at(&world, pinned, 12);
    assert_eq!(gone(&world, &request).0, [0, 2]);
    let Verdict::Keep(why) = reasons(&world, &request, &ExpireItem::Binlog(world.files[5].id.clone())) else {
        panic!("the log that gave the number again goes");
    };
    assert!(why.contains(&KeepReason::Tells { backup: "bb-1".to_owned() }), "{why:?}");
}

#[test]
fn a_transaction_from_the_future_evicts_nothing() {
    let mut world = daily(12, &[1, 4, 7, 10]);
    // A client set the clock of one transaction of day 3 a hundred years ahead.
    world.files[3].txs[0].us += 36_500 * DAY;
    // The bases that have it serve no instant that has passed, so the one before it stays.
    assert_eq!(gone(&world, &at(&world, policy(5), 12)), (vec![], vec![0]));
    let stored_late = || {
        let mut request = at(&daily(12, &[1, 4, 7, 10]), policy(5), 12);
        request.stored.backups.values_mut().for_each(|us| *us = request.now_us);
        request
    };
    // By the store's clock every base is of today (a bucket that was copied): none is known to be old.
    assert_eq!(gone(&daily(12, &[1, 4, 7, 10]), &stored_late()).0, Vec::<usize>::new());
}

#[test]
fn what_a_server_may_still_write_to_stays() {
    // The server is idle since day 11; a base of day 30 has all of its transactions.
    let mut world = daily(12, &[4, 30]);
    world.backups[1].executed = world.files[11].previous.union(&gtids(&world.files[11].txs));
    let request = at(&world, policy(5), 60);
    assert_eq!(gone(&world, &request), (vec![0], (0..11).collect()));
    let open = reasons(&world, &request, &ExpireItem::Binlog(world.files[11].id.clone()));
    assert_eq!(open, Verdict::Keep(vec![KeepReason::Open]));
}

#[test]
fn an_idle_servers_closed_binlogs_go_though_no_transaction_is_left() {
    // All that was committed stands in closed binlogs, and a base backup has it; the open one is empty.
    let mut world = daily(12, &[30]);
    world.backups[0].executed = world.files[11].previous.clone();
    world.files[11].txs.clear();
    world.files[11].archived = vec![Span { start: 0, end: boundary(0), kind: RangeKind::Catalogued }];
    assert_eq!(gone(&world, &at(&world, policy(5), 60)), (vec![], (0..11).collect()));
}

#[test]
fn a_shorter_window_than_was_promised_is_named() {
    let world = daily(12, &[1, 4, 7, 10]);
    let mut request = at(&world, policy(3), 12);
    assert!(expire(&world, &world.timeline(), &request).shrinks.is_empty());
    request.promised_us = Some(7 * DAY);
    let plan = expire(&world, &world.timeline(), &request);
    // Seven days before day 12 to the base of day 7, which holds the commit at 6 h.
    let spans: Vec<(i64, i64)> = plan.shrinks.iter().map(|span| (span.from_us, span.to_us)).collect();
    assert_eq!(spans.first().map(|span| span.0), Some(START + 5 * DAY));
    assert!(spans.last().is_some_and(|span| span.1 < START + 8 * DAY), "{spans:?}");
}
