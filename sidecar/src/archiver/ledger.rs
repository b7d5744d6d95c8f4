//! What is archived, as this process knows it: the last listing plus everything that it stored since.
//!
//! Nothing here is the truth: the bucket is. A ledger that is lost, or that lacks what another archiver stored, costs work done
//! twice and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use pitr_archive::layout::ObjectKey;
use pitr_archive::{SegmentRecord, lay_over, remove_from};
use pitr_recovery::{ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Inventory, RangeKind, StoredObject};

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
    /// Its binlogs are in the order of their ids.
    inventory: Inventory,
    /// The tail objects of this source's binlogs, in the order of the file.
    tail: BTreeMap<BinlogId, Vec<SegmentRecord>>,
    /// What was stored lately, and when.
    recent: VecDeque<(i64, SegmentRecord)>,
    /// Tail objects that were deleted lately, and when.
    removed: VecDeque<(i64, Vec<String>)>,
    /// Base backups that nothing is to rely on.
    hidden_backups: BTreeSet<String>,
    /// Binlogs that stand in the archive as what differs from which others.
    told_by: BTreeMap<BinlogId, BTreeSet<BinlogId>>,
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
        inventory.binlogs.sort_by(|a, b| a.id.cmp(&b.id));
        self.inventory = Inventory { running: self.inventory.running.take(), ..inventory };
        let recent: Vec<SegmentRecord> = self.recent.iter().map(|(_, record)| record.clone()).collect();
        recent.iter().for_each(|record| self.lay(record));
        let removed: Vec<String> = self.removed.iter().flat_map(|(_, keys)| keys).cloned().collect();
        for key in &removed {
            self.forget(key);
        }
    }

    /// Which server is seen running, and not as a replica.
    pub(crate) fn see_running(&mut self, server: Option<&str>) {
        if self.inventory.running.as_deref() != server {
            self.version += 1;
            self.inventory.running = server.map(str::to_owned);
        }
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
        self.lay(record);
        if record.key.place == pitr_archive::Place::Tail {
            self.tail.entry(record.key.binlog.clone()).or_default().push(record.clone());
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now_us, record.clone()));
    }

    fn lay(&mut self, record: &SegmentRecord) {
        let known = self.known_by_another_key(record);
        lay_over(&mut self.inventory, known.as_ref().unwrap_or(record));
    }

    /// The record under the hash by which its bytes are known: what another key hashed is the same where the index is, as in a listing.
    fn known_by_another_key(&self, record: &SegmentRecord) -> Option<SegmentRecord> {
        let (key, header) = (&record.key, &record.header);
        let ranges = self.binlog(&key.binlog)?.ranges.iter();
        let beside: Vec<[u8; 32]> = ranges
            .filter(|range| (range.start, range.end) == (key.start, key.end))
            .map(|range| range.raw_sha256)
            .collect();
        if beside.is_empty() || beside.contains(&header.raw_sha256) {
            return None;
        }
        let tail = self.tail.get(&key.binlog).into_iter().flatten();
        let known = tail.chain(self.recent.iter().map(|(_, recent)| recent)).find(|known| {
            (&known.key.binlog, known.key.start, known.key.end) == (&key.binlog, key.start, key.end)
                && known.header.hash_key != header.hash_key
                && known.header.parts.index_sha256 == header.parts.index_sha256
                && beside.contains(&known.header.raw_sha256)
        })?;
        let mut header = (*record.header).clone();
        header.raw_sha256 = known.header.raw_sha256;
        Some(SegmentRecord { header: Arc::new(header), ..record.clone() })
    }

    /// Tail objects are gone: the catalog covers them, or one object took the place of several.
    pub(crate) fn remove(&mut self, keys: &[String], now_us: i64) {
        self.version += 1;
        for key in keys {
            self.forget(key);
        }
        if self.removed.len() == RECENT_MAX {
            self.removed.pop_front();
        }
        self.removed.push_back((now_us, keys.to_vec()));
    }

    /// One object is gone; what no other holds goes with it.
    fn forget(&mut self, text: &str) {
        let Ok(ObjectKey::Segment(key)) = text.parse() else { return };
        if let Some(records) = self.tail.get_mut(&key.binlog) {
            records.retain(|record| record.key != key);
            if records.is_empty() {
                self.tail.remove(&key.binlog);
            }
        }
        let Ok(place) = self.inventory.place_of(&key.binlog) else { return };
        let Some(binlog) = self.inventory.binlogs.get_mut(place).map(Arc::make_mut) else { return };
        binlog.ranges.retain_mut(|range| remove_from(range, |key| key == text));
        if binlog.ranges.is_empty() {
            self.inventory.binlogs.remove(place);
        }
    }

    /// Takes the ids of base backups that a listing leaves out: marked, or damaged.
    pub(crate) fn hide_backups(&mut self, ids: BTreeSet<String>) {
        self.hidden_backups = ids;
    }

    /// Takes which binlogs stand in the archive as what differs from which others.
    pub(crate) fn tell(&mut self, told_by: BTreeMap<BinlogId, BTreeSet<BinlogId>>) {
        self.told_by = told_by;
    }

    /// By whose bytes a binlog is told, as of the last listing.
    pub(crate) fn told_by(&self, id: &BinlogId) -> impl Iterator<Item = &BinlogId> {
        self.told_by.get(id).into_iter().flatten()
    }

    /// Takes base backups that were listed later than everything else.
    pub(crate) fn list_backups(&mut self, mut backups: Vec<BaseBackup>) {
        backups.retain(|backup| !self.hidden_backups.contains(&backup.id));
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

    /// The number of the oldest binlog of a source of which something is archived.
    pub(crate) fn oldest(&self, source: &str) -> Option<u64> {
        let binlogs = &self.inventory.binlogs;
        let first = binlogs.partition_point(|binlog| binlog.id.source.as_str() < source);
        binlogs.get(first).map(|binlog| &binlog.id).filter(|id| id.source == source).map(|id| id.number)
    }

    /// How far a binlog is archived.
    pub(crate) fn progress(&self, id: &BinlogId) -> Progress {
        self.binlog(id).map(|binlog| progress(binlog)).unwrap_or_default()
    }

    /// Whether the catalog has every byte of a closed binlog of this length, in objects that stand, and what is needed to read it.
    pub(crate) fn is_whole(&self, id: &BinlogId, size: u64, stands: impl Fn(&StoredObject) -> bool) -> bool {
        let Some(binlog) = self.binlog(id) else { return false };
        let is_good = |range: &&ArchivedRange| range.kind == RangeKind::Catalogued && range.objects.iter().any(&stands);
        let mut ranges: Vec<&ArchivedRange> = binlog.ranges.iter().filter(is_good).collect();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let held_to = ranges.iter().fold(0, |to, range| if range.start <= to { to.max(range.end) } else { to });
        let is_readable = binlog.previous_known && binlog.damage.is_none();
        binlog.closed != Closed::Open && is_readable && size > 0 && held_to >= size
    }

    /// Whether everything that the catalog has of a binlog is in objects that stand.
    pub(crate) fn is_held(&self, id: &BinlogId, stands: impl Fn(&StoredObject) -> bool) -> bool {
        let stands = |range: &ArchivedRange| range.kind != RangeKind::Catalogued || range.objects.iter().any(&stands);
        self.binlog(id).is_some_and(|binlog| binlog.ranges.iter().all(stands))
    }

    /// What is archived of a binlog.
    pub(crate) fn binlog(&self, id: &BinlogId) -> Option<&Arc<ArchivedBinlog>> {
        self.inventory.place_of(id).ok().and_then(|place| self.inventory.binlogs.get(place))
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
