//! The catalog, made again from what it is derived from: the segments' own headers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::VerifyProgress;
use crate::archive::{Archive, ArchiveError, READS_AT_ONCE};
use crate::catalog::{PAGE_BYTES_MAX, PageWriter, records};
use crate::layout::{CATALOG_PREFIX, LEVEL_MAX, ObjectKey, PageKey, Place, SegmentKey};
use crate::segment::{SegmentError, SegmentHeader, SegmentRecord};
use crate::store::StoreError;

/// What a rebuilding did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Segments that the catalog names now.
    pub segments: u64,
    /// Pages that were written.
    pub pages: u64,
    /// Pages that were there before, and are gone.
    pub replaced: u64,
    /// Segments that cannot be read, and why. Those that the catalog named before it still names.
    pub unusable: Vec<(String, String)>,
}

impl Archive {
    /// Writes the catalog anew from the headers of all segments, and then deletes the pages that were there. `progress` counts
    /// segments.
    ///
    /// # Errors
    /// What the store answers. When it is cut short, lines stand in two pages, which is harmless.
    pub async fn rebuild_catalog(&self, progress: &VerifyProgress) -> Result<Rebuilt, ArchiveError> {
        // The pages first: what a page of this listing names was stored before, and is in the next listing unless it is gone.
        let (old, mut known) = self.old_pages().await?;
        let mut segments: Vec<(SegmentKey, u64)> = Vec::new();
        for object in self.store.list(Place::Binlogs.prefix()).await? {
            if let Ok(ObjectKey::Segment(key)) = object.key.parse() {
                segments.push((key, object.length));
            }
        }
        progress.total.store(segments.len() as u64, Ordering::Relaxed);
        let mut rebuilt = Rebuilt::default();
        let mut sources: BTreeMap<String, Vec<SegmentRecord>> = BTreeMap::new();
        let mut read = stream::iter(segments).map(|segment| self.own_header(segment)).buffer_unordered(READS_AT_ONCE);
        while let Some((key, length, header)) = read.try_next().await? {
            progress.done.fetch_add(1, Ordering::Relaxed);
            let record = match header {
                Some(Ok(header)) => {
                    let sha256 = known.remove(&key).and_then(|known| known.sha256);
                    SegmentRecord { key, length, sha256, header: Arc::new(header) }
                }
                Some(Err(SegmentError::NewerFormat { found })) => {
                    return Err(ArchiveError::NewerFormat { key: key.to_string(), found });
                }
                Some(Err(error)) => {
                    rebuilt.unusable.push((key.to_string(), error.to_string()));
                    let Some(record) = known.remove(&key) else { continue };
                    record
                }
                None => continue,
            };
            sources.entry(record.key.binlog.source.clone()).or_default().push(record);
        }
        drop(read);
        for (source, records) in &mut sources {
            records.sort_by(|a, b| a.key.cmp(&b.key));
            rebuilt.segments += records.len() as u64;
            let highest = old.iter().filter(|page| page.source == *source).map(|page| page.level).max();
            let level = highest.map_or(0, |level| (level + 1).min(LEVEL_MAX));
            rebuilt.pages += self.write_all_pages(source, level, records).await?;
        }
        // A page on the last level may be one of those just written.
        let replaced: Vec<String> = old.iter().filter(|page| page.level < LEVEL_MAX).map(ToString::to_string).collect();
        rebuilt.replaced = replaced.len() as u64;
        if !replaced.is_empty() {
            Self::tolerate_denied(self.store.delete(&replaced).await.map_err(ArchiveError::from))?;
        }
        Ok(rebuilt)
    }

    /// All pages, and what of them can be read.
    async fn old_pages(&self) -> Result<(Vec<PageKey>, BTreeMap<SegmentKey, SegmentRecord>), ArchiveError> {
        let pages: Vec<PageKey> =
            self.list_pages(CATALOG_PREFIX).await?.pages.into_iter().map(|(page, _)| page).collect();
        let mut known = BTreeMap::new();
        for page in &pages {
            match self.fetch_page(page).await {
                Ok(bytes) => {
                    // The lines before damage count.
                    let read = records(&bytes, |record| drop(known.insert(record.key.clone(), record)));
                    if let Err(crate::PageError::NewerFormat { found }) = read {
                        return Err(ArchiveError::NewerFormat { key: page.to_string(), found });
                    }
                }
                Err(ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((pages, known))
    }

    /// The header of a segment as it stands in the object; none when it is gone.
    async fn own_header(
        &self,
        (key, length): (SegmentKey, u64),
    ) -> Result<(SegmentKey, u64, Option<Result<SegmentHeader, SegmentError>>), ArchiveError> {
        let header = match self.read_header(&key).await {
            Ok(read) => Some(read.map(|(header, _)| header)),
            Err(ArchiveError::Store(StoreError::NotFound { .. })) => None,
            Err(error) => return Err(error),
        };
        Ok((key, length, header))
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
