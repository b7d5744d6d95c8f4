//! Recovery windows: intervals of time in which every instant can be restored.

use pitr_binlog::GtidSet;

use crate::entry::Entry;
use crate::path::Logs;
use crate::section::{Place, Section};
use crate::target::MAX_TIME_REGRESSION_US;

/// A closed interval of time within one branch, every instant of which can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The branch.
    pub branch: String,
    /// The first instant.
    pub from_us: i64,
    /// The last instant.
    pub to_us: i64,
    /// The base backups that serve instants of this window, in the order in which they begin to.
    pub backups: Vec<String>,
    /// What is executed at the first instant.
    pub from_set: GtidSet,
    /// What is executed at the last instant.
    pub to_set: GtidSet,
    /// How many transactions lie between the two.
    pub transactions: u64,
    /// How many raw bytes lie between the two.
    pub bytes: u64,
    /// Why it ends.
    pub ends: WindowEnd,
}

/// Why a window ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowEnd {
    /// Nothing later is archived.
    LastArchived,
    /// Transactions are missing: the gap's id.
    Gap(String),
    /// Commit times step back further than a plan accepts in silence.
    TimesStepBack,
}

/// What a base backup is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReach {
    /// The base backup.
    pub backup: String,
    /// The branch on which it serves, the live one before others; none when no archived log continues it.
    pub branch: Option<String>,
    /// The first instant that it serves.
    pub from_us: i64,
    /// The last instant that it serves; equal to the first when it serves only itself.
    pub to_us: i64,
    /// Whether archived transactions follow it, or it stands exactly at the end of the log.
    pub connected: bool,
}

/// An interval of a section that every base backup in `entries` before its end serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub from_us: i64,
    pub to_us: i64,
    /// It ends because times step back, not because the log ends.
    pub stepped: bool,
}

/// The last instant of a section: that of its last transaction. When an earlier one is later than that, whatever comes next may
/// belong before it, so that instant itself is not known. Nor is it when what is archived behind the
/// gap, or in a log that goes another way from there, is not later.
pub(crate) fn end_us(section: &Section, entries: &[Entry]) -> Option<i64> {
    if section.items.is_empty() {
        return entries.iter().map(|entry| entry.from_us.min(section.min_after_us.saturating_sub(1))).max();
    }
    let max = section.max_us();
    let follows = section.next_us.map_or(section.min_after_us, |next| next.min(section.min_after_us));
    let known = section.last_us() == Some(max) && max < follows;
    Some(if known { max } else { max.saturating_sub(1) })
}

/// The instants of a section that its entries serve, as intervals.
pub(crate) fn intervals(section: &Section, entries: &[Entry], logs: &Logs<'_>) -> Vec<Interval> {
    let first = entries.iter().min_by_key(|entry| (entry.from_us, entry.place));
    let (Some(first), Some(to_us)) = (first, end_us(section, entries)) else { return Vec::new() };
    let mut intervals = Vec::new();
    let mut from_us = first.from_us;
    for (begin, end) in refused(section, first.place, to_us, logs) {
        if begin > from_us {
            intervals.push(Interval { from_us, to_us: to_us.min(begin - 1), stepped: begin <= to_us });
        }
        from_us = from_us.max(end.saturating_add(1));
    }
    intervals.push(Interval { from_us, to_us, stepped: false });
    intervals.retain(|interval| interval.from_us <= interval.to_us);
    intervals
}

/// Instants whose plan would leave out transactions from more than [`MAX_TIME_REGRESSION_US`] before them, ascending.
///
/// A stop stands before a transaction X that is later than all before it. It is refused for the instants before X that are
/// further than allowed behind the least time that follows X in the log.
fn refused(section: &Section, from: Place, to_us: i64, logs: &Logs<'_>) -> Vec<(i64, i64)> {
    let mut refused = Vec::new();
    let mut add = |stop_from: i64, stop_to: i64, least_after: i64| {
        let begin = least_after.saturating_add(MAX_TIME_REGRESSION_US).saturating_add(1).max(stop_from);
        if begin <= stop_to {
            refused.push((begin, stop_to));
        }
    };
    for item in &section.items[from.item.min(section.items.len())..] {
        if item.max_us <= item.max_before_us {
            continue;
        }
        let steps_inside = item.step_back_us > MAX_TIME_REGRESSION_US;
        let entries = if steps_inside { section.entries_of(item, logs) } else { None };
        match entries {
            Some(entries) => {
                let mut least_after = vec![item.min_after_us; entries.len()];
                for at in (1..entries.len()).rev() {
                    least_after[at - 1] = least_after[at].min(entries[at].1.us(section.clock));
                }
                let mut max = item.max_before_us;
                for ((_, entry), least) in entries.iter().zip(least_after) {
                    let us = entry.us(section.clock);
                    if us > max {
                        add(max, us - 1, least);
                        max = us;
                    }
                }
            }
            None => {
                let inside = if steps_inside { item.min_us } else { i64::MAX };
                add(item.max_before_us, item.max_us - 1, item.min_after_us.min(inside));
            }
        }
    }
    add(section.max_us(), to_us, section.min_after_us);
    refused
}

/// How much of a section stands behind a point: transactions and raw bytes.
pub(crate) fn extent(section: &Section, from: Place, logs: &Logs<'_>) -> (u64, u64) {
    let items = section.items.iter().enumerate().skip(from.item);
    items.fold((0, 0), |(transactions, bytes), (number, item)| {
        let piece = section.piece_of(item, logs.logs);
        let entries = if number == from.item && from.count > 0 { section.entries_of(item, logs) } else { None };
        let behind = entries.map(|entries| entries.into_iter().filter(|(n, _)| *n >= from.count).collect::<Vec<_>>());
        let (count, start) = match behind.as_deref() {
            Some([first, ..]) => (behind.as_ref().map_or(0, Vec::len) as u64, first.1.start.max(piece.start)),
            Some([]) => (0, piece.end),
            None => (item.transactions, piece.start),
        };
        (transactions + count, bytes + (piece.end - start))
    })
}
