//! A base backup as plans tell it.

use std::collections::BTreeMap;

use pitr_archive::document::PlanDocument;
use pitr_binlog::Flavour;
use pitr_recovery::{BaseBackup, Clock, LaterBeforeTarget, PlanParts, RecoveryTarget, RestorePlan};

/// The server that it was made of.
pub(crate) const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// One of 41 GiB that holds the transactions `1-last` of [`SERVER`], as that one was at `snapshot_us`.
pub(crate) fn base_backup(last: u64, snapshot_us: i64) -> BaseBackup {
    BaseBackup {
        id: "bb-20261121-020009-4c1d".into(),
        method: "clone".into(),
        flavour: Flavour::MySql,
        server_version: "8.4.6".into(),
        source: SERVER.into(),
        executed: format!("{SERVER}:1-{last}").parse().unwrap(),
        position: None,
        snapshot_us,
        started_us: snapshot_us - 600_000_000,
        finished_us: snapshot_us + 600_000_000,
        raw_bytes: 44_238_013_235,
        stored_bytes: 14_924_860_621,
        settings: BTreeMap::new(),
        recipients: Vec::new(),
    }
}

/// The bytes of a plan that is a base backup and nothing to replay.
pub(crate) fn plan_of(base: BaseBackup) -> Vec<u8> {
    let plan = RestorePlan::from_parts(PlanParts {
        workload: "shop/mysql".into(),
        target: RecoveryTarget::Latest,
        clock: Clock::Original,
        expected: base.executed.clone(),
        base,
        branch: "br-3fa0".into(),
        stream: None,
        files: Vec::new(),
        stop: None,
        last_applied: None,
        first_excluded: None,
        later_before_target: LaterBeforeTarget::default(),
        same_second: 0,
        skip: "".parse().unwrap(),
        transactions: 0,
        bytes: 0,
        warnings: Vec::new(),
        resolution_us: 1,
    });
    PlanDocument::encode(&plan).unwrap()
}
