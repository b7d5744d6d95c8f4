//! Reading and merging pages.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Archive, ArchiveError, READS_AT_ONCE, compute, unreadable};
use crate::catalog::{Merge, MergeEffort, PAGE_BYTES_MAX, PageWriter, choose, raw_lines};
use crate::digest::sha256;
use crate::layout::{ObjectKey, PageKey, catalog_prefix};
use crate::store::{Call, Operation, StoreError};

/// A page that is listed and gone was merged: the catalog is listed again, but not for ever.
const LISTINGS_MAX: usize = 8;

/// A merge is sent within an hour of its listing, or starts over.
const MERGE_MAX: Duration = Duration::from_secs(40 * 60);

/// Pages of a listing, and keys beside them that are none.
pub(super) struct PageListing {
    pub(super) pages: Vec<(PageKey, u64)>,
    pub(super) unknown: Vec<String>,
}

impl Archive {
    /// The pages under a prefix of the catalog.
    pub(super) async fn list_pages(&self, prefix: &str) -> Result<PageListing, ArchiveError> {
        let mut listing = PageListing { pages: Vec::new(), unknown: Vec::new() };
        for object in self.store.list(prefix).await? {
            match object.key.parse() {
                Ok(ObjectKey::Page(page)) => listing.pages.push((page, object.length)),
                _ => listing.unknown.push(object.key),
            }
        }
        Ok(listing)
    }

    /// A page as it was stored: its hash is checked, and it is fetched again when it does not match.
    pub(super) async fn fetch_page(&self, page: &PageKey) -> Result<Bytes, ArchiveError> {
        self.fetch_matching(&page.to_string(), |bytes| crate::ShortHash::of(bytes) == page.hash).await
    }

