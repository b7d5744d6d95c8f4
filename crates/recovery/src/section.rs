//! The log of a branch between two gaps: legs of one or more streams, read as one sequence of transactions.

use pitr_binlog::{Gtid, GtidSet};

use crate::coverage::{Piece, step_back_us};
use crate::gtids::advance;
use crate::inventory::{BaseBackup, IndexEntry};
use crate::log::{Cut, IndexReader, Log};
use crate::path::{Logs, Step};
use crate::target::Clock;

/// A stream's part of a section.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub log: usize,
    pub from: Cut,
    pub to: Cut,
    /// Executed before this leg begins although its stream has it only further on: passed over there.
    pub already: GtidSet,
}

/// One piece of a section, with what it adds. Pieces that add nothing are left out.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub leg: usize,
    pub piece: usize,
    /// Transactions of the piece at its beginning that are not part of this section.
    pub from: usize,
    /// The end of those that are; none for all.
    pub to: Option<usize>,
    /// What it adds, where that is not all of its piece.
    part: Option<GtidSet>,
    pub transactions: u64,
    pub first_us: Option<i64>,
    pub last_us: Option<i64>,
    pub min_us: i64,
    pub max_us: i64,
    pub step_back_us: i64,
    /// The greatest commit time of the branch before this item, in earlier sections too.
    pub max_before_us: i64,
    /// The least commit time of the branch after this item, in later sections too.
    pub min_after_us: i64,
}

/// A part of a branch without a gap.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// The state before its first transaction.
    pub start: GtidSet,
    /// The state after its last one.
    pub end: GtidSet,
    pub legs: Vec<Leg>,
    pub items: Vec<Item>,
    /// A base backup that no archived log continues or leads to: the section is nothing but its state.
    pub alone: Option<usize>,
    /// Transactions without GTID stand right before it: a base must have something of it to be known to hold them.
    pub after_anonymous: bool,
    /// The greatest commit time of the branch before this section.
    pub max_before_us: i64,
    /// The least commit time of the branch after this section.
    pub min_after_us: i64,
    /// The commit time of the transaction that follows in the log, where that is of another history.
    pub next_us: Option<i64>,
    /// Whose clock the times here are of.
    pub clock: Clock,
}

/// A point in a section: all items before `item`, and the transactions of its piece before `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub item: usize,
    pub count: usize,
}

impl Place {
    pub(crate) const fn before(item: usize) -> Self {
        Self { item, count: 0 }
    }
}

impl Section {
    /// A section from the steps of a way.
    pub(crate) fn of(steps: &[Step], logs: &Logs<'_>) -> Self {
        let lowest = steps.first().map(|step| &logs.logs[step.log]);
        let start = lowest.map_or_else(GtidSet::new, |log| log.before().clone());
        let mut section = Self::without_log(start);
        section.after_anonymous = lowest.is_some_and(|log| log.after_anonymous);
        for (number, step) in steps.iter().enumerate() {
            let log = &logs.logs[step.log];
            let from = log.prefix_within(&section.end, logs.reader).min(step.to);
            // The last one is what the section leads to, also when it has no transaction.
            if from == step.to && number + 1 < steps.len() {
                continue;
            }
            let already = section.end.subtract(&log.state_at(from, logs.reader));
            let leg = Leg { log: step.log, from, to: step.to, already };
            let items = items_of(section.legs.len(), &leg, log, logs.reader);
            section.items.extend(items);
            section.end.union_with(&log.state_at(step.to, logs.reader));
            section.next_us = log.next_us(step.to, logs.reader, Clock::Original);
            section.legs.push(leg);
        }
        section
    }

    /// A section that is nothing but the state of a base backup.
    pub(crate) fn of_backup(place: usize, backup: &BaseBackup) -> Self {
        Self { alone: Some(place), ..Self::without_log(backup.executed.clone()) }
    }

    fn without_log(state: GtidSet) -> Self {
        Self {
            start: state.clone(),
            end: state,
            legs: Vec::new(),
            items: Vec::new(),
            alone: None,
            after_anonymous: false,
            max_before_us: i64::MIN,
            min_after_us: i64::MAX,
            next_us: None,
            clock: Clock::Original,
        }
    }

