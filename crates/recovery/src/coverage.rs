//! Which bytes of one binlog are archived, as runs of pieces without holes and without overlap.
//!
//! Ranges overlap when a tail object is catalogued, or when two archivers cut differently: each byte is taken once, from the
//! catalog before the tail. What contradicts the chosen ranges is kept as an alternative, never mixed in.

use pitr_binlog::{GtidSet, TransactionFlags};

use crate::gtids::{advance, after};
use crate::inventory::{ArchivedBinlog, ArchivedRange, Closed, IndexEntry, RangeKind};
use crate::log::IndexReader;
use crate::path::is_of;

/// A part of one archived range that is taken: all of it, or what an earlier one has not covered yet.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The binlog's place in the inventory.
    pub binlog: usize,
    /// The range's place in the binlog.
    pub range: usize,
    pub start: u64,
    pub end: u64,
    pub gtids: GtidSet,
    pub transactions: u64,
    /// Commit times of its first and last transaction; unknown when the range is cut.
    pub first_us: Option<i64>,
    pub last_us: Option<i64>,
    pub min_us: i64,
    pub max_us: i64,
    pub step_back_us: i64,
}

/// Pieces that follow each other without a hole.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub pieces: Vec<Piece>,
    /// The state before its first piece, if it is known.
    pub before: Option<GtidSet>,
    /// Transactions without GTID stand right before it: a state equal to `before` may or may not contain them.
    pub after_anonymous: bool,
    /// Why it goes no further in this binlog; none at the end of what is archived of a sound binlog.
    pub broken: Option<Break>,
}

/// Why a fragment ends before its binlog does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    Missing {
        start: u64,
        end: u64,
    },
    Lost(Lost),
    Damaged,
    Incident,
    WithoutGtids,
    /// Its server executed something without a log, and nobody knows when.
    Unlogged,
}

/// Bytes that were archived, and that no object that can be read holds any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub start: u64,
    pub end: u64,
    /// Transactions without GTID are among them: no state tells whether it contains those.
    pub anonymous: bool,
}

/// What is archived of one binlog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    pub fragments: Vec<Fragment>,
    /// Bytes behind the end of the closed file: the archive saw what the server lost.
    pub ahead: Option<Fragment>,
    /// Ranges that contradict the chosen ones, each with the GTIDs it disagrees about.
    pub conflicting: Vec<(Fragment, GtidSet)>,
    /// Where ranges begin that contradict the chosen ones and cannot be read any more: which of the two is right is not known by that.
    pub disputed: Vec<u64>,
    /// Its last transactions are without GTID, so a state does not tell whether it contains them.
    pub ends_anonymous: bool,
    pub lost: Vec<Lost>,
}

impl Piece {
    /// The transactions that end in it, of those that its range has.
    pub(crate) fn entries_in<'a>(&self, entries: &'a [IndexEntry]) -> &'a [IndexEntry] {
        let first = entries.partition_point(|entry| entry.end <= self.start);
        let end = entries.partition_point(|entry| entry.end <= self.end);
        entries.get(first..end).unwrap_or_default()
    }

    /// Whether all its transactions came into being on a server.
    pub(crate) fn is_of(&self, server: &str) -> bool {
        self.gtids.sources().all(|source| is_of(source, server))
    }

    /// Makes exact what is only known of the whole range, where this piece is a part of one.
    ///
    /// Without the index its times reach too far, into transactions that other pieces hold: windows are shorter then.
    fn refine(&mut self, range: &ArchivedRange, reader: &IndexReader<'_>) {
        if (self.start, self.end) == (range.start, range.end) {
            return;
        }
        let Some(entries) = reader.entries(self) else { return };
        self.gtids = entries.iter().filter_map(|entry| entry.gtid).collect();
        self.transactions = entries.len() as u64;
        self.first_us = entries.first().map(|entry| entry.commit_us);
        self.last_us = entries.last().map(|entry| entry.commit_us);
        self.min_us = entries.iter().map(|entry| entry.commit_us).min().unwrap_or(self.min_us);
        self.max_us = entries.iter().map(|entry| entry.commit_us).max().unwrap_or(self.max_us);
        self.step_back_us = step_back_us(entries.iter().map(|entry| entry.commit_us));
    }
}

/// By how much at most a time lies below an earlier one.
pub(crate) fn step_back_us(times: impl IntoIterator<Item = i64>) -> i64 {
    let mut max = i64::MIN;
    let mut most = 0;
    for us in times {
        most = most.max(max.saturating_sub(us));
        max = max.max(us);
    }
    most
}

