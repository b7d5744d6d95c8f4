//! Which binlogs continue each other: consecutive numbers of one source, and each file's previous set equals what came before.
//! Nothing else: no closing event, no upload time, no listing order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pitr_binlog::GtidSet;

use crate::branch::Problem;
use crate::coverage::{Break, Coverage, Fragment, Lost, Piece, cover};
use crate::gtids::advance;
use crate::inventory::{Closed, Inventory};
use crate::log::{IndexReader, Log};
use crate::short_id::ShortIds;
use crate::stream::Stream;
use crate::unlogged::supplement;

/// All streams of an inventory, what is wrong with single binlogs, and which streams contradict each other from the start.
pub(crate) struct Continuity {
    pub logs: Vec<Log>,
    pub problems: Vec<Problem>,
    /// Pairs of streams that hold one binlog with two contents, and the GTIDs in dispute.
    pub disputes: Vec<(usize, usize, GtidSet)>,
}

/// Finds the streams. `ids` gives them their names.
pub(crate) fn find_streams(reader: &IndexReader<'_>, ids: &mut ShortIds) -> Continuity {
    let inventory = reader.inventory();
    let mut order: Vec<usize> = (0..inventory.binlogs.len()).collect();
    order.sort_by(|a, b| inventory.binlogs[*a].id.cmp(&inventory.binlogs[*b].id));
    order.dedup_by(|a, b| inventory.binlogs[*a].id == inventory.binlogs[*b].id);
    let mut coverages: Vec<Coverage> = Vec::new();
    coverages.resize_with(inventory.binlogs.len(), Coverage::default);
    for place in &order {
        let binlog = &inventory.binlogs[*place];
        coverages[*place] = cover(*place, binlog);
        coverages[*place].refine(binlog, reader);
    }
    note_anonymous(inventory, &order, &mut coverages);
    let problems = problems_of(inventory, &coverages, &order);
    let links = links(inventory, &order, &mut coverages);

    let mut chains = chain(&order, &mut coverages, &links);
    drop((coverages, links));
    chains.sort_by_key(|chain| {
        let first = chain.pieces.first().map(|piece| (&inventory.binlogs[piece.binlog].id, piece.start));
        (first, chain.disowned)
    });
    let chains = supplement(chains, inventory);
    let logs: Vec<Log> = chains.into_iter().map(|chain| chain.into_log(inventory, ids)).collect();
    let disputes = disputes_of(&logs);
    Continuity { logs, problems, disputes }
}

/// A stream in the making.
pub(crate) struct Chain {
    pub pieces: Vec<Piece>,
    /// The state before its first piece.
    pub before: GtidSet,
    pub after_anonymous: bool,
    pub broken: Option<Break>,
    pub disowned: bool,
    pub disputed: Option<GtidSet>,
    /// A base backup of its server proves the state before it.
    pub is_proven: bool,
}

impl Chain {
    fn of(fragment: Fragment) -> Option<Self> {
        Some(Self {
            pieces: fragment.pieces,
            before: fragment.before?,
            after_anonymous: fragment.after_anonymous,
            broken: fragment.broken,
            disowned: false,
            disputed: None,
            is_proven: false,
        })
    }

    fn into_log(self, inventory: &Inventory, ids: &mut ShortIds) -> Log {
        let mut after = self.before.clone();
        let mut binlogs: Vec<usize> = Vec::new();
        for piece in &self.pieces {
            advance(&mut after, &piece.gtids);
            if binlogs.last() != Some(&piece.binlog) {
                binlogs.push(piece.binlog);
            }
        }
        let archived = |place: &usize| &inventory.binlogs[*place];
        let timed = || self.pieces.iter().filter(|piece| piece.transactions > 0);
        let first = self.pieces.first();
        let content = first.map_or_else(String::new, |piece| format!("{} {}", archived(&piece.binlog).id, piece.start));
        let stream = Stream {
            id: ids.name("st", &content),
            source: first.map_or_else(String::new, |piece| archived(&piece.binlog).id.source.clone()),
            binlogs: binlogs.iter().map(|place| Arc::clone(archived(place))).collect(),
            before: self.before,
            after,
            first_us: timed().next().and_then(|piece| piece.first_us),
            last_us: timed().next_back().and_then(|piece| piece.last_us),
            transactions: self.pieces.iter().map(|piece| piece.transactions).sum(),
            bytes: self.pieces.iter().map(|piece| piece.end - piece.start).sum(),
        };
        Log {
            stream,
            pieces: self.pieces,
            after_anonymous: self.after_anonymous,
            broken: self.broken,
            disowned: self.disowned,
            disputed: self.disputed,
            is_proven: self.is_proven,
        }
    }
}

