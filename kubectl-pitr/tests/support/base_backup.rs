//! A base backup as plans tell it.

use std::collections::BTreeMap;

use pitr_binlog::Flavour;
use pitr_recovery::BaseBackup;

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
    }
}
