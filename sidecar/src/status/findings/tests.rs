use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, GtidSource, Uuid};
use pitr_recovery::{
    ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Damage, Inventory, RangeFlags, RangeKind,
    StoredObject, Timeline, TransactionPoint, code,
};

use super::{Look, codes, damaged_binlogs, live_branch, state};
use crate::status::board::{Facts, Stage};
use crate::status::samples::clone_of;

/// Binlog `number` of server 1 with transactions `first..=last`, one a second, 100 bytes each.
fn binlog(number: u64, head: u8, (first, last): (u64, u64), from_us: i64) -> ArchivedBinlog {
    let source = GtidSource::MySql { uuid: Uuid([1; 16]), tag: None };
    let point = |number: u64| TransactionPoint {
        gtid: Some(Gtid { source, number }),
        commit_us: from_us + (number - first).cast_signed() * 1_000_000,
        start: (number - first) * 100 + if number == first { 0 } else { 100 },
        end: (number - first) * 100 + 200,
    };
    let (mut gtids, mut previous) = (GtidSet::new(), GtidSet::new());
    gtids.insert_range(&source, first..=last);
    if first > 1 {
        previous.insert_range(&source, 1..=first - 1);
    }
    let range = ArchivedRange {
        start: 0,
        end: point(last).end,
        raw_sha256: [head; 32],
        kind: RangeKind::Catalogued,
        gtids,
        transactions: last - first + 1,
        first: Some(TransactionPoint { start: 126, ..point(first) }),
        last: Some(point(last)),
        min_commit_us: point(first).commit_us,
        max_commit_us: point(last).commit_us,
        step_back_us: 0,
        flags: RangeFlags::default(),
        objects: vec![StoredObject { key: format!("{number}-{head}"), length: 1, sha256_begins: [0; 8] }],
    };
    let name = |number: u64| BinlogName::parse(&format!("binlog.{number:06}")).unwrap();
    ArchivedBinlog {
        id: BinlogId { source: Uuid([1; 16]).to_string(), number, head: [head; 8] },
        name: name(number),
        flavour: Flavour::MySql,
        server_version: "9.7.4".to_owned(),
        previous,
        previous_known: true,
        ranges: vec![range],
        closed: Closed::Rotated { next: name(number + 1) },
        damage: None,
    }
}

fn backup(executed_to: u64, at_us: i64) -> BaseBackup {
    let mut executed = GtidSet::new();
    executed.insert_range(&GtidSource::MySql { uuid: Uuid([1; 16]), tag: None }, 1..=executed_to);
    clone_of(&Uuid([1; 16]).to_string(), (&format!("bb-{executed_to}"), at_us), executed)
}

fn timeline(binlogs: Vec<ArchivedBinlog>, backups: Vec<BaseBackup>) -> Timeline {
    Timeline::new(Inventory {
        workload: "a/b".to_owned(),
        binlogs: binlogs.into_iter().map(std::sync::Arc::new).collect(),
        backups,
        ..Inventory::default()
    })
}

const BEGIN_US: i64 = 1_700_000_000_000_000;

fn found(timeline: &Timeline) -> (Vec<u16>, &'static str) {
    let facts = Facts { stage: Stage::Archiving, ..Facts::default() };
    let look = Look {
        facts: &facts,
        timeline: Some(timeline),
        is_late: false,
        purge_is_near: false,
        is_stuck: false,
        drill_failed: false,
        is_damaged: false,
    };
    let codes = codes(look);
    (codes.iter().map(|code| code.number).collect(), state(&facts, &codes))
}

#[test]
fn a_sound_archive_is_ok() {
    let sound = timeline(vec![binlog(1, 1, (1, 5), BEGIN_US)], vec![backup(1, BEGIN_US)]);
    assert_eq!(found(&sound), (vec![], "ok"));
    assert!(live_branch(&sound).is_some());
}

#[test]
fn damage_degrades_until_a_base_backup_bridges_it() {
    let mut damaged = binlog(1, 1, (1, 5), BEGIN_US);
    damaged.damage = Some(Damage { offset: 300, reason: "rubbish".to_owned() });
    damaged.ranges[0].end = 900;
    let later = binlog(2, 2, (9, 12), BEGIN_US + 60_000_000);
    let open = timeline(vec![damaged.clone(), later.clone()], vec![backup(1, BEGIN_US)]);
    let (codes, state) = found(&open);
    assert!(codes.contains(&308) && codes.contains(&502) && state == "degraded", "{codes:?} {state}");
    assert_eq!(damaged_binlogs(&Facts::default(), &open), 1);
    let bridged = timeline(vec![damaged, later], vec![backup(1, BEGIN_US), backup(9, BEGIN_US + 60_000_000)]);
    assert_eq!(found(&bridged), (vec![], "ok"), "{:?}", bridged.gaps());
    assert_eq!(damaged_binlogs(&Facts::default(), &bridged), 1);
}

#[test]
fn one_binlog_with_two_contents_is_an_error() {
    let one = binlog(1, 1, (1, 5), BEGIN_US);
    let mut two = one.clone();
    two.ranges[0].raw_sha256 = [9; 32];
    two.ranges[0].objects[0].key = "twin".to_owned();
    let mut both = one;
    both.ranges.extend(two.ranges);
    let (codes, state) = found(&timeline(vec![both], vec![backup(1, BEGIN_US)]));
    assert!(codes.contains(&507) && state == "degraded", "{codes:?} {state}");
}

#[test]
fn numbers_that_return_after_a_reset_are_told_and_degrade_nothing() {
    let before = binlog(1, 1, (1, 5), BEGIN_US);
    let after = binlog(1, 2, (1, 3), BEGIN_US + 3_600_000_000);
    let reset = timeline(vec![before, after], vec![]);
    let (codes, _) = found(&reset);
    let [returned, two] = [code::NUMBERS_RETURNED, code::TWO_CONTENTS].map(|code| code.number);
    assert!(codes.contains(&returned) && !codes.contains(&two), "{codes:?}");
    // The same numbers at the same time: two servers.
    let twins = timeline(vec![binlog(1, 1, (1, 5), BEGIN_US), binlog(1, 2, (1, 5), BEGIN_US + 500_000)], vec![]);
    let (codes, state) = found(&twins);
    assert!(codes.contains(&507) && state == "degraded", "{codes:?}");
}
