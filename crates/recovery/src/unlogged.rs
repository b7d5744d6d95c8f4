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
use crate::coverage::Piece;
use crate::gtids::advance;
use crate::inventory::{BaseBackup, Inventory};

/// Whether a server logs what it applies as a replica, by the names of both times (the older one is that of MySQL before 8.0.26).
const LOGS_ALL: [&str; 2] = ["log_replica_updates", "log_slave_updates"];

/// What a base backup says of the chain that its position is in.
struct Witness {
    /// The piece that holds the position.
    piece: usize,
    /// What its server had executed beside its log.
    unlogged: GtidSet,
}

/// Adds to the state before each chain what base backups prove that its heads leave out.
///
/// A server's chains whose heads continue each other have it in common, also across a gap. Where a later base backup proves more
/// than an earlier one, something was executed meanwhile that was never logged: the chain ends there, and another begins.
pub(crate) fn supplement(chains: Vec<Chain>, inventory: &Inventory) -> Vec<Chain> {
    let mut witnesses: BTreeMap<usize, Vec<Witness>> = BTreeMap::new();
    for backup in &inventory.backups {
        if let Some((chain, witness)) = witness(backup, &chains, inventory) {
            witnesses.entry(chain).or_default().push(witness);
        }
    }
    let runs = runs(&chains, inventory);
    // A run's first witness speaks for what is before it, too: only executing without a log adds to the set.
    let mut known: BTreeMap<usize, GtidSet> = BTreeMap::new();
    for (chain, of_chain) in &witnesses {
        if let Some(first) = of_chain.iter().min_by_key(|witness| witness.piece) {
            known.entry(runs[*chain]).or_insert_with(|| first.unlogged.clone());
        }
    }
    let mut supplemented = Vec::with_capacity(chains.len());
    for (number, chain) in chains.into_iter().enumerate() {
        let Some(unlogged) = known.get_mut(&runs[number]) else {
            supplemented.push(chain);
            continue;
        };
        let mut of_chain = witnesses.remove(&number).unwrap_or_default();
        of_chain.sort_by_key(|witness| (witness.piece, witness.unlogged.count()));
        supplemented.extend(split(chain, unlogged, of_chain));
    }
    supplemented
}

/// What a base backup proves, if its position is archived and in one history only.
fn witness(backup: &BaseBackup, chains: &[Chain], inventory: &Inventory) -> Option<(usize, Witness)> {
    // A replica that does not log what it applies has executed more at each moment than its log tells.
    if !LOGS_ALL.iter().any(|name| backup.settings.get(*name).is_some_and(|value| value == "ON")) {
        return None;
    }
    let mut found = None;
    for (number, chain) in chains.iter().enumerate().filter(|(_, chain)| chain.is_a_history()) {
        let Some(piece) = piece_at(backup, chain, inventory).filter(|piece| {
            // Names return, and the backup's own log may be gone: what it has cannot be younger than it is.
            first_before(backup, &chain.pieces[*piece], inventory).is_none_or(|us| us <= backup.snapshot_us)
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
        found = Some((number, Witness { piece, unlogged: backup.executed.subtract(&chain.after()) }));
    }
    found
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
        let goes_on = |before: &&usize| chains[**before].after().is_subset_of(&chain.before);
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

/// Lays `unlogged` under a chain; ends it where a base backup proves more, which then counts from there on.
fn split(chain: Chain, unlogged: &mut GtidSet, witnesses: Vec<Witness>) -> Vec<Chain> {
    if !chain.is_a_history() || !unlogged.is_disjoint(&chain.after()) {
        return vec![chain];
    }
    let mut parts: Vec<Chain> = Vec::new();
    let (mut rest, mut cut) = (chain, 0);
    for witness in witnesses {
        if witness.unlogged == *unlogged || !unlogged.is_subset_of(&witness.unlogged) {
            continue;
        }
        let (earlier, later) = rest.cut(witness.piece - cut);
        cut = witness.piece;
        parts.extend(earlier.map(|part| part.on(unlogged)));
        rest = later;
        *unlogged = witness.unlogged;
    }
    parts.push(rest.on(unlogged));
    parts
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
