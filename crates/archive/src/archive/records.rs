//! What is stored, as records: the tail by its headers, the rest by the catalog.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use pitr_recovery::BinlogId;

use super::record_list::RecordList;
use super::verify::LastVerified;
use super::{Archive, ArchiveError, READS_AT_ONCE, locked};
use crate::catalog::{PageError, records};
use crate::digest::{Digest, ShortHash, sha256};
use crate::layout::{CATALOG_PREFIX, ObjectKey, PageKey, Place, SegmentKey, TAIL_PREFIX, catalog_prefix};
use crate::segment::{HeaderRead, SegmentError, SegmentHeader, SegmentRecord, header_of, read_header};
use crate::store::{ListedObject, StoreError};

/// Tail objects that are listed and gone were catalogued or merged: the tail is listed again, but not for ever.
const LISTINGS_MAX: usize = 8;

/// A tail segment up to this length is fetched whole, and checked, for its header. Larger ones are merged ones, few.
const WHOLE_READ_BYTES: u64 = 1 << 20;

/// Enough for nearly every header.
pub(super) const FIRST_READ_BYTES: u64 = 64 << 10;

/// Records of an archive or of one source, by key.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// Segments that the catalog names.
    pub catalogued: RecordList,
    /// Segments of the tail.
    pub tail: RecordList,
    /// Keys that are none of an archive's.
    pub unknown_keys: Vec<String>,
    /// Objects that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// Segments of the tail that were listed and gone when they were read: catalogued or merged meanwhile.
    pub(super) gone: BTreeSet<SegmentKey>,
    /// Whole segments that the catalog names and in whose place repeats stand: they may be gone, and count no more (T).
    pub(super) superseded: BTreeSet<SegmentKey>,
    /// The pages that were read.
    pages: HashSet<PageKey>,
}

impl Discovered {
    /// All records, the catalogued ones first.
    pub fn records(&self) -> impl Iterator<Item = &SegmentRecord> {
        self.catalogued.iter().chain(self.tail.iter())
    }

    /// How many pages were read.
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Whether a page names a segment, even one in whose place a repeat stands.
    pub(super) fn names(&self, key: &SegmentKey) -> bool {
        self.catalogued.contains(key) || self.superseded.contains(key)
    }

    /// Which binlogs stand in the archive as what differs from which others.
    pub(super) fn told_by(&self) -> BTreeMap<BinlogId, BTreeSet<BinlogId>> {
        let mut told_by: BTreeMap<BinlogId, BTreeSet<BinlogId>> = BTreeMap::new();
        for record in self.catalogued.iter() {
            let Some(repeat) = record.header.repeat() else { continue };
            let of = repeat.of.iter().map(|of| of.key.binlog.clone());
            told_by.entry(record.key.binlog.clone()).or_default().extend(of);
        }
        told_by
    }

    /// Leaves each range that is stored as a repeat to the repeat, unless that is known to be lost.
    fn supersede(&mut self, verified: Option<&LastVerified>) {
        let stands_for_others = |record: &&SegmentRecord| {
            record.header.repeat().is_some() && !verified.is_some_and(|verified| verified.loses(record))
        };
        let repeats: HashSet<_> = self.catalogued.iter().filter(stands_for_others).map(range_of).collect();
        if repeats.is_empty() {
            return;
        }
        let superseded =
            self.catalogued.take_out(|record| record.header.repeat().is_none() && repeats.contains(&range_of(record)));
        self.superseded.extend(superseded.into_iter().map(|record| record.key));
    }

    pub(super) fn absorb(&mut self, mut other: Self) {
        self.catalogued.add(other.catalogued);
        self.tail.add(other.tail);
        self.gone.extend(other.gone);
        self.superseded.append(&mut other.superseded);
        self.pages.extend(other.pages);
        for key in other.unknown_keys {
            if !self.unknown_keys.contains(&key) {
                self.unknown_keys.push(key);
            }
        }
        for problem in other.unreadable {
            if !self.unreadable.contains(&problem) {
                self.unreadable.push(problem);
            }
        }
    }
}