/// Marks binlogs that follow one whose last transactions have no GTID: the sets in their heads don't tell of them.
fn note_anonymous(inventory: &Inventory, order: &[usize], coverages: &mut [Coverage]) {
    let mut anonymous: BTreeSet<(&str, u64)> = BTreeSet::new();
    for place in order {
        let id = &inventory.binlogs[*place].id;
        let coverage = &mut coverages[*place];
        if anonymous.contains(&(id.source.as_str(), id.number.saturating_sub(1))) {
            let first =
                coverage.fragments.first_mut().filter(|f| f.pieces.first().is_some_and(|piece| piece.start == 0));
            if let Some(first) = first {
                first.after_anonymous = true;
            }
            coverage.ends_anonymous |= coverage.fragments.iter().all(|fragment| fragment.gtids().is_empty());
        }
        if coverage.ends_anonymous {
            anonymous.insert((&id.source, id.number));
        }
    }
}

/// Pairs of binlogs of which the second continues the first. Places the parts behind a hole on the way, where the next head tells.
fn links(inventory: &Inventory, order: &[usize], coverages: &mut [Coverage]) -> Vec<(usize, usize)> {
    let number = |place: usize| (inventory.binlogs[place].id.source.as_str(), inventory.binlogs[place].id.number);
    let heads: Vec<usize> = order.iter().copied().filter(|place| !coverages[*place].fragments.is_empty()).collect();
    let mut heads = &heads[..];
    let mut matches = Vec::with_capacity(heads.len());
    for place in order {
        let (source, own) = number(*place);
        // Both are in order: what is before the next number now is so for all that follow.
        let earlier = heads.iter().take_while(|head| number(**head) < (source, own + 1)).count();
        heads = &heads[earlier..];
        let nexts = heads.iter().take_while(|head| number(**head) == (source, own + 1)).count();
        let heads = &heads[..nexts];
        let Some(last) = coverages[*place].fragments.last_mut() else { continue };
        // The next head tells what stood before a part behind a hole, if no other hole follows it in the file.
        let is_whole = inventory.binlogs[*place].closed != Closed::Open;
        if let (true, None, None, [head]) = (is_whole, &last.before, &last.broken, heads) {
            let (previous, own) = (&inventory.binlogs[*head].previous, last.gtids());
            last.before = own.is_subset_of(previous).then(|| previous.subtract(&own));
        }
        // The next head does not tell of transactions without GTID either.
        let is_blind = matches!(last.broken, Some(Break::WithoutGtids | Break::Lost(Lost { anonymous: true, .. })));
        let Some(after) = last.after().filter(|_| !is_blind) else { continue };
        let continues = |head: &&usize| inventory.binlogs[**head].previous == after;
        matches.extend(heads.iter().filter(continues).map(|head| (*place, *head)));
    }
    settle(&matches, coverages, inventory)
}

/// One successor for each, one predecessor for each. After RESET BINARY LOGS numbers and sets can return: then commit times
/// decide, and what they don't decide is not linked.
fn settle(matches: &[(usize, usize)], coverages: &[Coverage], inventory: &Inventory) -> Vec<(usize, usize)> {
    let pieces =
        |place: usize| coverages[place].fragments.iter().flat_map(|f| &f.pieces).filter(|p| p.transactions > 0);
    // What a server replicated has the times of others.
    let is_own = |place: usize| pieces(place).all(|piece| piece.is_of(&inventory.binlogs[place].id.source));
    let successors = Partners::of(matches.iter().copied());
    let predecessors = Partners::of(matches.iter().map(|(from, to)| (*to, *from)));
    let least = |place: usize| pieces(place).map(|p| p.min_us).min().map(|us| is_own(place).then_some(us));
    let greatest = |place: usize| pieces(place).map(|p| p.max_us).max().map(|us| is_own(place).then_some(us));
    let begins = |place: usize| nearest(place, &successors, &least);
    let ends = |place: usize| nearest(place, &predecessors, &greatest);
    let times = |from: usize, to: usize| ends(from).zip(begins(to));
    let in_time = |from: usize, to: usize| times(from, to).is_some_and(|(end, begin)| end <= begin);
    // A rival whose times are not known can't be excluded.
    let may_be = |from: usize, to: usize| times(from, to).is_none_or(|(end, begin)| end <= begin);
    let unrivalled = |from: usize, to: usize| {
        let mut other_heads = successors.with(from).filter(|head| *head != to && may_be(from, *head));
        let mut other_tails = predecessors.with(to).filter(|tail| *tail != from && may_be(*tail, to));
        in_time(from, to)
            && !other_heads.any(|head| begins(head).is_none_or(|begin| Some(begin) <= begins(to)))
            && !other_tails.any(|tail| ends(tail).is_none_or(|end| Some(end) >= ends(from)))
    };
    let alone = |from: usize, to: usize| successors.with(from).len() == 1 && predecessors.with(to).len() == 1;
    matches.iter().copied().filter(|(from, to)| alone(*from, *to) || unrivalled(*from, *to)).collect()
}