    /// The same by the clocks of the servers that wrote its log. Ranges say nothing of them, so all indices are wanted.
    pub(crate) fn by_own_clock(&self, logs: &Logs<'_>) -> Self {
        let mut section = Self { clock: Clock::Immediate, ..self.clone() };
        for item in &mut section.items {
            let Some(entries) = self.entries_of(item, logs) else { continue };
            let times = || entries.iter().map(|(_, entry)| entry.us(Clock::Immediate));
            item.first_us = times().next();
            item.last_us = times().next_back();
            item.min_us = times().min().unwrap_or(item.min_us);
            item.max_us = times().max().unwrap_or(item.max_us);
            item.step_back_us = step_back_us(times());
        }
        let end = self.legs.last().filter(|_| self.next_us.is_some());
        section.next_us = end.and_then(|leg| logs.logs[leg.log].next_us(leg.to, logs.reader, Clock::Immediate));
        section
    }

    pub(crate) const fn end_place(&self) -> Place {
        Place::before(self.items.len())
    }

    /// The greatest commit time up to the end of this section.
    pub(crate) fn max_us(&self) -> i64 {
        self.items.last().map_or(self.max_before_us, |item| item.max_before_us.max(item.max_us))
    }

    /// The commit time of its last transaction, where that is known.
    pub(crate) fn last_us(&self) -> Option<i64> {
        self.items.last().and_then(|item| item.last_us)
    }

    pub(crate) fn log_of<'a>(&self, item: &Item, logs: &'a [Log]) -> &'a Log {
        &logs[self.legs[item.leg].log]
    }

    pub(crate) fn piece_of<'a>(&self, item: &Item, logs: &'a [Log]) -> &'a Piece {
        &self.log_of(item, logs).pieces[item.piece]
    }

    /// What an item adds.
    pub(crate) fn gtids_of<'a>(&self, item: &'a Item, logs: &'a [Log]) -> &'a GtidSet {
        item.part.as_ref().unwrap_or_else(|| &self.piece_of(item, logs).gtids)
    }

    /// The transactions of an item with their numbers in its piece; wanted if the index has not been read.
    pub(crate) fn entries_of<'a>(&self, item: &Item, logs: &Logs<'a>) -> Option<Vec<(usize, &'a IndexEntry)>> {
        let leg = &self.legs[item.leg];
        let entries = logs.reader.entries(self.piece_of(item, logs.logs))?;
        Some(entries_within(entries, item.from, item.to, &leg.already))
    }

    /// The state at a point.
    pub(crate) fn state_at(&self, place: Place, logs: &Logs<'_>) -> GtidSet {
        if place >= self.end_place() {
            return self.end.clone();
        }
        let mut state = self.start.clone();
        self.items[..place.item].iter().for_each(|item| advance(&mut state, self.gtids_of(item, logs.logs)));
        if place.count > 0 {
            let entries = self.entries_of(&self.items[place.item], logs).unwrap_or_default();
            let earlier = entries.iter().filter(|(number, _)| *number < place.count);
            advance(&mut state, &earlier.filter_map(|(_, entry)| entry.gtid).collect());
        }
        state
    }

    /// The point before the first transaction later than an instant. Where the index has not been read: before its range.
    pub(crate) fn place_at(&self, us: i64, logs: &Logs<'_>) -> Place {
        for (number, item) in self.items.iter().enumerate().filter(|(_, item)| item.max_us > us) {
            if item.min_us > us {
                return Place::before(number);
            }
            let Some(entries) = self.entries_of(item, logs) else { return Place::before(number) };
            if let Some((count, _)) = entries.iter().find(|(_, entry)| entry.us(self.clock) > us) {
                return self.place_before(number, *count);
            }
        }
        self.end_place()
    }

    /// The point before a transaction of an item, in one form only.
    fn place_before(&self, item: usize, count: usize) -> Place {
        if count <= self.items[item].from { Place::before(item) } else { Place { item, count } }
    }

    /// The last item that has a transaction of a set.
    pub(crate) fn last_touched(&self, set: &GtidSet, logs: &[Log]) -> Option<usize> {
        self.items.iter().rposition(|item| !self.gtids_of(item, logs).is_disjoint(set))
    }

    /// The item that has a transaction.
    pub(crate) fn find(&self, gtid: &Gtid, logs: &[Log]) -> Option<usize> {
        self.items.iter().position(|item| self.gtids_of(item, logs).contains(gtid))
    }
}

