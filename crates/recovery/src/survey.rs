//! What users see of a timeline: branches, gaps, windows, and what base backups are good for.

use std::collections::BTreeMap;

use crate::branch::{Branch, Fork};
use crate::entry::Entry;
use crate::gap::Gap;
use crate::gap_cause::cause;
use crate::path::Logs;
use crate::section::Section;
use crate::short_id::ShortIds;
use crate::ways::Way;
use crate::window::{BackupReach, Interval, Window, WindowEnd, end_us, extent, intervals};

/// Branches, gaps and windows of all ways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// One for each way, in the same order.
    pub branches: Vec<Branch>,
    pub gaps: Vec<Gap>,
    pub windows: Vec<Window>,
    pub backups: Vec<BackupReach>,
    /// The gap right below a section: by way and section.
    pub gap_below: BTreeMap<(usize, usize), usize>,
    /// For each window its way and section.
    pub window_places: Vec<(usize, usize)>,
}

impl Survey {
    pub(crate) fn of(
        ways: &[Way],
        entries: &[Vec<Entry>],
        live_known: bool,
        (logs, ids): (&Logs<'_>, &mut ShortIds),
    ) -> Self {
        let mut survey = Self { branches: branches(ways, live_known, logs, ids), ..Self::default() };
        for (number, way) in ways.iter().enumerate() {
            survey.find_gaps(number, way, (logs, ids));
        }
        for (number, way) in ways.iter().enumerate() {
            survey.find_windows(number, way, &entries[number], logs);
        }
        survey.close_gaps();
        survey.reach_of_backups(ways, entries, logs);
        survey
    }

    fn find_gaps(&mut self, number: usize, way: &Way, (logs, ids): (&Logs<'_>, &mut ShortIds)) {
        let mut lower: Option<&Section> = None;
        for (place, upper) in way.sections.iter().enumerate().filter(|(_, section)| section.alone.is_none()) {
            if let Some(lower) = lower {
                let missing = upper.start.subtract(&lower.end);
                let (below, above) = (lower.legs.last(), upper.legs.first());
                let (Some(below), Some(above)) = (below, above) else { continue };
                let (below, above) = (&logs.logs[below.log], &logs.logs[above.log]);
                let branch = self.branches[number].id.clone();
                self.gap_below.insert((number, place), self.gaps.len());
                self.gaps.push(Gap {
                    id: ids.name("gap", &format!("{missing} {}", above.stream.id)),
                    branch,
                    cause: cause(below, above, &missing, (logs.logs, logs.reader.inventory())),
                    transactions: missing.count(),
                    missing,
                    after_us: lower.last_us(),
                    before_us: upper.items.first().and_then(|item| item.first_us),
                    reachable_to_us: None,
                    reachable_from_us: None,
                    closed_by: None,
                });
            }
            lower = Some(upper);
        }
    }

    fn find_windows(&mut self, number: usize, way: &Way, entries: &[Entry], logs: &Logs<'_>) {
        let backups = &logs.reader.inventory().backups;
        for (place, own, intervals) in intervals_of(way, entries, logs) {
            let section = &way.sections[place];
            let Some(first) = own.iter().min_by_key(|entry| (entry.from_us, entry.place)) else { continue };
            let gap = (place + 1..way.sections.len()).find_map(|above| self.gap_below.get(&(number, above)));
            let ends = gap.map_or(WindowEnd::LastArchived, |gap| WindowEnd::Gap(self.gaps[*gap].id.clone()));
            for interval in intervals {
                let Interval { from_us, to_us, stepped } = interval;
                let serves = own.iter().filter(|entry| entry.from_us <= to_us);
                let at = |us: i64| section.place_at(us, logs).max(first.place);
                let (from, to) = (at(from_us), at(to_us));
                let (all, all_bytes) = extent(section, from, logs);
                let (later, later_bytes) = extent(section, to, logs);
                self.windows.push(Window {
                    branch: self.branches[number].id.clone(),
                    from_us,
                    to_us,
                    backups: serves.map(|entry| backups[entry.backup].id.clone()).collect(),
                    from_set: section.state_at(from, logs),
                    to_set: section.state_at(to, logs),
                    transactions: all - later,
                    bytes: all_bytes - later_bytes,
                    ends: if stepped { WindowEnd::TimesStepBack } else { ends.clone() },
                });
                self.window_places.push((number, place));
            }
        }
    }

    fn close_gaps(&mut self) {
        for ((way, section), gap) in &self.gap_below {
            let gap = &mut self.gaps[*gap];
            for (window, (of_way, of_section)) in self.windows.iter().zip(&self.window_places) {
                if of_way == way && of_section < section {
                    gap.reachable_to_us = gap.reachable_to_us.max(Some(window.to_us));
                } else if of_way == way && gap.reachable_from_us.is_none() {
                    gap.reachable_from_us = Some(window.from_us);
                    gap.closed_by = window.backups.first().cloned();
                }
            }
        }
    }

    fn reach_of_backups(&mut self, ways: &[Way], entries: &[Vec<Entry>], logs: &Logs<'_>) {
        let backups = &logs.reader.inventory().backups;
        let mut order: Vec<usize> = (0..backups.len()).collect();
        order.sort_by_key(|place| (std::cmp::Reverse(backups[*place].snapshot_us), *place));
        for place in order {
            let entered = entries
                .iter()
                .enumerate()
                .find_map(|(way, list)| list.iter().find(|entry| entry.backup == place).map(|entry| (way, entry)));
            let reach = match entered {
                None => BackupReach {
                    backup: backups[place].id.clone(),
                    branch: None,
                    from_us: backups[place].snapshot_us,
                    to_us: backups[place].snapshot_us,
                    connected: false,
                },
                Some((way, entry)) => {
                    let section = &ways[way].sections[entry.section];
                    let own: Vec<Entry> = entries[way].iter().filter(|e| e.section == entry.section).cloned().collect();
                    BackupReach {
                        backup: backups[place].id.clone(),
                        branch: Some(self.branches[way].id.clone()),
                        from_us: entry.from_us,
                        to_us: end_us(section, &own).unwrap_or(entry.from_us).max(entry.from_us),
                        connected: section.alone.is_none(),
                    }
                }
            };
            self.backups.push(reach);
        }
    }
}

/// The intervals of all sections of a way that base backups enter. Where two serve an instant it belongs to the later one.
fn intervals_of(way: &Way, entries: &[Entry], logs: &Logs<'_>) -> Vec<(usize, Vec<Entry>, Vec<Interval>)> {
    let mut all = Vec::new();
    let mut until_us = i64::MAX;
    for (place, section) in way.sections.iter().enumerate().rev() {
        let own: Vec<Entry> = entries.iter().filter(|entry| entry.section == place).cloned().collect();
        let mut found = intervals(section, &own, logs);
        found.iter_mut().for_each(|interval| interval.to_us = interval.to_us.min(until_us));
        found.retain(|interval| interval.from_us <= interval.to_us);
        until_us = found.first().map_or(until_us, |first| first.from_us.saturating_sub(1));
        all.push((place, own, found));
    }
    all.reverse();
    all
}

fn branches(ways: &[Way], live_known: bool, logs: &Logs<'_>, ids: &mut ShortIds) -> Vec<Branch> {
    let workload = &logs.reader.inventory().workload;
    let mut seen: Vec<usize> = Vec::new();
    let mut branches: Vec<Branch> = Vec::new();
    for (number, way) in ways.iter().enumerate() {
        let streams = way.streams();
        let anchor = streams.iter().find(|stream| !seen.contains(stream)).or(way.leaf.as_ref());
        let content = match (anchor, way.sections.first().and_then(|section| section.alone)) {
            (Some(stream), _) => logs.logs[*stream].stream.id.clone(),
            (None, Some(backup)) => logs.reader.inventory().backups[backup].id.clone(),
            (None, None) => String::new(),
        };
        seen.extend(&streams);
        let leaf = way.leaf.map(|leaf| &logs.logs[leaf]);
        let fork = (number > 0).then(|| fork(way, &ways[0], &branches[0].id, logs));
        branches.push(Branch {
            id: ids.name("br", &format!("{workload} {content}")),
            live: live_known && number == 0,
            streams: streams.iter().map(|stream| logs.logs[*stream].stream.id.clone()).collect(),
            source: leaf.map(|log| log.stream.source.clone()),
            end: way.end(),
            last_us: way.last_us(),
            fork,
            ahead: leaf.is_some_and(|log| log.disowned),
        });
    }
    branches
}

fn fork(way: &Way, from: &Way, id: &str, logs: &Logs<'_>) -> Fork {
    let common = way.shared_with(from, logs);
    let (own_side, at_us) = way.prefix_within(&common, logs);
    let (other_side, _) = from.prefix_within(&from.shared_with(way, logs), logs);
    let shared = own_side.intersect(&other_side);
    let own = way.end().subtract(&common);
    Fork { from: id.to_owned(), at_us: at_us.filter(|_| !shared.is_empty()), shared, own }
}
