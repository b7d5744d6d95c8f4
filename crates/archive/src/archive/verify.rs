//! Verification: is what the archive names there, and is it what was stored?
//!
//! Everything is looked for by listing; a slice of it is fetched and read. Which slice an object belongs to follows from its hash, and each
//! run takes the slice that was read longest ago: after as many runs as there are slices all has been read. One bad object is
//! named and stops nothing.

mod events;
mod rebuild;
mod record;
mod segments;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use pitr_recovery::Timeline;

use super::quarantine::Quarantine;
use super::{Archive, ArchiveError};
use crate::backup::{BackupChunk, EntryContent, prove_chunk};
use crate::layout::{CHUNKS_PREFIX, ChunkKey, ObjectKey, SegmentKey};
use crate::segment::SegmentRecord;
use crate::store::StoreError;

pub use rebuild::Rebuilt;
pub use record::{LastVerified, SLICES, Slices};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyRules {
    /// How much of all segments and chunks is fetched in this run, in percent: 1 to 100.
    pub percent: u32,
    /// Whether the events in segments are walked, too: their checksums, and whether the index fits them.
    pub deep: bool,
}

/// How far a run is, for whoever waits.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Bytes to be fetched.
    pub total: AtomicU64,
    /// Bytes fetched.
    pub done: AtomicU64,
}

/// What is wrong with something in the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of trouble.
    pub kind: FindingKind,
    /// The object, or the gap or binlog concerned.
    pub what: String,
    /// What is wrong.
    pub reason: String,
}

impl Finding {
    /// Whether an object is damaged or missing; else the history itself is at fault.
    #[must_use]
    pub fn is_of_object(&self) -> bool {
        self.is_of_lost_object() || self.kind == FindingKind::Unnamed
    }

    /// Whether nothing can be read from the object.
    fn is_of_lost_object(&self) -> bool {
        matches!(self.kind, FindingKind::Damaged | FindingKind::Missing | FindingKind::Withheld)
    }
}

/// What kind of trouble something is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// An object is not what was stored. Nothing else is affected; what it holds cannot be restored from it.
    Damaged,
    /// An object that the archive names is not there.
    Missing,
    /// An object lies in a storage class from which it must be restored before it can be read.
    Withheld,
    /// A segment that no page of the catalog names.
    Unnamed,
    /// Transactions are missing between what is there.
    Gap,
    /// Histories contradict each other.
    Contradiction,
}

/// What a run looked at and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When it began to look.
    pub begun: Timestamp,
    /// When it was done.
    pub at: Timestamp,
    /// Which slice was fetched, and how long ago the others were.
    pub slices: Slices,
    /// Segments that were looked for.
    pub segments: u64,
    /// Segments that were fetched and read.
    pub segments_read: u64,
    /// Chunks of base backups that were looked for.
    pub chunks: u64,
    /// Chunks that were fetched and read.
    pub chunks_read: u64,
    /// Bytes that were fetched.
    pub bytes_read: u64,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Base backups that cannot be restored whole, and how many of their chunks are damaged or missing; one at least where their list
    /// of files is.
    pub lost_backups: BTreeMap<String, u64>,
    /// Base backups that could be restored if so many of their chunks were not withheld by their storage class.
    pub withheld_backups: BTreeMap<String, u64>,
    /// Whether the result could be left in the archive.
    pub recorded: bool,
}

/// Base backups, and the chunks that each needs.
type Needs = Vec<(String, BTreeSet<ChunkKey>)>;

impl Verified {
    fn find(&mut self, kind: FindingKind, what: impl Into<String>, reason: impl Into<String>) {
        self.findings.push(Finding { kind, what: what.into(), reason: reason.into() });
    }

    /// The objects from which nothing can be read.
    fn quarantine(&self) -> Quarantine {
        let lost = self.findings.iter().filter(|finding| finding.is_of_lost_object());
        Quarantine::of(lost.map(|finding| finding.what.clone()))
    }

    /// Counts what base backups lack of the chunks that they need.
    fn note_lost_backups(&mut self, needs: &[(String, BTreeSet<ChunkKey>)]) {
        let (mut lost, mut withheld) = (BTreeSet::new(), BTreeSet::new());
        for finding in self.findings.iter().filter(|finding| finding.is_of_lost_object()) {
            let objects = if finding.kind == FindingKind::Withheld { &mut withheld } else { &mut lost };
            objects.insert(finding.what.as_str());
        }
        // What is withheld may be had again: retention must not let such a base backup go as one that cannot be restored.
        for (objects, backups) in [(lost, &mut self.lost_backups), (withheld, &mut self.withheld_backups)] {
            for (backup, chunks) in needs.iter().filter(|_| !objects.is_empty()) {
                let count = chunks.iter().filter(|chunk| objects.contains(chunk.to_string().as_str())).count();
                if count > 0 {
                    backups.insert(backup.clone(), count as u64);
                }
            }
        }
    }
}