impl Coverage {
    /// Makes all pieces exact, as far as indices have been read; else those are wanted.
    pub(crate) fn refine(&mut self, archived: &ArchivedBinlog, reader: &IndexReader<'_>) {
        let conflicting = self.conflicting.iter_mut().map(|(fragment, _)| fragment);
        let fragments = self.fragments.iter_mut().chain(&mut self.ahead).chain(conflicting);
        for piece in fragments.flat_map(|fragment| &mut fragment.pieces) {
            piece.refine(&archived.ranges[piece.range], reader);
        }
    }
}

impl Fragment {
    fn new(before: Option<GtidSet>) -> Self {
        Self { pieces: Vec::new(), before, after_anonymous: false, broken: None }
    }

    pub(crate) fn gtids(&self) -> GtidSet {
        let mut all = GtidSet::new();
        self.pieces.iter().for_each(|piece| all.union_with(&piece.gtids));
        all
    }

    pub(crate) fn after(&self) -> Option<GtidSet> {
        let mut state = self.before.clone()?;
        self.pieces.iter().for_each(|piece| advance(&mut state, &piece.gtids));
        Some(state)
    }
}

/// Chooses the ranges of one binlog.
pub(crate) fn cover(place: usize, archived: &ArchivedBinlog) -> Coverage {
    let chooser = Chooser::new(place, archived);
    // Without the first range there is no format description: nothing in the file can be decoded.
    if !archived.previous_known || chooser.choose(0).is_none() {
        let is_anonymous = |range: &ArchivedRange| chooser.is_owned(range) && range.flags.anonymous;
        let ends_anonymous = archived.ranges.iter().any(is_anonymous);
        return Coverage { lost: chooser.lost(), ends_anonymous, ..Coverage::default() };
    }
    let fragments = chooser.fragments();
    let ahead = chooser.ahead(&fragments);
    let conflicting = chooser.conflicting(&fragments);
    let disputed = chooser.disputed(&fragments);
    let usable = |fragment: &Fragment| !fragment.pieces.is_empty();
    let ends_anonymous = fragments.last().is_some_and(|last| {
        let lost = matches!(last.broken, Some(Break::Lost(Lost { anonymous: true, .. })));
        lost || last.after_anonymous && last.gtids().is_empty()
    });
    let lost = fragments.iter().filter_map(|fragment| match fragment.broken {
        Some(Break::Lost(lost)) => Some(lost),
        _ => None,
    });
    let lost = lost.collect();
    let fragments = fragments.into_iter().filter(usable).collect();
    Coverage { fragments, ahead, conflicting, disputed, ends_anonymous, lost }
}

struct Chooser<'a> {
    place: usize,
    archived: &'a ArchivedBinlog,
    /// Nothing can be read from here on.
    damaged_at: u64,
    /// Where the server's file ends, if that is known.
    closed_at: Option<u64>,
}

impl<'a> Chooser<'a> {
    fn new(place: usize, archived: &'a ArchivedBinlog) -> Self {
        let catalogued = archived.ranges.iter().filter(|r| r.kind == RangeKind::Catalogued);
        let closed_at = match archived.closed {
            Closed::Open => None,
            Closed::Rotated { .. } | Closed::Stopped | Closed::Crashed => catalogued.map(|r| r.end).max(),
        };
        let damaged_at = archived.damage.as_ref().map_or(u64::MAX, |damage| damage.offset);
        Self { place, archived, damaged_at, closed_at }
    }

    /// Whether the server's file has all bytes of the range, as far as is known.
    fn is_owned(&self, range: &ArchivedRange) -> bool {
        range.kind == RangeKind::Catalogued || self.closed_at.is_none_or(|end| range.end <= end)
    }

    /// Whether the range can be read, and is the server's.
    fn serves(&self, range: &ArchivedRange) -> bool {
        range.is_held() && self.is_owned(range)
    }

    /// What cannot be read from an offset on, if it was archived: up to what can be read again, or to the end of it.
    fn lost_from(&self, at: u64) -> Option<Lost> {
        let until = self.resume_after(at).unwrap_or(u64::MAX);
        let is_lost = |r: &&ArchivedRange| !r.is_held() && self.is_owned(r) && r.start < until && r.end > at;
        let lost = || self.archived.ranges.iter().filter(|_| at < self.damaged_at).filter(is_lost);
        let end = lost().map(|range| range.end).max()?;
        let anonymous = lost().any(|range| range.flags.anonymous);
        Some(Lost { start: at, end: if until == u64::MAX { end } else { until }, anonymous })
    }

