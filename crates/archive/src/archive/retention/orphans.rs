//! The sweep: what nobody names any more, or not yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use pitr_recovery::BinlogId;

use super::{DELETE_BATCH, Workspace, is_past};
use crate::archive::{Archive, ArchiveError};
use crate::catalog::MergeEffort;
use crate::layout::{CATALOG_PREFIX, ObjectKey, Place, SegmentKey, TAIL_PREFIX};
use crate::segment::SegmentRecord;
use crate::store::ListedObject;

/// Pages of a source that were written so long ago are merged by whoever sweeps: its own sidecar is gone.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Segments in one page of adopted ones: a crash then repeats little.
const PAGE_SEGMENTS: usize = 64;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments that no page named, and that hold what other segments hold: deleted.
    pub duplicates: u64,
    /// Segments that no page named and that hold something of their own: they are in the catalog now.
    pub adopted: u64,
    /// Objects of the tail whose bytes the catalog has: deleted.
    pub covered: u64,
    /// Backup runs that never came to an end: what was left of them is deleted.
    pub runs: u64,
    /// Chunks that neither a base backup nor a running one names: deleted.
    pub chunks: u64,
    /// Bytes of all that was deleted but the tail.
    pub deleted_bytes: u64,
    /// Bytes of the segments that no page named when the sweep began: what it dealt with, and what is too young for that.
    pub orphan_bytes: u64,
    /// Objects that cannot be used, and why. They are left where they are.
    pub unusable: Vec<(String, String)>,
    /// Objects that the store does not let go.
    pub undeletable: Vec<String>,
    /// Why chunks were not looked at, if they were not.
    pub chunks_kept: Option<String>,
}

