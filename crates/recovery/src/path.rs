//! Ways through the archive: which stream supplies which part of a history.
//!
//! A way is found from its end backwards. It stays in its stream as far as that reaches; where the stream begins, another one
//! supplies what came before, by set containment alone: a stream that reaches the needed state S, while everything it has by
//! then belongs to this history. Where no stream reaches S, what is missing is a gap, and the way goes on below it.

use std::collections::{BTreeMap, BTreeSet};

use pitr_binlog::{GtidSet, GtidSource};

use crate::collision::Collisions;
use crate::log::{Cut, IndexReader, Log};

/// A stream's part in a way: everything up to a point that what lies below has not supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub log: usize,
    pub to: Cut,
}

/// Streams and what is known about them.
pub(crate) struct Logs<'a> {
    pub logs: &'a [Log],
    pub collisions: &'a Collisions,
    pub reader: &'a IndexReader<'a>,
}

/// Finds the way to the end of a stream: sections without a gap, oldest first, each with its steps, oldest first.
pub(crate) fn trace(leaf: usize, logs: &Logs<'_>) -> Vec<Vec<Step>> {
    let mut walk = Walk {
        logs,
        history: logs.logs[leaf].after(),
        used: BTreeSet::from([leaf]),
        filler: None,
        upper: leaf,
        begins_us: None,
        above: vec![leaf],
    };
    walk.note_time();
    let mut sections = vec![vec![Step { log: leaf, to: logs.logs[leaf].end() }]];
    loop {
        let supply = if let Some(steps) = walk.join() {
            if let Some(section) = sections.last_mut() {
                section.extend(&steps);
            }
            steps
        } else if let Some(step) = walk.below_gap() {
            sections.push(vec![step]);
            walk.above.clear();
            vec![step]
        } else {
            break;
        };
        walk.used.extend(supply.iter().map(|step| step.log));
        walk.filler = if let [filler, _home] = supply[..] { Some(filler.log) } else { None };
        walk.above.extend(supply.iter().map(|step| step.log));
        walk.upper = supply.last().map_or(walk.upper, |step| step.log);
        walk.note_time();
    }
    sections.iter_mut().for_each(|section| section.reverse());
    sections.reverse();
    sections
}

struct Walk<'a> {
    logs: &'a Logs<'a>,
    /// Everything that belongs to this history in the end.
    history: &'a GtidSet,
    used: BTreeSet<usize>,
    /// The stream that led back to the one of the server we stay with: below that it may be needed again.
    filler: Option<usize>,
    /// The lowest stream so far: the state before it is needed.
    upper: usize,
    /// The least commit time of the lowest stream with transactions.
    begins_us: Option<i64>,
    /// The streams of this section so far.
    above: Vec<usize>,
}

