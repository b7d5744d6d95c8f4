//! What verification leaves in the archive: when it ran, what it found, and what it has read when.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verified;
use crate::archive::quarantine::Quarantine;
use crate::archive::{Archive, ArchiveError, parse_json, unreadable};
use crate::digest::ShortHash;
use crate::layout::{ObjectKey, VERIFIED_PREFIX};
use crate::segment::{FORMAT, SegmentRecord};
use crate::store::{ObjectClass, StoreError};

/// Results that were listed and are gone when they are read were replaced meanwhile: then it is looked again, so often.
const LOOKS_MAX: usize = 3;

/// Findings that are left in the archive with their reasons; their number is told in any case.
const FINDINGS_MAX: usize = 100;

/// The archive is read in so many parts, whatever a run takes of them: runs with different percentages go on where the others were.
pub const SLICES: u32 = 100;

/// What parts of the archive a run reads, and when each was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slices {
    /// The parts of this run, from 0.
    pub current: BTreeSet<u32>,
    /// When each part was read.
    pub read_at: BTreeMap<u32, Timestamp>,
}

impl Slices {
    /// The parts that were read longest ago, or never: one for each percent.
    pub(super) fn next(last: Option<&LastVerified>, percent: u32, now: Timestamp) -> Self {
        let mut read_at = last.map(|last| last.slices.read_at.clone()).unwrap_or_default();
        read_at.retain(|slice, at| *slice < SLICES && *at <= now);
        let mut order: Vec<u32> = (0..SLICES).collect();
        order.sort_by_key(|slice| (read_at.get(slice).copied(), *slice));
        let wanted = usize::try_from(percent.clamp(1, SLICES)).unwrap_or(1);
        Self { current: order.into_iter().take(wanted).collect(), read_at }
    }

    /// As they stand in a result. One of an earlier version has fewer parts: each was several of these.
    fn of(count: u32, read_at: &BTreeMap<u32, Timestamp>) -> Self {
        let fits = count > 0 && SLICES.is_multiple_of(count);
        let parts = (0..SLICES).filter(|_| fits).filter_map(|slice| Some((slice, *read_at.get(&(slice % count))?)));
        Self { current: BTreeSet::new(), read_at: parts.collect() }
    }

    pub(super) fn holds(&self, hash: &[u8]) -> bool {
        let first = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        u32::try_from(first % u64::from(SLICES)).is_ok_and(|slice| self.current.contains(&slice))
    }

    pub(super) fn note(&mut self, at: Timestamp) {
        self.read_at.extend(self.current.iter().map(|slice| (*slice, at)));
    }

    /// Since when everything has been read at least once; none while a part never was.
    #[must_use]
    pub fn complete_since(&self) -> Option<Timestamp> {
        let complete = self.read_at.len() == usize::try_from(SLICES).unwrap_or(usize::MAX);
        self.read_at.values().min().copied().filter(|_| complete)
    }
}

/// The last run, as the archive tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastVerified {
    /// When it was done.
    pub at: Timestamp,
    /// When it began to look: of what was stored since, it knows nothing.
    pub begun: Timestamp,
    /// What it read, and what earlier runs did.
    pub slices: Slices,
    /// How much it found to be wrong.
    pub findings: u64,
    /// Objects that were not what was stored, or not there. They are read by each run until they are right, or gone from the catalog,
    /// and nothing relies on them until then.
    pub quarantined: Quarantine,
    /// Base backups that cannot be restored whole, and how many of their chunks are damaged or missing.
    pub lost_backups: BTreeMap<String, u64>,
    /// Base backups that could be restored if so many of their chunks were not withheld by their storage class.
    pub withheld_backups: BTreeMap<String, u64>,
    /// How many objects are damaged or missing, also where they are too many to be named.
    pub damaged: u64,
    /// The results that say so: several where runs ended at the same time.
    made_from: BTreeSet<String>,
    /// Their generation.
    generation: u64,
}

impl LastVerified {
    fn of(wire: VerifiedWire, key: String, generation: u64) -> Self {
        Self {
            at: wire.at,
            begun: wire.begun.unwrap_or(wire.at),
            slices: Slices::of(wire.slices, &wire.read_at),
            findings: wire.findings,
            quarantined: Quarantine::of(wire.lost_objects),
            lost_backups: wire.lost_backups,
            withheld_backups: wire.withheld_backups,
            damaged: wire.damaged,
            made_from: BTreeSet::from([key]),
            generation,
        }
    }

