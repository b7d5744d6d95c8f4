//! From the store to an inventory: marks, tail, catalog, base backups, in this order (T).

mod overlay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use pitr_binlog::GtidSet;
use pitr_recovery::{
    ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Damage, Inventory, RangeFlags, RangeKind,
};

use super::records::{Discovered, range_of};
use super::tail::is_covered;
use super::verify::LastVerified;
use super::{Archive, ArchiveError, READS_AT_ONCE};
use crate::expiry::Marks;
use crate::layout::{Place, SegmentKey};
use crate::segment::{Closes, HeldSet, SegmentHeader, SegmentRecord};
use crate::store::StoreError;

pub use overlay::{lay_over, remove_from};

/// A hole is one when it looked the same so many times in a row: a segment that is stored behind the place that a LIST has
/// reached hides from one look, a merge of the tail meanwhile from another (crates/model, `reading`).
const SAME_LOOKS: usize = 3;

/// The same where nothing is in the tail: pages move only forwards.
const SAME_LOOKS_WITHOUT_TAIL: usize = 2;

/// Looks after which what is seen is told, whatever moves.
const LOOKS_MAX: usize = 8;

const VANISHED: &str = "it went while it was read, and nothing that is stored holds its bytes";

/// What was found beside the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryReport {
    /// Keys that are none of an archive's. They are left alone.
    pub unknown_keys: Vec<String>,
    /// Objects that cannot be read, and why. What they hold is missing from the inventory.
    pub unreadable: Vec<(String, String)>,
    /// The binlogs that were marked when this was read: what is missing of them is not to be stored again (T).
    pub marked: BTreeSet<BinlogId>,
    /// The longest window that retention has promised so far, in microseconds; none: it was never here.
    pub promised_us: Option<i64>,
    /// Whether retention lets binlogs go by age while no base backup can be used.
    pub by_age: bool,
    /// How many binlogs expiry marks hide.
    pub hidden_binlogs: usize,
    /// How many pages the catalog has, of all sources.
    pub pages: usize,
    /// Segments that are stored as what differs from another server's log.
    pub repeats: u64,
    /// By how many bytes they are smaller than what was stored in their place.
    pub repeats_saved_bytes: u64,
    /// Which binlogs stand here as what differs from which others, marked or not.
    pub told_by: BTreeMap<BinlogId, BTreeSet<BinlogId>>,
    /// Base backups that expiry marks hide, and those that verification found to lack some of their content.
    pub hidden_backups: BTreeSet<String>,
    /// What the last verification found. Objects that were damaged or gone then hold nothing here: a range that no others hold is
    /// lost, and a base backup that needs one is hidden.
    pub verified: Option<LastVerified>,
}

/// An inventory and what it was made from.
pub(super) struct Everything {
    pub(super) inventory: Inventory,
    pub(super) report: InventoryReport,
    pub(super) found: Discovered,
}

impl Archive {
    /// Everything that is archived, as the marks leave it.
    ///
    /// # Errors
    /// [`ArchiveError::NoArchive`], [`ArchiveError::NewerFormat`], or what the store answers.
    pub async fn inventory(&self) -> Result<(Inventory, InventoryReport), ArchiveError> {
        let listed_us = self.now().as_microsecond();
        let workload = self.workload().await?;
        let verified = self.verified_if_allowed().await?;
        let (marks, problems) = self.read_marks().await?;
        let (mut found, mut backups, mut report) = self.look((&marks, problems), verified.as_ref()).await?;
        if let Some(verified) = &verified {
            self.drop_gone_wholes(&mut found, verified).await?;
        }
        let is_whole = |id: &String| {
            let verified = verified.as_ref();
            verified.is_none_or(|last| !last.lost_backups.contains_key(id) && !last.withheld_backups.contains_key(id))
        };
        let lost = backups.extract_if(.., |backup| !is_whole(&backup.id)).map(|backup| backup.id);
        report.hidden_backups.extend(lost);
        report.told_by = found.told_by();
        // What is found goes as the inventory grows: both at once would be twice the memory.
        let records = found.catalogued.into_iter().chain(found.tail);
        let binlogs = self.binlogs(records, (&marks, verified.as_ref()), &mut report).await?;
        report.verified = verified;
        Ok((Inventory { workload, binlogs, backups, listed_us, running: None }, report))
    }

