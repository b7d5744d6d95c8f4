//! The catalog, made again from what it is derived from: the segments' own headers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::SignedDuration;

use super::VerifyProgress;
use crate::archive::{Archive, ArchiveError, READS_AT_ONCE, Workspace};
use crate::catalog::{PAGE_BYTES_MAX, PageWriter, records};
use crate::layout::{CATALOG_PREFIX, LEVEL_MAX, ObjectKey, PageKey, Place, SegmentKey};
use crate::segment::{SegmentError, SegmentRecord};

/// Segments that are read whole at once; each takes its stored and its raw length.
const STRANGERS_AT_ONCE: usize = 2;

/// Repeats in one page of those that no page named: they are named soon after it was looked whether they stand alone (T).
const PAGE_REPEATS: usize = 64;

/// A segment that was written so long ago is seen by every host that shares a directory.
const YOUNG: SignedDuration = SignedDuration::from_hours(1);

/// What stands in a segment's place.
enum Own {
    Record(SegmentRecord),
    /// It cannot be read, and why.
    Unusable(String),
    Gone,
}

impl Own {
    /// A newer format is no damage: whoever can read it makes the catalog.
    fn unusable(key: &SegmentKey, error: SegmentError) -> Result<Self, ArchiveError> {
        match error {
            SegmentError::NewerFormat { found } => Err(ArchiveError::NewerFormat { key: key.to_string(), found }),
            error => Ok(Self::Unusable(error.to_string())),
        }
    }

    /// One that is gone, damaged or withheld stops nothing.
    fn not_read(error: ArchiveError) -> Result<Self, ArchiveError> {
        match error.unusable() {
            Some(reason) => Ok(Self::Unusable(reason)),
            None if error.is_not_found() => Ok(Self::Gone),
            None => Err(error),
        }
    }
}

/// What a rebuilding did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Segments that the catalog names now.
    pub segments: u64,
    /// Pages that were written.
    pub pages: u64,
    /// Pages that were there before, and are gone.
    pub replaced: u64,
    /// Segments that cannot be read, and why: those that the catalog named before it still names. And pages that cannot be read and stay, for
    /// they may be all that names such a segment.
    pub unusable: Vec<(String, String)>,
}

type OldPages = (Vec<PageKey>, BTreeMap<SegmentKey, SegmentRecord>, BTreeSet<PageKey>);

impl Archive {
    /// Writes the catalog anew from the headers of all segments, and then deletes the pages that were there. `progress` counts
    /// segments.
    ///
    /// # Errors
    /// What the store answers. When it is cut short, lines stand in two pages, which is harmless.
    pub async fn rebuild_catalog(&self, progress: &VerifyProgress) -> Result<Rebuilt, ArchiveError> {
        // The pages first: what a page of this listing names was stored before, and is in the next listing unless it is gone.
        let (old, mut known, unread) = self.old_pages().await?;
        let (mut named, mut strangers) = (Vec::new(), Vec::new());
        for object in self.store.list(Place::Binlogs.prefix()).await? {
            if let Ok(ObjectKey::Segment(key)) = object.key.parse() {
                match known.get(&key).filter(|record| record.length == object.length) {
                    Some(record) => named.push(record.clone()),
                    None => strangers.push(key),
                }
            }
        }
        progress.total.store((named.len() + strangers.len()) as u64, Ordering::Relaxed);
        let mut rebuilt = Rebuilt::default();
        let mut sources: BTreeMap<String, Vec<SegmentRecord>> = BTreeMap::new();
        let mut repeats = Vec::new();
        // The first segment of each source that cannot be read, and that no page which can be read names.
        let mut nameless: BTreeMap<String, SegmentKey> = BTreeMap::new();
        let named = stream::iter(named).map(|record| self.own_header(record)).buffer_unordered(READS_AT_ONCE);
        let strangers = stream::iter(strangers).map(|key| self.stranger(key)).buffer_unordered(STRANGERS_AT_ONCE);
        let mut read = std::pin::pin!(named.chain(strangers));
        while let Some((key, found)) = read.try_next().await? {
            progress.done.fetch_add(1, Ordering::Relaxed);
            let record = match found {
                Own::Record(record) => {
                    if known.remove(&key).is_none() && record.header.repeat().is_some() {
                        repeats.push(record);
                        continue;
                    }
                    record
                }
                Own::Unusable(reason) => {
                    rebuilt.unusable.push((key.to_string(), reason));
                    let Some(record) = known.remove(&key) else {
                        nameless.entry(key.binlog.source.clone()).or_insert(key);
                        continue;
                    };
                    record
                }
                Own::Gone => continue,
            };
            sources.entry(record.key.binlog.source.clone()).or_default().push(record);
        }
        for record in self.still_coming(known).await? {
            sources.entry(record.key.binlog.source.clone()).or_default().push(record);
        }
        for (source, records) in &mut sources {
            records.sort_by(|a, b| a.key.cmp(&b.key));
            rebuilt.segments += records.len() as u64;
            let highest = old.iter().filter(|page| page.source == *source).map(|page| page.level).max();
            let level = highest.map_or(0, |level| (level + 1).min(LEVEL_MAX));
            rebuilt.pages += self.write_all_pages(source, level, records).await?;
        }
        // A repeat that no page named is not one for which a whole segment may go soon.
        while !repeats.is_empty() {
            let mut some = repeats.split_off(repeats.len().saturating_sub(PAGE_REPEATS));
            let named = self.name_lonely(&mut some, &Workspace::ENOUGH).await?;
            rebuilt.segments += named.len() as u64;
            rebuilt.pages += u64::from(!named.is_empty());
        }
        self.delete_replaced((&old, &unread), &nameless, &mut rebuilt).await?;
        Ok(rebuilt)
    }

