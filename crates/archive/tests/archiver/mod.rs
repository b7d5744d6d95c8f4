//! A small archiver as the sidecar's is, over made-up binlogs, and the checks of what it leaves behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use pitr_archive::testing::History;
use pitr_archive::{Archive, ArchiveError, Clock, Codec, MergeEffort, Place, SegmentRecord, Store};
use pitr_binlog::GtidSet;
use pitr_recovery::{ArchivedBinlog, BinlogId, Closed, Inventory, RangeKind};

const WORKLOAD: &str = "shop/mysql";

/// Binlogs of one server; enough for merges of pages.
pub(crate) fn histories() -> Vec<History> {
    (1..=4).map(|number| History::new(7, number, 12)).collect()
}

pub(crate) fn clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// Up to where each binlog is safe, as the archiver has been told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    ends: Arc<Mutex<BTreeMap<BinlogId, u64>>>,
}

impl Acknowledged {
    #[allow(dead_code)] // of one of the programs that share this
    pub(crate) fn of(ends: BTreeMap<BinlogId, u64>) -> Self {
        Self { ends: Arc::new(Mutex::new(ends)) }
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<BinlogId, u64> {
        self.ends.lock().unwrap().clone()
    }

    fn note(&self, id: &BinlogId, end: u64) {
        let mut ends = self.ends.lock().unwrap();
        let known = ends.entry(id.clone()).or_default();
        *known = end.max(*known);
    }
}

/// Starts as the sidecar does, and archives everything that is missing. An error ends it, as it ends a cycle.
pub(crate) async fn live(archive: &Archive, acknowledged: &Acknowledged) -> Result<(), ArchiveError> {
    match archive.check_claim(WORKLOAD).await {
        Ok(()) => {}
        Err(ArchiveError::NoArchive { .. }) => {
            Archive::claim(Arc::clone(archive.store()), clock(), WORKLOAD).await?;
        }
        Err(error) => return Err(error),
    }
    let source = histories()[0].id.source.clone();
    let adoption = archive.adopt(&source).await?;
    assert!(adoption.unusable.is_empty() && adoption.unknown_keys.is_empty(), "{adoption:?}");
    let mut tail = archive.sweep_tail(&source).await?.kept;
    let (inventory, _) = archive.inventory().await?;
    for history in histories() {
        let known = inventory.binlogs.iter().find(|binlog| binlog.id == history.id);
        let own = tail.extract_if(.., |record| record.key.binlog == history.id).collect();
        archive_binlog(archive, acknowledged, &history, known.map(AsRef::as_ref), own).await?;
    }
    archive.merge_pages(&source, MergeEffort::Idle).await?;
    archive.settle().await
}

/// The length of the beginning that ranges of these kinds cover.
fn covered(binlog: &ArchivedBinlog, wanted: impl Fn(RangeKind) -> bool) -> u64 {
    let mut ranges: Vec<_> = binlog.ranges.iter().filter(|range| wanted(range.kind)).collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges.iter().fold(0, |end, range| if range.start <= end { end.max(range.end) } else { end })
}

async fn archive_binlog(
    archive: &Archive,
    acknowledged: &Acknowledged,
    history: &History,
    known: Option<&ArchivedBinlog>,
    mut tail: Vec<SegmentRecord>,
) -> Result<(), ArchiveError> {
    if known.is_some_and(|known| {
        known.closed != Closed::Open && covered(known, |kind| kind == RangeKind::Catalogued) == history.length()
    }) {
        return Ok(());
    }
    let mut catalogued = known.map_or(0, |known| covered(known, |kind| kind == RangeKind::Catalogued));
    let mut shipped = known.map_or(0, |known| covered(known, |_| true));
    let full = history.boundary(5);
    for transaction in [1, 2, 3, 5, 8, 10, 11] {
        let end = history.boundary(transaction);
        if end > shipped {
            tail.push(archive.write_segment(history.draft(Place::Tail, shipped, end), Codec::default()).await?);
            shipped = end;
            acknowledged.note(&history.id, end);
        }
        if transaction == 3 || transaction == 10 {
            let run: Vec<SegmentRecord> = following(&tail);
            if let Some(merged) = archive.merge_tail(&run, Codec::None, None).await? {
                tail.retain(|record| !run.contains(record));
                tail.push(merged);
            }
        }
        if end >= full && catalogued < full {
            publish(archive, history, &[(catalogued, full)], &mut tail).await?;
            catalogued = full;
        }
    }
    let rest = history.boundary(8).max(catalogued);
    let pieces = [(catalogued, rest), (rest, history.length())];
    publish(archive, history, &pieces, &mut tail).await?;
    acknowledged.note(&history.id, history.length());
    Ok(())
}

/// The end of the tail, as far back as its objects follow each other.
fn following(tail: &[SegmentRecord]) -> Vec<SegmentRecord> {
    let mut sorted = tail.to_vec();
    sorted.sort_by_key(|record| (record.key.start, record.key.end));
    let broken = sorted.windows(2).rposition(|pair| pair[0].key.end != pair[1].key.start);
    sorted.split_off(broken.map_or(0, |at| at + 1))
}

async fn publish(
    archive: &Archive,
    history: &History,
    pieces: &[(u64, u64)],
    tail: &mut Vec<SegmentRecord>,
) -> Result<(), ArchiveError> {
    let mut coverage = archive.coverage(tail.iter().cloned());
    let mut records = Vec::new();
    for (start, end) in pieces.iter().copied().filter(|(start, end)| start < end) {
        let draft = history.draft(Place::Binlogs, start, end);
        coverage.feed(&history.id, start, &draft.raw);
        records.push(archive.write_segment(draft, Codec::default()).await?);
    }
    let published = archive.publish(&records, coverage).await?;
    assert!(published.differing.is_empty(), "{published:?}");
    tail.retain(|record| !published.covered.contains(&record.key.to_string()));
    Ok(())
}

/// All that is acknowledged is there, and all that is there is true.
pub(crate) async fn verify<S: Store + 'static>(store: &Arc<S>, acknowledged: &Acknowledged) {
    let archive = Archive::open(Arc::clone(store) as Arc<dyn Store>, clock());
    verify_with(&archive, acknowledged).await;
}