    /// What verification found, for whoever may read it. Without that right nothing is known of it.
    async fn verified_if_allowed(&self) -> Result<Option<LastVerified>, ArchiveError> {
        match self.last_verified().await {
            Err(ArchiveError::Store(StoreError::Denied { .. })) => Ok(None),
            found => found,
        }
    }

    /// What is archived beside what these marks hide, damaged or not. They were read before. Whole segments beside repeats that were
    /// found lost are there, too.
    pub(super) async fn everything(
        &self,
        (marks, bad_marks): (&Marks, Vec<(String, String)>),
        verified: Option<&LastVerified>,
    ) -> Result<Everything, ArchiveError> {
        let (found, backups, mut report) = self.look((marks, bad_marks), verified).await?;
        let binlogs = self.binlogs(found.records().cloned(), (marks, None), &mut report).await?;
        let inventory = Inventory { binlogs, backups, ..Inventory::default() };
        Ok(Everything { inventory, report, found })
    }

    /// What is stored, the base backups that no mark hides, and a report of the two.
    async fn look(
        &self,
        (marks, bad_marks): (&Marks, Vec<(String, String)>),
        verified: Option<&LastVerified>,
    ) -> Result<(Discovered, Vec<BaseBackup>, InventoryReport), ArchiveError> {
        let mut found = self.discover_beside(None, verified).await?;
        found.unreadable.extend(bad_marks);
        self.look_again(&mut found, marks, verified).await?;
        let vanished = vanished(&found, marks).map(|key| (key.to_string(), VANISHED.to_owned())).collect::<Vec<_>>();
        found.unreadable.extend(vanished);
        let (mut backups, bad_backups) = self.list_backup_manifests().await?;
        found.unreadable.extend(bad_backups);
        let is_marked = |backup: &mut BaseBackup| marks.backups.contains_key(&backup.id);
        let hidden_backups = backups.extract_if(.., is_marked).map(|backup| backup.id).collect();
        let report = InventoryReport {
            unknown_keys: std::mem::take(&mut found.unknown_keys),
            unreadable: std::mem::take(&mut found.unreadable),
            marked: marks.binlogs.keys().cloned().collect(),
            promised_us: marks.promised_us,
            by_age: marks.by_age,
            hidden_binlogs: 0,
            pages: found.pages(),
            repeats: 0,
            repeats_saved_bytes: 0,
            told_by: BTreeMap::new(),
            hidden_backups,
            verified: None,
        };
        Ok((found, backups, report))
    }

    /// A listing is no snapshot: what was written or merged meanwhile may be in neither place. A hole counts when it looked the
    /// same several times in a row (T).
    async fn look_again(
        &self,
        found: &mut Discovered,
        marks: &Marks,
        verified: Option<&LastVerified>,
    ) -> Result<(), ArchiveError> {
        let (mut known, mut same) = (holes(found, marks), 1);
        for _ in 0..LOOKS_MAX {
            let wanted =
                if found.tail.is_empty() && found.gone.is_empty() { SAME_LOOKS_WITHOUT_TAIL } else { SAME_LOOKS };
            if known.is_empty() || same >= wanted {
                break;
            }
            self.discover_more(found, verified).await?;
            let now = holes(found, marks);
            same = if now == known { same + 1 } else { 1 };
            known = now;
        }
        Ok(())
    }

