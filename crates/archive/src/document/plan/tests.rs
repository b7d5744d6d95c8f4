use std::collections::BTreeMap;

use pitr_binlog::{BinlogName, Flavour, TransactionFlags};
use pitr_recovery::{
    BaseBackup, BinlogId, BoundaryTransaction, PlannedBinlog, PlannedRange, RecoveryTarget, StoredObject,
    TransactionPoint,
};

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
        StoredObject { key: format!("binlogs/x/{start}"), length: 77, sha256_16: "0102030405060708".to_owned() };
    PlannedRange { start, end, raw_sha256: [9; 32], objects: vec![object] }
}

fn plan(target: RecoveryTarget) -> RestorePlan {
    RestorePlan::from_parts(PlanParts {
        workload: "shop/mysql".to_owned(),
        target,
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
