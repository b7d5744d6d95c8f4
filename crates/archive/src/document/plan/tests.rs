use std::collections::BTreeMap;

use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, GtidSource, Tag, TransactionFlags, Uuid};
use pitr_recovery::{
    BaseBackup, BinlogId, BoundaryTransaction, PlannedBinlog, PlannedRange, RecoveryTarget, StoredObject,
    TransactionPoint,
};

use proptest::prelude::*;

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn boundary(number: u64, commit_us: i64) -> BoundaryTransaction {
    BoundaryTransaction {
        binlog: id(),
        name: name(),
        at: TransactionPoint {
            gtid: Some(format!("{UUID}:{number}").parse().unwrap()),
            commit_us,
            start: 200 * number,
            end: 200 * (number + 1),
        },
        logged_us: Some(commit_us.saturating_sub(1)),
        flags: TransactionFlags::DDL,
    }
}

fn id() -> BinlogId {
    BinlogId { source: UUID.to_owned(), number: 42, head: [1; 8] }
}

fn name() -> BinlogName {
    BinlogName::parse("binlog.000042").unwrap()
}

fn range(start: u64, end: u64) -> PlannedRange {
    let object =
        StoredObject { key: format!("binlogs/x/{start}"), length: 77, sha256_begins: [1, 2, 3, 4, 5, 6, 7, 8] };
    PlannedRange { start, end, raw_sha256: [9; 32], objects: vec![object] }
}