    /// Takes out whole segments that serve in place of a lost repeat and are gone: a line says no more than that they were there.
    async fn drop_gone_wholes(&self, found: &mut Discovered, verified: &LastVerified) -> Result<(), ArchiveError> {
        let is_lost = |record: &&SegmentRecord| record.header.repeat().is_some() && verified.loses(record);
        let lost: BTreeSet<_> = found.catalogued.iter().filter(is_lost).map(range_of).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let wholes = found.catalogued.iter().filter(|whole| whole.header.repeat().is_none());
        let keys: Vec<SegmentKey> =
            wholes.filter(|whole| lost.contains(&range_of(whole))).map(|whole| whole.key.clone()).collect();
        let mut heads = stream::iter(keys)
            .map(|key| async move { (self.is_there(&key.to_string()).await, key) })
            .buffer_unordered(READS_AT_ONCE);
        let mut gone = BTreeSet::new();
        while let Some((is_there, key)) = heads.next().await {
            if !is_there? {
                gone.insert(key);
            }
        }
        drop(heads);
        found.catalogued.take_out(|record| gone.contains(&record.key));
        Ok(())
    }

    async fn binlogs(
        &self,
        records: impl Iterator<Item = SegmentRecord>,
        (marks, verified): (&Marks, Option<&LastVerified>),
        report: &mut InventoryReport,
    ) -> Result<Vec<Arc<ArchivedBinlog>>, ArchiveError> {
        let mut hidden = BTreeSet::new();
        let mut visible = Vec::new();
        for record in records {
            if marks.binlogs.contains_key(&record.key.binlog) {
                hidden.insert(record.key.binlog);
            } else {
                if let Some(repeat) = record.header.repeat() {
                    report.repeats += 1;
                    report.repeats_saved_bytes += repeat.instead_of.saturating_sub(record.length);
                }
                visible.push(record);
            }
        }
        report.hidden_binlogs = hidden.len();
        // Catalog and tail are each in order already.
        visible.sort_by(|a, b| a.key.binlog.cmp(&b.key.binlog));
        let mut binlogs = Vec::new();
        let mut before = Before::default();
        let mut visible = visible.into_iter().peekable();
        let mut records = Vec::new();
        while let Some(first) = visible.next() {
            records.push(first);
            while let Some(more) = visible.next_if(|next| next.key.binlog == records[0].key.binlog) {
                records.push(more);
            }
            let id = &records[0].key.binlog;
            if before.source != id.source {
                before = Before { source: id.source.clone(), executed: GtidSet::new() };
            }
            binlogs.extend(self.binlog(&records, (&mut before, verified), report).await?.map(Arc::new));
            records.clear();
        }
        Ok(binlogs)
    }

