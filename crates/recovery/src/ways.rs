//! All ways through an archive: one for each end that no other way passes through.

use std::collections::{BTreeMap, BTreeSet};

use pitr_binlog::{Gtid, GtidSet};

use crate::inventory::{ArchivedBinlog, BaseBackup, BinlogId, IndexEntry};
use crate::log::Log;
use crate::path::{Logs, is_of, trace, writes};
use crate::section::{Item, Section};

/// A way through the archive, to the end of one stream or to a base backup that no log continues.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The stream it ends in.
    pub leaf: Option<usize>,
    /// Without a gap inside, with one between any two, oldest first.
    pub sections: Vec<Section>,
}

impl Way {
    /// The way to the end of a stream.
    pub(crate) fn to(leaf: usize, logs: &Logs<'_>) -> Self {
        let sections = trace(leaf, logs).iter().map(|steps| Section::of(steps, logs)).collect();
        Self { leaf: Some(leaf), sections }
    }

    /// What is executed at its end.
    pub(crate) fn end(&self) -> GtidSet {
        self.sections.last().map_or_else(GtidSet::new, |section| section.end.clone())
    }

    /// The streams it leads through, oldest first.
    pub(crate) fn streams(&self) -> Vec<usize> {
        let mut streams: Vec<usize> = Vec::new();
        for leg in self.sections.iter().flat_map(|section| &section.legs) {
            if !streams.contains(&leg.log) {
                streams.push(leg.log);
            }
        }
        streams
    }

    /// The commit time of its last transaction; the greatest one where the last is not known.
    pub(crate) fn last_us(&self) -> Option<i64> {
        let section = self.sections.iter().rev().find(|section| !section.items.is_empty())?;
        section.last_us().or_else(|| section.items.last().map(|item| item.max_us))
    }

    /// What it takes from each stream.
    pub(crate) fn supplies(&self, logs: &Logs<'_>) -> BTreeMap<usize, GtidSet> {
        let mut supplies: BTreeMap<usize, GtidSet> = BTreeMap::new();
        for section in &self.sections {
            for item in &section.items {
                let stream = section.legs[item.leg].log;
                supplies.entry(stream).or_default().union_with(section.gtids_of(item, logs.logs));
            }
        }
        supplies
    }

    /// Whether a server's own log has any of these transactions, the same as this way and before a base backup was taken there.
    pub(crate) fn is_witnessed_by(&self, backup: &BaseBackup, gtids: &GtidSet, logs: &Logs<'_>) -> bool {
        let supplies = self.supplies(logs);
        logs.logs.iter().enumerate().filter(|(_, log)| log.stream.source == backup.source).any(|(stream, log)| {
            let seen = log.after().subtract(log.before()).intersect(gtids);
            let differs = |(other, own): (&usize, &GtidSet)| {
                logs.collisions.between(stream, *other).is_some_and(|g| !g.intersect(own).is_disjoint(&seen))
            };
            let is_later = |entry: &IndexEntry| {
                let logged_us = entry.immediate_us.unwrap_or(entry.commit_us);
                logged_us > backup.snapshot_us && entry.gtid.is_some_and(|gtid| seen.contains(&gtid))
            };
            let mut pieces = log.pieces.iter().filter(|piece| !piece.gtids.is_disjoint(&seen));
            !seen.is_empty()
                && !supplies.iter().any(differs)
                && !pieces.any(|piece| logs.reader.entries(piece).unwrap_or_default().iter().any(is_later))
        })
    }

    /// The greatest commit time among some of its transactions; of whole ranges where their indices have not been read.
    pub(crate) fn last_us_of(&self, gtids: &GtidSet, logs: &Logs<'_>) -> Option<i64> {
        let mut last = None;
        for section in &self.sections {
            for item in section.items.iter().filter(|item| !section.gtids_of(item, logs.logs).is_disjoint(gtids)) {
                let sought = |gtid: Option<Gtid>| gtid.is_some_and(|gtid| gtids.contains(&gtid));
                let times = section
                    .entries_of(item, logs)
                    .map(|entries| entries.iter().filter(|(_, e)| sought(e.gtid)).map(|(_, e)| e.commit_us).max());
                last = last.max(times.unwrap_or(Some(item.max_us)));
            }
        }
        last
    }

