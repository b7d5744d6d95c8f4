//! What servers have executed and no binlog of theirs tells.
//!
//! The set in a binlog's head (`PREVIOUS_GTIDS`) is not all that was executed before. MySQL leaves out what it knows only from
//! `mysql.gtid_executed` (`gtids_only_in_table`; sql/binlog.cc, `MYSQL_BIN_LOG::open_binlog`), and goes on leaving it out in every
//! later head: what came with a clone, a restored data directory or a dump, and what an earlier base name of the log had. Such
//! a log begins, by its heads, at a state in which its server never was. A base backup that was taken from that server tells
//! the difference: it has it beside what the log holds up to the backup's position.

use std::collections::BTreeMap;

use pitr_binlog::GtidSet;

use crate::continuity::Chain;
use crate::coverage::{Break, Piece};
use crate::gtids::advance;
use crate::inventory::{BaseBackup, Inventory};

/// Whether a server logs what it applies as a replica, by the names of both times (the older one is that of MySQL before 8.0.26).
const LOGS_ALL: [&str; 2] = ["log_replica_updates", "log_slave_updates"];

/// A piece of a chain: the numbers of both.
type Place = (usize, usize);

/// What a base backup says of the chain that its position is in.
#[derive(Clone)]
struct Knot {
    /// The piece that holds the position.
    at: Place,
    /// Whether that piece ends at the position.
    is_whole: bool,
    /// What its server had executed beside its log.
    unlogged: GtidSet,
    /// That is all; else it may be more than all: a replica that does not log what it applies has executed more at each moment than
    /// its log tells.
    is_exact: bool,
}

/// Adds to the state before each chain what base backups prove that its heads leave out.
///
/// A server's chains whose heads continue each other have it in common, also across a gap. Where a later base backup proves more
/// than an earlier one, something was executed meanwhile that was never logged, nobody knows when: what the log holds between the two
/// leads nowhere, and the chain goes on behind it.
pub(crate) fn supplement(chains: Vec<Chain>, inventory: &Inventory) -> Vec<Chain> {
    let runs = runs(&chains, inventory);
    let mut knots: BTreeMap<usize, Vec<Knot>> = BTreeMap::new();
    for knot in inventory.backups.iter().filter_map(|backup| knot(backup, &chains, inventory)) {
        knots.entry(runs[knot.at.0]).or_default().push(knot);
    }
    let knots: BTreeMap<usize, Vec<Knot>> = knots.into_iter().map(|(run, knots)| (run, in_order(knots))).collect();
    let mut supplemented = Vec::with_capacity(chains.len());
    for (number, chain) in chains.into_iter().enumerate() {
        match knots.get(&runs[number]) {
            Some(knots) if !knots.is_empty() && chain.is_a_history() => supplemented.extend(lay(number, chain, knots)),
            _ => supplemented.push(chain),
        }
    }
    supplemented
}

/// What a base backup tells, if its position is archived and in one history only.
fn knot(backup: &BaseBackup, chains: &[Chain], inventory: &Inventory) -> Option<Knot> {
    let is_exact = LOGS_ALL.iter().any(|name| backup.settings.get(*name).is_some_and(|value| value == "ON"));
    let mut found = None;
    for (number, chain) in chains.iter().enumerate().filter(|(_, chain)| chain.is_a_history()) {
        let Some(piece) = piece_at(backup, chain, inventory).filter(|piece| {
            // Names return, and the backup's own log may be gone: what it has cannot be younger than it is.
            let earlier = &chain.pieces[..*piece];
            earlier.iter().all(|piece| piece.transactions == 0 || piece.min_us <= backup.snapshot_us)
                && first_before(backup, &chain.pieces[*piece], inventory).is_none_or(|us| us <= backup.snapshot_us)
        }) else {
            continue;
        };
        let mut before = chain.before.clone();
        chain.pieces.iter().take(piece).for_each(|piece| advance(&mut before, &piece.gtids));
        if !before.is_subset_of(&backup.executed) {
            continue;
        }
        if found.is_some() {
            // Names return (RESET), and nothing tells which log this is.
            return None;
        }
        let is_whole = backup.position.as_ref().is_some_and(|(_, position)| *position == chain.pieces[piece].end);
        let unlogged = backup.executed.subtract(&chain.after());
        found = Some(Knot { at: (number, piece), is_whole, unlogged, is_exact });
    }
    found
}

