//! What a cycle that was asked for came to.

use std::time::Duration;

use pitr_archive::document::{API_VERSION, CycleDocument, SCHEMA_VERSION};

use super::board::{Area, Facts};
use super::heartbeat::{Snapshot, document};
use crate::config::Config;

/// What stands in the way of archiving, wherever else something may be wrong.
const IN_THE_WAY: [Area; 4] = [Area::Stream, Area::Discovery, Area::Tail, Area::Backlog];

/// The document of a cycle that `ended` within its time.
pub(crate) fn cycle_document(config: &Config, snapshot: &Snapshot, (ended, took): (bool, Duration)) -> CycleDocument {
    let heartbeat = document(config, snapshot);
    CycleDocument {
        api_version: API_VERSION.to_owned(),
        kind: "ArchiveCycle".to_owned(),
        schema_version: SCHEMA_VERSION,
        archive: heartbeat.archive.url,
        complete: ended && has_left_nothing(&snapshot.facts),
        took_milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        closed: heartbeat.closed,
        active: heartbeat.active,
        unarchived_binlogs: heartbeat.unarchived_binlogs,
        unarchived_bytes: heartbeat.unarchived_bytes,
        codes: heartbeat.codes,
    }
}

fn has_left_nothing(facts: &Facts) -> bool {
    let is_free = !IN_THE_WAY.iter().any(|area| facts.problems.contains_key(area)) && facts.refused.is_empty();
    let is_whole = facts.active.as_ref().is_none_or(|active| active.unshipped_since_us.is_none());
    is_free && is_whole && facts.backlog.as_ref().is_some_and(|backlog| backlog.binlogs == 0)
}

#[cfg(test)]
mod tests {
    use pitr_recovery::code;

    use super::super::board::{ActiveFacts, BacklogFacts};
    use super::*;
    use crate::error::Failure;

    #[test]
    fn a_cycle_is_complete_where_nothing_is_left_and_nothing_stands_in_the_way() {
        let active = ActiveFacts { binlog: "b".into(), position: 9, shipped: 9, unshipped_since_us: None };
        let whole = Facts { backlog: Some(BacklogFacts::default()), active: Some(active.clone()), ..Facts::default() };
        assert!(has_left_nothing(&whole));
        assert!(has_left_nothing(&Facts { active: None, ..whole.clone() }), "without a tail closed binlogs are all");
        let waiting = Facts { active: Some(ActiveFacts { unshipped_since_us: Some(1), ..active }), ..whole.clone() };
        assert!(!has_left_nothing(&waiting));
        let behind = BacklogFacts { binlogs: 1, ..BacklogFacts::default() };
        assert!(!has_left_nothing(&Facts { backlog: Some(behind), ..whole.clone() }));
        assert!(!has_left_nothing(&Facts { backlog: None, ..whole.clone() }), "nobody has looked");
        let mut blind = whole.clone();
        blind.problems.insert(Area::Discovery, Failure::new(&code::BINLOG_VOLUME_NOT_FOUND, "no index"));
        assert!(!has_left_nothing(&blind));
        let mut elsewhere = whole;
        elsewhere.problems.insert(Area::Server, Failure::new(&code::SOURCE_SILENT, "no answer"));
        assert!(has_left_nothing(&elsewhere));
    }
}