/// Takes out of `segments` those that are told by the bytes of one that is lost, wherever it lies now.
fn told_by_lost(segments: &mut Vec<SegmentRecord>, verified: &Verified) -> Vec<SegmentRecord> {
    let lost = verified.findings.iter().filter(|finding| finding.is_of_lost_object());
    let place = |key: &SegmentKey| (key.binlog.clone(), key.start, key.end);
    let lost: BTreeSet<_> = lost
        .filter_map(|finding| match finding.what.parse() {
            Ok(ObjectKey::Segment(key)) => Some(place(&key)),
            _ => None,
        })
        .collect();
    let is_told = |record: &mut SegmentRecord| {
        let repeat = record.header.repeat();
        repeat.is_some_and(|repeat| repeat.of.iter().any(|of| lost.contains(&place(&of.key))))
    };
    if lost.is_empty() { Vec::new() } else { segments.extract_if(.., is_told).collect() }
}

impl Archive {
    /// Verifies the archive, and leaves the result in it so that its age is known.
    ///
    /// # Errors
    /// What the store answers. That something is damaged or missing is a result, not an error.
    pub async fn verify(&self, rules: VerifyRules, progress: &VerifyProgress) -> Result<Verified, ArchiveError> {
        let last = self.last_verified().await?;
        let slices = Slices::next(last.as_ref(), rules.percent, self.now());
        let mut verified = Verified {
            begun: self.now(),
            at: self.now(),
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
        let (marks, problems) = self.read_marks().await?;
        let everything = self.everything((&marks, problems), last.as_ref()).await?;
        for (key, reason) in &everything.report.unreadable {
            verified.find(FindingKind::Damaged, key, reason);
        }
        self.verify_history(everything.inventory.clone(), &mut verified).await?;
        let segments = self.look_for_segments(&everything.found, &marks, &mut verified).await?;
        let (chunks, needs) = self.look_for_chunks(&everything.inventory.backups, &mut verified).await?;
        // What was wrong the last time is read again, whatever part it is in: else the next part would hide it.
        let suspects = last.as_ref().map(|last| &last.quarantined);
        let is_suspect = |key: &str| suspects.is_some_and(|suspects| suspects.holds(key));
        let sampled = |hash: &[u8], key: String| verified.slices.holds(hash) || is_suspect(&key);
        let (segments, mut others): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|record| sampled(&record.key.hash.0, record.key.to_string()));
        let chunks: Vec<_> =
            chunks.into_iter().filter(|chunk| sampled(&chunk.key.sha256, chunk.key.to_string())).collect();
        let bytes = segments.iter().map(|record| record.length).chain(chunks.iter().map(|chunk| chunk.stored)).sum();
        progress.total.store(bytes, Ordering::Relaxed);
        let mut gone = self.read_segments(segments, rules.deep, (progress, &mut verified)).await?;
        // What is told by a segment that is lost may be lost with it: that does not wait for its turn.
        loop {
            let told = told_by_lost(&mut others, &verified);
            if told.is_empty() {
                break;
            }
            progress.total.fetch_add(told.iter().map(|record| record.length).sum(), Ordering::Relaxed);
            gone.extend(self.read_segments(told, rules.deep, (progress, &mut verified)).await?);
        }
        gone.extend(self.read_chunks(chunks, (progress, &mut verified)).await?);
        self.look_for_withheld(gone, &mut verified).await?;
        verified.note_lost_backups(&needs);
        verified.findings.sort();
        verified.findings.dedup();
        verified.at = self.now();
        verified.slices.note(verified.at);
        verified.recorded = self.record_verified(&verified, last.as_ref()).await?;
        Ok(verified)
    }

    /// Positions and sets: whether each binlog is whole and follows on the one before.
    async fn verify_history(
        &self,
        inventory: pitr_recovery::Inventory,
        verified: &mut Verified,
    ) -> Result<(), ArchiveError> {
        let mut timeline = Timeline::new(inventory);
        while let wanted @ [_, ..] = &timeline.ranges_for_windows()[..] {
            let (indices, lost) = self.indices_there(timeline.inventory(), wanted).await?;
            for (range, error) in &lost {
                let (kind, what) = match error {
                    ArchiveError::Store(error) => (FindingKind::Withheld, error.key().to_owned()),
                    _ => (FindingKind::Missing, range.binlog.to_string()),
                };
                verified.find(kind, what, error.to_string());
            }
            timeline = timeline.without_indices(lost.into_iter().map(|(range, _)| range)).with_indices(indices);
        }
        for gap in timeline.gaps() {
            verified.find(
                FindingKind::Gap,
                &gap.id,
                format!("{} transactions are missing: {}", gap.transactions, gap.missing),
            );
        }
        for problem in timeline.problems() {
            use pitr_recovery::Problem;
            match problem {
                Problem::Divergence { binlog, offset } => {
                    let reason = format!("two contents from offset {offset} on");
                    verified.find(FindingKind::Contradiction, binlog.to_string(), reason);
                }
                Problem::Collision { streams: (a, b), gtids } => {
                    verified.find(FindingKind::Contradiction, format!("{a}, {b}"), format!("{gtids} means two things"));
                }
                // What the server lost or wrote badly is archived as it was.
                Problem::Ahead { .. } | Problem::Damaged { .. } | Problem::Lost { .. } => {}
            }
        }
        Ok(())
    }

