//! Writing: a segment, then the page that names it, then the tail objects that it covers go.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::tail::{TailCoverage, Verdict};
use super::{Archive, ArchiveError, compute, locked};
use crate::catalog::PageWriter;
use crate::digest::ShortHash;
use crate::layout::{PageKey, Place};
use crate::seal::{RawDigest, Sealer};
use crate::segment::{Codec, EncodingTime, RawBytes, SegmentDraft, SegmentRecord, Stamp, encode};
use crate::store::ObjectClass;

/// A page names only segments known to be in the store for no longer than this; older ones are asked for again. With
/// the longest operation added it stays within the hour that archive-format.md grants.
const FRESH: Duration = Duration::from_secs(30 * 60);

/// Segments whose time of storing is remembered; others are asked for.
const REMEMBERED_MAX: usize = 10_000;

/// When a segment was last known to be in the store, by two clocks: one stops while a host sleeps, the other may be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredAt {
    instant: Instant,
    wall: Timestamp,
}

/// A segment that is ready to be stored.
#[derive(Debug)]
pub struct EncodedSegment {
    object: Bytes,
    record: SegmentRecord,
    took: EncodingTime,
}

impl EncodedSegment {
    /// Bytes of the object.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.record.length
    }

    /// What making it took.
    #[must_use]
    pub const fn took(&self) -> EncodingTime {
        self.took
    }
}

/// What publishing did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Tail objects that the catalog covers now; they are deleted, or will be.
    pub covered: Vec<String>,
    /// Tail objects in the range of what was published, with other bytes: a divergence, kept.
    pub differing: Vec<String>,
}

impl Archive {
    /// Stores one segment. The draft's bytes are dropped as soon as they are encoded.
    ///
    /// # Errors
    /// [`ArchiveError::Draft`], or what the store answers. A retry encodes again, which makes another valid copy.
    pub async fn write_segment(&self, draft: SegmentDraft, codec: Codec) -> Result<SegmentRecord, ArchiveError> {
        self.store_segment(self.encode_segment(draft, codec, || {}).await?).await
    }

    /// Raw bytes with their hash, as segments of this archive have it. For a thread that may block.
    #[must_use]
    pub fn hashed(&self, bytes: Bytes) -> RawBytes {
        RawBytes::hashed(bytes, &RawDigest(self.sealer().map(Sealer::hash_key)))
    }

    /// Makes the object of one segment: the part of the work that the processor does. `compressed` is called when only the object's
    /// hash is missing, which the compressor of the next one need not wait for.
    ///
    /// # Errors
    /// [`ArchiveError::Draft`].
    pub async fn encode_segment(
        &self,
        draft: SegmentDraft,
        codec: Codec,
        compressed: impl FnOnce() + Send + 'static,
    ) -> Result<EncodedSegment, ArchiveError> {
        let stamp = Stamp { written_at: self.now(), writer: self.writer().to_owned() };
        let sealer = self.sealer().cloned();
        let encode = move || encode(draft, (codec, sealer.as_ref()), stamp, compressed);
        let (object, record, took) = compute(encode).await??;
        Ok(EncodedSegment { object, record, took })
    }