    /// GTIDs that mean other transactions on another way.
    pub(crate) fn disputed_with(&self, other: &Self, logs: &Logs<'_>) -> GtidSet {
        let others = other.supplies(logs);
        let mut disputed = GtidSet::new();
        for (stream, own) in self.supplies(logs) {
            for (other, theirs) in &others {
                if let Some(gtids) = logs.collisions.between(stream, *other) {
                    disputed.union_with(&gtids.intersect(&own).intersect(theirs));
                }
            }
        }
        disputed
    }

    /// GTIDs that it takes from a stream and that mean another transaction in some other stream.
    pub(crate) fn contested(&self, logs: &Logs<'_>) -> GtidSet {
        let mut contested = GtidSet::new();
        for (stream, own) in self.supplies(logs) {
            for (_, _, gtids) in logs.collisions.iter().filter(|(a, b, _)| *a == stream || *b == stream) {
                contested.union_with(&gtids.intersect(&own));
            }
        }
        contested
    }

    /// GTIDs that mean several transactions, and this way does not say which: its log begins behind them.
    pub(crate) fn untold(&self, logs: &Logs<'_>) -> GtidSet {
        let told = self.supplies(logs).into_values().fold(GtidSet::new(), |all, gtids| all.union(&gtids));
        logs.collisions.all().subtract(&told)
    }

    /// Whether a stream has another transaction than this way under some GTID.
    fn is_disputed_by(&self, stream: usize, logs: &Logs<'_>) -> bool {
        self.supplies(logs).iter().any(|(other, supplied)| {
            logs.collisions.between(stream, *other).is_some_and(|gtids| !gtids.is_disjoint(supplied))
        })
    }

    /// What another way has of the same transactions, as far as its end goes.
    pub(crate) fn shared_with(&self, other: &Self, logs: &Logs<'_>) -> GtidSet {
        other.end().subtract(&self.disputed_with(other, logs))
    }

    /// The state of the longest beginning of this way that has no transaction outside a set, and the time of the last
    /// transaction in it.
    pub(crate) fn prefix_within(&self, set: &GtidSet, logs: &Logs<'_>) -> (GtidSet, Option<i64>) {
        let (mut state, mut last_us) = (GtidSet::new(), None);
        for section in &self.sections {
            if !section.start.is_subset_of(set) {
                break;
            }
            let outside = section.items.iter().position(|item| !section.gtids_of(item, logs.logs).is_subset_of(set));
            let Some(place) = outside else {
                state.clone_from(&section.end);
                last_us = section.last_us().or(last_us);
                continue;
            };
            let entries = section.entries_of(&section.items[place], logs).unwrap_or_default();
            let inside = |gtid: Option<Gtid>| gtid.is_some_and(|gtid| set.contains(&gtid));
            let count = entries.iter().position(|(_, entry)| !inside(entry.gtid)).unwrap_or(0);
            state = section.state_at(crate::section::Place::before(place), logs);
            state.extend(entries[..count].iter().filter_map(|(_, entry)| entry.gtid));
            let before = place.checked_sub(1).and_then(|before| section.items[before].last_us);
            let within = count.checked_sub(1).map(|last| entries[last].1.commit_us);
            return (state, within.or(before).or(last_us));
        }
        (state, last_us)
    }

    /// Whether the end of a stream lies on this way: it is a state that this way passes through.
    fn passes_through_end_of(&self, stream: usize, logs: &Logs<'_>) -> bool {
        let log = &logs.logs[stream];
        if log.disputed.is_some() || self.is_disputed_by(stream, logs) {
            return false;
        }
        // The same server went on in a later file without all that this way has: it lost the rest.
        let restarted = self.leaf.is_some_and(|leaf| {
            let (end, other) = (&logs.logs[leaf].stream, &log.stream);
            end.source == other.source
                && other.binlogs.first().map(|b| b.id.number) > end.binlogs.last().map(|b| b.id.number)
        });
        let state = log.after();
        let around = self.sections.iter().rev().find(|section| section.start.is_subset_of(state));
        match around {
            _ if restarted => false,
            // Nothing but the state before the way's own beginning.
            None => log.stream.transactions == 0 && self.sections.first().is_some_and(|s| state.is_subset_of(&s.start)),
            Some(section) => {
                let sure = section.start.intersect(&self.untold(logs)).is_disjoint(state);
                sure && state.is_subset_of(&section.end) && is_state_of(section, state, logs)
            }
        }
    }
}