/// The transactions of a piece from one on up to another, without those that are executed already.
pub(crate) fn entries_within<'a>(
    entries: &'a [IndexEntry],
    from: usize,
    to: Option<usize>,
    already: &GtidSet,
) -> Vec<(usize, &'a IndexEntry)> {
    let is_new = |entry: &IndexEntry| entry.gtid.is_none_or(|gtid| !already.contains(&gtid));
    let count = to.unwrap_or(entries.len()).saturating_sub(from);
    entries.iter().enumerate().skip(from).take(count).filter(|(_, entry)| is_new(entry)).collect()
}

fn items_of(place: usize, leg: &Leg, log: &Log, reader: &IndexReader<'_>) -> Vec<Item> {
    let last = if leg.to.count > 0 { leg.to.piece + 1 } else { leg.to.piece };
    let mut items = Vec::new();
    for piece in leg.from.piece..last.min(log.pieces.len()) {
        let from = if piece == leg.from.piece { leg.from.count } else { 0 };
        let to = (piece == leg.to.piece).then_some(leg.to.count);
        let of = &log.pieces[piece];
        let item = if from == 0 && to.is_none() && leg.already.is_disjoint(&of.gtids) {
            whole_item(place, piece, of)
        } else {
            let entries = reader.entries(of).map(|entries| entries_within(entries, from, to, &leg.already));
            part_item((place, piece), (from, to), of, leg, entries.as_deref())
        };
        items.extend(Some(item).filter(|item| item.transactions > 0));
    }
    items
}

fn whole_item(leg: usize, piece: usize, of: &Piece) -> Item {
    Item {
        leg,
        piece,
        from: 0,
        to: None,
        part: None,
        transactions: of.transactions,
        first_us: of.first_us,
        last_us: of.last_us,
        min_us: of.min_us,
        max_us: of.max_us,
        step_back_us: of.step_back_us,
        max_before_us: i64::MIN,
        min_after_us: i64::MAX,
    }
}

/// A part of a piece. Without its index all that is known is what holds for the whole piece, which errs to the safe side:
/// times reach too far in both directions.
fn part_item(
    (leg, piece): (usize, usize),
    (from, to): (usize, Option<usize>),
    of: &Piece,
    in_leg: &Leg,
    entries: Option<&[(usize, &IndexEntry)]>,
) -> Item {
    let whole = whole_item(leg, piece, of);
    let Some(entries) = entries else {
        let part = of.gtids.subtract(&in_leg.already);
        return Item { from, to, transactions: part.count(), part: Some(part), first_us: None, last_us: None, ..whole };
    };
    let times = || entries.iter().map(|(_, entry)| entry.commit_us);
    Item {
        from,
        to,
        part: Some(entries.iter().filter_map(|(_, entry)| entry.gtid).collect()),
        transactions: entries.len() as u64,
        first_us: times().next(),
        last_us: times().next_back(),
        min_us: times().min().unwrap_or(whole.min_us),
        max_us: times().max().unwrap_or(whole.max_us),
        step_back_us: step_back_us(times()),
        ..whole
    }
}

/// Notes in each section and item what times stand before and after it on the whole branch.
pub(crate) fn note_times(sections: &mut [Section]) {
    let mut max = i64::MIN;
    for section in sections.iter_mut() {
        section.max_before_us = max;
        for item in &mut section.items {
            item.max_before_us = max;
            max = max.max(item.max_us);
        }
    }
    let mut min = i64::MAX;
    for section in sections.iter_mut().rev() {
        section.min_after_us = min;
        for item in section.items.iter_mut().rev() {
            item.min_after_us = min;
            min = min.min(item.min_us);
        }
    }
}
