//! The log of a branch as stretches: transactions of one archived range each, in the order in which they are replayed.

use pitr_binlog::{BinlogName, Gtid, TransactionFlags};

use crate::inventory::{IndexEntry, RangeRef, TransactionIndex};
use crate::section::{Item, Section, entries_within};
use crate::timeline::Timeline;

/// Transactions of one archived range that belong to a branch. It holds for the timeline that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The range whose index tells its transactions.
    pub range: RangeRef,
    /// The name of the binlog.
    pub name: BinlogName,
    /// The stream.
    pub stream: String,
    /// The first byte of the range that belongs to it.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
    /// How many transactions.
    pub transactions: u64,
    /// The least commit time among them.
    pub min_us: i64,
    /// The greatest commit time among them.
    pub max_us: i64,
    /// The flags of all transactions of the range, together.
    pub flags: TransactionFlags,
    way: usize,
    section: usize,
    item: usize,
}

impl Timeline {
    /// The log of a branch, oldest first, across its gaps; empty where no branch has this id.
    #[must_use]
    pub fn stretches(&self, branch: &str) -> Vec<Stretch> {
        let Some(way) = self.branches().iter().position(|known| known.id == branch) else { return Vec::new() };
        let sections = self.ways[way].sections.iter().enumerate();
        let items = sections.flat_map(|(section, of)| of.items.iter().enumerate().map(move |item| (section, of, item)));
        items.map(|(section, of, (item, what))| self.stretch((way, section, item), of, what)).collect()
    }

    fn stretch(&self, (way, section, item): (usize, usize, usize), of: &Section, what: &Item) -> Stretch {
        let piece = of.piece_of(what, &self.logs);
        let binlog = &self.inventory.binlogs[piece.binlog];
        let range = &binlog.ranges[piece.range];
        Stretch {
            range: binlog.range_ref(range),
            name: binlog.name.clone(),
            stream: of.log_of(what, &self.logs).stream.id.clone(),
            start: piece.start,
            end: piece.end,
            transactions: what.transactions,
            min_us: what.min_us,
            max_us: what.max_us,
            flags: range.flags.transactions,
            way,
            section,
            item,
        }
    }

    /// Whether a transaction is in a stretch.
    #[must_use]
    pub fn is_in(&self, gtid: &Gtid, stretch: &Stretch) -> bool {
        let section = &self.ways[stretch.way].sections[stretch.section];
        section.gtids_of(&section.items[stretch.item], &self.logs).contains(gtid)
    }

    /// The transactions of a stretch in log order, given the index of its range.
    #[must_use]
    pub fn transactions_of<'a>(&self, stretch: &Stretch, index: &'a TransactionIndex) -> Vec<&'a IndexEntry> {
        let section = &self.ways[stretch.way].sections[stretch.section];
        let item = &section.items[stretch.item];
        let entries = section.piece_of(item, &self.logs).entries_in(&index.entries);
        let already = &section.legs[item.leg].already;
        entries_within(entries, item.from, item.to, already).into_iter().map(|(_, entry)| entry).collect()
    }
}
