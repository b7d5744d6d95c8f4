//! What verification leaves in the archive: when it ran, what it found, and what it has read when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verified;
use crate::archive::{Archive, ArchiveError, parse_json, unreadable};
use crate::digest::ShortHash;
use crate::layout::{ObjectKey, VERIFIED_PREFIX};
use crate::segment::FORMAT;
use crate::store::{ObjectClass, StoreError};

/// Findings that are left in the archive; their number is told in any case.
const FINDINGS_MAX: usize = 100;

/// What part of the archive a run reads, and when the other parts were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slices {
    /// How many parts there are.
    pub count: u32,
    /// The part of this run.
    pub current: u32,
    /// When each part was read.
    pub read_at: BTreeMap<u32, Timestamp>,
}

impl Slices {
    /// The part that was read longest ago, or never. Another percentage makes other parts.
    pub(super) fn next(last: Option<&LastVerified>, percent: u32, now: Timestamp) -> Self {
        let count = 100_u32.div_ceil(percent.clamp(1, 100));
        let read_at = last.filter(|last| last.slices.count == count).map(|last| last.slices.read_at.clone());
        let mut read_at = read_at.unwrap_or_default();
        read_at.retain(|slice, at| *slice < count && *at <= now);
        let current = (0..count).min_by_key(|slice| (read_at.get(slice).copied(), *slice)).unwrap_or(0);
        Self { count, current, read_at }
    }

    pub(super) fn holds(&self, hash: &[u8]) -> bool {
        let first = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        first % u64::from(self.count) == u64::from(self.current)
    }

    pub(super) fn note(&mut self, at: Timestamp) {
        self.read_at.insert(self.current, at);
    }

    /// Since when everything has been read at least once; none while a part never was.
    #[must_use]
    pub fn complete_since(&self) -> Option<Timestamp> {
        let complete = self.read_at.len() == usize::try_from(self.count).unwrap_or(usize::MAX);
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
    /// Objects that were not what was stored, or not there. They are read by each run until they are right, or gone from the catalog.
    pub quarantined: BTreeSet<String>,
    /// How many those are, also where they are too many to be named.
    pub damaged: u64,
}

#[derive(Serialize, Deserialize)]
struct VerifiedWire {
    format: u32,
    at: Timestamp,
    slices: u32,
    slice: u32,
    read_at: BTreeMap<u32, Timestamp>,
    segments_read: u64,
    chunks_read: u64,
    bytes_read: u64,
    findings: u64,
    #[serde(default)]
    damaged: u64,
    #[serde(default)]
    quarantined: Vec<FindingWire>,
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
        Ok(self.verified_objects().await?.into_iter().next_back().map(|(_, _, last)| last))
    }

    /// Results that are there and can be read, in order.
    async fn verified_objects(&self) -> Result<Vec<(u64, String, LastVerified)>, ArchiveError> {
        let mut found = Vec::new();
        for object in self.store.list(VERIFIED_PREFIX).await? {
            let Ok(ObjectKey::Verified { generation, hash }) = object.key.parse() else { continue };
            let wire = match self.fetch_matching(&object.key, |bytes| ShortHash::of(bytes) == hash).await {
                Ok(bytes) => parse_json::<VerifiedWire>(&object.key, &bytes),
                Err(ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. })) => continue,
                Err(error) => return Err(error),
            };
            // A result is derived: one that cannot be read is worth nothing.
            let Ok(wire) = wire else { continue };
            let slices = Slices { count: wire.slices.max(1), current: wire.slice, read_at: wire.read_at };
            let last = LastVerified {
                at: wire.at,
                slices,
                findings: wire.findings,
                quarantined: wire.quarantined.into_iter().map(|finding| finding.what).collect(),
                damaged: wire.damaged,
            };
            found.push((generation, object.key, last));
        }
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
            slices: verified.slices.count,
            slice: verified.slices.current,
            read_at: verified.slices.read_at.clone(),
            segments_read: verified.segments_read,
            chunks_read: verified.chunks_read,
            bytes_read: verified.bytes_read,
            findings: verified.findings.len() as u64,
            damaged,
            quarantined: quarantined
                .map(|finding| FindingWire { what: finding.what.clone(), reason: finding.reason.clone() })
                .collect(),
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
        let old: Vec<String> = before.into_iter().map(|(_, key, _)| key).collect();
        if !old.is_empty() {
            match self.store.delete(&old).await {
                Ok(()) | Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
