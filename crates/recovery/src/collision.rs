//! Streams that use the same GTIDs for different transactions.
//!
//! A transaction is the same one on two servers when GTID and original commit time are equal, to the microsecond. Numbers
//! return after RESET BINARY LOGS AND GTIDS, and a cloned volume goes on writing under its twin's name.

use std::collections::{BTreeMap, BTreeSet};

use pitr_binlog::{Gtid, GtidSet, GtidSource};

use crate::coverage::Piece;
use crate::inventory::{ArchivedRange, TransactionPoint};
use crate::log::{IndexReader, Log};

/// Which streams disagree, and about which GTIDs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collisions {
    pairs: BTreeMap<(usize, usize), GtidSet>,
}

impl Collisions {
    /// Compares all streams, as far as what ranges say about themselves tells, or their indices where these were read.
    pub(crate) fn find(logs: &[Log], disputes: Vec<(usize, usize, GtidSet)>, reader: &IndexReader<'_>) -> Self {
        let mut pairs: BTreeMap<(usize, usize), GtidSet> = BTreeMap::new();
        for (a, b, gtids) in disputes {
            pairs.entry((a, b)).or_default().union_with(&gtids);
        }
        let own: Vec<GtidSet> = logs.iter().map(|log| log.after().subtract(log.before())).collect();
        let pairs_of = |a: usize| (a + 1..logs.len()).map(move |b| (a, b));
        let overlapping = |(a, b): &(usize, usize)| !own[*a].is_disjoint(&own[*b]);
        let candidates: Vec<(usize, usize)> = (0..logs.len()).flat_map(pairs_of).filter(overlapping).collect();
        // A server logs each transaction once, unless it lost it in a crash: numbers that return on one server are looked at
        // one by one, and then wherever else they turn up.
        let mut suspects = GtidSet::new();
        for (a, b) in &candidates {
            if logs[*a].stream.source == logs[*b].stream.source {
                suspects.union_with(&compare((&logs[*a], &logs[*b]), &own[*a], reader));
            }
        }
        for (a, b) in candidates {
            let gtids = compare((&logs[a], &logs[b]), &suspects, reader);
            if !gtids.is_empty() {
                pairs.entry((a, b)).or_default().union_with(&gtids);
            }
        }
        Self { pairs }
    }

    /// The GTIDs that mean different transactions in two streams.
    pub(crate) fn between(&self, a: usize, b: usize) -> Option<&GtidSet> {
        self.pairs.get(&(a.min(b), a.max(b)))
    }

    /// The GTIDs that mean another transaction in one stream than in any of some others.
    pub(crate) fn with_any<'a>(&self, log: usize, others: impl IntoIterator<Item = &'a usize>) -> GtidSet {
        let disputed = others.into_iter().filter_map(|other| self.between(log, *other));
        disputed.fold(GtidSet::new(), |all, gtids| all.union(gtids))
    }

    /// Whether any of these GTIDs of a stream mean something else in another one.
    pub(crate) fn is_contested(&self, log: usize, gtids: &GtidSet) -> bool {
        self.iter().any(|(a, b, disputed)| (a == log || b == log) && !disputed.is_disjoint(gtids))
    }

    /// All GTIDs that mean several transactions.
    pub(crate) fn all(&self) -> GtidSet {
        self.pairs.values().fold(GtidSet::new(), |all, gtids| all.union(gtids))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize, &GtidSet)> {
        self.pairs.iter().map(|((a, b), gtids)| (*a, *b, gtids))
    }
}

/// The GTIDs about which two streams disagree. Where they share a suspect, their indices are wanted.
fn compare((a, b): (&Log, &Log), suspects: &GtidSet, reader: &IndexReader<'_>) -> GtidSet {
    let mut disputed = GtidSet::new();
    for (i, j) in overlaps(&intervals(a), &intervals(b)) {
        let (left, right) = (&a.pieces[i], &b.pieces[j]);
        if !suspects.is_disjoint(&left.gtids) && !suspects.is_disjoint(&right.gtids) {
            let _wanted = (reader.entries(left), reader.entries(right));
        }
        disputed.union_with(&disagreement(left, right, reader));
    }
    disputed
}

type Interval = (GtidSource, u64, u64, usize);

/// The GTID intervals of all pieces, in order of GTIDs.
fn intervals(log: &Log) -> Vec<Interval> {
    let of_piece = |(place, piece): (usize, &Piece)| {
        let list: Vec<Interval> =
            piece.gtids.iter().map(|(s, numbers)| (s, *numbers.start(), *numbers.end(), place)).collect();
        list
    };
    let mut all: Vec<Interval> = log.pieces.iter().enumerate().flat_map(of_piece).collect();
    all.sort_unstable();
    all
}

/// Pairs of pieces that share a GTID.
fn overlaps(a: &[Interval], b: &[Interval]) -> BTreeSet<(usize, usize)> {
    let mut pairs = BTreeSet::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x.0 == y.0 && x.1 <= y.2 && y.1 <= x.2 {
            pairs.insert((x.3, y.3));
        }
        if (x.0, x.2) < (y.0, y.2) { i += 1 } else { j += 1 }
    }
    pairs
}

fn disagreement(a: &Piece, b: &Piece, reader: &IndexReader<'_>) -> GtidSet {
    if let (Some(left), Some(right)) = (reader.entries_if_read(a), reader.entries_if_read(b)) {
        let times: BTreeMap<Gtid, i64> = left.iter().filter_map(|entry| Some((entry.gtid?, entry.commit_us))).collect();
        let differs = |gtid: &Gtid, us: i64| times.get(gtid).is_some_and(|other| *other != us);
        return right.iter().filter_map(|entry| entry.gtid.filter(|gtid| differs(gtid, entry.commit_us))).collect();
    }
    let ranges = (range_of(a, reader), range_of(b, reader));
    if is_evident(a, b, ranges) { a.gtids.intersect(&b.gtids) } else { GtidSet::new() }
}

fn range_of<'a>(piece: &Piece, reader: &IndexReader<'a>) -> &'a ArchivedRange {
    &reader.inventory().binlogs[piece.binlog].ranges[piece.range]
}

/// Whether what two ranges say about themselves can't be true of the same transactions.
fn is_evident(a: &Piece, b: &Piece, (of_a, of_b): (&ArchivedRange, &ArchivedRange)) -> bool {
    let apart = a.max_us < b.min_us || b.max_us < a.min_us;
    let same_set = of_a.gtids == of_b.gtids
        && (of_a.min_commit_us, of_a.max_commit_us) != (of_b.min_commit_us, of_b.max_commit_us);
    let points = |range: &'_ ArchivedRange| range.first.iter().chain(&range.last).cloned().collect::<Vec<_>>();
    let outside = |points: &[TransactionPoint], range: &ArchivedRange| {
        points.iter().any(|point| {
            point.gtid.is_some_and(|gtid| range.gtids.contains(&gtid))
                && !(range.min_commit_us..=range.max_commit_us).contains(&point.commit_us)
        })
    };
    let (left, right) = (points(of_a), points(of_b));
    let unequal =
        left.iter().any(|l| right.iter().any(|r| l.gtid.is_some() && l.gtid == r.gtid && l.commit_us != r.commit_us));
    apart || same_set || unequal || outside(&left, of_b) || outside(&right, of_a)
}