impl Archive {
    /// Takes away what is older than the grace and that nobody names, and catalogues what is named by no page and stands nowhere else
    /// (T). Also for sources whose sidecars do not run any more. Once a day is enough. Each segment that it reads waits for `space`.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn sweep(&self, grace: Duration, space: &Workspace<'_>) -> Result<Swept, ArchiveError> {
        let now = self.store_time().await?;
        let mut swept = Swept::default();
        self.sweep_segments((grace, now), (space, &mut swept)).await?;
        self.sweep_tails((grace, now), &mut swept).await?;
        self.sweep_chunks((grace, now), &mut swept).await?;
        self.merge_abandoned(now).await?;
        Ok(swept)
    }

    async fn sweep_segments(
        &self,
        old: (Duration, Timestamp),
        (space, swept): (&Workspace<'_>, &mut Swept),
    ) -> Result<(), ArchiveError> {
        // Marks first: the objects of a marked binlog are no orphans. The catalog last: what is published meanwhile is seen.
        let (marks, _) = self.read_marks().await?;
        let mut listed: BTreeMap<SegmentKey, ListedObject> = BTreeMap::new();
        for object in self.store.list(Place::Binlogs.prefix()).await? {
            if let Ok(ObjectKey::Segment(key)) = object.key.parse() {
                listed.insert(key, object);
            }
        }
        let found = self.discover_catalogued(None).await?;
        let catalogued = &found.catalogued;
        let is_named = |key: &SegmentKey| found.names(key) || marks.binlogs.contains_key(&key.binlog);
        swept.orphan_bytes = listed.iter().filter(|(key, _)| !is_named(key)).map(|(_, object)| object.length).sum();
        let is_orphan = |(key, object): &(&SegmentKey, &ListedObject)| {
            !catalogued.contains(key)
                && !marks.binlogs.contains_key(&key.binlog)
                && is_past(object.modified, old.0, old.1)
        };
        let mut by_binlog: BTreeMap<&BinlogId, Vec<&SegmentRecord>> = BTreeMap::new();
        for record in catalogued.iter().filter(|record| listed.contains_key(&record.key)) {
            by_binlog.entry(&record.key.binlog).or_default().push(record);
        }
        // A repeat counts when it has been there for a grace, and what it is told by is not on its way out.
        let counts = |record: &SegmentRecord| {
            let is_old = |object: &ListedObject| is_past(object.modified, old.0, old.1);
            record.header.repeat().is_none() || listed.get(&record.key).is_some_and(is_old) && !marks.concern(record)
        };
        let (mut adopted, mut repeats, mut duplicates) = (Vec::new(), Vec::new(), Vec::new());
        for (key, object) in listed.iter().filter(is_orphan) {
            let others = by_binlog.get(&key.binlog).map_or(&[][..], Vec::as_slice);
            let others = || others.iter().filter(|other| (other.key.start, other.key.end) == (key.start, key.end));
            // Its repeat is too young: there is no need to read it yet.
            if found.superseded.contains(key) && !others().any(|other| counts(other)) {
                continue;
            }
            let Some(record) = self.verified(key, (space, &mut *swept)).await? else { continue };
            let is_repeat = record.header.repeat().is_some();
            let twins = || others().filter(|other| other.header.raw_sha256 == record.header.raw_sha256);
            // A repeat goes only for another repeat (T): on its account a whole segment may go at this moment.
            let stay = twins().filter(|other| counts(other) && (!is_repeat || other.header.repeat().is_some()));
            if self.one_is_right(stay.map(|other| &other.key), (space, &mut *swept)).await? {
                duplicates.push(object.clone());
            } else if is_repeat && twins().next().is_none() {
                repeats.push(record);
            } else if !is_repeat && !found.superseded.contains(key) {
                adopted.push(record);
            }
            if adopted.len() == PAGE_SEGMENTS {
                swept.adopted += self.adopt_all(&mut adopted).await?;
            }
            if repeats.len() == PAGE_SEGMENTS {
                swept.adopted += self.name_lonely(&mut repeats, space).await?.len() as u64;
            }
            if duplicates.len() == DELETE_BATCH {
                self.delete_duplicates(&mut duplicates, swept).await?;
            }
        }
        swept.adopted += self.adopt_all(&mut adopted).await?;
        swept.adopted += self.name_lonely(&mut repeats, space).await?.len() as u64;
        self.delete_duplicates(&mut duplicates, swept).await
    }

    /// A listing is no snapshot: another sweep may count on what looked like an orphan here. The catalog once more (T).
    async fn delete_duplicates(
        &self,
        duplicates: &mut Vec<ListedObject>,
        swept: &mut Swept,
    ) -> Result<(), ArchiveError> {
        if duplicates.is_empty() {
            return Ok(());
        }
        let named = self.discover_catalogued(None).await?.catalogued;
        duplicates.retain(|object| !matches!(object.key.parse(), Ok(ObjectKey::Segment(key)) if named.contains(&key)));
        swept.duplicates += self.delete_swept(duplicates, swept).await?;
        duplicates.clear();
        Ok(())
    }

    async fn adopt_all(&self, records: &mut Vec<SegmentRecord>) -> Result<u64, ArchiveError> {
        self.write_page(records).await?;
        let count = records.len() as u64;
        records.clear();
        Ok(count)
    }

    /// Whether one of these segments is what its key and its header say: only then is another with the same bytes superfluous.
    async fn one_is_right<'a>(
        &self,
        keys: impl Iterator<Item = &'a SegmentKey>,
        (space, swept): (&Workspace<'_>, &mut Swept),
    ) -> Result<bool, ArchiveError> {
        for key in keys {
            if self.verified(key, (space, &mut *swept)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A segment, fetched and found to be right.
    async fn verified(
        &self,
        key: &SegmentKey,
        (space, swept): (&Workspace<'_>, &mut Swept),
    ) -> Result<Option<SegmentRecord>, ArchiveError> {
        let _room = (space.room)().await;
        match self.check_segment_at(key).await {
            Ok(record) => {
                self.remember(&record);
                Ok(Some(record))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                let Some(reason) = error.unusable() else { return Err(error) };
                swept.unusable.push((key.to_string(), reason));
                Ok(None)
            }
        }
    }

    async fn sweep_tails(&self, old: (Duration, Timestamp), swept: &mut Swept) -> Result<(), ArchiveError> {
        let mut sources: BTreeSet<String> = BTreeSet::new();
        for object in self.store.list(TAIL_PREFIX).await? {
            if let Ok(ObjectKey::Segment(key)) = object.key.parse()
                && is_past(object.modified, old.0, old.1)
            {
                sources.insert(key.binlog.source);
            }
        }
        for source in sources {
            swept.covered += self.sweep_tail(&source).await?.covered.len() as u64;
        }
        Ok(())
    }

    /// Deletes, and gives how many are gone.
    pub(super) async fn delete_swept(&self, objects: &[ListedObject], swept: &mut Swept) -> Result<u64, ArchiveError> {
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let left = self.delete_what_may_go(&keys).await?;
        let gone = objects.iter().filter(|object| !left.contains(&object.key));
        let (count, bytes) = gone.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.length));
        swept.deleted_bytes += bytes;
        swept.undeletable.extend(left);
        Ok(count)
    }

    /// Merges the pages of sources that nobody writes for any more.
    async fn merge_abandoned(&self, now: Timestamp) -> Result<(), ArchiveError> {
        let mut newest: BTreeMap<String, Timestamp> = BTreeMap::new();
        for object in self.store.list(CATALOG_PREFIX).await? {
            if let Ok(ObjectKey::Page(page)) = object.key.parse() {
                let known = newest.entry(page.source).or_insert(object.modified);
                *known = object.modified.max(*known);
            }
        }
        for (source, _) in newest.into_iter().filter(|(_, newest)| is_past(*newest, ABANDONED, now)) {
            self.merge_pages(&source, MergeEffort::Idle).await?;
        }
        Ok(())
    }
}