impl Walk<'_> {
    fn log(&self, log: usize) -> &Log {
        &self.logs.logs[log]
    }

    fn note_time(&mut self) {
        let log = self.log(self.upper);
        if log.stream.transactions > 0 {
            self.begins_us = own_us(log, log.pieces.len()).map(|(least, _)| least);
        }
    }

    /// How well a stream of the same server fits as the past of what follows, when its numbers have returned and several would:
    /// the newest one that is not later counts.
    fn recency(&self, step: &Step) -> (bool, Option<i64>) {
        let latest = own_us(self.log(step.log), step.to.piece + usize::from(step.to.count > 0)).map(|(_, last)| last);
        let in_time = latest.is_some_and(|latest| self.begins_us.is_some_and(|begin| latest <= begin));
        (in_time, latest)
    }

    /// Leaves out streams whose numbers mean something else elsewhere, unless it is known that they are the past of what follows:
    /// those of the same server if they are newer than what they contradict, and not later than what follows; others if
    /// neither that server nor others contradict them.
    fn decided(&self, steps: &[Step]) -> Vec<Step> {
        let is_home = |log: usize| self.source(log) == self.source(self.upper);
        let homes: Vec<usize> = self.candidates().filter(|log| is_home(*log)).collect();
        let keeps = |step: &Step| {
            let supplied = self.log(step.log).state_at(step.to, self.logs.reader);
            let contradicts = |other: &usize| {
                let disputed = self.logs.collisions.between(step.log, *other);
                disputed.is_some_and(|gtids| !gtids.intersect(&supplied).is_disjoint(self.need()))
            };
            if !is_home(step.log) {
                let others = steps.iter().map(|other| other.log);
                return !homes.iter().copied().chain(others).any(|other| contradicts(&other));
            }
            let rivals = homes.iter().filter(|other| contradicts(other));
            let mut rivals = rivals.map(|log| self.recency(&Step { log: *log, to: self.log(*log).end() })).peekable();
            let recency = self.recency(step);
            rivals.peek().is_none() || (recency.0 && rivals.all(|(_, rival)| rival.is_some() && rival < recency.1))
        };
        steps.iter().copied().filter(keeps).collect()
    }

    fn need(&self) -> &GtidSet {
        self.log(self.upper).before()
    }

    fn source(&self, log: usize) -> &str {
        &self.log(log).stream.source
    }

    /// Streams that have something of what is needed, and nothing that was there before it.
    fn candidates(&self) -> impl Iterator<Item = usize> + '_ {
        let first_number = |log: usize| self.log(log).stream.binlogs.first().map(|binlog| binlog.id.number);
        (0..self.logs.logs.len()).filter(move |candidate| {
            let log = self.log(*candidate);
            // A number that returns on the same server means RESET: what has the higher number is not the past.
            let later = self.source(*candidate) == self.source(self.upper)
                && first_number(*candidate) > first_number(self.upper);
            (!self.used.contains(candidate) || self.filler == Some(*candidate))
                && !log.disowned
                && log.disputed.is_none()
                && log.stream.transactions > 0
                && !later
                && log.before().is_subset_of(self.need())
                && log.before() != self.need()
        })
    }

    /// What of this history a stream can be trusted to supply: GTIDs that mean other transactions here are not in it.
    fn without_disputed(&self, candidate: usize, set: &GtidSet) -> GtidSet {
        let disputed = self.logs.collisions.with_any(candidate, &self.used);
        if disputed.is_empty() { set.clone() } else { set.subtract(&disputed) }
    }

    /// The stream that supplies the needed state without a gap, and behind it the one of the server we stay with, if that one
    /// has only a hole here.
    fn join(&self) -> Option<Vec<Step>> {
        if self.log(self.upper).after_anonymous {
            return None;
        }
        let reachable = self.candidates().filter_map(|log| self.point_of_need(log).map(|to| Step { log, to }));
        let best = self.decided(&reachable.collect::<Vec<_>>()).into_iter().min_by_key(|step| {
            let log = self.log(step.log);
            let is_home = self.source(step.log) == self.source(self.upper);
            // A server goes on from its last binlog.
            let last = if is_home { self.last_number(step.log) } else { None };
            (!is_home, !writes(log), std::cmp::Reverse(last), log.before().count(), step.log)
        })?;
        let home = if self.source(best.log) == self.source(self.upper) { None } else { self.home(best) };
        Some(std::iter::once(best).chain(home).collect())
    }

    fn point_of_need(&self, candidate: usize) -> Option<Cut> {
        let log = self.log(candidate);
        if !self.need().is_subset_of(log.after()) {
            return None;
        }
        let to = log.first_containing(self.need(), self.logs.reader)?;
        // What it brings beyond the need must follow in each log that goes on from it: else it is a fork.
        let extra = log.state_at(to, self.logs.reader).subtract(self.need());
        if !self.above.iter().all(|above| extra.is_subset_of(self.log(*above).after())) {
            return None;
        }
        let allowed = self.without_disputed(candidate, self.history);
        // What was there before the stream's own transactions is needed, so it belongs to this history too.
        let ours = allowed.union(log.before());
        (log.after().is_subset_of(&ours) || log.prefix_within(&ours, self.logs.reader) >= to).then_some(to)
    }

    /// An earlier stream of the server we come from, from whose end the filler goes on.
    fn home(&self, filler: Step) -> Option<Step> {
        let supplied = self.log(filler.log).state_at(filler.to, self.logs.reader);
        let fits = |candidate: &usize| {
            let log = self.log(*candidate);
            self.source(*candidate) == self.source(self.upper)
                && *candidate != filler.log
                && self.log(filler.log).before().is_subset_of(log.after())
                && log.after().is_subset_of(&supplied)
                && log.after() != self.log(filler.log).before()
                && self.without_disputed(*candidate, log.after()) == *log.after()
                && self.logs.collisions.between(*candidate, filler.log).is_none()
        };
        let home = self.candidates().filter(fits).max_by_key(|log| self.log(*log).after().count())?;
        Some(Step { log: home, to: self.log(home).end() })
    }

    /// The stream that comes nearest to the needed state from below. Of one server's it is the last: it went on from there.
    fn below_gap(&self) -> Option<Step> {
        let nearest = |candidate: usize| {
            let log = self.log(candidate);
            let allowed = self.without_disputed(candidate, self.need()).union(log.before());
            let to = log.prefix_within(&allowed, self.logs.reader);
            let state = log.state_at(to, self.logs.reader);
            (state != *log.before()).then_some((state, Step { log: candidate, to }))
        };
        let is_home = |step: &Step| self.source(step.log) == self.source(self.upper);
        let states: BTreeMap<usize, (GtidSet, Step)> =
            self.candidates().filter_map(|candidate| Some((candidate, nearest(candidate)?))).collect();
        let decided = self.decided(&states.values().map(|(_, step)| *step).collect::<Vec<_>>());
        let (home, others): (Vec<_>, Vec<_>) =
            decided.into_iter().map(|step| states[&step.log].clone()).partition(|(_, step)| is_home(step));
        let home = home.into_iter().max_by_key(|(state, step)| (self.last_number(step.log), state.count()));
        let rank = |(state, step): &(GtidSet, Step)| {
            (state.count(), is_home(step), writes(self.log(step.log)), usize::MAX - step.log)
        };
        others.into_iter().chain(home).max_by_key(rank).map(|(_, step)| step)
    }

    /// The number of the last binlog of a stream.
    fn last_number(&self, log: usize) -> Option<u64> {
        self.log(log).stream.binlogs.last().map(|binlog| binlog.id.number)
    }
}

/// The least and the greatest commit time of a stream's first pieces, if they are its own server's by that server's clock: what
/// it replicated has the times of others.
fn own_us(log: &Log, pieces: usize) -> Option<(i64, i64)> {
    let pieces = || log.pieces[..pieces].iter().filter(|piece| piece.transactions > 0);
    let is_own = pieces().all(|piece| piece.is_of(&log.stream.source));
    let (least, last) = (pieces().map(|piece| piece.min_us).min()?, pieces().map(|piece| piece.min_us).max()?);
    is_own.then_some((least, last))
}

/// Whether transactions of a stream came into being on its own server.
pub(crate) fn writes(log: &Log) -> bool {
    log.after().subtract(log.before()).sources().any(|source| is_of(source, &log.stream.source))
}

/// Whether GTIDs of this source are given by that server.
pub(crate) fn is_of(source: &GtidSource, server: &str) -> bool {
    match source {
        GtidSource::MySql { uuid, .. } => server.parse() == Ok(*uuid),
        GtidSource::MariaDb { .. } => false,
    }
}