    /// Looks for the content of all base backups; gives the chunks that are there, each once, and which of them each needs.
    async fn look_for_chunks(
        &self,
        backups: &[pitr_recovery::BaseBackup],
        verified: &mut Verified,
    ) -> Result<(Vec<BackupChunk>, Needs), ArchiveError> {
        let mut listed: BTreeMap<ChunkKey, u64> = BTreeMap::new();
        for object in self.store.list(CHUNKS_PREFIX).await? {
            if let Ok(ObjectKey::Chunk(key)) = object.key.parse() {
                listed.insert(key, object.length);
            }
        }
        let mut chunks: BTreeMap<ChunkKey, BackupChunk> = BTreeMap::new();
        let mut needs = Needs::new();
        let (manifests, _) = self.read_manifests().await?;
        for manifest in manifests.iter().filter(|manifest| backups.contains(&manifest.backup)) {
            let entries = match self.read_files(manifest).await {
                Ok(entries) => entries,
                Err(
                    error @ (ArchiveError::Unreadable { .. }
                    | ArchiveError::NewerFormat { .. }
                    | ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. })),
                ) => {
                    verified.find(
                        FindingKind::Damaged,
                        format!("base backup {}", manifest.backup.id),
                        error.to_string(),
                    );
                    verified.lost_backups.insert(manifest.backup.id.clone(), 1);
                    continue;
                }
                Err(ArchiveError::Store(error @ StoreError::Withheld { .. })) => {
                    verified.find(FindingKind::Withheld, error.key(), error.to_string());
                    verified.withheld_backups.insert(manifest.backup.id.clone(), 1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut needed = BTreeSet::new();
            for entry in entries {
                let EntryContent::File { chunks: of_file, .. } = entry.content else { continue };
                for chunk in of_file {
                    needed.insert(chunk.key.clone());
                    match listed.get(&chunk.key) {
                        Some(length) if *length == chunk.stored => drop(chunks.insert(chunk.key.clone(), chunk)),
                        found => {
                            let (kind, what) = match found {
                                Some(length) => {
                                    (FindingKind::Damaged, format!("it has {length} bytes, not {}", chunk.stored))
                                }
                                None => (FindingKind::Missing, "it is not in the store".to_owned()),
                            };
                            let needs =
                                format!("{what}; {} of base backup {} needs it", entry.path, manifest.backup.id);
                            verified.find(kind, chunk.key.to_string(), needs);
                        }
                    }
                }
            }
            needs.push((manifest.backup.id.clone(), needed));
        }
        verified.chunks = chunks.len() as u64;
        Ok((chunks.into_values().collect(), needs))
    }

    /// Reads chunks; gives the keys of those that were not there to be read.
    async fn read_chunks(
        &self,
        chunks: Vec<BackupChunk>,
        (progress, verified): (&VerifyProgress, &mut Verified),
    ) -> Result<Vec<String>, ArchiveError> {
        let mut gone = Vec::new();
        for chunk in chunks {
            let proven = prove_chunk(self, &chunk).await;
            progress.done.fetch_add(chunk.stored, Ordering::Relaxed);
            match proven {
                Ok(()) => {}
                Err(ArchiveError::Store(StoreError::NotFound { .. })) => {
                    gone.push(chunk.key.to_string());
                    continue;
                }
                Err(ArchiveError::Store(StoreError::Corrupt { reason, .. })) => {
                    verified.find(FindingKind::Damaged, chunk.key.to_string(), reason);
                }
                Err(ArchiveError::Store(StoreError::Withheld { reason, .. })) => {
                    verified.find(FindingKind::Withheld, chunk.key.to_string(), reason);
                    continue;
                }
                Err(error) => return Err(error),
            }
            verified.chunks_read += 1;
            verified.bytes_read += chunk.stored;
        }
        Ok(gone)
    }

    /// What was listed and could not be read went since: merged, catalogued, expired. A store that still lists it has lost its
    /// content and does not know.
    async fn look_for_withheld(&self, gone: Vec<String>, verified: &mut Verified) -> Result<(), ArchiveError> {
        for key in gone {
            let is_listed = self.store.list(&key).await?.iter().any(|object| object.key == key);
            if is_listed && matches!(self.store.get_range(&key, 0..1).await, Err(StoreError::NotFound { .. })) {
                verified.find(FindingKind::Missing, key, "the store lists it and does not give it");
            }
        }
        Ok(())
    }
}