    /// Deletes the pages that were there before. One that cannot be read may be all that names a segment of its source which cannot be
    /// read either: it stays, and keeps retention from going by what is left.
    async fn delete_replaced(
        &self,
        (old, unread): (&[PageKey], &BTreeSet<PageKey>),
        nameless: &BTreeMap<String, SegmentKey>,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), ArchiveError> {
        let mut replaced = Vec::new();
        // A page on the last level may be one of those just written.
        for page in old.iter().filter(|page| page.level < LEVEL_MAX) {
            match nameless.get(&page.source).filter(|_| unread.contains(page)) {
                None => replaced.push(page.to_string()),
                Some(segment) => rebuilt.unusable.push((
                    page.to_string(),
                    format!(
                        "it cannot be read, and stays while {segment} cannot be read either: bring that back or delete it, \
                         then --rebuild-catalog once more"
                    ),
                )),
            }
        }
        rebuilt.replaced = replaced.len() as u64;
        if !replaced.is_empty() {
            Self::tolerate_denied(self.store.delete(&replaced).await.map_err(ArchiveError::from))?;
        }
        Ok(())
    }

    /// All pages, what of them can be read, and those that cannot be read to their end.
    async fn old_pages(&self) -> Result<OldPages, ArchiveError> {
        let pages: Vec<PageKey> =
            self.list_pages(CATALOG_PREFIX).await?.pages.into_iter().map(|(page, _)| page).collect();
        let (mut known, mut unread) = (BTreeMap::new(), BTreeSet::new());
        for page in &pages {
            match self.fetch_page(page).await {
                Ok(bytes) => {
                    // The lines before damage count.
                    let (records, end) = records(&bytes);
                    known.extend(records.into_iter().map(|record| (record.key.clone(), record)));
                    if let Err(crate::PageError::NewerFormat { found }) = end {
                        return Err(ArchiveError::NewerFormat { key: page.to_string(), found });
                    }
                    if end.is_err() {
                        unread.insert(page.clone());
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) if error.unusable().is_some() => drop(unread.insert(page.clone())),
                Err(error) => return Err(error),
            }
        }
        Ok((pages, known, unread))
    }

    /// A segment that a page names, with its header as it stands in the object.
    async fn own_header(&self, known: SegmentRecord) -> Result<(SegmentKey, Own), ArchiveError> {
        let key = known.key.clone();
        let own = match self.read_header(&key).await {
            Ok(Ok((header, _))) => Own::Record(SegmentRecord { header: Arc::new(header), ..known }),
            Ok(Err(error)) => Own::unusable(&key, error)?,
            Err(error) => Own::not_read(error)?,
        };
        Ok((key, own))
    }

    /// A segment that no page names, or not so: nobody has vouched for it yet, so all of it is read.
    async fn stranger(&self, key: SegmentKey) -> Result<(SegmentKey, Own), ArchiveError> {
        let own = match self.check_segment_at(&key).await {
            Ok(record) => Own::Record(record),
            Err(ArchiveError::Segment { source, .. }) => Own::unusable(&key, source)?,
            Err(error) => Own::not_read(error)?,
        };
        Ok((key, own))
    }

    /// Of segments that pages name and the listing did not have, those that are there all the same, or may be: other hosts see a
    /// shared directory later. A line too many is harmless; one too few hides bytes that left the tail already.
    async fn still_coming(
        &self,
        known: BTreeMap<SegmentKey, SegmentRecord>,
    ) -> Result<Vec<SegmentRecord>, ArchiveError> {
        let look = |record: SegmentRecord| async move {
            let is_young = self.now().duration_since(record.header.written_at) < YOUNG;
            let stays = is_young || self.is_there(&record.key.to_string()).await?;
            Ok(stays.then_some(record))
        };
        let looks = stream::iter(known.into_values()).map(look).buffer_unordered(READS_AT_ONCE);
        looks.try_filter_map(|record| async move { Ok(record) }).try_collect().await
    }

    async fn write_all_pages(&self, source: &str, level: u8, records: &[SegmentRecord]) -> Result<u64, ArchiveError> {
        let failed = |error: std::io::Error| crate::archive::unreadable(source, &error);
        let (mut writer, mut pages) = (PageWriter::new().map_err(failed)?, 0);
        for record in records {
            writer.push(record).map_err(failed)?;
            // A line is far shorter than what is left then.
            if writer.raw_bytes() > PAGE_BYTES_MAX - (2 << 20) {
                let full = std::mem::replace(&mut writer, PageWriter::new().map_err(failed)?);
                self.store_page(source, level, full.finish().map_err(failed)?).await?;
                pages += 1;
            }
        }
        if !writer.is_empty() {
            self.store_page(source, level, writer.finish().map_err(failed)?).await?;
            pages += 1;
        }
        Ok(pages)
    }
}
