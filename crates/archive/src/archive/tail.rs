//! The tail: which of its objects the catalog covers with the same bytes, and merging those that age.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use pitr_binlog::GtidSet;
use pitr_recovery::BinlogId;

use super::read::pass_over;
use super::{Archive, ArchiveError, Fetched};
use crate::layout::{Place, SegmentKey, TAIL_PREFIX};
use crate::seal::{HashKey, HashKeyId, RawDigest, RawHasher};
use crate::segment::{Codec, IndexedTransaction, SegmentDraft, SegmentError, SegmentOrigin, SegmentRecord, index_of};

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
    /// None: its hash is made with a key that is not at hand.
    hasher: Option<RawHasher>,
    next: u64,
}

impl TailCoverage {
    /// Compares with these tail objects. Those that are encrypted are left alone: [`Archive::coverage`] knows their key.
    #[must_use]
    pub fn of(tail: impl IntoIterator<Item = SegmentRecord>) -> Self {
        Self::with_keys(tail, |_| None)
    }

    /// Compares with these tail objects; those whose hashes are made with a key that is not at hand are left alone.
    pub(super) fn with_keys(
        tail: impl IntoIterator<Item = SegmentRecord>,
        key: impl Fn(HashKeyId) -> Option<HashKey>,
    ) -> Self {
        let entries = tail.into_iter().map(|record| {
            let next = record.header.start;
            let hasher = match record.header.hash_key {
                None => Some(RawDigest(None).hasher()),
                Some(id) => key(id).map(|key| RawDigest(Some(&key)).hasher()),
            };
            Entry { record, hasher, next }
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
            if let (Some(hasher), Some(bytes)) = (&mut entry.hasher, raw.get(place(entry.next)..place(wanted_end))) {
                hasher.update(bytes);
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
            let Some(hasher) = entry.hasher else { continue };
            let same = hasher.finish() == header.raw_sha256;
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
        self.has_digest(raw, raw_sha256)
    }

    /// Deletes what a predecessor left in a source's tail although the catalog covers it, and gives what is still young.
    /// For the start of an archiver.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn sweep_tail(&self, source: &str) -> Result<TailReport, ArchiveError> {
        let listed = self.store.list(&Place::Tail.source_prefix(source)).await?;
        let found = self.discover(Some(source)).await?;
        let catalogued: Vec<&SegmentRecord> = found.catalogued.iter().collect();
        let unusable = found.unreadable.iter().filter(|(key, _)| key.starts_with(TAIL_PREFIX)).cloned().collect();
        let mut report = TailReport { unusable, ..TailReport::default() };
        let mut candidates = Vec::new();
        for record in found.tail {
            if is_within(&record, catalogued.iter().copied()) {
                candidates.push(record);
            } else {
                report.kept.push(record);
            }
        }
        report.kept.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut coverage = self.coverage(candidates.iter().cloned());
        let (mut fed, mut sealed) = (Vec::new(), Vec::new());
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
                Err(ArchiveError::Segment {
                    source: SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. },
                    ..
                }) => sealed.push(record.clone()),
                // What cannot be read covers nothing.
                Err(error) if error.is_not_found() || error.unusable().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Verdict { covered: report.covered, differing: report.differing, .. } = coverage.finish(&fed);
        fed.append(&mut sealed);
        self.judge_by_indices(candidates, &fed, &mut report).await?;
        let settled = |key: &String| listed.iter().any(|object| object.key == *key && self.is_settled(object.modified));
        let (now, later): (Vec<String>, Vec<String>) = report.covered.iter().cloned().partition(settled);
        if !now.is_empty() {
            Self::tolerate_denied(self.store.delete(&now).await.map_err(ArchiveError::from))?;
        }
        Self::tolerate_denied(self.discard(later).await)?;
        Ok(report)
    }

    /// Of tail objects whose bytes cannot be compared, for they or what covers them are encrypted to others, the indices tell: the
    /// same transactions, each with a GTID and a commit time in microseconds, in the same places, from the first byte to the last.
    async fn judge_by_indices(
        &self,
        candidates: Vec<SegmentRecord>,
        catalogued: &[SegmentRecord],
        report: &mut TailReport,
    ) -> Result<(), ArchiveError> {
        for tail in candidates {
            let key = tail.key.to_string();
            if report.covered.contains(&key) || report.differing.contains(&key) {
                continue;
            }
            let over: Vec<&SegmentRecord> =
                catalogued.iter().filter(|record| record.key.binlog == tail.key.binlog).collect();
            let is_sealed = |record: &SegmentRecord| record.header.hash_key.is_some();
            if !is_sealed(&tail) && !over.iter().any(|record| is_sealed(record)) {
                continue;
            }
            if is_within(&tail, over.iter().copied()) && self.have_same_index(&tail, &over).await? {
                report.covered.push(key);
            } else {
                report.kept.push(tail);
            }
        }
        report.kept.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }

    async fn have_same_index(&self, tail: &SegmentRecord, over: &[&SegmentRecord]) -> Result<bool, ArchiveError> {
        let wanted = match self.read_segment_index(&tail.key).await {
            Ok((_, entries)) => entries,
            Err(error) => return pass_over(error).map(|()| false),
        };
        let exact = |entry: &IndexedTransaction| entry.gtid.is_some() && !entry.whole_second;
        let ends_there = wanted.last().is_some_and(|last| last.end == tail.key.end);
        if !ends_there || !wanted.iter().all(exact) {
            return Ok(false);
        }
        let mut found: BTreeMap<u64, IndexedTransaction> = BTreeMap::new();
        for record in over.iter().filter(|record| record.key.start < tail.key.end && tail.key.start < record.key.end) {
            let entries = match self.read_segment_index(&record.key).await {
                Ok((_, entries)) => entries,
                Err(error) => return pass_over(error).map(|()| false),
            };
            for entry in entries.into_iter().filter(|entry| entry.end > tail.key.start && entry.end <= tail.key.end) {
                if found.insert(entry.end, entry.clone()).is_some_and(|other| other != entry) {
                    return Ok(false);
                }
            }
        }
        Ok(found.into_values().eq(wanted))
    }

    /// Makes one tail object of several that follow each other, and then deletes them. `raw` is all their bytes, for whoever
    /// has them at hand; without it they are fetched. `None`: they do not follow each other, there is only one, or their bytes can be neither
    /// fetched nor compared, for they are encrypted to others.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn merge_tail(
        &self,
        tail: &[SegmentRecord],
        codec: Codec,
        raw: Option<Bytes>,
    ) -> Result<Option<SegmentRecord>, ArchiveError> {
        let ([first, .., last], true) = (tail, follow_each_other(tail)) else { return Ok(None) };
        let Some(origin) = origin_of(first) else { return Ok(None) };
        let beside = match raw {
            Some(raw) => self.indices_beside(tail, &raw).await?.map(|transactions| (raw, transactions)),
            None => None,
        };
        let read = match beside {
            Some(read) => Some(read),
            None => self.fetch_all_with_indices(tail).await?,
        };
        let Some((raw, transactions)) = read else { return Ok(None) };
        let draft = SegmentDraft {
            place: Place::Tail,
            binlog: first.key.binlog.clone(),
            name: first.header.name.clone(),
            origin,
            start: first.key.start,
            raw: raw.into(),
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

    /// The transactions of tail objects whose bytes are at hand. `None`: the bytes are not those that were stored, or nobody can tell.
    async fn indices_beside(
        &self,
        tail: &[SegmentRecord],
        raw: &Bytes,
    ) -> Result<Option<Vec<IndexedTransaction>>, ArchiveError> {
        let mut transactions = Vec::new();
        let mut rest = raw.clone();
        for record in tail {
            let length = usize::try_from(record.key.end - record.key.start).unwrap_or(usize::MAX);
            let key = record.header.hash_key.map(|id| self.hash_key(id));
            if rest.len() < length || matches!(key, Some(None)) {
                return Ok(None);
            }
            let piece = rest.split_to(length);
            if RawDigest(key.flatten().as_ref()).of(&piece) != record.header.raw_sha256 {
                return Ok(None);
            }
            transactions.extend(self.read_segment_index(&record.key).await?.1);
        }
        Ok(rest.is_empty().then_some(transactions))
    }

    async fn fetch_all_with_indices(
        &self,
        tail: &[SegmentRecord],
    ) -> Result<Option<(Bytes, Vec<IndexedTransaction>)>, ArchiveError> {
        let (mut raw, mut transactions) = (BytesMut::new(), Vec::new());
        for record in tail {
            let (fetched, index) = match self.fetch_with_index(&record.key).await {
                Err(ArchiveError::Segment {
                    source: SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. },
                    ..
                }) => return Ok(None),
                fetched => fetched?,
            };
            if fetched.record.header.raw_sha256 != record.header.raw_sha256 {
                return Err(super::unreadable(&record.key.to_string(), &"it is not the object that was listed"));
            }
            raw.extend_from_slice(&fetched.raw);
            transactions.extend(index);
        }
        Ok(Some((raw.freeze(), transactions)))
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
        let fetched = self.decode(key.clone(), object).await?;
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