    /// All that cannot be read and was archived.
    fn lost(&self) -> Vec<Lost> {
        let (mut lost, mut at) = (Vec::new(), 0);
        loop {
            if let Some(held) = self.choose(at) {
                at = self.archived.ranges[held].end;
                continue;
            }
            lost.extend(self.lost_from(at));
            let Some(next) = self.resume_after(at) else { return lost };
            at = next;
        }
    }

    /// The best range that holds the byte at an offset.
    fn choose(&self, at: u64) -> Option<usize> {
        let holds = |r: &ArchivedRange| r.start <= at && at < r.end && at < self.damaged_at && self.serves(r);
        let candidates = self.archived.ranges.iter().enumerate().filter(|(_, range)| holds(range));
        let rank = |r: &ArchivedRange| (r.kind == RangeKind::Catalogued, r.start == at, r.end, r.raw_sha256);
        candidates.max_by_key(|(_, range)| rank(range)).map(|(place, _)| place)
    }

    /// Where archived bytes begin again after a hole.
    fn resume_after(&self, at: u64) -> Option<u64> {
        let later = |r: &&ArchivedRange| r.start > at && r.start < self.damaged_at && self.serves(r);
        self.archived.ranges.iter().filter(later).map(|r| r.start).min()
    }

    fn fragments(&self) -> Vec<Fragment> {
        let mut done = Vec::new();
        let mut at = 0;
        let mut in_file = GtidSet::new();
        let mut current = Fragment::new(Some(self.archived.previous.clone()));
        loop {
            let Some(chosen) = self.choose(at) else {
                let Some(next) = self.resume_after(at) else { break };
                let lost = self.lost_from(at);
                let after_anonymous = lost.is_some_and(|lost| lost.anonymous);
                current.broken = Some(lost.map_or(Break::Missing { start: at, end: next }, Break::Lost));
                done.push(std::mem::replace(&mut current, Fragment { after_anonymous, ..Fragment::new(None) }));
                at = next;
                continue;
            };
            let range = &self.archived.ranges[chosen];
            let piece = self.piece(chosen, at, &in_file);
            at = piece.end;
            advance(&mut in_file, &piece.gtids);
            if let Some(broken) = unfit(range) {
                let before = current.after().map(|state| after(&state, &piece.gtids));
                let after_anonymous = broken == Break::WithoutGtids;
                current.broken = Some(broken);
                done.push(std::mem::replace(&mut current, Fragment { after_anonymous, ..Fragment::new(before) }));
            } else if current.pieces.is_empty() && current.before.is_none() && range.flags.starts_in_transaction {
                // The rest of a transaction whose beginning is in the hole: the hole reaches to the end of this range.
                let hole = done.last_mut().and_then(|fragment| fragment.broken.as_mut());
                if let Some(Break::Missing { end, .. } | Break::Lost(Lost { end, .. })) = hole {
                    *end = at;
                }
            } else {
                if current.pieces.is_empty() {
                    // Most binlogs are one piece, and an archive has very many: not room for four.
                    current.pieces.reserve_exact(1);
                }
                current.pieces.push(piece);
            }
        }
        let lost = self.lost_from(at).map(Break::Lost);
        current.broken = lost.or_else(|| self.archived.damage.as_ref().map(|_| Break::Damaged));
        if done.is_empty() {
            return vec![current];
        }
        done.push(current);
        done
    }

    /// The part of a range from an offset on, where `known` is what the binlog holds before it.
    fn piece(&self, chosen: usize, at: u64, known: &GtidSet) -> Piece {
        let range = &self.archived.ranges[chosen];
        let whole = range.start == at;
        let gtids = if whole { range.gtids.clone() } else { range.gtids.subtract(known) };
        let transactions = if whole { range.transactions } else { gtids.count() };
        Piece {
            binlog: self.place,
            range: chosen,
            start: at,
            end: range.end.min(self.damaged_at),
            gtids,
            transactions,
            first_us: range.first.as_ref().filter(|_| whole).map(|first| first.commit_us),
            last_us: range.last.as_ref().map(|last| last.commit_us),
            min_us: range.min_commit_us,
            max_us: range.max_commit_us,
            step_back_us: range.step_back_us,
        }
    }