/// A run's knots, each of which has all that the one before it has.
fn in_order(mut knots: Vec<Knot>) -> Vec<Knot> {
    knots.sort_by_key(|knot| (knot.at, knot.unlogged.count()));
    let mut ordered: Vec<Knot> = Vec::with_capacity(knots.len());
    let goes_on =
        |ordered: &[Knot], knot: &Knot| ordered.last().is_none_or(|last| last.unlogged.is_subset_of(&knot.unlogged));
    for (number, knot) in knots.iter().enumerate() {
        if !goes_on(&ordered, knot) {
            continue;
        }
        let unlogged = if knot.is_exact {
            knot.unlogged.clone()
        } else {
            // No more than the next one that is exact: what that has and this lacks came later.
            let Some(next) = knots[number..].iter().find(|next| next.is_exact) else { continue };
            knot.unlogged.intersect(&next.unlogged)
        };
        let knot = Knot { unlogged, ..knot.clone() };
        if goes_on(&ordered, &knot) {
            ordered.push(knot);
        }
    }
    ordered
}

/// What was executed beside the log at a piece; none if nobody knows.
fn known_at(place: Place, knots: &[Knot]) -> Option<&GtidSet> {
    let behind = knots.partition_point(|knot| knot.at <= place);
    // Only executing without a log adds to the set: the first one speaks for what is before it, too.
    let Some(last) = behind.checked_sub(1).map(|last| &knots[last]) else {
        return knots.first().map(|first| &first.unlogged);
    };
    let is_sure = knots.get(behind).is_none_or(|next| next.unlogged == last.unlogged);
    (is_sure || (last.at == place && last.is_whole)).then_some(&last.unlogged)
}

/// Lays under each part of a chain what was executed beside it. What lies where nobody knows is left out.
fn lay(number: usize, chain: Chain, knots: &[Knot]) -> Vec<Chain> {
    if knots.iter().any(|knot| !knot.unlogged.is_disjoint(&chain.after())) {
        return vec![chain];
    }
    let known = |piece: usize| known_at((number, piece), knots);
    let changes: Vec<usize> = (1..chain.pieces.len()).filter(|piece| known(*piece) != known(piece - 1)).collect();
    let (mut parts, mut rest, mut from) = (Vec::new(), chain, 0);
    for change in changes {
        let (earlier, later) = rest.cut(change - from);
        if let (Some(part), Some(unlogged)) = (earlier, known(from)) {
            let broken = known(change).is_none().then_some(Break::Unlogged);
            parts.push(Chain { broken, ..part.on(unlogged) });
        }
        (rest, from) = (later, change);
    }
    parts.extend(known(from).map(|unlogged| rest.on(unlogged)));
    parts
}

/// The piece of a chain that holds the position of a base backup: its end is the end of a transaction, or of a file's head.
fn piece_at(backup: &BaseBackup, chain: &Chain, inventory: &Inventory) -> Option<usize> {
    let (name, position) = backup.position.as_ref()?;
    chain.pieces.iter().position(|piece| {
        // There may be very many pieces: what is cheapest to ask comes first.
        let binlog = &inventory.binlogs[piece.binlog];
        (piece.start + 1..=piece.end).contains(position) && binlog.name == *name && binlog.id.source == backup.source
    })
}

/// When the first transaction of a piece was committed, if it stands before the position of a base backup.
fn first_before(backup: &BaseBackup, piece: &Piece, inventory: &Inventory) -> Option<i64> {
    let (_, position) = backup.position.as_ref()?;
    let first = inventory.binlogs[piece.binlog].ranges[piece.range].first.as_ref()?;
    (first.end <= *position).then_some(first.commit_us)
}