/// Whether a section has this state at some point. The piece in which the point would lie is believed to have it unless its
/// index says otherwise: a replica that lags by a moment is no fork.
fn is_state_of(section: &Section, state: &GtidSet, logs: &Logs<'_>) -> bool {
    let Some(last) = section.last_touched(&state.subtract(&section.start), logs.logs) else { return true };
    let within = |item: &Item| section.gtids_of(item, logs.logs).is_subset_of(state);
    if !section.items[..last].iter().all(within) {
        return false;
    }
    let item = &section.items[last];
    let entries = logs.reader.entries_if_read(section.piece_of(item, logs.logs)).unwrap_or_default();
    let has = |gtid: Option<Gtid>| gtid.is_some_and(|gtid| state.contains(&gtid));
    let last_in = entries.iter().rposition(|entry| has(entry.gtid)).unwrap_or(0);
    entries[..last_in].iter().all(|entry| has(entry.gtid) || entry.gtid.is_some_and(|g| section.start.contains(&g)))
}

/// Finds all ways, the live one first if it is known; says whether it is.
pub(crate) fn find_ways(logs: &Logs<'_>) -> (Vec<Way>, bool) {
    let mut order: Vec<usize> = (0..logs.logs.len()).collect();
    let rank = |log: &Log| {
        let extra = log.disowned || log.disputed.is_some();
        (extra, std::cmp::Reverse(log.after().count()), !writes(log), log.before().count())
    };
    order.sort_by_key(|stream| (rank(&logs.logs[*stream]), *stream));
    let mut ways: Vec<Way> = Vec::new();
    for stream in order {
        if !ways.iter().any(|way| way.passes_through_end_of(stream, logs)) {
            ways.push(Way::to(stream, logs));
        }
    }
    let live = find_live(&ways, logs);
    let mut ranked: Vec<(usize, Way)> = ways.into_iter().enumerate().collect();
    ranked.sort_by_key(|(place, way)| (Some(*place) != live, std::cmp::Reverse(way.last_us()), *place));
    (ranked.into_iter().map(|(_, way)| way).collect(), live.is_some())
}

/// The way of the newest live server. Servers that write their own transactions come before those that only repeat others';
/// a server is out of the running when all it has is older than what a later one has alone, or when it ran while that one stood still. If
/// two remain, none is chosen, and none beside one that is seen running: a restore that was turned back leaves a later history than that
/// of the server which runs again.
fn find_live(ways: &[Way], logs: &Logs<'_>) -> Option<usize> {
    let log_of = |way: &Way| way.leaf.map(|leaf| &logs.logs[leaf]);
    // A volume was copied and both go on under one name: which one is the server, only a human knows.
    if logs.logs.iter().any(|log| log.disputed.is_some()) {
        return None;
    }
    let in_the_running = |place: &usize| log_of(&ways[*place]).is_some_and(|log| !log.disowned);
    let running: Vec<usize> = (0..ways.len()).filter(in_the_running).collect();
    if let [only] = running[..] {
        return Some(only);
    }
    let is_writer = |place: &usize| {
        let way = &ways[*place];
        let last = last_gtid(way, logs);
        last.zip(log_of(way)).is_some_and(|(gtid, log)| is_of(&gtid.source, &log.stream.source))
    };
    let writers: Vec<usize> = running.iter().copied().filter(is_writer).collect();
    let candidates = if writers.is_empty() { running } else { writers };
    let gives_way =
        |old: usize, new: usize| is_superseded(&ways[old], &ways[new], logs) || stood_in(&ways[old], &ways[new], logs);
    let wins = |place: &&usize| candidates.iter().all(|other| *other == **place || gives_way(*other, **place));
    let winners: BTreeSet<usize> = candidates.iter().filter(wins).copied().collect();
    let [winner] = winners.iter().copied().collect::<Vec<_>>()[..] else { return None };
    let is_seen = |place: usize| {
        let seen = logs.reader.inventory().running.as_ref();
        log_of(&ways[place]).is_some_and(|log| seen == Some(&log.stream.source))
    };
    (is_seen(winner) || !candidates.iter().any(|place| is_seen(*place))).then_some(winner)
}