    fn ahead(&self, fragments: &[Fragment]) -> Option<Fragment> {
        let end = self.closed_at?;
        let before = fragments.last()?.after()?;
        let mut fragment = Fragment::new(Some(before));
        let mut known = fragments.iter().fold(GtidSet::new(), |all, f| all.union(&f.gtids()));
        let mut at = end;
        let holds =
            |r: &ArchivedRange, at: u64| r.kind == RangeKind::Tail && r.is_held() && r.start <= at && at < r.end;
        while let Some(chosen) = self.archived.ranges.iter().position(|r| holds(r, at)) {
            let piece = self.piece(chosen, at, &known);
            at = piece.end;
            known.union_with(&piece.gtids);
            fragment.pieces.push(piece);
        }
        let lost_something = fragment.pieces.iter().any(|piece| !piece.gtids.is_empty());
        lost_something.then_some(fragment)
    }

    /// Where ranges begin that say something else than the chosen ones, and cannot be read any more.
    fn disputed(&self, fragments: &[Fragment]) -> Vec<u64> {
        let pieces: Vec<&Piece> = fragments.iter().flat_map(|f| &f.pieces).collect();
        let is_unread = |range: &&ArchivedRange| !range.is_held() && self.is_owned(range);
        let unread = self.archived.ranges.iter().filter(is_unread);
        unread.filter(|range| self.contradicts(range, &pieces)).map(|range| range.start).collect()
    }

    /// Ranges that were not chosen and say something else than those that were.
    fn conflicting(&self, fragments: &[Fragment]) -> Vec<(Fragment, GtidSet)> {
        let pieces: Vec<&Piece> = fragments.iter().flat_map(|f| &f.pieces).collect();
        let mut found: Vec<(Fragment, GtidSet)> = Vec::new();
        let mut places: Vec<usize> = (0..self.archived.ranges.len()).collect();
        places.sort_by_key(|place| (self.archived.ranges[*place].start, self.archived.ranges[*place].raw_sha256));
        for place in places {
            let range = &self.archived.ranges[place];
            let chosen = pieces.iter().any(|piece| piece.range == place);
            if chosen || !self.serves(range) || !self.contradicts(range, &pieces) {
                continue;
            }
            let mut before = self.archived.previous.clone();
            let earlier = pieces.iter().filter(|piece| piece.start < range.start);
            earlier.for_each(|piece| advance(&mut before, &piece.gtids.subtract(&range.gtids)));
            let shared =
                pieces.iter().fold(GtidSet::new(), |all, piece| all.union(&piece.gtids.intersect(&range.gtids)));
            match found.last_mut().filter(|(f, _)| f.pieces.last().is_some_and(|last| last.end == range.start)) {
                Some((fragment, disputed)) => {
                    fragment.pieces.push(self.piece(place, range.start, &GtidSet::new()));
                    disputed.union_with(&shared);
                }
                None => {
                    let piece = self.piece(place, range.start, &GtidSet::new());
                    found.push((Fragment { pieces: vec![piece], ..Fragment::new(Some(before)) }, shared));
                }
            }
        }
        found
    }

    fn contradicts(&self, range: &ArchivedRange, pieces: &[&Piece]) -> bool {
        let same_extent = |piece: &&&Piece| {
            let chosen = &self.archived.ranges[piece.range];
            chosen.start == range.start && chosen.end == range.end
        };
        if let Some(piece) = pieces.iter().find(same_extent) {
            return self.archived.ranges[piece.range].raw_sha256 != range.raw_sha256;
        }
        let overlapping: Vec<_> = pieces.iter().filter(|p| p.start < range.end && range.start < p.end).collect();
        let covered = overlapping.first().is_some_and(|p| p.start <= range.start)
            && overlapping.last().is_some_and(|p| p.end >= range.end)
            && overlapping.windows(2).all(|pair| pair[0].end == pair[1].start);
        if !covered || range.transactions == 0 {
            return false;
        }
        let gtids = overlapping.iter().fold(GtidSet::new(), |all, piece| all.union(&piece.gtids));
        let timed = || overlapping.iter().filter(|p| p.transactions > 0);
        let earliest = timed().map(|p| p.min_us).min().unwrap_or(i64::MIN);
        let latest = timed().map(|p| p.max_us).max().unwrap_or(i64::MAX);
        !range.gtids.is_subset_of(&gtids) || range.min_commit_us < earliest || range.max_commit_us > latest
    }
}

/// Why the log can't be replayed across this range.
fn unfit(range: &ArchivedRange) -> Option<Break> {
    if range.flags.transactions.contains(TransactionFlags::INCIDENT) {
        Some(Break::Incident)
    } else if range.flags.anonymous {
        Some(Break::WithoutGtids)
    } else {
        None
    }
}
