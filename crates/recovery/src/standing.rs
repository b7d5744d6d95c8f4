//! Puts every base backup onto the branches that it belongs to.

use crate::entry::{Entry, Standing, entries, is_unsure, standing};
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
    let leads_to = |way: &&Way| standing(&backup.executed, &way.sections).is_some();
    // Where numbers have returned (RESET), the same set can lie beyond the end of several histories: time tells which.
    let in_time = |way: &Way| match standing(&backup.executed, &way.sections) {
        Some(Standing::Beside(before)) => {
            let below = way.sections[..before].iter().flat_map(|section| &section.items);
            below.map(|item| item.max_us).max().is_none_or(|us| us <= backup.snapshot_us)
        }
        Some(Standing::In(_)) | None => false,
    };
    let found = ways.iter().position(in_time).or_else(|| ways.iter().position(|way| leads_to(&way)));
    let Some(way) = found.map(|found| &mut ways[found]) else {
        ways.push(Way { leaf: None, sections: vec![Section::of_backup(place, backup)] });
        return;
    };
    if let Some(Standing::Beside(before)) = standing(&backup.executed, &way.sections) {
        way.sections.insert(before, Section::of_backup(place, backup));
    }
}

/// Where numbers have returned (RESET), the same set can be a state of two histories. A base backup belongs to the one that its
/// server's log is part of; if that log is part of both, to the one whose transactions are the newest that it can have, by its
/// own time; to none if it can have neither's or nothing tells.
pub(crate) fn settle_disputes(entries: &mut [Vec<Entry>], ways: &[&Way], logs: &Logs<'_>) {
    let backups = &logs.reader.inventory().backups;
    let mut refuted: Vec<(usize, usize)> = Vec::new();
    for (way, list) in entries.iter().enumerate() {
        let contested = ways[way].contested(logs);
        let is_refuted = |entry: &&Entry| {
            let backup = &backups[entry.backup];
            let sought = backup.executed.intersect(&contested);
            let is_too_old = || ways[way].last_us_of(&sought, logs) > Some(backup.snapshot_us);
            // Another history may be its own, and nothing tells.
            let is_unsure = || ways.iter().any(|other| is_unsure(other, backup, logs));
            !sought.is_empty() && (is_too_old() || is_unsure())
        };
        refuted.extend(list.iter().filter(is_refuted).map(|entry| (way, entry.backup)));
    }
    let impossible = refuted.clone();
    for a in 0..ways.len() {
        for b in a + 1..ways.len() {
            let disputed = ways[a].disputed_with(ways[b], logs);
            if disputed.is_empty() {
                continue;
            }
            for in_a in &entries[a] {
                let backup = &backups[in_a.backup];
                let sought = backup.executed.intersect(&disputed);
                if sought.is_empty() || !entries[b].iter().any(|entry| entry.backup == in_a.backup) {
                    continue;
                }
                // The log of the server that it was taken from is the best witness, then its time.
                let claim = |way: usize| {
                    let possible = !impossible.contains(&(way, in_a.backup));
                    let witnessed = ways[way].is_witnessed_by(backup, &sought, logs);
                    (possible, witnessed, ways[way].last_us_of(&sought, logs))
                };
                let (claim_a, claim_b) = (claim(a), claim(b));
                let loser = if claim_a < claim_b { a } else { b };
                refuted.push((loser, in_a.backup));
                if claim_a.0 && claim_b.0 && !claim_a.1 && !claim_b.1 {
                    refuted.extend([(a, in_a.backup), (b, in_a.backup)]);
                }
            }
        }
    }
    for (way, list) in entries.iter_mut().enumerate() {
        list.retain(|entry| !refuted.contains(&(way, entry.backup)));
    }
}
