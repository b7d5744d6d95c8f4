//! Random logs of a replica, in which every transaction has two times, against brute force: the stop is the first transaction
//! later than the target by the clock that was asked for, and the plan says where the other one would stop.

use pitr_binlog::{Flavour, GtidSet, TransactionFlags};
use pitr_recovery::{Clock, Closed, PlanRequest, PlanWarning, RangeKind, RecoveryTarget, SECOND_US, Unrecoverable};
use proptest::prelude::*;

use crate::number;
use crate::world::{File, Span, Tx, World, backup, boundary, file_id, name};

const ORIGIN: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
const REPLICA: &str = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb";
const TENTH_US: i64 = SECOND_US / 10;

/// One transaction: tenths of a second since the one before, tenths until the replica had it, and what is odd about it.
type Step = (i64, i64, u8);

fn step() -> impl Strategy<Value = Step> {
    (0..8_i64, 0..25_i64, any::<u8>())
}

/// Its times by both clocks. Now and then a client sets the original one, or a clock is set back.
fn times(steps: &[Step]) -> Vec<(i64, i64)> {
    let (mut origin_us, mut here_us) = (1_000 * SECOND_US, 1_000 * SECOND_US);
    let time = |(since, lag, odd): &Step| {
        origin_us += since * TENTH_US;
        here_us = here_us.max(origin_us + lag * TENTH_US) - if *odd < 20 { 2 * SECOND_US } else { 0 };
        match odd {
            230.. => (origin_us + 5_000 * SECOND_US, here_us),
            200..230 => (origin_us - SECOND_US, here_us),
            _ => (origin_us, here_us),
        }
    };
    steps.iter().map(time).collect()
}

/// The log of the replica in binlogs and ranges of some transactions each, with base backups behind some.
fn world(times: &[(i64, i64)], cuts: &[usize], bases: &[usize]) -> World {
    let gtid = |n: usize| format!("{ORIGIN}:{}", n + 1).parse().unwrap();
    let tx = |(n, (us, here_us)): (usize, &(i64, i64))| Tx {
        id: n as u32,
        gtid: Some(gtid(n)),
        us: *us,
        here_us: *here_us,
        flags: TransactionFlags::NONE,
        whole_second: false,
    };
    let txs: Vec<Tx> = times.iter().enumerate().map(tx).collect();
    let executed = |count: usize| -> GtidSet { (0..count).map(gtid).collect() };
    let (mut files, mut at, mut cuts) = (Vec::new(), 0, cuts.iter().copied().cycle());
    let mut next = || cuts.next().unwrap_or(1);
    while at < txs.len() {
        let count = (next() + next()).min(txs.len() - at);
        let first = next().min(count);
        let (middle, end) = (boundary(first), boundary(count));
        let mut archived = vec![Span { start: 0, end: middle, kind: RangeKind::Catalogued }];
        if middle < end {
            archived.push(Span { start: middle, end, kind: RangeKind::Catalogued });
        }
        let number = files.len() as u64 + 1;
        let closed = if at + count < txs.len() { Closed::Rotated { next: name(number + 1) } } else { Closed::Open };
        let id = file_id(REPLICA, number, 0);
        let own = txs[at..at + count].to_vec();
        files.push(File { id, previous: executed(at), txs: own, closed, damage: None, archived, lost: Vec::new() });
        at += count;
    }
    let base = |(n, count): (usize, &usize)| {
        let count = (*count).min(txs.len());
        backup(&format!("bb-{n}"), REPLICA, executed(count), times[count - 1].1)
    };
    World { flavour: Flavour::MySql, files, backups: bases.iter().enumerate().map(base).collect(), running: None }
}

fn by(clock: Clock, (us, here_us): (i64, i64)) -> i64 {
    match clock {
        Clock::Original => us,
        Clock::Immediate => here_us,
    }
}

/// How many transactions stand before the first one later than an instant.
fn stop(times: &[(i64, i64)], clock: Clock, us: i64) -> usize {
    times.iter().position(|tx| by(clock, *tx) > us).unwrap_or(times.len())
}

fn check(world: &World, times: &[(i64, i64)], bases: &[usize]) -> Result<u32, TestCaseError> {
    let timeline = world.timeline();
    let edges = times.iter().flat_map(|(a, b)| [*a, *b]).flat_map(|us| [us - 1, us, us + 3 * TENTH_US]);
    let first = bases.iter().map(|count| (*count).min(times.len())).min().unwrap_or(0);
    let mut planned = 0;
    for us in edges {
        for clock in [Clock::Original, Clock::Immediate] {
            let expected = stop(times, clock, us);
            let other = stop(times, clock.other(), us);
            let regresses = times[expected..].iter().any(|tx| by(clock, *tx) < us - SECOND_US);
            let request = PlanRequest { clock, ..PlanRequest::new(RecoveryTarget::Time(us)) };
            let plan = match world.plan(&timeline, &request) {
                Ok(plan) => plan,
                Err(Unrecoverable::TimesStepBack { .. }) => {
                    prop_assert!(regresses, "{clock} {us}: refused");
                    continue;
                }
                Err(why) => {
                    prop_assert!(expected == times.len() || expected < first, "{clock} {us}: {why}");
                    continue;
                }
            };
            planned += 1;
            prop_assert_eq!(plan.expected().count(), expected as u64, "{} {}", clock, us);
            prop_assert!(!regresses, "{clock} {us}: not refused");
            let told = plan.parts().warnings.iter().find_map(|warning| match warning {
                PlanWarning::OtherClock { clock: of, more, before } => Some((*of, *more, *before)),
                _ => None,
            });
            if let Some((of, more, before)) = told {
                prop_assert_eq!(of, clock.other());
                if let Some(more) = more {
                    prop_assert_eq!(more, other as i64 - expected as i64);
                    prop_assert_eq!(before.map(|gtid| gtid.number), (other < times.len()).then_some(other as u64 + 1));
                }
            }
            // A clock that was set back can hide the difference from the transactions next to the stop.
            let evident = clock == Clock::Immediate || times.is_sorted_by_key(|(_, here_us)| *here_us);
            prop_assert!(told.is_some() || expected == other || !evident, "{clock} {us}: silent about {other}");
        }
    }
    Ok(planned)
}

#[test]
fn either_clock_stops_where_brute_force_does() {
    let cases = number("PITR_ORACLE_CASES", 300) as u32;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let scripts = (
        prop::collection::vec(step(), 1..14),
        prop::collection::vec(1..5_usize, 5),
        prop::collection::vec(1..8_usize, 1..3),
    );
    let planned = std::cell::Cell::new(0);
    let result = proptest::test_runner::TestRunner::new(config).run(&scripts, |(steps, cuts, bases)| {
        let times = times(&steps);
        planned.set(planned.get() + check(&world(&times, &cuts, &bases), &times, &bases)?);
        Ok(())
    });
    result.unwrap();
    assert!(planned.get() > cases * 10, "only {} plans", planned.get());
}