    async fn binlog(
        &self,
        records: &[SegmentRecord],
        (before, verified): (&mut Before, Option<&LastVerified>),
        report: &mut InventoryReport,
    ) -> Result<Option<ArchivedBinlog>, ArchiveError> {
        let Some(any) = records.first() else { return Ok(None) };
        let is_lost = |record: &&SegmentRecord| verified.is_some_and(|verified| verified.loses(record));
        let (lost, sound): (Vec<&SegmentRecord>, Vec<&SegmentRecord>) = records.iter().partition(is_lost);
        let mut ranges: BTreeMap<Extent, ArchivedRange> = BTreeMap::new();
        let mut previous = None;
        let mixed = records.iter().any(|record| record.header.hash_key != any.header.hash_key);
        for record in sound {
            if previous.is_none() && record.header.start == 0 {
                previous = self.previous(record, before, report).await?;
            }
            let range = (record.header.start, record.header.end, record.header.raw_sha256);
            if let Some(known) = ranges.get_mut(&range) {
                known.objects.push(record.stored_object());
                continue;
            }
            if mixed && known_by_another_key(record, records, &ranges).is_some() {
                continue;
            }
            let Some(gtids) = self.gtids(record, report).await? else { continue };
            ranges.insert(range, archived_range(record, gtids));
        }
        for record in lost {
            let header = &record.header;
            if previous.is_none() && header.start == 0 {
                previous = header.previous.as_ref().and_then(HeldSet::whole).cloned();
            }
            // What was archived counts, also where nothing holds it any more. Its sets are not worth a request.
            let gtids = header.transactions.gtids.whole().cloned().unwrap_or_default();
            let range = ArchivedRange { objects: Vec::new(), ..archived_range(record, gtids) };
            let kind = range.kind;
            let other =
                Some(record).filter(|_| mixed).and_then(|record| known_by_another_key(record, records, &ranges));
            let known = ranges.entry(other.unwrap_or((header.start, header.end, header.raw_sha256))).or_insert(range);
            // That the server's file has these bytes is known, whatever holds them now.
            if kind == RangeKind::Catalogued {
                known.kind = kind;
            }
        }
        let last_closing = catalogued(records).filter(|r| r.header.closes.is_some()).max_by_key(|r| r.header.end);
        let damage = catalogued(records).filter_map(|r| r.header.damage.as_ref()).min_by_key(|damage| damage.offset);
        before.executed =
            ranges.values().fold(previous.clone().unwrap_or_default(), |set, range| set.union(&range.gtids));
        Ok(Some(ArchivedBinlog {
            id: any.key.binlog.clone(),
            name: any.header.name.clone(),
            flavour: any.header.flavour,
            server_version: any.header.server_version.clone(),
            previous_known: previous.is_some(),
            previous: previous.unwrap_or_default(),
            ranges: ranges.into_values().collect(),
            closed: last_closing.map_or(Closed::Open, |record| closed(&record.header)),
            damage: damage.map(|damage| Damage { offset: damage.offset, reason: damage.reason.clone() }),
        }))
    }

    /// The GTIDs before a file: often those after the file before it, which then need no request.
    async fn previous(
        &self,
        record: &SegmentRecord,
        before: &Before,
        report: &mut InventoryReport,
    ) -> Result<Option<GtidSet>, ArchiveError> {
        let Some(held) = &record.header.previous else { return Ok(None) };
        match held {
            HeldSet::Whole(set) => Ok(Some(set.clone())),
            HeldSet::Digest { .. } if held.is(&before.executed) => Ok(Some(before.executed.clone())),
            HeldSet::Digest { .. } => {
                let header = self.whole_header(record, report).await?;
                Ok(header.and_then(|header| header.previous?.whole().cloned()))
            }
        }
    }

    async fn gtids(
        &self,
        record: &SegmentRecord,
        report: &mut InventoryReport,
    ) -> Result<Option<GtidSet>, ArchiveError> {
        match &record.header.transactions.gtids {
            HeldSet::Whole(set) => Ok(Some(set.clone())),
            HeldSet::Digest { .. } => {
                let header = self.whole_header(record, report).await?;
                Ok(header.and_then(|header| header.transactions.gtids.whole().cloned()))
            }
        }
    }

    /// The header as it stands in the object, where the catalog only identifies a long set.
    async fn whole_header(
        &self,
        record: &SegmentRecord,
        report: &mut InventoryReport,
    ) -> Result<Option<SegmentHeader>, ArchiveError> {
        let problem = match self.read_header(&record.key).await {
            Ok(Ok((header, _))) => return Ok(Some(header)),
            Ok(Err(error)) => error.to_string(),
            Err(error) if error.is_not_found() => error.to_string(),
            Err(error) => error.unusable().ok_or(error)?,
        };
        report.unreadable.push((record.key.to_string(), problem));
        Ok(None)
    }
}

/// What a source had executed after the binlog before.
#[derive(Default)]
struct Before {
    source: String,
    executed: GtidSet,
}

fn catalogued(records: &[SegmentRecord]) -> impl Iterator<Item = &SegmentRecord> {
    records.iter().filter(|record| record.key.place == Place::Binlogs)
}

