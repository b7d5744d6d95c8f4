//! Closed binlogs that retention has let go: a server may keep its files for longer than the archive keeps them, and when the
//! mark of one is gone nothing says any more that it was there. Stored again it would be marked and deleted again, in circles.

use std::collections::BTreeSet;

use pitr_binlog::GtidSet;
use pitr_recovery::{BaseBackup, BinlogId};

/// What retention has done, as of the last listing.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// Binlogs with a mark.
    pub(crate) marked: BTreeSet<BinlogId>,
    /// The window that it keeps; none: it was never here.
    pub(crate) promised_us: Option<i64>,
    /// Whether binlogs go by age while no base backup can be used.
    pub(crate) by_age: bool,
}

/// What is archived, as far as it decides about a closed binlog.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    /// The base backups.
    pub(super) bases: &'a [BaseBackup],
    /// The number of the oldest binlog of its source that is archived and not marked.
    pub(super) oldest: Option<u64>,
    /// Where the window begins.
    pub(super) from_us: i64,
    /// Whether binlogs go by age while no base backup can be used.
    pub(super) by_age: bool,
}

/// A closed binlog of which nothing is archived.
#[derive(Debug)]
pub(super) struct ClosedFile<'a> {
    pub(super) id: &'a BinlogId,
    /// All GTIDs of earlier files.
    pub(super) before: &'a GtidSet,
    /// The same in the file after it.
    pub(super) after: &'a GtidSet,
    /// When it was written last, in microseconds.
    pub(super) closed_us: i64,
}

/// Whether nothing needs a closed binlog: its file is older than the window, and every base backup contains all of it. In doubt it is
/// stored: without GTIDs of its own a file proves nothing, and a base backup of this very server must lie behind it in its log, too.
///
/// Where binlogs go by age, nothing needs what has no GTIDs, or what no base backup is there for: then it is outlived as soon as a
/// later one of its server is the oldest that is archived, for what was before that has been archived and has gone.
pub(super) fn is_outlived(file: &ClosedFile<'_>, kept: &Kept<'_>) -> bool {
    let Kept { bases, oldest, from_us, by_age } = *kept;
    let has_gtids = file.before != file.after && file.before.is_subset_of(file.after);
    let contains = |base: &BaseBackup| {
        let lies_behind = match &base.position {
            Some((name, _)) if base.source == file.id.source => name.number() > file.id.number,
            Some(_) | None => true,
        };
        lies_behind && file.after.is_subset_of(&base.executed)
    };
    let is_contained = has_gtids && !bases.is_empty() && bases.iter().all(contains);
    let has_aged = by_age && (bases.is_empty() || !has_gtids) && oldest.is_some_and(|oldest| file.id.number < oldest);
    file.closed_us < from_us && (is_contained || has_aged)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pitr_binlog::{BinlogName, Flavour};

    use super::*;

    const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(last: u64) -> GtidSet {
        if last == 0 { GtidSet::new() } else { format!("{SERVER}:1-{last}").parse().unwrap() }
    }

    fn base(last: u64, number: u64) -> BaseBackup {
        BaseBackup {
            id: format!("bb-{last}"),
            method: "clone".to_owned(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            source: SERVER.to_owned(),
            executed: set(last),
            position: Some((BinlogName::parse(&format!("binlog.{number:06}")).unwrap(), 4)),
            snapshot_us: 0,
            started_us: 0,
            finished_us: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            settings: BTreeMap::new(),
            recipients: Vec::new(),
        }
    }

    /// Binlog 5 holds 41 to 50, was closed at 100, and the window begins at 200.
    fn judge(change: impl FnOnce(&mut (u64, u64, i64)), bases: &[BaseBackup]) -> bool {
        judge_beside(change, &Kept { bases, oldest: Some(9), from_us: 200, by_age: false })
    }

    fn judge_beside(change: impl FnOnce(&mut (u64, u64, i64)), kept: &Kept<'_>) -> bool {
        let mut of = (40, 50, 100);
        change(&mut of);
        let id = BinlogId { source: SERVER.to_owned(), number: 5, head: [0; 8] };
        let file = ClosedFile { id: &id, before: &set(of.0), after: &set(of.1), closed_us: of.2 };
        is_outlived(&file, kept)
    }

    #[test]
    fn where_binlogs_go_by_age_what_was_before_the_oldest_archived_one_has_gone() {
        let aged = |oldest, bases: &[BaseBackup], change: fn(&mut (u64, u64, i64))| {
            judge_beside(change, &Kept { bases, oldest, from_us: 200, by_age: true })
        };
        assert!(aged(Some(6), &[], |_| {}));
        assert!(aged(Some(6), &[base(90, 9)], |of| of.1 = 40), "no base backup can be used without GTIDs");
        assert!(!aged(Some(5), &[], |_| {}) && !aged(Some(4), &[], |_| {}), "it is no older than what is archived");
        assert!(!aged(None, &[], |_| {}), "nothing is archived yet");
        assert!(!aged(Some(6), &[], |of| of.2 = 250), "younger than the window");
        assert!(!aged(Some(6), &[base(45, 5)], |_| {}), "a base backup needs it");
    }

    #[test]
    fn what_every_base_contains_and_the_window_has_passed_is_outlived() {
        assert!(judge(|_| {}, &[base(50, 6), base(90, 9)]));
        assert!(judge(|of| of.0 = 0, &[base(60, 6)]));
    }

    #[test]
    fn in_doubt_a_binlog_is_stored() {
        assert!(!judge(|_| {}, &[]), "no base backup: it may be wanted by one that was taken elsewhere");
        assert!(!judge(|_| {}, &[base(45, 5), base(90, 9)]), "the oldest base needs it");
        assert!(!judge(|of| of.2 = 250, &[base(90, 9)]), "younger than the window");
        assert!(!judge(|of| of.1 = 40, &[base(90, 9)]), "what is in it has no GTIDs, or nothing is in it");
        assert!(!judge(|_| {}, &[base(50, 5)]), "there may be transactions without GTID behind the base");
        let elsewhere = BaseBackup { source: "another".to_owned(), ..base(50, 1) };
        assert!(judge(|_| {}, &[elsewhere]), "positions of other servers tell nothing");
    }
}