fn plan(target: RecoveryTarget) -> RestorePlan {
    RestorePlan::from_parts(PlanParts {
        workload: "shop/mysql".to_owned(),
        target,
        clock: Clock::Immediate,
        base: BaseBackup {
            id: "bb-20261121-020009-4c1d".to_owned(),
            method: "clone".to_owned(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            source: UUID.to_owned(),
            executed: format!("{UUID}:1-10").parse().unwrap(),
            position: Some((name(), 4711)),
            snapshot_us: 1_700_000_000_000_001,
            started_us: 1_700_000_000_000_000,
            finished_us: 1_700_000_000_000_002,
            raw_bytes: 1,
            stored_bytes: 2,
            settings: BTreeMap::from([("innodb_page_size".to_owned(), "16384".to_owned())]),
            recipients: vec!["age1qx".to_owned()],
        },
        branch: "br-3fa0".to_owned(),
        stream: Some("st-9c1d".to_owned()),
        files: vec![PlannedBinlog {
            id: id(),
            name: name(),
            head: range(0, 5000),
            ranges: vec![range(0, 5000), range(5000, 9000)],
            from: 2200,
            to: 6000,
        }],
        stop: Some(Stop { binlog: id(), name: name(), offset: 6000 }),
        last_applied: Some(boundary(29, 1_700_000_000_000_010)),
        // A client may claim any commit time.
        first_excluded: Some(boundary(30, i64::MAX)),
        later_before_target: LaterBeforeTarget { count: 1, first: Some(Box::new(boundary(31, -5))) },
        same_second: 16,
        expected: format!("{UUID}:1-29").parse().unwrap(),
        skip: format!("{UUID}:12").parse().unwrap(),
        transactions: 19,
        bytes: 3800,
        warnings: vec![
            PlanWarning::WholeSeconds,
            PlanWarning::TimesStepBack { by_us: 12 },
            PlanWarning::XaTransactions,
            PlanWarning::Statements,
            PlanWarning::NonTransactional,
            PlanWarning::Skipped(format!("{UUID}:12").parse().unwrap()),
            PlanWarning::ProvenByServer { to_us: 5 },
            PlanWarning::BaseAlone,
            PlanWarning::Nearest { asked: RecoveryTarget::Latest },
            PlanWarning::OtherClock {
                clock: Clock::Original,
                more: Some(-3),
                before: Some(format!("{UUID}:14").parse().unwrap()),
            },
            PlanWarning::AcrossGap { gap: "gap-7f2a".to_owned(), missing: format!("{UUID}:13").parse().unwrap() },
        ],
        resolution_us: 1,
    })
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let gtid = format!("{UUID}:30").parse().unwrap();
    for target in [
        RecoveryTarget::Time(1_700_000_000_000_010),
        RecoveryTarget::Latest,
        RecoveryTarget::BeforeGtid(gtid),
        RecoveryTarget::ThroughGtid(gtid),
        RecoveryTarget::Position { source: Some("3e11".to_owned()), name: name(), pos: 6001 },
        RecoveryTarget::Position { source: None, name: name(), pos: 6001 },
    ] {
        let document = PlanDocument::new(plan(target.clone())).unwrap();
        assert_eq!(document.plan(), &plan(target));
        let read = PlanDocument::parse(document.bytes()).unwrap();
        assert_eq!(read, document);
        assert_eq!(PlanDocument::encode(read.plan()).unwrap(), document.bytes());
    }
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let document = PlanDocument::new(plan(RecoveryTarget::Latest)).unwrap();
    assert_eq!(document.hash(), plan_hash(document.bytes()));
    let mut changed = document.bytes().to_vec();
    let at = changed.windows(4).position(|bytes| bytes == b"6000").unwrap();
    changed[at] = b'7';
    assert_ne!(plan_hash(&changed), document.hash());
}

#[test]
fn other_documents_are_refused_by_name() {
    let text = String::from_utf8(PlanDocument::encode(&plan(RecoveryTarget::Latest)).unwrap()).unwrap();
    let refused = |text: String| PlanDocument::decode(text.as_bytes()).unwrap_err();
    assert!(
        matches!(refused(text.replace("\"RestorePlan\"", "\"Job\"")), DocumentError::Kind { found } if found == "Job")
    );
    assert_eq!(
        refused(text.replace("\"schemaVersion\": 1", "\"schemaVersion\": 2")),
        DocumentError::Newer { found: 2 }
    );
    assert_eq!(refused(text.replace("binlog.000042", "../binlog.000042")), DocumentError::Invalid { field: "binlog" });
    assert_eq!(refused(text.replace("bb-2026", "../2026")), DocumentError::Invalid { field: "base.id" });
    assert!(matches!(refused("{".to_owned()), DocumentError::Unreadable(_)));
}

fn source_strategy(is_mysql: bool) -> BoxedStrategy<GtidSource> {
    let mysql = (any::<[u8; 2]>(), prop::option::of("[a-z_][a-z0-9_]{0,31}"));
    let mysql = mysql.prop_map(|([first, last], tag)| {
        let mut uuid = [first; 16];
        uuid[15] = last;
        GtidSource::MySql { uuid: Uuid(uuid), tag: tag.map(|tag| Tag::parse(&tag).unwrap()) }
    });
    let mariadb = (any::<u32>(), 1..u32::MAX).prop_map(|(domain, server_id)| GtidSource::MariaDb { domain, server_id });
    if is_mysql { mysql.boxed() } else { mariadb.boxed() }
}

fn gtid_strategy(is_mysql: bool) -> impl Strategy<Value = Gtid> {
    (source_strategy(is_mysql), 1..1_u64 << 62).prop_map(|(source, number)| Gtid { source, number })
}

fn set_strategy(is_mysql: bool) -> impl Strategy<Value = GtidSet> {
    let ranges = prop::collection::vec((source_strategy(is_mysql), 1..1_u64 << 40, 0..1000_u64), 0..6);
    ranges.prop_map(|ranges| {
        let mut set = GtidSet::new();
        ranges.iter().for_each(|(source, first, more)| set.insert_range(source, *first..=first + more));
        set
    })
}

fn id_strategy() -> impl Strategy<Value = (BinlogId, BinlogName)> {
    let name = ("[a-z][a-z0-9-]{0,20}(\\.x)?", 1..2_000_000_u64);
    ("[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}", name, any::<[u8; 8]>()).prop_map(|(source, (base, number), head)| {
        let name = BinlogName::parse(&format!("{base}.{number:06}")).unwrap();
        (BinlogId { source, number, head }, name)
    })
}

fn range_strategy() -> impl Strategy<Value = PlannedRange> {
    let object = ("\\PC{1,60}", any::<u64>(), any::<[u8; 8]>()).prop_map(|(key, length, sha256_begins)| StoredObject {
        key,
        length,
        sha256_begins,
    });
    (0..u64::MAX / 2, 1..u64::MAX / 2, any::<[u8; 32]>(), prop::collection::vec(object, 0..3)).prop_map(
        |(start, length, raw_sha256, objects)| PlannedRange { start, end: start + length, raw_sha256, objects },
    )
}

fn file_strategy() -> impl Strategy<Value = PlannedBinlog> {
    let ranges = prop::collection::vec(range_strategy(), 0..3);
    (id_strategy(), range_strategy(), ranges, 0..u64::MAX / 2, 0..u64::MAX / 2).prop_map(
        |((id, name), head, ranges, from, length)| PlannedBinlog { id, name, head, ranges, from, to: from + length },
    )
}

fn boundary_strategy(is_mysql: bool) -> impl Strategy<Value = BoundaryTransaction> {
    let at = (prop::option::of(gtid_strategy(is_mysql)), any::<i64>(), any::<u64>(), any::<u64>());
    let at = at.prop_map(|(gtid, commit_us, start, end)| TransactionPoint { gtid, commit_us, start, end });
    let rest = (prop::option::of(any::<i64>()), any::<u16>());
    (id_strategy(), at, rest).prop_map(|((binlog, name), at, (logged_us, bits))| BoundaryTransaction {
        binlog,
        name,
        at,
        logged_us,
        flags: TransactionFlags::from_bits(bits),
    })
}

fn target_strategy(is_mysql: bool) -> impl Strategy<Value = RecoveryTarget> {
    prop_oneof![
        any::<i64>().prop_map(RecoveryTarget::Time),
        Just(RecoveryTarget::Latest),
        gtid_strategy(is_mysql).prop_map(RecoveryTarget::BeforeGtid),
        gtid_strategy(is_mysql).prop_map(RecoveryTarget::ThroughGtid),
        (id_strategy(), any::<u64>(), prop::option::of("\\PC{0,40}"))
            .prop_map(|((_, name), pos, source)| RecoveryTarget::Position { source, name, pos }),
    ]
}

fn warning_strategy(is_mysql: bool) -> impl Strategy<Value = PlanWarning> {
    prop_oneof![
        Just(PlanWarning::WholeSeconds),
        any::<i64>().prop_map(|by_us| PlanWarning::TimesStepBack { by_us }),
        Just(PlanWarning::XaTransactions),
        Just(PlanWarning::Statements),
        Just(PlanWarning::NonTransactional),
        set_strategy(is_mysql).prop_map(PlanWarning::Skipped),
        any::<i64>().prop_map(|to_us| PlanWarning::ProvenByServer { to_us }),
        Just(PlanWarning::BaseAlone),
        any::<i64>().prop_map(|us| PlanWarning::Nearest { asked: RecoveryTarget::Time(us) }),
        (any::<Option<i64>>(), prop::option::of(gtid_strategy(is_mysql)))
            .prop_map(|(more, before)| PlanWarning::OtherClock { clock: Clock::Immediate, more, before }),
        set_strategy(is_mysql).prop_map(|missing| PlanWarning::AcrossGap { gap: "gap-1".to_owned(), missing }),
    ]
}

fn base_strategy(is_mysql: bool) -> impl Strategy<Value = BaseBackup> {
    let names = ("[a-z0-9-]{1,40}", "\\PC{0,20}", "\\PC{0,30}", "\\PC{0,40}");
    let times = (any::<i64>(), any::<i64>(), any::<i64>());
    let position = prop::option::of((id_strategy(), any::<u64>()));
    let settings = prop::collection::btree_map("\\PC{0,20}", "\\PC{0,20}", 0..4);
    let more = (settings, prop::collection::vec("\\PC{0,20}", 0..3));
    (names, set_strategy(is_mysql), position, times, (any::<u64>(), any::<u64>()), more).prop_map(
        move |((id, method, version, source), executed, position, times, bytes, (settings, recipients))| BaseBackup {
            id,
            method,
            flavour: if is_mysql { Flavour::MySql } else { Flavour::MariaDb },
            server_version: version,
            source,
            executed,
            position: position.map(|((_, name), at)| (name, at)),
            snapshot_us: times.0,
            started_us: times.1,
            finished_us: times.2,
            raw_bytes: bytes.0,
            stored_bytes: bytes.1,
            settings,
            recipients,
        },
    )
}

fn plan_strategy(is_mysql: bool) -> impl Strategy<Value = RestorePlan> {
    let whose = ("\\PC{0,40}", "\\PC{0,20}", prop::option::of("\\PC{0,20}"));
    let boundary = || prop::option::of(boundary_strategy(is_mysql));
    let stop = prop::option::of((id_strategy(), any::<u64>()));
    let clock = prop_oneof![Just(Clock::Original), Just(Clock::Immediate)];
    let target = (target_strategy(is_mysql), clock);
    let what = (target, base_strategy(is_mysql), prop::collection::vec(file_strategy(), 0..4), stop);
    let edges = (boundary(), boundary(), (any::<u64>(), boundary()), any::<u64>());
    let sets = (set_strategy(is_mysql), set_strategy(is_mysql));
    let rest = (any::<u64>(), any::<u64>(), prop::collection::vec(warning_strategy(is_mysql), 0..4), any::<i64>());
    (whose, what, edges, sets, rest).prop_map(|(whose, what, edges, sets, rest)| {
        RestorePlan::from_parts(PlanParts {
            workload: whose.0,
            target: what.0.0,
            clock: what.0.1,
            base: what.1,
            branch: whose.1,
            stream: whose.2,
            files: what.2,
            stop: what.3.map(|((binlog, name), offset)| Stop { binlog, name, offset }),
            last_applied: edges.0,
            first_excluded: edges.1,
            later_before_target: LaterBeforeTarget { count: edges.2.0, first: edges.2.1.map(Box::new) },
            same_second: edges.3,
            expected: sets.0,
            skip: sets.1,
            transactions: rest.0,
            bytes: rest.1,
            warnings: rest.2,
            resolution_us: rest.3,
        })
    })
}

proptest! {
    #[test]
    fn any_plan_is_read_as_it_was_written(plan in any::<bool>().prop_flat_map(plan_strategy)) {
        let document = PlanDocument::new(plan.clone()).unwrap();
        let read = PlanDocument::parse(document.bytes()).unwrap();
        prop_assert_eq!(read.plan(), &plan);
        // The same plan has the same bytes and so the same hash, whoever writes it.
        prop_assert_eq!(PlanDocument::encode(read.plan()).unwrap(), document.bytes());
    }

    #[test]
    fn a_damaged_document_is_refused_or_has_another_hash(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let document = PlanDocument::new(plan(RecoveryTarget::Latest)).unwrap();
        let mut bytes = document.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = PlanDocument::parse(&bytes) {
            prop_assert_ne!(read.hash(), document.hash());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(text in "\\PC{0,200}") {
        prop_assert!(PlanDocument::parse(text.as_bytes()).is_err());
    }
}