fn archived_range(record: &SegmentRecord, gtids: GtidSet) -> ArchivedRange {
    let header = &record.header;
    let summary = &header.transactions;
    ArchivedRange {
        start: header.start,
        end: header.end,
        raw_sha256: header.raw_sha256,
        kind: match record.key.place {
            Place::Binlogs => RangeKind::Catalogued,
            Place::Tail => RangeKind::Tail,
        },
        gtids,
        transactions: summary.count,
        first: summary.first.clone(),
        last: summary.last.clone(),
        min_commit_us: summary.min_commit_us,
        max_commit_us: summary.max_commit_us,
        step_back_us: summary.step_back_us,
        flags: RangeFlags {
            transactions: summary.flags,
            anonymous: summary.without_gtid > 0,
            whole_seconds: summary.whole_seconds,
            starts_in_transaction: header.starts_in_transaction,
            ends_in_transaction: header.ends_in_transaction,
            shut_down: header.closes == Some(Closes::Stop),
        },
        objects: vec![record.stored_object()],
    }
}

fn closed(header: &SegmentHeader) -> Closed {
    match &header.closes {
        None => Closed::Open,
        Some(Closes::Rotate { next }) => Closed::Rotated { next: next.clone() },
        Some(Closes::Stop) => Closed::Stopped,
        Some(Closes::Crash) => Closed::Crashed,
    }
}

/// Segments of the tail that went while they were read, and that nothing read since covers.
fn vanished<'a>(found: &'a Discovered, marks: &Marks) -> impl Iterator<Item = &'a SegmentKey> {
    found.gone.iter().filter(|key| {
        !marks.binlogs.contains_key(&key.binlog) && !is_covered(key, found.records().map(|record| &record.key))
    })
}

/// A range of a binlog: where it begins and ends, and the hash of its bytes.
type Extent = (u64, u64, [u8; 32]);

/// The range that has the bytes of this record under another key's hash: hashes with different keys tell nothing, and then the indices
/// decide whether the bytes are the same.
fn known_by_another_key(
    record: &SegmentRecord,
    records: &[SegmentRecord],
    ranges: &BTreeMap<Extent, ArchivedRange>,
) -> Option<Extent> {
    let header = &record.header;
    let is_the_same = |known: &&SegmentRecord| {
        (known.header.start, known.header.end) == (header.start, header.end)
            && known.header.hash_key != header.hash_key
            && known.header.parts.index_sha256 == header.parts.index_sha256
    };
    let same = records.iter().filter(is_the_same);
    same.map(|known| (header.start, header.end, known.header.raw_sha256)).find(|extent| ranges.contains_key(extent))
}

/// Where bytes are missing: between ranges of a binlog, at the end of one that has a successor but no word about its end, and
/// where a segment went while it was read.
fn holes(found: &Discovered, marks: &Marks) -> BTreeSet<(BinlogId, u64)> {
    let mut records: Vec<&SegmentRecord> =
        found.records().filter(|record| !marks.binlogs.contains_key(&record.key.binlog)).collect();
    let place = |record: &SegmentRecord| (record.key.start, record.key.end);
    records.sort_by(|a, b| a.key.binlog.cmp(&b.key.binlog).then_with(|| place(a).cmp(&place(b))));
    let mut holes: BTreeSet<_> = vanished(found, marks).map(|key| (key.binlog.clone(), key.start)).collect();
    let mut binlogs = records.chunk_by(|a, b| a.key.binlog == b.key.binlog).peekable();
    while let Some(records) = binlogs.next() {
        let id = &records[0].key.binlog;
        let mut position = 0;
        for record in records {
            if record.key.start > position {
                holes.insert((id.clone(), position));
            }
            position = position.max(record.key.end);
        }
        let next = binlogs.peek().map(|next| &next[0].key.binlog);
        let next = next.filter(|next| next.source == id.source && next.number > id.number);
        let ends = records.iter().any(|record| record.header.closes.is_some() && record.key.end == position);
        if next.is_some_and(|next| !ends || next.number > id.number + 1) {
            holes.insert((id.clone(), position));
        }
    }
    holes
}
