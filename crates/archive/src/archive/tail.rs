//! The tail: which of its objects the catalog covers with the same bytes, and merging those that age.

use bytes::{Bytes, BytesMut};
use pitr_binlog::GtidSet;
use pitr_recovery::BinlogId;
use sha2::{Digest as _, Sha256};

use super::{Archive, ArchiveError, Fetched};
use crate::layout::{Place, SegmentKey, TAIL_PREFIX};
use crate::segment::{Codec, SegmentDraft, SegmentOrigin, SegmentRecord, index_of};
use crate::store::StoreError;

/// Compares tail objects with the bytes that go into the catalog, while those bytes pass by.
///
/// A tail object may go only when catalogued segments hold the same bytes (T): it is a hash of its own range, made from
/// the pieces that are fed in the order of the file.
#[derive(Debug, Default)]
pub struct TailCoverage {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    record: SegmentRecord,
    hasher: Sha256,
    next: u64,
}

impl TailCoverage {
    /// Compares with these tail objects.
    #[must_use]
    pub fn of(tail: impl IntoIterator<Item = SegmentRecord>) -> Self {
        let entries = tail.into_iter().map(|record| {
            let next = record.header.start;
            Entry { record, hasher: Sha256::new(), next }
        });
        Self { entries: entries.collect() }
    }

    /// Takes the raw bytes of a catalogued segment of `binlog` that begins at `start`. Segments come in the file's order.
    pub fn feed(&mut self, binlog: &BinlogId, start: u64, raw: &[u8]) {
        let end = start + raw.len() as u64;
        for entry in &mut self.entries {
            let wanted_end = entry.record.header.end.min(end);
            if entry.record.key.binlog != *binlog || entry.next < start || entry.next >= wanted_end {
                continue;
            }
            let place = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
            if let Some(bytes) = raw.get(place(entry.next)..place(wanted_end)) {
                entry.hasher.update(bytes);
                entry.next = wanted_end;
            }
        }
    }

    /// What becomes of the tail objects when these segments are in the catalog.
    pub(super) fn finish(self, catalogued: &[SegmentRecord]) -> Verdict {
        let mut verdict = Verdict::default();
        for entry in self.entries {
            let header = &entry.record.header;
            let passed = entry.next == header.end;
            if !passed || !is_within(&entry.record, catalogued) {
                verdict.has_earlier_part |= begins_before(&entry.record, catalogued);
                continue;
            }
            let same = <[u8; 32]>::from(entry.hasher.finalize()) == header.raw_sha256;
            if same { &mut verdict.covered } else { &mut verdict.differing }.push(entry.record.key.to_string());
        }
        verdict
    }
}

/// Which tail objects were passed whole, by their keys.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// With the same bytes.
    pub(super) covered: Vec<String>,
    /// With other bytes.
    pub(super) differing: Vec<String>,
    /// One ends here but begins earlier: a predecessor may have catalogued its beginning.
    pub(super) has_earlier_part: bool,
}

/// Whether a tail object ends within these segments but begins before them.
fn begins_before(tail: &SegmentRecord, catalogued: &[SegmentRecord]) -> bool {
    let same_binlog = || catalogued.iter().filter(|record| record.key.binlog == tail.key.binlog);
    let ends_here = same_binlog().any(|record| record.key.start < tail.key.end && tail.key.end <= record.key.end);
    ends_here && same_binlog().all(|record| tail.key.start < record.key.start)
}

/// Whether segments of `binlogs/` cover a tail object's range without a hole.
fn is_within<'a>(tail: &SegmentRecord, catalogued: impl IntoIterator<Item = &'a SegmentRecord>) -> bool {
    let keys = catalogued.into_iter().map(|record| &record.key);
    is_covered(&tail.key, keys.filter(|key| key.place == Place::Binlogs))
}

/// Whether what `by` holds of the same binlog reaches from the key's start to its end.
pub(super) fn is_covered<'a>(key: &SegmentKey, by: impl Iterator<Item = &'a SegmentKey>) -> bool {
    let mut ranges: Vec<(u64, u64)> =
        by.filter(|other| other.binlog == key.binlog).map(|other| (other.start, other.end)).collect();
    ranges.sort_unstable();
    let reach = |reached: u64, (start, end): (u64, u64)| if start <= reached { reached.max(end) } else { reached };
    ranges.into_iter().fold(key.start, reach) >= key.end
}

/// What a sweep of the tail found.
#[derive(Debug, Default)]
pub struct TailReport {
    /// Objects that the catalog covers; they are deleted, or will be.
    pub covered: Vec<String>,
    /// Objects in catalogued ranges with other bytes: a divergence, or what the server lost in a crash. Kept.
    pub differing: Vec<String>,
    /// The live tail, in the order of the file.
    pub kept: Vec<SegmentRecord>,
    /// Objects of the tail that cannot be read, and why. They are left where they are.
    pub unusable: Vec<(String, String)>,
}

impl Archive {
    /// Whether these raw bytes are those that a header's `raw_sha256` speaks of.
    #[must_use]
    pub fn is_content(&self, raw: &[u8], raw_sha256: &[u8; 32]) -> bool {
        <[u8; 32]>::from(Sha256::digest(raw)) == *raw_sha256
    }