/// Whether all that one way has alone was written while the other one's server stood still, which then was started again and went on: a
/// restore that was turned back. Both words for a shutdown are needed, the one that ends it and the one before the other's start: of two
/// servers that merely wrote in turn, one of which is down for a moment, nobody knows which is to go on.
fn stood_in(way: &Way, by: &Way, logs: &Logs<'_>) -> bool {
    let (Some(log), Some(other)) = (way.leaf.map(|leaf| &logs.logs[leaf]), by.leaf.map(|leaf| &logs.logs[leaf])) else {
        return false;
    };
    let was_shut_down = |binlog: &ArchivedBinlog| binlog.ranges.iter().any(|range| range.flags.shut_down);
    let (Some(begun_us), Some(ended_us)) = (own_from_us(way, by, logs), way.last_us()) else { return false };
    let spans = own_spans(by, way, logs);
    let is_clear = spans.iter().all(|span| span.to_us < begun_us || span.from_us > ended_us);
    if !is_clear || !log.stream.binlogs.last().is_some_and(|binlog| was_shut_down(binlog)) {
        return false;
    }
    let place = |span: &OwnSpan| other.stream.binlogs.iter().position(|binlog| binlog.id == span.binlog);
    let (before, after): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.to_us < begun_us);
    let last_before = before.into_iter().filter_map(place).max().unwrap_or(0);
    let Some(first_after) = after.into_iter().filter_map(place).min() else { return false };
    other.stream.binlogs.get(last_before..first_after).is_some_and(|between| between.iter().any(|b| was_shut_down(b)))
}

fn last_gtid(way: &Way, logs: &Logs<'_>) -> Option<Gtid> {
    let section = way.sections.iter().rev().find(|section| !section.items.is_empty())?;
    let item = section.items.last()?;
    if item.to.is_some() {
        return section.entries_of(item, logs)?.last()?.1.gtid;
    }
    let piece = section.piece_of(item, logs.logs);
    logs.reader.inventory().binlogs[piece.binlog].ranges[piece.range].last.as_ref()?.gtid
}

/// Whether everything on a way is older than what another one has alone, or the same server went on elsewhere.
fn is_superseded(way: &Way, by: &Way, logs: &Logs<'_>) -> bool {
    let disputed = !way.disputed_with(by, logs).is_empty();
    let stream = |way: &Way| way.leaf.map(|leaf| &logs.logs[leaf].stream);
    if let (Some(old), Some(new), false) = (stream(way), stream(by), disputed) {
        let went_on = old.source == new.source
            && old.binlogs.last().map(|b| b.id.number) < new.binlogs.first().map(|b| b.id.number);
        if went_on {
            return true;
        }
    }
    let own_from = own_from_us(by, way, logs);
    way.last_us().is_none_or(|last| own_from.is_some_and(|own| last <= own))
}

/// The least commit time of what one way has and another has not.
fn own_from_us(way: &Way, other: &Way, logs: &Logs<'_>) -> Option<i64> {
    own_spans(way, other, logs).iter().map(|span| span.from_us).min()
}

/// What a way has alone of one range.
struct OwnSpan {
    binlog: BinlogId,
    /// The least commit time of it.
    from_us: i64,
    /// No commit time of it is greater.
    to_us: i64,
}

/// What one way has and another has not.
fn own_spans(way: &Way, other: &Way, logs: &Logs<'_>) -> Vec<OwnSpan> {
    let shared = way.shared_with(other, logs);
    let mut spans = Vec::new();
    for section in &way.sections {
        for item in &section.items {
            let gtids = section.gtids_of(item, logs.logs);
            if gtids.is_subset_of(&shared) {
                continue;
            }
            let read = if gtids.is_disjoint(&shared) { None } else { section.entries_of(item, logs) };
            let own = read.map(|entries| {
                let own = entries.into_iter().filter(|(_, e)| e.gtid.is_none_or(|gtid| !shared.contains(&gtid)));
                own.map(|(_, entry)| entry.commit_us).min().unwrap_or(item.max_us)
            });
            let binlog = &logs.reader.inventory().binlogs[section.piece_of(item, logs.logs).binlog];
            spans.push(OwnSpan { binlog: binlog.id.clone(), from_us: own.unwrap_or(item.min_us), to_us: item.max_us });
        }
    }
    spans
}
