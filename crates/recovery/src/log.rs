//! The content of a stream: its transactions in log order, as pieces, and points in it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use pitr_binlog::GtidSet;

use crate::coverage::{Break, Piece};
use crate::gtids::advance;
use crate::inventory::{IndexEntry, Indices, Inventory, RangeRef};
use crate::stream::Stream;
use crate::target::Clock;

/// A stream with its pieces.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub stream: Stream,
    pub pieces: Vec<Piece>,
    /// See [`crate::coverage::Fragment::after_anonymous`].
    pub after_anonymous: bool,
    /// Why it ends before its last binlog does.
    pub broken: Option<Break>,
    /// Bytes that the server lost: nobody's history but their own.
    pub disowned: bool,
    /// Bytes that contradict others of the same binlog, and the GTIDs in dispute.
    pub disputed: Option<GtidSet>,
    /// A base backup of its server proves the state before it, which heads alone do not tell.
    pub is_proven: bool,
}

/// A point in a stream: all pieces before `piece`, and the first `count` transactions of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    pub piece: usize,
    pub count: usize,
}

impl Cut {
    pub(crate) const fn before(piece: usize) -> Self {
        Self { piece, count: 0 }
    }
}

/// Gives the indices that have been read and notes those that are wanted.
pub(crate) struct IndexReader<'a> {
    inventory: &'a Inventory,
    indices: &'a Indices,
    wanted: RefCell<BTreeSet<RangeRef>>,
}

impl<'a> IndexReader<'a> {
    pub(crate) fn new(inventory: &'a Inventory, indices: &'a Indices) -> Self {
        Self { inventory, indices, wanted: RefCell::default() }
    }

    pub(crate) const fn inventory(&self) -> &'a Inventory {
        self.inventory
    }

    /// The transactions of a piece, if its index has been read; else it is wanted.
    pub(crate) fn entries(&self, piece: &Piece) -> Option<&'a [IndexEntry]> {
        let entries = self.entries_if_read(piece);
        if entries.is_none() {
            self.wanted.borrow_mut().insert(self.range_ref(piece));
        }
        entries
    }

    /// The same without wanting it.
    pub(crate) fn entries_if_read(&self, piece: &Piece) -> Option<&'a [IndexEntry]> {
        Some(piece.entries_in(&self.indices.get(&self.range_ref(piece))?.entries))
    }

    /// The name of the range that a piece is taken from.
    pub(crate) fn range_ref(&self, piece: &Piece) -> RangeRef {
        let binlog = &self.inventory.binlogs[piece.binlog];
        binlog.range_ref(&binlog.ranges[piece.range])
    }

    /// What was wanted and not there.
    pub(crate) fn into_wanted(self) -> BTreeSet<RangeRef> {
        self.wanted.into_inner()
    }
}

impl Log {
    pub(crate) const fn before(&self) -> &GtidSet {
        &self.stream.before
    }

    pub(crate) const fn after(&self) -> &GtidSet {
        &self.stream.after
    }

    pub(crate) const fn end(&self) -> Cut {
        Cut::before(self.pieces.len())
    }

    /// The point after the first `count` transactions of a piece, in one form only.
    fn cut(&self, piece: usize, count: usize) -> Cut {
        if count as u64 >= self.pieces[piece].transactions { Cut::before(piece + 1) } else { Cut { piece, count } }
    }

    /// The state at a point.
    pub(crate) fn state_at(&self, cut: Cut, reader: &IndexReader<'_>) -> GtidSet {
        if cut == self.end() {
            return self.after().clone();
        }
        let mut state = self.before().clone();
        self.pieces[..cut.piece].iter().for_each(|piece| advance(&mut state, &piece.gtids));
        if cut.count > 0 {
            let entries = self.pieces.get(cut.piece).and_then(|piece| reader.entries(piece)).unwrap_or_default();
            advance(&mut state, &entries.iter().take(cut.count).filter_map(|entry| entry.gtid).collect());
        }
        state
    }

    /// The commit time of the transaction behind a point; the least of its piece where the index has not been read.
    pub(crate) fn next_us(&self, cut: Cut, reader: &IndexReader<'_>, clock: Clock) -> Option<i64> {
        let piece = self.pieces[cut.piece.min(self.pieces.len())..].iter().find(|piece| piece.transactions > 0)?;
        let in_range = cut.count == 0 && clock == Clock::Original;
        let entries = if !in_range { reader.entries(piece) } else { None };
        let next = entries.and_then(|entries| entries.get(cut.count)).map(|entry| entry.us(clock));
        Some(next.or(piece.first_us.filter(|_| cut.count == 0)).unwrap_or(piece.min_us))
    }

    /// The end of the longest beginning of this stream that has no transaction outside a set.
    pub(crate) fn prefix_within(&self, set: &GtidSet, reader: &IndexReader<'_>) -> Cut {
        let outside = self.pieces.iter().position(|piece| !piece.gtids.is_subset_of(set));
        let Some(place) = outside else { return self.end() };
        let piece = &self.pieces[place];
        if piece.gtids.is_disjoint(set) {
            return Cut::before(place);
        }
        let entries = reader.entries(piece).unwrap_or_default();
        let is_outside = |entry: &IndexEntry| entry.gtid.is_none_or(|gtid| !set.contains(&gtid));
        self.cut(place, entries.iter().position(is_outside).unwrap_or(0))
    }

    /// The first point at which this stream has all of a set that it has in the end; none where an index is wanted.
    pub(crate) fn first_containing(&self, set: &GtidSet, reader: &IndexReader<'_>) -> Option<Cut> {
        let sought = set.subtract(self.before());
        let touches = |piece: &Piece| !piece.gtids.is_disjoint(&sought);
        let Some(place) = self.pieces.iter().rposition(touches) else { return Some(Cut::before(0)) };
        let piece = &self.pieces[place];
        if piece.gtids.is_subset_of(&sought) {
            return Some(Cut::before(place + 1));
        }
        let is_sought = |entry: &IndexEntry| entry.gtid.is_some_and(|gtid| sought.contains(&gtid));
        let last = reader.entries(piece)?.iter().rposition(is_sought)?;
        Some(self.cut(place, last + 1))
    }
}