    /// Sends the object of one segment: the part of the work that the store does.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn store_segment(&self, segment: EncodedSegment) -> Result<SegmentRecord, ArchiveError> {
        let EncodedSegment { object, record, .. } = segment;
        let class = match record.key.place {
            Place::Binlogs => ObjectClass::Content,
            Place::Tail => ObjectClass::Control,
        };
        self.store.put(&record.key.to_string(), object, class).await?;
        self.remember(&record);
        Ok(record)
    }

    /// Names stored segments of one source in the catalog, and then deletes the tail objects whose bytes they hold.
    ///
    /// `coverage` has been fed the raw bytes of exactly these segments.
    ///
    /// # Errors
    /// [`ArchiveError::Vanished`], or what the store answers. Nothing is deleted unless the page is stored.
    pub async fn publish(&self, records: &[SegmentRecord], coverage: TailCoverage) -> Result<Published, ArchiveError> {
        self.write_page(records).await?;
        let Verdict { mut covered, differing, has_earlier_part } = coverage.finish(records);
        let removed = self.discard(covered.clone()).await;
        Self::tolerate_denied(removed)?;
        if has_earlier_part {
            covered.extend(self.sweep_after(records).await);
        }
        Ok(Published { covered, differing })
    }

    /// After a crash in the middle of a binlog, its beginning may have been catalogued by a predecessor: tail objects
    /// across that border are seen only by a sweep. It may fail: the next start sweeps again.
    async fn sweep_after(&self, records: &[SegmentRecord]) -> Vec<String> {
        let mut covered = Vec::new();
        let sources: BTreeSet<&str> = records.iter().map(|record| record.key.binlog.source.as_str()).collect();
        for source in sources {
            match self.sweep_tail(source).await {
                Ok(report) => covered.extend(report.covered),
                Err(error) => tracing::warn!(%error, source, "the tail is not swept"),
            }
        }
        covered
    }

    /// Names stored segments of `binlogs/` in a new page, one for each source among them.
    ///
    /// # Errors
    /// [`ArchiveError::Vanished`], or what the store answers.
    pub async fn write_page(&self, records: &[SegmentRecord]) -> Result<(), ArchiveError> {
        let records: Vec<&SegmentRecord> = records.iter().filter(|record| record.key.place == Place::Binlogs).collect();
        self.confirm(&records).await?;
        let sources: BTreeSet<&str> = records.iter().map(|record| record.key.binlog.source.as_str()).collect();
        for source in sources {
            let lines = records.iter().copied().filter(|record| record.key.binlog.source == source);
            self.put_page(source, 0, lines).await?;
        }
        let mut stored = locked(&self.stored);
        for record in records {
            stored.remove(&record.key.to_string());
        }
        Ok(())
    }

    async fn put_page<'a>(
        &self,
        source: &str,
        level: u8,
        records: impl Iterator<Item = &'a SegmentRecord>,
    ) -> Result<(), ArchiveError> {
        let failed = |error: std::io::Error| super::unreadable(source, &error);
        let mut page = PageWriter::new().map_err(failed)?;
        for record in records {
            page.push(record).map_err(failed)?;
        }
        if page.is_empty() {
            return Ok(());
        }
        self.store_page(source, level, page.finish().map_err(failed)?).await
    }

    pub(super) async fn store_page(&self, source: &str, level: u8, page: Vec<u8>) -> Result<(), ArchiveError> {
        let key = PageKey { source: source.to_owned(), level, hash: ShortHash::of(&page) };
        Ok(self.store.put(&key.to_string(), page.into(), ObjectClass::Control).await?)
    }

    pub(super) fn remember(&self, record: &SegmentRecord) {
        // Only pages ask, and they name nothing of the tail.
        if record.key.place != Place::Binlogs {
            return;
        }
        let now = StoredAt { instant: Instant::now(), wall: self.now() };
        let mut stored = locked(&self.stored);
        if stored.len() >= REMEMBERED_MAX {
            stored.retain(|_, known| self.is_fresh(*known));
        }
        if stored.len() < REMEMBERED_MAX {
            stored.insert(record.key.to_string(), now);
        }
    }

    /// Makes sure that all these segments are in the store now.
    async fn confirm(&self, records: &[&SegmentRecord]) -> Result<(), ArchiveError> {
        for record in records {
            let key = record.key.to_string();
            let known = locked(&self.stored).get(&key).copied();
            if known.is_some_and(|known| self.is_fresh(known)) {
                continue;
            }
            match self.store.head(&key).await {
                Ok(info) if info.length == record.length => self.remember(record),
                Ok(_) => return Err(ArchiveError::Vanished { key }),
                Err(error) if error.is_not_found() => return Err(ArchiveError::Vanished { key }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_fresh(&self, known: StoredAt) -> bool {
        let wall = self.now().duration_since(known.wall);
        // A wall clock that was set back says nothing; then the other clock decides alone.
        known.instant.elapsed() < FRESH && wall.unsigned_abs() < FRESH
    }
}
