//! Where base backups enter a branch: by their set of transactions alone, never by time or place of origin (T8, T13).

use pitr_binlog::GtidSet;

use crate::inventory::{BaseBackup, IndexEntry};
use crate::path::Logs;
use crate::section::{Place, Section};
use crate::ways::Way;

/// A base backup that can be the beginning of a restore to any later point of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The backup's place in the inventory.
    pub backup: usize,
    pub section: usize,
    /// The point behind its last transaction in log order.
    pub place: Place,
    /// The first instant that it serves.
    pub from_us: i64,
}

/// Where a state belongs among the sections of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In a section: the log goes on from it.
    In(usize),
    /// Before this section, in a gap or beyond the end: no log continues it.
    Beside(usize),
}

/// Finds where a state belongs on a way; none if it is on another branch.
pub(crate) fn standing(state: &GtidSet, sections: &[Section]) -> Option<Standing> {
    let holds = |section: &Section| {
        section.start.is_subset_of(state)
            && state.is_subset_of(&section.end)
            && !(section.after_anonymous && *state == section.start)
    };
    if let Some(place) = sections.iter().position(holds) {
        return Some(Standing::In(place));
    }
    let place = sections.iter().position(|section| state.is_subset_of(&section.start)).unwrap_or(sections.len());
    let after_lower = place.checked_sub(1).is_none_or(|lower| sections[lower].end.is_subset_of(state));
    after_lower.then_some(Standing::Beside(place))
}

/// The point of a section behind the last transaction of a state. Where the index has not been read: behind its range.
pub(crate) fn place_of(state: &GtidSet, section: &Section, logs: &Logs<'_>) -> Place {
    let within = state.subtract(&section.start);
    let Some(last) = section.last_touched(&within, logs.logs) else { return Place::before(0) };
    let item = &section.items[last];
    if section.gtids_of(item, logs.logs).is_subset_of(state) {
        return Place::before(last + 1);
    }
    let entries = section.entries_of(item, logs).unwrap_or_default();
    let contained = |gtid: Option<pitr_binlog::Gtid>| gtid.is_some_and(|gtid| within.contains(&gtid));
    match entries.iter().rposition(|(_, entry)| contained(entry.gtid)) {
        Some(at) if at + 1 < entries.len() => Place { item: last, count: entries[at].0 + 1 },
        _ => Place::before(last + 1),
    }
}

/// The entry of a base backup into one section that holds its state; none if no log of it continues that state.
fn entry(backup: usize, of: &BaseBackup, section: (usize, &Section), logs: &Logs<'_>) -> Option<Entry> {
    let (number, section) = section;
    let place = place_of(&of.executed, section, logs);
    let from_us = || elsewhere_us(of, section, from_us(of, section, place, logs), logs);
    let entry = || Entry { backup, section: number, place, from_us: from_us() };
    (continues(&of.executed, section, place, logs) && !is_foreign_beginning(of, section, logs)).then(entry)
}

/// Whether a base backup with nothing executed would enter another server's log, of which nothing proves that it really begins
/// with nothing: heads leave out what came with a clone or a restore.
fn is_foreign_beginning(of: &BaseBackup, section: &Section, logs: &Logs<'_>) -> bool {
    let log = section.legs.first().map(|leg| &logs.logs[leg.log]);
    of.executed.is_empty() && log.is_some_and(|log| !log.is_proven && log.stream.source != of.source)
}

/// Whether what a state lacks before its place can still be applied: whatever else the state has must follow in the same log.
/// Two servers that write have what they share in different orders, and a section may hold both.
fn continues(state: &GtidSet, section: &Section, place: Place, logs: &Logs<'_>) -> bool {
    let missing = section.state_at(place, logs).subtract(state);
    let lacks = |leg: usize| {
        let until = place.item + usize::from(place.count > 0);
        let mut items = section.items.iter().take(until).filter(|item| item.leg == leg);
        items.any(|item| !section.gtids_of(item, logs.logs).is_disjoint(&missing))
    };
    missing.is_empty()
        || (0..section.legs.len())
            .all(|leg| !lacks(leg) || state.is_subset_of(logs.logs[section.legs[leg].log].after()))
}

/// The first instant that a base backup serves: none of its transactions is later, nor any that stands before them in the log.
///
/// Archived transactions tell by their times. Where none of the backup's is archived its own time counts, but no more than
/// the first archived transaction after it. What is older than the archive is taken to be no later than what is in it.
pub(crate) fn from_us(of: &BaseBackup, section: &Section, place: Place, logs: &Logs<'_>) -> i64 {
    if place == Place::before(0) {
        let first = section.items.first().map_or(of.snapshot_us, |item| item.first_us.unwrap_or(item.min_us));
        return section.max_before_us.max(of.snapshot_us.min(first));
    }
    let Some(item) = section.items.get(place.item) else { return section.max_us() };
    if place.count == 0 {
        return item.max_before_us;
    }
    let entries = section.entries_of(item, logs).unwrap_or_default();
    let times = entries.iter().filter(|(number, _)| *number < place.count).map(|(_, entry)| entry.us(section.clock));
    times.fold(item.max_before_us, i64::max)
}

/// The first instant that a base backup serves, by what it has and logs beside this section tell of, too. Only where clocks step
/// back it is later than what this section says.
fn elsewhere_us(of: &BaseBackup, section: &Section, from_us: i64, logs: &Logs<'_>) -> i64 {
    let mut latest = from_us;
    for (number, log) in logs.logs.iter().enumerate() {
        if section.legs.iter().any(|leg| leg.log == number) {
            continue;
        }
        for piece in log.pieces.iter().filter(|piece| piece.transactions > 0 && !piece.gtids.is_disjoint(&of.executed))
        {
            if piece.max_us <= latest || logs.collisions.is_contested(number, &piece.gtids) {
                continue;
            }
            let is_in = |entry: &&IndexEntry| entry.gtid.is_some_and(|gtid| of.executed.contains(&gtid));
            if piece.gtids.is_subset_of(&of.executed) {
                latest = piece.max_us;
            } else if piece.min_us > from_us || piece.step_back_us > 0 {
                let entries = logs.reader.entries(piece).unwrap_or_default();
                latest = entries.iter().filter(is_in).map(|entry| entry.commit_us).fold(latest, i64::max);
            }
        }
    }
    latest
}

/// Whether a way would lead on from a base backup, but does not say which of several transactions its numbers mean.
pub(crate) fn is_unsure(way: &Way, of: &BaseBackup, logs: &Logs<'_>) -> bool {
    let Some(Standing::In(section)) = standing(&of.executed, &way.sections) else { return false };
    let untold = way.untold(logs);
    !untold.is_empty() && !way.sections[section].start.intersect(&untold).is_disjoint(&of.executed)
}

/// The entries of all base backups into a way, in the order of their sections and places.
pub(crate) fn entries(way: &Way, backups: &[(usize, &BaseBackup)], logs: &Logs<'_>) -> Vec<Entry> {
    let enter = |(place, of): &(usize, &BaseBackup)| match standing(&of.executed, &way.sections) {
        Some(Standing::In(_)) if is_unsure(way, of, logs) => None,
        Some(Standing::In(section)) => entry(*place, of, (section, &way.sections[section]), logs),
        Some(Standing::Beside(_)) | None => None,
    };
    let mut entries: Vec<Entry> = backups.iter().filter_map(enter).collect();
    entries.sort_by_key(|entry| (entry.section, entry.place, entry.from_us, entry.backup));
    entries
}