    /// Whether a segment is lost. Where folders stand for too many names, what was stored since is not.
    pub(in crate::archive) fn loses(&self, record: &SegmentRecord) -> bool {
        if self.quarantined.is_empty() {
            return false;
        }
        let key = record.key.to_string();
        self.quarantined.names_exactly(&key) || record.header.written_at <= self.begun && self.quarantined.holds(&key)
    }

    /// What two runs found that knew nothing of each other: each is believed in what it found to be wrong.
    fn and(mut self, other: Self) -> Self {
        self.at = self.at.max(other.at);
        self.begun = self.begun.max(other.begun);
        unite(&mut self.slices.read_at, other.slices.read_at);
        self.findings += other.findings;
        self.damaged += other.damaged;
        self.quarantined = self.quarantined.and(&other.quarantined);
        unite(&mut self.lost_backups, other.lost_backups);
        unite(&mut self.withheld_backups, other.withheld_backups);
        self.made_from.extend(other.made_from);
        self
    }
}

/// Of what both have, the greater counts.
fn unite<K: Ord, V: Ord>(map: &mut BTreeMap<K, V>, other: BTreeMap<K, V>) {
    for (key, value) in other {
        match map.entry(key) {
            Entry::Vacant(vacant) => drop(vacant.insert(value)),
            Entry::Occupied(mut known) if *known.get() < value => drop(known.insert(value)),
            Entry::Occupied(_) => {}
        }
    }
}

#[derive(Serialize, Deserialize)]
struct VerifiedWire {
    format: u32,
    at: Timestamp,
    #[serde(default)]
    begun: Option<Timestamp>,
    slices: u32,
    read_at: BTreeMap<u32, Timestamp>,
    segments_read: u64,
    chunks_read: u64,
    bytes_read: u64,
    findings: u64,
    #[serde(default)]
    damaged: u64,
    #[serde(default)]
    quarantined: Vec<FindingWire>,
    #[serde(default)]
    lost_objects: Vec<String>,
    #[serde(default)]
    lost_backups: BTreeMap<String, u64>,
    #[serde(default)]
    withheld_backups: BTreeMap<String, u64>,
}

impl VerifiedWire {
    fn of(verified: &Verified) -> Self {
        let (objects, others): (Vec<_>, Vec<_>) = verified.findings.iter().partition(|finding| finding.is_of_object());
        let damaged = objects.len() as u64;
        let quarantined = objects.into_iter().chain(others).take(FINDINGS_MAX);
        Self {
            format: FORMAT,
            at: verified.at,
            begun: Some(verified.begun),
            slices: SLICES,
            read_at: verified.slices.read_at.clone(),
            segments_read: verified.segments_read,
            chunks_read: verified.chunks_read,
            bytes_read: verified.bytes_read,
            findings: verified.findings.len() as u64,
            damaged,
            quarantined: quarantined
                .map(|finding| FindingWire { what: finding.what.clone(), reason: finding.reason.clone() })
                .collect(),
            lost_objects: verified.quarantine().names().map(str::to_owned).collect(),
            lost_backups: verified.lost_backups.clone(),
            withheld_backups: verified.withheld_backups.clone(),
        }
    }

    /// The findings of a run that knew nothing of this one. The next run reads what they are about.
    fn take_over(&mut self, other: LastVerified) {
        unite(&mut self.read_at, other.slices.read_at);
        self.begun = self.begun.max(Some(other.begun));
        let own = Quarantine::of(std::mem::take(&mut self.lost_objects));
        let more = other.quarantined.names().filter(|name| !own.holds(name)).count() as u64;
        self.lost_objects = own.and(&other.quarantined).names().map(str::to_owned).collect();
        self.damaged += more;
        self.findings += more;
        unite(&mut self.lost_backups, other.lost_backups);
        unite(&mut self.withheld_backups, other.withheld_backups);
    }
}

#[derive(Serialize, Deserialize)]
struct FindingWire {
    what: String,
    reason: String,
}

