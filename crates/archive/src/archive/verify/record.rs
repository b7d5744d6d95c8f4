//! What verification leaves in the archive: when it ran, what it found, and what it has read when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verified;
use crate::archive::quarantine::Quarantine;
use crate::archive::{Archive, ArchiveError, parse_json, unreadable};
use crate::digest::ShortHash;
use crate::layout::{ObjectKey, VERIFIED_PREFIX};
use crate::segment::FORMAT;
use crate::store::{ObjectClass, StoreError};

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
    /// What it read, and what earlier runs did.
    pub slices: Slices,
    /// How much it found to be wrong.
    pub findings: u64,
    /// Objects that were not what was stored, or not there. They are read by each run until they are right, or gone from the catalog,
    /// and nothing relies on them until then.
    pub quarantined: Quarantine,
    /// Base backups that cannot be restored whole, and how many of their chunks are damaged or missing.
    pub lost_backups: BTreeMap<String, u64>,
    /// How many those are, also where they are too many to be named.
    pub damaged: u64,
}

#[derive(Serialize, Deserialize)]
struct VerifiedWire {
    format: u32,
    at: Timestamp,
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
        for (_, hash, key) in self.verified_objects().await?.into_iter().rev() {
            let wire = match self.fetch_matching(&key, |bytes| ShortHash::of(bytes) == hash).await {
                Ok(bytes) => parse_json::<VerifiedWire>(&key, &bytes),
                Err(ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. })) => continue,
                Err(error) => return Err(error),
            };
            // A result is derived: one that cannot be read is worth nothing.
            let Ok(wire) = wire else { continue };
            return Ok(Some(LastVerified {
                at: wire.at,
                slices: Slices::of(wire.slices, &wire.read_at),
                findings: wire.findings,
                quarantined: Quarantine::of(wire.lost_objects),
                lost_backups: wire.lost_backups,
                damaged: wire.damaged,
            }));
        }
        Ok(None)
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

    /// Leaves a result in place of those before it. `false`: this is a right that a reader does not have.
    pub(super) async fn record_verified(&self, verified: &Verified) -> Result<bool, ArchiveError> {
        let (objects, others): (Vec<_>, Vec<_>) = verified.findings.iter().partition(|finding| finding.is_of_object());
        let damaged = objects.len() as u64;
        let quarantined = objects.into_iter().chain(others).take(FINDINGS_MAX);
        let wire = VerifiedWire {
            format: FORMAT,
            at: verified.at,
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
        };
        let json = serde_json::to_vec(&wire).map_err(|error| unreadable(VERIFIED_PREFIX, &error))?;
        let before = self.verified_objects().await?;
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
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn last(slices: Slices) -> LastVerified {
        let (quarantined, lost_backups) = (Quarantine::default(), BTreeMap::new());
        LastVerified { at: at(0), slices, findings: 0, quarantined, lost_backups, damaged: 0 }
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
