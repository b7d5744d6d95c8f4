//! What is archived, as this process knows it: the last listing plus everything that it stored since.
//!
//! Nothing here is the truth: the bucket is. A ledger that is lost, or that lacks what another archiver stored, costs work done
//! twice and nothing else.

use std::collections::{BTreeMap, VecDeque};

use pitr_archive::{SegmentRecord, add_record, remove_objects};
use pitr_recovery::{ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Inventory, RangeKind};

/// Records remembered to be laid over a listing that may have begun before they were stored.
const RECENT_MAX: usize = 4096;

/// How far one binlog is archived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All bytes before this are in the catalog.
    pub(crate) catalogued_to: u64,
    /// A transaction boundary at or before `catalogued_to`.
    pub(crate) boundary: u64,
    /// All bytes before this are in the catalog or in the tail.
    pub(crate) shipped_to: u64,
    /// Whether the catalog says how the file ended.
    pub(crate) closed: bool,
    /// Commit time of the last archived transaction.
    pub(crate) last_commit_us: Option<i64>,
}

impl Progress {
    /// Whether nothing is left to do of a file of this length. A twin of the volume may have closed the same binlog where it was
    /// copied: that says nothing about a file that has grown since.
    pub(crate) fn is_done(&self, size: u64) -> bool {
        self.closed && self.catalogued_to >= size
    }
}

/// What is archived of the whole workload.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    inventory: Inventory,
    /// Where each binlog stands in the inventory.
    places: BTreeMap<BinlogId, usize>,
    /// The tail objects of this source's binlogs, in the order of the file.
    tail: BTreeMap<BinlogId, Vec<SegmentRecord>>,
    /// What was stored lately, and when.
    recent: VecDeque<(i64, SegmentRecord)>,
    /// Tail objects that were deleted lately, and when.
    removed: VecDeque<(i64, Vec<String>)>,
    /// Counts changes.
    version: u64,
}

impl Ledger {
    /// Changes whenever anything else does.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Takes a listing. What was stored or deleted since it began is laid over it.
    pub(crate) fn list(&mut self, mut inventory: Inventory) {
        self.version += 1;
        let began = inventory.listed_us;
        self.recent.retain(|(at, _)| *at >= began);
        self.removed.retain(|(at, _)| *at >= began);
        for (_, record) in &self.recent {
            add_record(&mut inventory, record);
        }
        for (_, keys) in &self.removed {
            remove_objects(&mut inventory, keys);
        }
        self.places = inventory.binlogs.iter().enumerate().map(|(at, binlog)| (binlog.id.clone(), at)).collect();
        self.inventory = inventory;
    }

    /// Takes the tail objects that a predecessor left.
    pub(crate) fn take_tail(&mut self, records: Vec<SegmentRecord>) {
        self.tail.clear();
        for record in records {
            self.tail.entry(record.key.binlog.clone()).or_default().push(record);
        }
    }

    /// A segment was stored in the tail, or stored and catalogued.
    pub(crate) fn add(&mut self, record: &SegmentRecord, now_us: i64) {
        self.version += 1;
        add_record(&mut self.inventory, record);
        let last = self.inventory.binlogs.len().saturating_sub(1);
        self.places.entry(record.key.binlog.clone()).or_insert(last);
        if record.key.place == pitr_archive::Place::Tail {
            self.tail.entry(record.key.binlog.clone()).or_default().push(record.clone());
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now_us, record.clone()));
    }

    /// Tail objects are gone: the catalog covers them, or one object took the place of several.
    pub(crate) fn remove(&mut self, keys: &[String], now_us: i64) {
        self.version += 1;
        remove_objects(&mut self.inventory, keys);
        self.places = self.inventory.binlogs.iter().enumerate().map(|(at, binlog)| (binlog.id.clone(), at)).collect();
        for records in self.tail.values_mut() {
            records.retain(|record| !keys.contains(&record.key.to_string()));
        }
        self.tail.retain(|_, records| !records.is_empty());
        if self.removed.len() == RECENT_MAX {
            self.removed.pop_front();
        }
        self.removed.push_back((now_us, keys.to_vec()));
    }

    /// Takes base backups that were listed later than everything else.
    pub(crate) fn list_backups(&mut self, backups: Vec<BaseBackup>) {
        if self.inventory.backups != backups {
            self.version += 1;
            self.inventory.backups = backups;
        }
    }

    /// The tail objects of a binlog, in the order of the file.
    pub(crate) fn tail(&self, id: &BinlogId) -> Vec<SegmentRecord> {
        let mut records = self.tail.get(id).cloned().unwrap_or_default();
        records.sort_unstable_by_key(|record| (record.key.start, record.key.end));
        records
    }

    /// How far a binlog is archived.
    pub(crate) fn progress(&self, id: &BinlogId) -> Progress {
        self.binlog(id).map(progress).unwrap_or_default()
    }

    /// What is archived of a binlog.
    pub(crate) fn binlog(&self, id: &BinlogId) -> Option<&ArchivedBinlog> {
        self.places.get(id).and_then(|at| self.inventory.binlogs.get(*at))
    }

    /// Everything.
    pub(crate) fn inventory(&self) -> &Inventory {
        &self.inventory
    }
}

fn progress(binlog: &ArchivedBinlog) -> Progress {
    let mut ranges: Vec<&ArchivedRange> = binlog.ranges.iter().collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let catalogued = ranges.iter().filter(|range| range.kind == RangeKind::Catalogued);
    let catalogued_to = catalogued.fold(0, |to, range| if range.start <= to { to.max(range.end) } else { to });
    let shipped_to = ranges.iter().fold(0, |to, range| if range.start <= to { to.max(range.end) } else { to });
    let reached = |to: u64| ranges.iter().filter(move |range| range.end <= to).filter_map(|range| range.last.as_ref());
    let whole = |range: &&&ArchivedRange| !range.flags.ends_in_transaction && range.kind == RangeKind::Catalogued;
    let boundary = ranges.iter().filter(whole).map(|range| range.end).filter(|end| *end <= catalogued_to).max();
    Progress {
        catalogued_to,
        boundary: boundary.unwrap_or(0),
        shipped_to,
        closed: binlog.closed != Closed::Open,
        last_commit_us: reached(shipped_to).max_by_key(|point| point.end).map(|point| point.commit_us),
    }
}

#[cfg(test)]
mod tests;