/// The prefix of the pages of one source, or of all.
fn pages_of(source: Option<&str>) -> String {
    source.map_or_else(|| CATALOG_PREFIX.to_owned(), catalog_prefix)
}

/// Which bytes a segment holds.
pub(super) fn range_of(record: &SegmentRecord) -> (BinlogId, u64, u64, Digest) {
    (record.key.binlog.clone(), record.key.start, record.key.end, record.header.raw_sha256)
}

impl Archive {
    /// What is stored of one source, or of all: the tail, then the catalog (T), so that what moves meanwhile is seen.
    ///
    /// # Errors
    /// What the store answers. An object that cannot be read is reported, not an error.
    pub async fn discover(&self, source: Option<&str>) -> Result<Discovered, ArchiveError> {
        self.discover_beside(source, None).await
    }

    /// The same for whoever knows what verification found: whole segments then serve in the place of repeats that are lost.
    pub(super) async fn discover_beside(
        &self,
        source: Option<&str>,
        verified: Option<&LastVerified>,
    ) -> Result<Discovered, ArchiveError> {
        let tail_prefix = source.map_or_else(|| TAIL_PREFIX.to_owned(), |source| Place::Tail.source_prefix(source));
        let mut found = self.read_tail(&tail_prefix).await?;
        found.absorb(self.read_catalog(&pages_of(source), &HashSet::new()).await?);
        found.supersede(verified);
        Ok(found)
    }

    /// The same without the tail, whose segments cost a request each.
    pub(super) async fn discover_catalogued(&self, source: Option<&str>) -> Result<Discovered, ArchiveError> {
        let mut found = self.read_catalog(&pages_of(source), &HashSet::new()).await?;
        found.supersede(None);
        Ok(found)
    }

    /// The same for everything, once more: what has been read already is not read again, for it never changes.
    pub(super) async fn discover_more(
        &self,
        found: &mut Discovered,
        verified: Option<&LastVerified>,
    ) -> Result<(), ArchiveError> {
        found.absorb(self.read_tail(TAIL_PREFIX).await?);
        let more = self.read_catalog(CATALOG_PREFIX, &found.pages).await?;
        found.absorb(more);
        found.supersede(verified);
        Ok(())
    }

    /// The pages under a prefix that are not `known`.
    async fn read_catalog(&self, prefix: &str, known: &HashSet<PageKey>) -> Result<Discovered, ArchiveError> {
        let (mut found, mut catalogued) = (Discovered::default(), Vec::new());
        let unknown = self
            .each_page(prefix, known, records, |page, read| {
                let key = page.to_string();
                found.pages.insert(page);
                let (records, end) = match read {
                    Ok(read) => read,
                    Err(reason) => {
                        found.unreadable.push((key, reason));
                        return Ok(());
                    }
                };
                // The lines before the damage count. What it hides shows up as a hole.
                catalogued.extend(records);
                match end {
                    Err(PageError::NewerFormat { found }) => return Err(ArchiveError::NewerFormat { key, found }),
                    Err(error) => found.unreadable.push((key, error.to_string())),
                    Ok(()) => {}
                }
                Ok(())
            })
            .await?;
        found.unknown_keys = unknown;
        found.catalogued.add(catalogued);
        Ok(found)
    }

    /// The tail segments under a prefix, by their headers. Those that are gone when they are read are told, too.
    pub(super) async fn read_tail(&self, prefix: &str) -> Result<Discovered, ArchiveError> {
        let mut found = self.read_tail_once(prefix).await?;
        for _ in 1..LISTINGS_MAX {
            if found.gone.is_empty() {
                break;
            }
            found = self.read_tail_once(prefix).await?;
        }
        Ok(found)
    }