impl Archive {
    /// When the archive was last verified, if it ever was.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn last_verified(&self) -> Result<Option<LastVerified>, ArchiveError> {
        for _ in 0..LOOKS_MAX {
            let listed = self.verified_objects().await?;
            let is_empty = listed.is_empty();
            let mut last: Option<LastVerified> = None;
            for (generation, hash, key) in listed.into_iter().rev() {
                if last.as_ref().is_some_and(|last| last.generation != generation) {
                    break;
                }
                if let Some(result) = self.result_at(generation, hash, key).await? {
                    last = Some(match last {
                        Some(last) => last.and(result),
                        None => result,
                    });
                }
            }
            if last.is_some() || is_empty {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// One result. It is derived: one that is gone or cannot be read is worth nothing.
    async fn result_at(
        &self,
        generation: u64,
        hash: ShortHash,
        key: String,
    ) -> Result<Option<LastVerified>, ArchiveError> {
        match self.fetch_matching(&key, |bytes| ShortHash::of(bytes) == hash).await {
            Ok(bytes) => {
                let wire = parse_json::<VerifiedWire>(&key, &bytes).ok();
                Ok(wire.map(|wire| LastVerified::of(wire, key, generation)))
            }
            Err(error) if error.is_not_found() || error.unusable().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys of results, in order.
    async fn verified_objects(&self) -> Result<Vec<(u64, ShortHash, String)>, ArchiveError> {
        let listed = self.store.list(VERIFIED_PREFIX).await?.into_iter();
        let mut found: Vec<_> = listed
            .filter_map(|object| match object.key.parse() {
                Ok(ObjectKey::Verified { generation, hash }) => Some((generation, hash, object.key)),
                _ => None,
            })
            .collect();
        found.sort_by_key(|(generation, ..)| *generation);
        Ok(found)
    }

    /// Leaves a result in place of those before it: of `last`, which the run began with, and of runs that ended meanwhile, whose
    /// findings it takes over. `false`: this is a right that a reader does not have.
    pub(super) async fn record_verified(
        &self,
        verified: &Verified,
        last: Option<&LastVerified>,
    ) -> Result<bool, ArchiveError> {
        let before = self.verified_objects().await?;
        let mut wire = VerifiedWire::of(verified);
        for (generation, hash, key) in &before {
            let is_known = last.is_some_and(|last| *generation < last.generation || last.made_from.contains(key));
            if !is_known && let Some(other) = self.result_at(*generation, *hash, key.clone()).await? {
                wire.take_over(other);
            }
        }
        let json = serde_json::to_vec(&wire).map_err(|error| unreadable(VERIFIED_PREFIX, &error))?;
        let generation = before.last().map_or(0, |(generation, ..)| *generation) + 1;
        let key = ObjectKey::Verified { generation, hash: ShortHash::of(&json) }.to_string();
        match self.store.put(&key, json.into(), ObjectClass::Control).await {
            Ok(()) => {}
            Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let old: Vec<String> = before.into_iter().map(|(_, _, key)| key).collect();
        if !old.is_empty() {
            match self.store.delete(&old).await {
                Ok(()) | Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::FindingKind;
    use super::*;
    use crate::store::MemoryStore;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn last(slices: Slices) -> LastVerified {
        LastVerified::of(VerifiedWire::of(&verified(0, slices, &[])), "verified/1".to_owned(), 1)
    }

    /// A run that found these objects to be damaged.
    fn verified(day: i64, slices: Slices, damaged: &[&str]) -> Verified {
        let mut verified = Verified {
            begun: at(day),
            at: at(day),
            slices,
            segments: 0,
            segments_read: 0,
            chunks: 0,
            chunks_read: 0,
            bytes_read: 0,
            findings: Vec::new(),
            lost_backups: BTreeMap::new(),
            withheld_backups: BTreeMap::new(),
            recorded: false,
        };
        for key in damaged {
            verified.find(FindingKind::Damaged, *key, "changed");
        }
        verified
    }

    #[tokio::test]
    async fn runs_that_knew_nothing_of_each_other_keep_what_each_found() {
        let archive = Archive::open(Arc::new(MemoryStore::new()), Arc::new(|| at(9)));
        let none = Slices::of(0, &BTreeMap::new());
        let mut full = verified(1, none.clone(), &["binlogs/a/1-a/1-b"]);
        full.lost_backups.insert("bb-1".to_owned(), 2);
        full.slices.read_at.insert(7, at(1));
        let sample = verified(2, none.clone(), &["binlogs/a/2-a/2-b"]);
        // Both began without a result, and end one after the other.
        assert!(archive.record_verified(&full, None).await.unwrap());
        assert!(archive.record_verified(&sample, None).await.unwrap());
        let last = archive.last_verified().await.unwrap().unwrap();
        assert_eq!(last.quarantined.names().count(), 2);
        assert_eq!((last.damaged, last.lost_backups.get("bb-1"), last.slices.read_at.len()), (2, Some(&2), 1));
        // A run that began with it has read both again, and found one to be right.
        let next = verified(3, none.clone(), &["binlogs/a/2-a/2-b"]);
        assert!(archive.record_verified(&next, Some(&last)).await.unwrap());
        let last = archive.last_verified().await.unwrap().unwrap();
        assert_eq!((last.quarantined.names().count(), last.damaged, last.lost_backups.len()), (1, 1, 0));
        // Two that end at the very same time leave two results.
        let (one, two) = (verified(4, none.clone(), &["binlogs/a/3-a/3-b"]), verified(4, none, &[]));
        for result in [one, two] {
            let json = serde_json::to_vec(&VerifiedWire::of(&result)).unwrap();
            let key = ObjectKey::Verified { generation: 9, hash: ShortHash::of(&json) }.to_string();
            archive.store.put(&key, json.into(), ObjectClass::Control).await.unwrap();
        }
        let last = archive.last_verified().await.unwrap().unwrap();
        assert_eq!((last.at, last.quarantined.names().count()), (at(4), 1));
    }

    #[tokio::test]
    async fn a_folder_full_of_lost_objects_loses_nothing_that_is_stored_later() {
        let history = crate::testing::History::new(1, 1, 4);
        let written = async |day| {
            let archive = Archive::open(Arc::new(MemoryStore::new()), Arc::new(move || at(day)));
            let draft = history.draft(crate::layout::Place::Binlogs, 0, history.boundary(day as usize));
            archive.write_segment(draft, crate::segment::Codec::default()).await.unwrap()
        };
        let (early, late, lost) = (written(1).await, written(3).await, written(2).await.key.to_string());
        let folder = format!("binlogs/{}", history.id.source);
        let many: Vec<String> = (0..5000).map(|n| format!("{folder}/{n:010}-aa/1-b")).collect();
        let of = |found: &[&str]| {
            let mut wire = VerifiedWire::of(&verified(2, Slices::of(0, &BTreeMap::new()), found));
            // It ended long after it began.
            wire.at = at(9);
            LastVerified::of(wire, "verified/1".to_owned(), 1)
        };
        let found = of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((found.quarantined.names().count(), found.loses(&early), found.loses(&late)), (1, true, false));
        let one = of(&[&lost, &late.key.to_string()]);
        assert_eq!((one.loses(&early), one.loses(&late)), (false, true));
    }

    #[test]
    fn a_base_backup_that_is_withheld_is_not_one_that_is_lost() {
        let chunk =
            |first: u8| crate::layout::ChunkKey { sha256: [first; 32], backup: "bb-1".into(), encrypted: false };
        let mut found = verified(1, Slices::of(0, &BTreeMap::new()), &[&chunk(1).to_string()]);
        for cold in [2, 3] {
            found.find(FindingKind::Withheld, chunk(cold).to_string(), "GLACIER");
        }
        let needs = [("hot", vec![1, 4]), ("cold", vec![2, 3, 4]), ("both", vec![1, 2]), ("none", vec![4])];
        let needs = needs.map(|(id, chunks)| (id.to_owned(), chunks.into_iter().map(chunk).collect()));
        found.note_lost_backups(&needs);
        let of = |pairs: &[(&str, u64)]| pairs.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
        assert_eq!(
            (found.lost_backups, found.withheld_backups),
            (of(&[("both", 1), ("hot", 1)]), of(&[("both", 1), ("cold", 2)]))
        );
    }

    /// Runs with these percentages, a day apart; gives the days since everything was read.
    fn days(percents: &[u32]) -> Option<i64> {
        let mut slices = Slices::of(0, &BTreeMap::new());
        for (day, percent) in percents.iter().enumerate() {
            let now = at(1 + day as i64);
            slices = Slices::next(Some(&last(slices)), *percent, now);
            assert_eq!(slices.current.len(), *percent as usize);
            slices.note(now);
        }
        slices.complete_since().map(|since| (at(percents.len() as i64).as_second() - since.as_second()) / 86_400)
    }

    #[test]
    fn percentages_may_be_mixed_and_all_is_read_as_soon_as_they_make_a_hundred() {
        assert_eq!(days(&[5; 19]), None);
        assert_eq!(days(&[5; 20]), Some(19));
        assert_eq!(days(&[5; 45]), Some(19));
        // A full run in the middle, and another schedule beside: nothing is begun anew.
        assert_eq!(days(&[&[5; 7][..], &[100], &[5; 7]].concat()), Some(7));
        assert_eq!(days(&[10, 5].repeat(7)), Some(13));
        assert_eq!(days(&[10, 5].repeat(6)), None);
        assert_eq!(days(&[7; 14]), None);
        assert_eq!(days(&[7; 15]), Some(14));
    }

    #[test]
    fn what_an_earlier_version_has_read_counts() {
        let read_at = BTreeMap::from([(0, at(1)), (3, at(2))]);
        let slices = Slices::of(20, &read_at);
        assert_eq!(slices.read_at.len(), 10);
        assert_eq!((slices.read_at[&20], slices.read_at[&83], slices.read_at.get(&4)), (at(1), at(2), None));
        assert!(Slices::of(15, &read_at).read_at.is_empty(), "parts that do not fit tell nothing");
    }
}