/// Which binlogs go with which, in one direction.
struct Partners(Vec<(usize, usize)>);

impl Partners {
    fn of(pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        Self(pairs)
    }

    fn with(&self, place: usize) -> impl ExactSizeIterator<Item = usize> {
        let first = self.0.partition_point(|(of, _)| *of < place);
        let count = self.0[first..].iter().take_while(|(of, _)| *of == place).count();
        self.0[first..first + count].iter().map(|(_, partner)| *partner)
    }
}

/// A time of a binlog or, while it is empty, of the only one next to it; none where its times are not its server's.
fn nearest(place: usize, partners: &Partners, own: &dyn Fn(usize) -> Option<Option<i64>>) -> Option<i64> {
    let mut place = place;
    loop {
        let found = own(place);
        let mut next = partners.with(place);
        match (found, next.next(), next.next()) {
            (None, Some(only), None) => place = only,
            _ => return found.flatten(),
        }
    }
}

fn chain(order: &[usize], coverages: &mut [Coverage], links: &[(usize, usize)]) -> Vec<Chain> {
    let mut done = Vec::new();
    // The chain that ends with the last fragment of a binlog, until its successor comes along.
    let mut open: BTreeMap<usize, Chain> = BTreeMap::new();
    let previous = Partners::of(links.iter().map(|(from, to)| (*to, *from)));
    for place in order {
        let coverage = std::mem::take(&mut coverages[*place]);
        let mut current = previous.with(*place).next().and_then(|from| open.remove(&from));
        for fragment in coverage.fragments {
            match &mut current {
                // Only what begins the file goes on from the file before: the rest begins behind a hole.
                Some(chain) if fragment.pieces.first().is_some_and(|piece| piece.start == 0) => {
                    chain.pieces.extend(fragment.pieces);
                    chain.broken = fragment.broken;
                }
                _ => {
                    done.extend(current.take());
                    current = Chain::of(fragment);
                }
            }
        }
        open.extend(current.map(|chain| (*place, chain)));
        done.extend(coverage.ahead.and_then(Chain::of).map(|chain| Chain { disowned: true, ..chain }));
        for (fragment, disputed) in coverage.conflicting {
            done.extend(Chain::of(fragment).map(|chain| Chain { disputed: Some(disputed), ..chain }));
        }
    }
    done.extend(open.into_values());
    done
}

fn problems_of(inventory: &Inventory, coverages: &[Coverage], order: &[usize]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for place in order {
        let binlog = &inventory.binlogs[*place];
        if let Some(damage) = &binlog.damage {
            let (offset, reason) = (damage.offset, damage.reason.clone());
            problems.push(Problem::Damaged { binlog: binlog.id.clone(), offset, reason });
        }
        let coverage = &coverages[*place];
        if let Some(fragment) = &coverage.ahead {
            let offset = fragment.pieces.first().map_or(0, |piece| piece.start);
            problems.push(Problem::Ahead { binlog: binlog.id.clone(), offset, gtids: fragment.gtids() });
        }
        for (fragment, _) in &coverage.conflicting {
            let offset = fragment.pieces.first().map_or(0, |piece| piece.start);
            problems.push(Problem::Divergence { binlog: binlog.id.clone(), offset });
        }
        let disputed = coverage.disputed.iter();
        problems.extend(disputed.map(|offset| Problem::Divergence { binlog: binlog.id.clone(), offset: *offset }));
        let lost = coverage.lost.iter();
        problems.extend(lost.map(|lost| Problem::Lost { binlog: binlog.id.clone(), start: lost.start, end: lost.end }));
    }
    problems
}

/// A conflicting part disagrees with whichever stream holds the chosen bytes of the same binlog.
fn disputes_of(logs: &[Log]) -> Vec<(usize, usize, GtidSet)> {
    let mut disputes = Vec::new();
    for (a, log) in logs.iter().enumerate() {
        let (Some(disputed), Some(piece)) = (&log.disputed, log.pieces.first()) else { continue };
        let shares = |other: &Log| other.disputed.is_none() && other.pieces.iter().any(|p| p.binlog == piece.binlog);
        let others = logs.iter().enumerate().filter(|(_, other)| shares(other));
        disputes.extend(others.map(|(b, _)| (a.min(b), a.max(b), disputed.clone())));
    }
    disputes
}
