//! Reading ranges: verified, and resolved to what covers them now when an object has gone.
//!
//! A plan names ranges, not keys. The objects it knows are tried first; after a 404 or damage the binlog is listed and
//! whatever covers the range serves, if the bytes, cut to the range, have the plan's hash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pitr_recovery::{BinlogId, IndexEntry, RangeRef, StoredObject, TransactionIndex};

use super::records::FIRST_READ_BYTES;
use super::{Archive, ArchiveError, Fetched, compute};
use crate::digest::{ShortHash, sha256};
use crate::layout::{ObjectKey, Place, SegmentKey};
use crate::segment::{
    IndexedTransaction, SegmentError, SegmentHeader, SegmentRecord, index_of, raw_bytes, read_header,
};
use crate::store::StoreError;

/// Ways to cover a range that are tried before it counts as changed.
const COVERS_MAX: usize = 8;

impl Archive {
    /// The objects of a binlog that the store lists at this moment, tail apart, with their lengths. A catalog may name others.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn stored_objects(&self, binlog: &BinlogId) -> Result<BTreeMap<String, u64>, ArchiveError> {
        let listed = self.store.list(&Place::Binlogs.binlog_prefix(binlog)).await?;
        Ok(listed.into_iter().map(|object| (object.key, object.length)).collect())
    }

    /// The raw bytes of a range, with the hash that the range names.
    ///
    /// # Errors
    /// [`ArchiveError::RangeLost`], [`ArchiveError::RangeChanged`], or what the store answers: [`StoreError::Withheld`] where nothing
    /// but withheld objects is left.
    pub async fn read_range(&self, range: &RangeRef, known: &[StoredObject]) -> Result<Bytes, ArchiveError> {
        for key in segment_keys(range, known) {
            match self.fetch_segment(&key).await {
                Ok(fetched) if fetched.record.header.raw_sha256 == range.raw_sha256 => return Ok(fetched.raw),
                Ok(_) => {}
                Err(error) => pass_over(error)?,
            }
        }
        Ok(self.read_cover(range).await?.0)
    }

    /// The transactions of a range, from the index of a segment, without fetching the payload.
    ///
    /// # Errors
    /// As [`Self::read_range`].
    pub async fn read_index(&self, range: &RangeRef, known: &[StoredObject]) -> Result<TransactionIndex, ArchiveError> {
        for key in segment_keys(range, known) {
            match self.read_segment_index(&key).await {
                Ok((header, entries)) if header.raw_sha256 == range.raw_sha256 => return Ok(index(entries, range)),
                Ok(_) => {}
                Err(error) => pass_over(error)?,
            }
        }
        // Other objects prove that they hold this range only by their bytes, so those are read.
        let (_, cover) = match self.read_cover(range).await {
            Err(ArchiveError::Segment {
                source: SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. },
                ..
            }) => return self.read_index_unopened(range).await,
            read => read?,
        };
        let mut entries: Vec<IndexedTransaction> = Vec::new();
        for key in cover {
            let (_, more) = self.read_segment_index(&key).await?;
            let after = entries.last().map_or(range.start, |last| last.end);
            entries.extend(more.into_iter().filter(|entry| entry.end > after));
        }
        Ok(index(entries, range))
    }

    /// The transactions of a range whose hash was made with a key that is not known here: its bytes cannot be compared with it.
    /// `None`: they can, or no such object is left.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn index_of_unknown_key(
        &self,
        range: &RangeRef,
        known: &[StoredObject],
    ) -> Result<Option<Vec<IndexedTransaction>>, ArchiveError> {
        for key in segment_keys(range, known) {
            match self.read_segment_index(&key).await {
                Ok((header, entries)) if header.raw_sha256 == range.raw_sha256 => {
                    let unknown = header.hash_key.is_some_and(|id| self.hash_key(id).is_none());
                    return Ok(unknown.then_some(entries));
                }
                Ok(_) => {}
                Err(error) => pass_over(error)?,
            }
        }
        Ok(None)
    }

    /// The transactions of a range whose objects moved and cannot be opened: those on which everything that stands in its place agrees.
    async fn read_index_unopened(&self, range: &RangeRef) -> Result<TransactionIndex, ArchiveError> {
        let mut read: Vec<(SegmentKey, Vec<IndexedTransaction>)> = Vec::new();
        for key in self.overlapping(range, &BTreeSet::new()).await? {
            match self.read_segment_index(&key).await {
                Ok((_, entries)) => read.push((key, entries)),
                Err(error) => pass_over(error)?,
            }
        }
        let keys: Vec<SegmentKey> = read.iter().map(|(key, _)| key.clone()).collect();
        if covers(&keys, range, 1).is_empty() {
            return Err(ArchiveError::RangeLost { range: Box::new(range.clone()) });
        }
        let all = read.iter().flat_map(|(_, entries)| entries).map(|entry| (entry.end, entry.clone()));
        let all: BTreeMap<u64, IndexedTransaction> = all.collect();
        let agrees = |(key, entries): &(SegmentKey, Vec<IndexedTransaction>)| {
            all.range(key.start + 1..=key.end).map(|(_, entry)| entry).eq(entries)
        };
        if !read.iter().all(agrees) {
            let reason = "other transactions stand in this place, too, and no identity opens it".to_owned();
            return Err(ArchiveError::RangeChanged { range: Box::new(range.clone()), reason });
        }
        Ok(index(all.into_values().collect(), range))
    }

    /// The bytes of the range from any objects that cover it, and those objects, in order.
    async fn read_cover(&self, range: &RangeRef) -> Result<(Bytes, Vec<SegmentKey>), ArchiveError> {
        let (mut reason, mut withheld) = (None, None);
        let (mut unusable, mut wrong) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..COVERS_MAX {
            let candidates = self.overlapping(range, &unusable).await?;
            // Two histories of one binlog: some other cover may be the one that was planned.
            let next = covers(&candidates, range, wrong.len() + 1).into_iter().find(|cover| !wrong.contains(cover));
            let Some(cover) = next else { break };
            match self.read_pieces(range, &cover).await? {
                Ok(bytes) if self.has_digest(&bytes, &range.raw_sha256) => return Ok((bytes, cover)),
                Ok(_) => {
                    reason = Some("other bytes stand in this place".to_owned());
                    wrong.insert(cover);
                }
                Err((bad, why)) => {
                    match why {
                        ArchiveError::Store(StoreError::Withheld { .. }) => withheld = Some(why),
                        why => reason = why.unusable().or(reason),
                    }
                    unusable.insert(bad);
                }
            }
        }
        let range = Box::new(range.clone());
        Err(match (withheld, reason) {
            // It may be had again.
            (Some(withheld), _) => withheld,
            (None, Some(reason)) => ArchiveError::RangeChanged { range, reason },
            (None, None) => ArchiveError::RangeLost { range },
        })
    }

    /// Fetches the pieces of a cover. Inner error: the piece that cannot be used, and why.
    async fn read_pieces(
        &self,
        range: &RangeRef,
        cover: &[SegmentKey],
    ) -> Result<Result<Bytes, (SegmentKey, ArchiveError)>, ArchiveError> {
        let mut bytes = BytesMut::new();
        let mut position = range.start;
        for key in cover {
            let raw = match self.fetch_segment(key).await {
                Ok(fetched) => fetched.raw,
                Err(error) => {
                    let is_sealed = matches!(
                        error,
                        ArchiveError::Segment {
                            source: SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. },
                            ..
                        }
                    );
                    let is_passable = error.is_not_found() || error.unusable().is_some() && !is_sealed;
                    return if is_passable { Ok(Err((key.clone(), error))) } else { Err(error) };
                }
            };
            let end = key.end.min(range.end);
            let place = |offset: u64| usize::try_from(offset - key.start).unwrap_or(usize::MAX);
            bytes.extend_from_slice(raw.get(place(position)..place(end)).unwrap_or_default());
            position = end;
        }
        Ok(Ok(bytes.freeze()))
    }

    /// Segments that hold bytes of the range now: the tail first, because what leaves it goes to `binlogs/`.
    async fn overlapping(
        &self,
        range: &RangeRef,
        excluded: &BTreeSet<SegmentKey>,
    ) -> Result<Vec<SegmentKey>, ArchiveError> {
        let mut keys = Vec::new();
        for place in [Place::Tail, Place::Binlogs] {
            for object in self.store.list(&place.binlog_prefix(&range.binlog)).await? {
                if let Ok(ObjectKey::Segment(key)) = object.key.parse()
                    && key.start < range.end
                    && range.start < key.end
                    && !excluded.contains(&key)
                {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    pub(super) async fn read_segment_index(
        &self,
        key: &SegmentKey,
    ) -> Result<(SegmentHeader, Vec<IndexedTransaction>), ArchiveError> {
        let in_segment = |source| ArchiveError::Segment { key: key.to_string(), source };
        let (header, mut first) = self.read_header(key).await?.map_err(in_segment)?;
        if header.parts.payload_at > FIRST_READ_BYTES.max(first.len() as u64) {
            first = self.store.get_range(&key.to_string(), 0..header.parts.payload_at).await?;
        }
        let entries = index_of(&header, &first).map_err(in_segment)?;
        let cut = || in_segment(SegmentError::Damaged("it ends within its index".to_owned()));
        Ok((header, entries.ok_or_else(cut)?))
    }

    /// A whole segment: its stored hash, its header, its raw hash, all checked.
    pub(crate) async fn fetch_segment(&self, key: &SegmentKey) -> Result<Fetched, ArchiveError> {
        let object = self.fetch_matching(&key.to_string(), |bytes| ShortHash::of(bytes) == key.hash).await?;
        self.decode(key.clone(), object).await
    }

    pub(super) async fn decode(&self, key: SegmentKey, object: Bytes) -> Result<Fetched, ArchiveError> {
        let identities = self.identities().clone();
        let header = read_header(&object, &key).map_err(in_segment(&key))?;
        let repeated = self.read_repeated(&key, &header).await?;
        let (fetched, hash_key) = compute(move || {
            let (raw, hash_key) =
                raw_bytes(&header, &object, repeated.as_ref(), &identities).map_err(in_segment(&key))?;
            Ok::<_, ArchiveError>((Fetched { record: record(key, &object, header), raw: raw.into() }, hash_key))
        })
        .await??;
        hash_key.into_iter().for_each(|key| self.learn(key));
        Ok(fetched)
    }

    /// A whole segment, checked as far as the keys at hand allow: of one that is encrypted to others the stored hash, header and
    /// index. Whoever stores holds no identity.
    pub(super) async fn check_segment_at(&self, key: &SegmentKey) -> Result<SegmentRecord, ArchiveError> {
        let object = self.fetch_matching(&key.to_string(), |bytes| ShortHash::of(bytes) == key.hash).await?;
        match self.decode(key.clone(), object.clone()).await {
            Ok(fetched) => Ok(fetched.record),
            Err(ArchiveError::Segment {
                source: SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. },
                ..
            }) => {
                let header = read_header(&object, key).map_err(in_segment(key))?;
                index_of(&header, &object).map_err(in_segment(key))?;
                Ok(record(key.clone(), &object, header))
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn in_segment(key: &SegmentKey) -> impl FnOnce(SegmentError) -> ArchiveError + use<> {
    let key = key.to_string();
    move |source| ArchiveError::Segment { key, source }
}

fn record(key: SegmentKey, object: &Bytes, header: SegmentHeader) -> SegmentRecord {
    SegmentRecord { key, length: object.len() as u64, sha256: Some(sha256(object)), header: Arc::new(header) }
}

/// The segments that a plan or a range knows.
pub(super) fn segment_keys(range: &RangeRef, known: &[StoredObject]) -> Vec<SegmentKey> {
    let keys = known.iter().filter_map(|object| match object.key.parse() {
        Ok(ObjectKey::Segment(key)) => Some(key),
        _ => None,
    });
    // A plan may come from elsewhere: only objects that hold exactly this range are asked for.
    keys.filter(|key| key.binlog == range.binlog && (key.start, key.end) == (range.start, range.end)).collect()
}

/// An object that is gone, damaged or withheld is passed over; anything else ends the reading.
pub(super) fn pass_over(error: ArchiveError) -> Result<(), ArchiveError> {
    match error {
        ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. } | StoreError::Withheld { .. })
        | ArchiveError::Segment { source: SegmentError::Damaged(_), .. } => Ok(()),
        other => Err(other),
    }
}

/// Ways to cover the range without a hole, at most `wanted`: at each place, what reaches furthest comes first.
fn covers(candidates: &[SegmentKey], range: &RangeRef, wanted: usize) -> Vec<Vec<SegmentKey>> {
    let mut ordered: Vec<&SegmentKey> = candidates.iter().collect();
    ordered.sort_by_key(|key| std::cmp::Reverse((key.end.min(range.end), key.place == Place::Binlogs, key.start)));
    // From the end backwards: the places from which a cover leads to the end. No dead end is walked into then.
    let mut leads_on = BTreeSet::from([range.end]);
    let places: BTreeSet<u64> = ordered.iter().map(|key| key.end).chain([range.start]).collect();
    for place in places.into_iter().rev().filter(|place| *place < range.end) {
        let reaches =
            |key: &&SegmentKey| key.start <= place && key.end > place && leads_on.contains(&key.end.min(range.end));
        if ordered.iter().any(reaches) {
            leads_on.insert(place);
        }
    }
    let mut found = Vec::new();
    let mut pending = vec![(range.start, Vec::new())];
    while let Some((position, cover)) = pending.pop() {
        if position >= range.end {
            found.push(cover);
            if found.len() == wanted {
                break;
            }
            continue;
        }
        let reaching = ordered
            .iter()
            .rev()
            .filter(|key| key.start <= position && key.end > position && leads_on.contains(&key.end.min(range.end)));
        for key in reaching {
            let mut longer = cover.clone();
            longer.push((*key).clone());
            pending.push((key.end.min(range.end), longer));
        }
    }
    found
}

/// The entries that end within the range.
fn index(entries: Vec<IndexedTransaction>, range: &RangeRef) -> TransactionIndex {
    let inside = entries.into_iter().filter(|entry| entry.end > range.start && entry.end <= range.end);
    TransactionIndex {
        entries: inside
            .map(|entry| IndexEntry {
                gtid: entry.gtid,
                commit_us: entry.commit_us,
                immediate_us: entry.immediate_us,
                start: entry.start,
                end: entry.end,
                flags: entry.flags,
                xid: entry.xid,
            })
            .collect(),
    }
}
