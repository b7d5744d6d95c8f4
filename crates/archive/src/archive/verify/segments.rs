//! Segments: there as the catalog says, and readable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::SignedDuration;

use super::events::check_events;
use super::{FindingKind, Verified, VerifyProgress};
use crate::archive::records::Discovered;
use crate::archive::{Archive, ArchiveError, compute};
use crate::digest::ShortHash;
use crate::expiry::Marks;
use crate::layout::{ObjectKey, Place, SegmentKey, TAIL_PREFIX};
use crate::seal::Identities;
use crate::segment::{Repeated, SegmentError, SegmentRecord, index_of, raw_bytes, read_header};
use crate::store::StoreError;

/// A segment is named by a page within an hour, or was never meant to be.
const UNNAMED_FOR: SignedDuration = SignedDuration::from_hours(2);

/// Segments that are read at once; each takes its stored and its raw length.
const AT_ONCE: usize = 2;

impl Archive {
    /// Looks for every segment that the catalog names; gives those that are there, and the tail.
    pub(super) async fn look_for_segments(
        &self,
        found: &Discovered,
        marks: &Marks,
        verified: &mut Verified,
    ) -> Result<Vec<SegmentRecord>, ArchiveError> {
        let mut listed: BTreeMap<SegmentKey, u64> = BTreeMap::new();
        let mut unnamed: BTreeSet<SegmentKey> = BTreeSet::new();
        for prefix in [Place::Binlogs.prefix(), TAIL_PREFIX] {
            for object in self.store.list(prefix).await? {
                if let Ok(ObjectKey::Segment(key)) = object.key.parse() {
                    let is_old = self.now().duration_since(object.modified) > UNNAMED_FOR;
                    if is_old && key.place == Place::Binlogs && !found.catalogued.contains(&key) {
                        unnamed.insert(key.clone());
                    }
                    listed.insert(key, object.length);
                }
            }
        }
        let range = |record: &SegmentRecord| {
            (record.key.binlog.clone(), record.key.start, record.key.end, record.header.raw_sha256)
        };
        let there: BTreeSet<_> = found.records().filter(|record| listed.contains_key(&record.key)).map(range).collect();
        let names: BTreeSet<_> = there.iter().map(|(binlog, start, end, _)| (binlog.clone(), *start, *end)).collect();
        for key in unnamed.into_iter().filter(|key| !marks.binlogs.contains_key(&key.binlog)) {
            if !names.contains(&(key.binlog.clone(), key.start, key.end)) {
                verified.find(FindingKind::Unnamed, key.to_string(), "no page of the catalog names it");
            }
        }
        let mut segments = Vec::new();
        for record in found.records().filter(|record| !marks.binlogs.contains_key(&record.key.binlog)) {
            verified.segments += 1;
            match listed.get(&record.key) {
                Some(length) if *length == record.length => segments.push(record.clone()),
                Some(length) => {
                    let reason = format!("it has {length} bytes, the catalog says {}", record.length);
                    verified.find(FindingKind::Damaged, record.key.to_string(), reason);
                }
                // Whatever left the tail is in the catalog.
                None if record.key.place == Place::Tail || there.contains(&range(record)) => {}
                None => verified.find(FindingKind::Missing, record.key.to_string(), "it is not in the store"),
            }
        }
        Ok(segments)
    }

    /// Fetches segments and reads them to the last byte; gives the keys of those that were not there to be read.
    pub(super) async fn read_segments(
        &self,
        segments: Vec<SegmentRecord>,
        deep: bool,
        (progress, verified): (&VerifyProgress, &mut Verified),
    ) -> Result<Vec<String>, ArchiveError> {
        let mut gone = Vec::new();
        let mut read = stream::iter(segments).map(|record| self.read_segment(record, deep)).buffer_unordered(AT_ONCE);
        while let Some((record, wrong)) = read.next().await {
            progress.done.fetch_add(record.length, Ordering::Relaxed);
            match wrong {
                Ok(None) => {}
                Ok(Some(reason)) => verified.find(FindingKind::Damaged, record.key.to_string(), reason),
                Err(ArchiveError::Store(StoreError::NotFound { .. })) => {
                    gone.push(record.key.to_string());
                    continue;
                }
                Err(ArchiveError::Store(StoreError::Withheld { reason, .. })) => {
                    verified.find(FindingKind::Withheld, record.key.to_string(), reason);
                    continue;
                }
                Err(error) => return Err(error),
            }
            verified.segments_read += 1;
            verified.bytes_read += record.length;
        }
        Ok(gone)
    }

    /// What is wrong with a segment, if anything is.
    async fn read_segment(
        &self,
        record: SegmentRecord,
        deep: bool,
    ) -> (SegmentRecord, Result<Option<String>, ArchiveError>) {
        let key = record.key.clone();
        let object = match self.fetch_matching(&key.to_string(), |bytes| ShortHash::of(bytes) == key.hash).await {
            Ok(object) => object,
            Err(ArchiveError::Store(StoreError::Corrupt { reason, .. })) => return (record, Ok(Some(reason))),
            Err(error) => return (record, Err(error)),
        };
        let repeated = match self.read_repeated(&key, &record.header).await {
            Ok(repeated) => repeated,
            Err(ArchiveError::Segment { source, .. }) => return (record, Ok(Some(source.to_string()))),
            Err(error) => return (record, Err(error)),
        };
        let catalogued = record.clone();
        let identities = self.identities().clone();
        let wrong = compute(move || wrong_with(&catalogued, &object, repeated.as_ref(), (deep, &identities))).await;
        (record, wrong)
    }
}

fn wrong_with(
    record: &SegmentRecord,
    object: &Bytes,
    repeated: Option<&Repeated>,
    (deep, identities): (bool, &Identities),
) -> Option<String> {
    let header = match read_header(object, &record.key) {
        Ok(header) => header,
        Err(error) => return Some(error.to_string()),
    };
    if (header.raw_sha256, header.start, header.end)
        != (record.header.raw_sha256, record.header.start, record.header.end)
    {
        return Some("the catalog says something else of it than its own header".to_owned());
    }
    let index = match index_of(&header, object) {
        Ok(index) => index.unwrap_or_default(),
        Err(error) => return Some(error.to_string()),
    };
    if index.len() as u64 != header.transactions.count {
        return Some(format!("its index has {} transactions, its header {}", index.len(), header.transactions.count));
    }
    match raw_bytes(&header, object, repeated, identities) {
        Ok((raw, _)) if deep => check_events(&header, &index, &raw).err(),
        // Without the identity, stored hash, header and index are all that can be looked at.
        Ok(_) | Err(SegmentError::Encrypted { .. } | SegmentError::WrongIdentity { .. }) => None,
        Err(error) => Some(error.to_string()),
    }
}