pub(crate) async fn verify_with(archive: &Archive, acknowledged: &Acknowledged) {
    let wanted = acknowledged.snapshot();
    let (inventory, report) = match archive.inventory().await {
        Ok(read) => read,
        Err(ArchiveError::NoArchive { .. }) if wanted.is_empty() => return,
        Err(error) => panic!("{error:?}"),
    };
    assert!(report.unreadable.is_empty() && report.unknown_keys.is_empty(), "{report:?}");
    assert_eq!(inventory.workload, WORKLOAD);
    let histories = histories();
    for (id, end) in &wanted {
        let binlog = inventory.binlogs.iter().find(|binlog| binlog.id == *id);
        let reached = binlog.map_or(0, |binlog| covered(binlog, |_| true));
        assert!(reached >= *end, "{id}: {reached} of {end} acknowledged bytes");
    }
    for binlog in &inventory.binlogs {
        let history = histories.iter().find(|history| history.id == binlog.id).unwrap();
        verify_binlog(archive, binlog, history).await;
    }
}

/// All that somebody was told is true, and can be restored now.
#[allow(dead_code)] // of one of the programs that share this
pub(crate) async fn check_claims<S: Store + 'static>(store: &Arc<S>, inventory: &Inventory) {
    let archive = Archive::open(Arc::clone(store) as Arc<dyn Store>, clock());
    for history in histories() {
        for binlog in inventory.binlogs.iter().filter(|binlog| binlog.id == history.id) {
            verify_binlog(&archive, binlog, &history).await;
        }
    }
    assert!(inventory.binlogs.iter().all(|binlog| histories().iter().any(|history| history.id == binlog.id)));
}

async fn verify_binlog(archive: &Archive, binlog: &ArchivedBinlog, history: &History) {
    assert_eq!(binlog.name, history.name);
    if binlog.previous_known {
        assert_eq!(binlog.previous, history.previous);
    }
    assert!(binlog.damage.is_none());
    if binlog.closed != Closed::Open {
        assert_eq!(binlog.closed, Closed::Rotated { next: history.name.next() });
        let catalogued = binlog.ranges.iter().filter(|range| range.kind == RangeKind::Catalogued);
        assert_eq!(catalogued.map(|range| range.end).max(), Some(history.length()));
    }
    for range in &binlog.ranges {
        let reference = binlog.range_ref(range);
        let raw = archive.read_range(&reference, &range.objects).await.unwrap();
        assert_eq!(raw, history.raw.slice(range.start as usize..range.end as usize));
        let index = archive.read_index(&reference, &range.objects).await.unwrap();
        let inside: Vec<_> =
            history.transactions.iter().filter(|t| t.end > range.start && t.end <= range.end).collect();
        let gtids: Vec<_> = index.entries.iter().map(|entry| entry.gtid).collect();
        assert_eq!(gtids, inside.iter().map(|transaction| transaction.gtid).collect::<Vec<_>>());
        let mut set = GtidSet::new();
        gtids.iter().flatten().for_each(|gtid| set.insert(gtid));
        assert_eq!((&range.gtids, range.transactions), (&set, inside.len() as u64));
    }
}

/// After a whole life: every binlog is catalogued to its end, and the tail is empty.
pub(crate) async fn verify_end<S: Store + 'static>(store: &Arc<S>, acknowledged: &Acknowledged) {
    verify(store, acknowledged).await;
    let archive = Archive::open(Arc::clone(store) as Arc<dyn Store>, clock());
    let (inventory, _) = archive.inventory().await.unwrap();
    for (binlog, history) in inventory.binlogs.iter().zip(histories()) {
        assert_eq!(covered(binlog, |kind| kind == RangeKind::Catalogued), history.length());
        assert!(binlog.closed != Closed::Open);
        assert_eq!(binlog.ranges.iter().fold(GtidSet::new(), |set, range| set.union(&range.gtids)), history.gtids());
    }
    assert_eq!(inventory.binlogs.len(), histories().len());
    let left = store.list("tail/").await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let pages = store.list("catalog/").await.unwrap();
    assert!(pages.len() <= 4, "{pages:?}");
}
