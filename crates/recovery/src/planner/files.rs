//! The bytes between a base backup and the stop.

use pitr_binlog::{GtidSet, TransactionFlags};

use super::Planner;
use crate::coverage::Piece;
use crate::entry::Entry;
use crate::inventory::{ArchivedRange, RangeFlags, RangeKind};
use crate::log::Log;
use crate::plan::{PlanWarning, PlannedBinlog, PlannedRange, Stop};
use crate::section::{Item, Place, Section};
use crate::unrecoverable::Unrecoverable;

/// What is replayed.
pub(super) struct Replay {
    pub files: Vec<PlannedBinlog>,
    pub transactions: u64,
    pub bytes: u64,
    pub stop: Option<Stop>,
    /// The flags of all ranges, together.
    pub flags: RangeFlags,
}

impl Replay {
    pub(super) fn warnings(&self) -> Vec<PlanWarning> {
        let xa = TransactionFlags::XA_PREPARE | TransactionFlags::XA_COMMIT | TransactionFlags::XA_ROLLBACK;
        let in_log = self.flags.transactions;
        let possible = [
            (self.flags.whole_seconds, PlanWarning::WholeSeconds),
            (in_log.intersects(xa), PlanWarning::XaTransactions),
            (in_log.intersects(TransactionFlags::STATEMENT), PlanWarning::Statements),
            (in_log.intersects(TransactionFlags::NON_TRANSACTIONAL), PlanWarning::NonTransactional),
        ];
        possible.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning).collect()
    }
}

/// Bytes of one binlog of one stream.
struct Span {
    log: usize,
    binlog: usize,
    from: u64,
    to: u64,
}

impl Planner<'_> {
    /// Everything from the first transaction that the base lacks up to the stop.
    pub(super) fn replay(
        &self,
        section: &Section,
        entry: &Entry,
        stop: Place,
        executed: &GtidSet,
    ) -> Result<Replay, Unrecoverable> {
        let mut spans: Vec<Span> = Vec::new();
        let mut transactions = 0;
        let beyond = stop.item + usize::from(stop.count > 0);
        let items = section.items.iter().enumerate().take(beyond);
        for (number, item) in items {
            let gtids = section.gtids_of(item, self.logs.logs);
            if number < entry.place.item.saturating_add(1) && gtids.is_subset_of(executed) {
                continue;
            }
            let limit = (number == stop.item).then_some(stop.count);
            let needs_entries = limit.is_some() || !gtids.is_disjoint(executed);
            let (count, bounds) = self.bounds(section, item, (limit, needs_entries, executed))?;
            transactions += count;
            let Some((from, to)) = bounds else { continue };
            let (log, binlog) = (section.legs[item.leg].log, section.piece_of(item, self.logs.logs).binlog);
            match spans.last_mut().filter(|span| span.log == log && span.binlog == binlog) {
                Some(span) => span.to = to,
                None => spans.push(Span { log, binlog, from, to }),
            }
        }
        let mut flags = RangeFlags::default();
        let mut files: Vec<PlannedBinlog> = Vec::new();
        for file in spans.iter().filter_map(|span| self.file(span, &mut flags)) {
            // Two streams can share a binlog: its bytes are sent as one file.
            match files.last_mut().filter(|last| last.id == file.id && last.to == file.from) {
                Some(last) => {
                    last.to = file.to;
                    last.ranges.extend(
                        file.ranges.into_iter().filter(|range| !last.ranges.contains(range)).collect::<Vec<_>>(),
                    );
                }
                None => files.push(file),
            }
        }
        let last = files.last().map(|f| Stop { binlog: f.id.clone(), name: f.name.clone(), offset: f.to });
        let bytes = files.iter().map(|file| file.to - file.from).sum();
        Ok(Replay { files, transactions, bytes, stop: last, flags })
    }

    /// How many transactions of an item are replayed, and the bytes from the first to the last of them.
    fn bounds(
        &self,
        section: &Section,
        item: &Item,
        (limit, needs_entries, executed): (Option<usize>, bool, &GtidSet),
    ) -> Result<(u64, Option<(u64, u64)>), Unrecoverable> {
        let piece = section.piece_of(item, self.logs.logs);
        let range = self.range(piece);
        let whole = item.from == 0 && item.to.is_none() && piece.start == range.start && !needs_entries;
        if let (true, Some(first), Some(last)) = (whole, &range.first, &range.last) {
            return Ok((item.transactions, Some((first.start, last.end))));
        }
        let entries = self.read(section, item)?;
        let missing = entries.iter().filter(|(number, entry)| {
            limit.is_none_or(|limit| *number < limit) && entry.gtid.is_none_or(|gtid| !executed.contains(&gtid))
        });
        let (mut count, mut bounds) = (0, None);
        for (_, entry) in missing {
            count += 1;
            bounds = Some((bounds.map_or(entry.start, |(from, _)| from), entry.end));
        }
        Ok((count, bounds))
    }

    fn range(&self, piece: &Piece) -> &ArchivedRange {
        &self.timeline.inventory.binlogs[piece.binlog].ranges[piece.range]
    }

    fn file(&self, span: &Span, flags: &mut RangeFlags) -> Option<PlannedBinlog> {
        let binlog = &self.timeline.inventory.binlogs[span.binlog];
        let log: &Log = &self.logs.logs[span.log];
        let pieces = log.pieces.iter().filter(|p| p.binlog == span.binlog && p.start < span.to && span.from < p.end);
        let ranges: Vec<&ArchivedRange> = pieces.map(|piece| self.range(piece)).collect();
        for range in &ranges {
            flags.transactions |= range.flags.transactions;
            flags.whole_seconds |= range.flags.whole_seconds;
        }
        let heads = binlog.ranges.iter().filter(|range| range.start == 0 && range.is_held());
        let head =
            ranges.first().copied().filter(|range| range.start == 0).or_else(|| {
                heads.max_by_key(|range| (range.kind == RangeKind::Catalogued, range.end, range.raw_sha256))
            })?;
        Some(PlannedBinlog {
            id: binlog.id.clone(),
            name: binlog.name.clone(),
            head: planned(head),
            ranges: ranges.iter().map(|range| planned(range)).collect(),
            from: span.from,
            to: span.to,
        })
    }
}

fn planned(range: &ArchivedRange) -> PlannedRange {
    PlannedRange { start: range.start, end: range.end, raw_sha256: range.raw_sha256, objects: range.objects.clone() }
}
