//! What tests of several parts of the status are made with.

use std::collections::BTreeMap;

use pitr_binlog::{Flavour, GtidSet};
use pitr_recovery::BaseBackup;

/// A base backup by CLONE of a server, consistent at an instant.
pub(super) fn clone_of(source: &str, (id, at_us): (&str, i64), executed: GtidSet) -> BaseBackup {
    BaseBackup {
        id: id.to_owned(),
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: "9.7.4".to_owned(),
        source: source.to_owned(),
        executed,
        position: None,
        snapshot_us: at_us,
        started_us: at_us,
        finished_us: at_us,
        raw_bytes: 1,
        stored_bytes: 1,
        settings: BTreeMap::new(),
        recipients: Vec::new(),
    }
}