    async fn decoded_page<T: Send + 'static>(
        &self,
        page: PageKey,
        decode: fn(&[u8]) -> T,
    ) -> Result<(PageKey, Result<T, String>), ArchiveError> {
        let decoded = match damage_apart(self.fetch_page(&page).await)? {
            Ok(bytes) => Ok(compute(move || decode(&bytes)).await?),
            Err(reason) => Err(reason),
        };
        Ok((page, decoded))
    }

    /// Fetches an object whose content is known by hash; damage on the way is not damage in the store.
    pub(crate) async fn fetch_matching(
        &self,
        key: &str,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, ArchiveError> {
        const ATTEMPTS: usize = 3;
        for _ in 0..ATTEMPTS {
            let bytes = self.store.get(key).await?;
            if matches(&bytes) {
                return Ok(bytes);
            }
        }
        Err(Call::new(Operation::Get, key).corrupt("it does not match the hash in its key").into())
    }

    /// All pages under a prefix that are not `known`, each decoded and handed to `sink` once, or what is wrong with it; gives the
    /// keys that are no pages. Where a merge took pages away meanwhile, what is new is read, until all that is listed is there.
    pub(super) async fn each_page<T: Send + 'static>(
        &self,
        prefix: &str,
        known: &HashSet<PageKey>,
        decode: fn(&[u8]) -> T,
        mut sink: impl FnMut(PageKey, Result<T, String>) -> Result<(), ArchiveError>,
    ) -> Result<Vec<String>, ArchiveError> {
        let mut last = None;
        let mut read = HashSet::new();
        for _ in 0..LISTINGS_MAX {
            let mut listing = self.list_pages(prefix).await?;
            listing.pages.retain(|(page, _)| !known.contains(page) && !read.contains(page));
            let mut gone = None;
            let mut pages = stream::iter(listing.pages)
                .map(|(page, _)| self.decoded_page(page, decode))
                .buffer_unordered(READS_AT_ONCE);
            while let Some(page) = pages.next().await {
                match page {
                    Ok((page, decoded)) => {
                        read.insert(page.clone());
                        sink(page, decoded)?;
                    }
                    Err(ArchiveError::Store(error @ StoreError::NotFound { .. })) => gone = Some(error),
                    Err(error) => return Err(error),
                }
            }
            if gone.is_none() {
                return Ok(listing.unknown);
            }
            last = gone;
        }
        Err(last.map_or(ArchiveError::Stopped, ArchiveError::Store))
    }

    /// Merges pages of one source as far as the effort says; gives how many merges that took.
    ///
    /// # Errors
    /// What the store answers. A merge that is cut short leaves lines twice, which is harmless.
    pub async fn merge_pages(&self, source: &str, effort: MergeEffort) -> Result<usize, ArchiveError> {
        let mut merges = 0;
        let mut damaged = HashSet::new();
        loop {
            let begun = self.begin();
            let mut pages = self.list_pages(&catalog_prefix(source)).await?.pages;
            pages.retain(|(page, _)| !self.is_discarded(&page.to_string()) && !damaged.contains(page));
            let Some(merge) = choose(&pages, effort) else { return Ok(merges) };
            match self.merge(source, &merge, begun).await? {
                Merged::Done => merges += 1,
                Merged::Damaged(page) => drop(damaged.insert(page)),
                Merged::GaveUp => return Ok(merges),
            }
        }
    }

    async fn merge(&self, source: &str, merge: &Merge, begun: Begun) -> Result<Merged, ArchiveError> {
        let mut old = Vec::with_capacity(merge.pages.len());
        for page in &merge.pages {
            match damage_apart(self.fetch_page(page).await) {
                Ok(Ok(bytes)) => old.push((page.to_string(), bytes)),
                Ok(Err(reason)) => {
                    tracing::warn!(%page, reason, "a damaged page is left out of merges");
                    return Ok(Merged::Damaged(page.clone()));
                }
                Err(ArchiveError::Store(StoreError::NotFound { .. })) => return Ok(Merged::GaveUp),
                Err(error) => return Err(error),
            }
        }
        let keys: Vec<String> = old.iter().map(|(key, _)| key.clone()).collect();
        for page in compute(move || merged(&old)).await?? {
            if self.is_late(begun) {
                return Ok(Merged::GaveUp);
            }
            self.store_page(source, merge.level, page).await?;
        }
        // Only now: every line of these pages stands in a page of a higher level (T).
        let removed = self.discard(keys).await;
        let denied = matches!(removed, Err(ArchiveError::Store(StoreError::Denied { .. })));
        Self::tolerate_denied(removed)?;
        Ok(if denied { Merged::GaveUp } else { Merged::Done })
    }

    /// Before the listing of a merge.
    pub(super) fn begin(&self) -> Begun {
        Begun { instant: Instant::now(), wall: self.now() }
    }

    /// Whether a merge that was begun then is too old to be sent: marks may have gone since, with what they hid (T).
    pub(super) fn is_late(&self, begun: Begun) -> bool {
        self.is_past(begun, MERGE_MAX)
    }

    /// Whether so much time has passed since, by either clock.
    pub(super) fn is_past(&self, begun: Begun, limit: Duration) -> bool {
        begun.instant.elapsed().max(self.now().duration_since(begun.wall).unsigned_abs()) > limit
    }
}

/// When a merge listed its pages, by two clocks: one stops while a host sleeps, the other may be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    instant: Instant,
    wall: Timestamp,
}

/// How a merge ended.
enum Merged {
    Done,
    /// One of the pages cannot be read; without it another merge may be due.
    Damaged(PageKey),
    /// Somebody else was faster, it took too long, or its pages cannot be deleted.
    GaveUp,
}

/// Tells damage of one page, which only hides what the page holds, from what ends the reading.
fn damage_apart(fetched: Result<Bytes, ArchiveError>) -> Result<Result<Bytes, String>, ArchiveError> {
    match fetched {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => error.unusable().map(Err).ok_or(error),
    }
}

/// All lines of these pages, each once, as new pages below the size limit.
fn merged(pages: &[(String, Bytes)]) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let mut seen = HashSet::new();
    let mut done = Vec::new();
    let mut writer = PageWriter::new().map_err(|error| unreadable("catalog", &error))?;
    for (key, page) in pages {
        let sorted = raw_lines(page, |segment, line| {
            if !seen.insert(sha256(segment.as_bytes())) {
                return Ok(());
            }
            if writer.raw_bytes() + line.len() > PAGE_BYTES_MAX {
                done.push(std::mem::replace(&mut writer, PageWriter::new()?).finish()?);
            }
            writer.push_raw(line)
        });
        sorted.map_err(|source| ArchiveError::Page { key: key.clone(), source })?;
    }
    if !writer.is_empty() {
        done.push(writer.finish().map_err(|error| unreadable("catalog", &error))?);
    }
    Ok(done)
}