    /// Deletes what a predecessor left in a source's tail although the catalog covers it, and gives what is still young.
    /// For the start of an archiver.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn sweep_tail(&self, source: &str) -> Result<TailReport, ArchiveError> {
        let listed = self.store.list(&Place::Tail.source_prefix(source)).await?;
        let found = self.discover(Some(source)).await?;
        let catalogued: Vec<&SegmentRecord> = found.catalogued.values().collect();
        let unusable = found.unreadable.iter().filter(|(key, _)| key.starts_with(TAIL_PREFIX)).cloned().collect();
        let mut report = TailReport { unusable, ..TailReport::default() };
        let mut candidates = Vec::new();
        for record in found.tail.into_values() {
            if is_within(&record, catalogued.iter().copied()) {
                candidates.push(record);
            } else {
                report.kept.push(record);
            }
        }
        report.kept.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut coverage = TailCoverage::of(candidates.iter().cloned());
        let mut fed = Vec::new();
        for record in catalogued {
            // In the order of keys, which is that of the file. Two copies of one range: the first counts.
            let overlaps = candidates.iter().any(|tail| {
                tail.key.binlog == record.key.binlog
                    && tail.key.start < record.key.end
                    && record.key.start < tail.key.end
            });
            if !overlaps {
                continue;
            }
            match self.fetch_segment(&record.key).await {
                Ok(Fetched { raw, .. }) => {
                    coverage.feed(&record.key.binlog, record.key.start, &raw);
                    fed.push(record.clone());
                }
                // What cannot be read covers nothing.
                Err(
                    ArchiveError::Segment { .. }
                    | ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. }),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Verdict { covered: report.covered, differing: report.differing, .. } = coverage.finish(&fed);
        let settled = |key: &String| listed.iter().any(|object| object.key == *key && self.is_settled(object.modified));
        let (now, later): (Vec<String>, Vec<String>) = report.covered.iter().cloned().partition(settled);
        if !now.is_empty() {
            Self::tolerate_denied(self.store.delete(&now).await.map_err(ArchiveError::from))?;
        }
        Self::tolerate_denied(self.discard(later).await)?;
        Ok(report)
    }

    /// Makes one tail object of several that follow each other, and then deletes them. `None`: they do not, or there is
    /// only one.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn merge_tail(
        &self,
        tail: &[SegmentRecord],
        codec: Codec,
    ) -> Result<Option<SegmentRecord>, ArchiveError> {
        let ([first, .., last], true) = (tail, follow_each_other(tail)) else { return Ok(None) };
        let Some(origin) = origin_of(first) else { return Ok(None) };
        let mut raw = BytesMut::new();
        let mut transactions = Vec::new();
        for record in tail {
            let key = record.key.to_string();
            let (fetched, index) = self.fetch_with_index(&record.key).await?;
            if fetched.record.header.raw_sha256 != record.header.raw_sha256 {
                return Err(super::unreadable(&key, &"it is not the object that was listed"));
            }
            raw.extend_from_slice(&fetched.raw);
            transactions.extend(index);
        }
        let draft = SegmentDraft {
            place: Place::Tail,
            binlog: first.key.binlog.clone(),
            name: first.header.name.clone(),
            origin,
            start: first.key.start,
            raw: raw.freeze(),
            transactions,
            closes: last.header.closes.clone(),
            damage: last.header.damage.clone(),
            starts_in_transaction: first.header.starts_in_transaction,
            ends_in_transaction: last.header.ends_in_transaction,
        };
        let merged = self.write_segment(draft, codec).await?;
        let removed = self.discard(tail.iter().map(|record| record.key.to_string()).collect()).await;
        Self::tolerate_denied(removed)?;
        Ok(Some(merged))
    }

    async fn fetch_with_index(
        &self,
        key: &crate::layout::SegmentKey,
    ) -> Result<(Fetched, Vec<crate::IndexedTransaction>), ArchiveError> {
        let text = key.to_string();
        let object: Bytes = self.fetch_matching(&text, |bytes| crate::ShortHash::of(bytes) == key.hash).await?;
        let in_segment = |source| ArchiveError::Segment { key: text.clone(), source };
        let header = crate::segment::read_header(&object, key).map_err(in_segment)?;
        let index = index_of(&header, &object).map_err(in_segment)?.unwrap_or_default();
        let fetched = Self::decode(key.clone(), object).await?;
        Ok((fetched, index))
    }
}

fn follow_each_other(tail: &[SegmentRecord]) -> bool {
    tail.windows(2).all(|pair| {
        let [before, after] = pair else { return false };
        before.key.binlog == after.key.binlog && before.key.end == after.key.start
    })
}

/// `None`: the header only identifies the set that a new header must have.
fn origin_of(record: &SegmentRecord) -> Option<SegmentOrigin> {
    let header = &record.header;
    let previous = match &header.previous {
        Some(previous) => previous.whole()?.clone(),
        None => GtidSet::new(),
    };
    Some(SegmentOrigin {
        flavour: header.flavour,
        server_version: header.server_version.clone(),
        checksum: header.checksum.clone(),
        previous: previous.into(),
    })
}