/// Numbers the chains so that those of one server whose heads go on from each other, with or without a gap between, share one.
fn runs(chains: &[Chain], inventory: &Inventory) -> Vec<usize> {
    let mut runs: Vec<usize> = Vec::with_capacity(chains.len());
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, chain) in chains.iter().enumerate() {
        let source = chain.pieces.first().map_or("", |piece| inventory.binlogs[piece.binlog].id.source.as_str());
        // Numbers that return tell of a RESET.
        let number_of = |piece: Option<&Piece>| piece.map(|piece| inventory.binlogs[piece.binlog].id.number);
        let goes_on = |before: &&usize| {
            number_of(chains[**before].pieces.last()) <= number_of(chain.pieces.first())
                && chains[**before].after().is_subset_of(&chain.before)
        };
        runs.push(match last.get(source).filter(goes_on) {
            Some(before) if chain.is_a_history() => runs[*before],
            _ => number,
        });
        if chain.is_a_history() {
            last.insert(source, number);
        }
    }
    runs
}

impl Chain {
    /// Whether its server went through it: not what a crash took, nor one of two contents.
    fn is_a_history(&self) -> bool {
        !self.disowned && self.disputed.is_none()
    }

    /// The state behind its last piece, as its heads tell it.
    fn after(&self) -> GtidSet {
        let mut after = self.before.clone();
        self.pieces.iter().for_each(|piece| advance(&mut after, &piece.gtids));
        after
    }

    fn on(self, unlogged: &GtidSet) -> Self {
        Self { before: self.before.union(unlogged), is_proven: true, ..self }
    }

    /// The part before a piece, if there is any, and the rest.
    fn cut(mut self, piece: usize) -> (Option<Self>, Self) {
        let later = self.pieces.split_off(piece.min(self.pieces.len()));
        let rest = Self {
            pieces: later,
            before: self.after(),
            after_anonymous: self.after_anonymous && piece == 0,
            broken: self.broken.take(),
            disowned: self.disowned,
            disputed: None,
            is_proven: self.is_proven,
        };
        ((!self.pieces.is_empty()).then_some(self), rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knot(piece: usize, unlogged: &str, is_exact: bool) -> Knot {
        Knot { at: (0, piece), is_whole: false, unlogged: unlogged.parse().unwrap(), is_exact }
    }

    fn sets(knots: Vec<Knot>) -> Vec<(usize, String)> {
        in_order(knots).into_iter().map(|knot| (knot.at.1, knot.unlogged.to_string())).collect()
    }

    const U: &str = "cccccccc-cccc-cccc-cccc-cccccccccccc:1-3";
    const PART: &str = "cccccccc-cccc-cccc-cccc-cccccccccccc:1";

    #[test]
    fn what_an_earlier_base_lacks_was_executed_after_it_whether_or_not_its_server_logs_all() {
        // What an inexact one has beside the log may be in the log of others: only what it lacks tells.
        let found = sets(vec![knot(1, "", false), knot(3, U, true), knot(5, PART, false)]);
        assert_eq!(found, [(1, String::new()), (3, U.to_owned())]);
        let other = format!("{PART},dddddddd-dddd-dddd-dddd-dddddddddddd:7");
        assert_eq!(sets(vec![knot(1, &other, false), knot(3, U, true)]), [(1, PART.to_owned()), (3, U.to_owned())]);
        // Alone it tells nothing.
        assert_eq!(sets(vec![knot(1, U, false)]), []);
    }

    #[test]
    fn between_two_that_differ_nobody_knows() {
        let known = |knots: &[Knot], piece| known_at((0, piece), knots).map(ToString::to_string);
        let mut knots = vec![knot(1, "", true), knot(3, "", true), knot(6, U, true)];
        for (piece, expected) in
            [(0, Some("")), (1, Some("")), (2, Some("")), (3, None), (5, None), (6, Some(U)), (9, Some(U))]
        {
            assert_eq!(known(&knots, piece).as_deref(), expected, "piece {piece}");
        }
        knots[1].is_whole = true;
        assert_eq!(known(&knots, 3).as_deref(), Some(""));
        assert_eq!(known(&knots, 4), None);
    }
}
