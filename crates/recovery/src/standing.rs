//! Puts every base backup onto the branches that it belongs to.

use pitr_binlog::GtidSet;

use crate::entry::{Entry, Standing, entries, standing};
use crate::inventory::BaseBackup;
use crate::path::Logs;
use crate::section::{Section, note_times};
use crate::ways::Way;

/// Finds the entries of all base backups into all ways. A backup that no log continues becomes a section of its own on the
/// first way that leads to it or past it, or a way of its own.
pub(crate) fn place_backups(ways: &mut Vec<Way>, logs: &Logs<'_>) -> Vec<Vec<Entry>> {
    let backups: Vec<(usize, &BaseBackup)> = logs.reader.inventory().backups.iter().enumerate().collect();
    let mut alone: Vec<(usize, &BaseBackup)> = Vec::new();
    for (place, backup) in &backups {
        let in_a_log = |way: &Way| matches!(standing(&backup.executed, &way.sections), Some(Standing::In(_)));
        if !ways.iter().any(in_a_log) {
            alone.push((*place, *backup));
        }
    }
    // The smallest states first, so that each finds those before it in place.
    alone.sort_by_key(|(place, backup)| (backup.executed.count(), backup.snapshot_us, *place));
    for (place, backup) in alone {
        put_alone(ways, place, backup);
    }
    ways.iter_mut().for_each(|way| note_times(&mut way.sections));
    let mut all: Vec<Vec<Entry>> = ways.iter().map(|way| entries(way, &backups, logs)).collect();
    settle_disputes(&mut all, &ways.iter().collect::<Vec<_>>(), logs);
    all
}

fn put_alone(ways: &mut Vec<Way>, place: usize, backup: &BaseBackup) {
    let found = ways.iter().position(|way| standing(&backup.executed, &way.sections).is_some());
    let Some(way) = found.map(|found| &mut ways[found]) else {
        ways.push(Way { leaf: None, sections: vec![Section::of_backup(place, backup)] });
        return;
    };
    if let Some(Standing::Beside(before)) = standing(&backup.executed, &way.sections) {
        way.sections.insert(before, Section::of_backup(place, backup));
    }
}

/// Where numbers have returned (RESET), the same set can be a state of two histories. A base backup belongs to the one whose
/// transactions are the newest that it can have, by its own time; to none if it can have neither's.
pub(crate) fn settle_disputes(entries: &mut [Vec<Entry>], ways: &[&Way], logs: &Logs<'_>) {
    let backups = &logs.reader.inventory().backups;
    let mut refuted: Vec<(usize, usize)> = Vec::new();
    for a in 0..ways.len() {
        for b in a + 1..ways.len() {
            let disputed = ways[a].disputed_with(ways[b], logs);
            if disputed.is_empty() {
                continue;
            }
            for in_a in &entries[a] {
                let backup = &backups[in_a.backup];
                let Some(in_b) = entries[b].iter().find(|entry| entry.backup == in_a.backup) else { continue };
                if !is_disputed(&backup.executed, &disputed) {
                    continue;
                }
                let possible = |entry: &Entry| entry.from_us <= backup.snapshot_us;
                if !possible(in_a) || (possible(in_b) && in_b.from_us > in_a.from_us) {
                    refuted.push((a, in_a.backup));
                }
                if !possible(in_b) || (possible(in_a) && in_a.from_us >= in_b.from_us) {
                    refuted.push((b, in_b.backup));
                }
            }
        }
    }
    for (way, list) in entries.iter_mut().enumerate() {
        list.retain(|entry| !refuted.contains(&(way, entry.backup)));
    }
}

fn is_disputed(executed: &GtidSet, disputed: &GtidSet) -> bool {
    !executed.is_disjoint(disputed)
}