    async fn read_tail_once(&self, prefix: &str) -> Result<Discovered, ArchiveError> {
        let (mut found, mut tail) = (Discovered::default(), Vec::new());
        let mut segments = Vec::new();
        for object in self.store.list(prefix).await? {
            match object.key.parse() {
                Ok(ObjectKey::Segment(key)) if key.place == Place::Tail => segments.push((key, object)),
                _ => found.unknown_keys.push(object.key),
            }
        }
        self.forget_tail_headers(prefix, &segments);
        let mut records = stream::iter(segments)
            .map(|(key, object)| self.tail_record(key, object.length))
            .buffer_unordered(READS_AT_ONCE);
        while let Some((key, record)) = records.next().await {
            let record = match record {
                Err(error) if error.is_not_found() => {
                    found.gone.insert(key);
                    continue;
                }
                Err(error) => {
                    let Some(reason) = error.unusable() else { return Err(error) };
                    found.unreadable.push((key.to_string(), reason));
                    continue;
                }
                Ok(record) => record,
            };
            match record {
                Ok(record) => tail.push(record),
                Err(SegmentError::NewerFormat { found }) => {
                    return Err(ArchiveError::NewerFormat { key: key.to_string(), found });
                }
                Err(error) => found.unreadable.push((key.to_string(), error.to_string())),
            }
        }
        drop(records);
        found.tail.add(tail);
        Ok(found)
    }

    async fn tail_record(
        &self,
        key: SegmentKey,
        length: u64,
    ) -> (SegmentKey, Result<Result<SegmentRecord, SegmentError>, ArchiveError>) {
        let text = key.to_string();
        if let Some(record) = locked(&self.tail_headers).get(&text).cloned() {
            return (key, Ok(Ok(record)));
        }
        let read = if length <= WHOLE_READ_BYTES {
            self.read_whole(&key).await
        } else {
            self.read_header(&key).await.map(|read| read.map(|(header, _)| (header, None)))
        };
        let record = read.map(|read| {
            read.map(|(header, sha256)| {
                let record = SegmentRecord { key: key.clone(), length, sha256, header: Arc::new(header) };
                locked(&self.tail_headers).insert(text, record.clone());
                record
            })
        });
        (key, record)
    }

    /// The header of a small segment, which is fetched whole, so that its hash vouches for the header.
    async fn read_whole(
        &self,
        key: &SegmentKey,
    ) -> Result<Result<(SegmentHeader, Option<Digest>), SegmentError>, ArchiveError> {
        let fetched = self.fetch_matching(&key.to_string(), |bytes| ShortHash::of(bytes) == key.hash).await;
        match fetched {
            Ok(object) => Ok(read_header(&object, key).map(|header| (header, Some(sha256(&object))))),
            Err(ArchiveError::Store(StoreError::Corrupt { reason, .. })) => Ok(Err(SegmentError::Damaged(reason))),
            Err(error) => Err(error),
        }
    }

    /// Immutable objects need reading once; what is no longer listed is forgotten.
    fn forget_tail_headers(&self, prefix: &str, listed: &[(SegmentKey, ListedObject)]) {
        let listed: HashSet<&str> = listed.iter().map(|(_, object)| object.key.as_str()).collect();
        locked(&self.tail_headers).retain(|key, _| !key.starts_with(prefix) || listed.contains(key.as_str()));
    }

    /// The header of a segment and the object's first bytes, with one request or, for a long header, two.
    pub(super) async fn read_header(
        &self,
        key: &SegmentKey,
    ) -> Result<Result<(SegmentHeader, bytes::Bytes), SegmentError>, ArchiveError> {
        self.read_header_within(key, FIRST_READ_BYTES).await
    }

    /// The same with so many bytes at first: fewer where the index behind the header is not wanted.
    pub(super) async fn read_header_within(
        &self,
        key: &SegmentKey,
        first: u64,
    ) -> Result<Result<(SegmentHeader, bytes::Bytes), SegmentError>, ArchiveError> {
        let text = key.to_string();
        let mut needed = first;
        loop {
            let first = self.store.get_range(&text, 0..needed).await?;
            match header_of(&first, key) {
                Ok(HeaderRead::Header(header)) => return Ok(Ok((*header, first))),
                Ok(HeaderRead::NeedsBytes(more)) if more > needed => needed = more,
                Ok(HeaderRead::NeedsBytes(_)) => {
                    return Ok(Err(SegmentError::Damaged("it ends within its header".to_owned())));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}
