//! Chunks that nobody needs: no base backup names them, and none that is being taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Swept, is_past};
use crate::archive::{Archive, ArchiveError};
use crate::backup::{EntryContent, Manifest};
use crate::layout::{BACKUPS_PREFIX, CHUNKS_PREFIX, ChunkKey, ObjectKey};
use crate::store::{ListedObject, StoreError};

/// A backup that ends while it is listed may show neither its claim nor its manifest: what one listing misses the next one has.
const LOOKS: usize = 2;

/// Times that objects are listed again because one went while it was read.
const LISTINGS_MAX: usize = 8;

#[derive(Deserialize)]
struct WritingWire {
    chunks: BTreeSet<String>,
}

impl Archive {
    pub(super) async fn sweep_chunks(
        &self,
        (grace, now): (Duration, Timestamp),
        swept: &mut Swept,
    ) -> Result<(), ArchiveError> {
        self.sweep_dead_runs((grace, now), swept).await?;
        // The chunks first: one that is stored later is young, and so is the claim on it.
        let mut old: Vec<(ChunkKey, ListedObject)> = Vec::new();
        for object in self.store.list(CHUNKS_PREFIX).await? {
            if let Ok(ObjectKey::Chunk(key)) = object.key.parse()
                && is_past(object.modified, grace, now)
            {
                old.push((key, object));
            }
        }
        if old.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for _ in 0..LOOKS {
            match self.named_chunks((grace, now)).await? {
                Ok(more) => named.extend(more),
                Err(reason) => {
                    swept.chunks_kept = Some(reason);
                    return Ok(());
                }
            }
        }
        let garbage: Vec<ListedObject> =
            old.into_iter().filter(|(key, _)| !named.contains(key)).map(|(_, object)| object).collect();
        swept.chunks += self.delete_swept(&garbage, swept).await?;
        Ok(())
    }

    /// What a backup left that never came to its manifest, and claims that a finished one left.
    async fn sweep_dead_runs(
        &self,
        (grace, now): (Duration, Timestamp),
        swept: &mut Swept,
    ) -> Result<(), ArchiveError> {
        let mut runs: BTreeMap<String, Vec<(ObjectKey, ListedObject)>> = BTreeMap::new();
        for object in self.store.list(BACKUPS_PREFIX).await? {
            let Ok(key) = object.key.parse() else { continue };
            if let ObjectKey::Manifest { backup }
            | ObjectKey::Files { backup, .. }
            | ObjectKey::Writing { backup, .. } = &key
            {
                runs.entry(backup.clone()).or_default().push((key, object));
            }
        }
        for objects in runs.values() {
            let is_complete = objects.iter().any(|(key, _)| matches!(key, ObjectKey::Manifest { .. }));
            let is_alive = objects.iter().any(|(_, object)| !is_past(object.modified, grace, now));
            let is_left = |(key, object): &&(ObjectKey, ListedObject)| {
                let is_claim = matches!(key, ObjectKey::Writing { .. });
                if is_complete { is_claim && is_past(object.modified, grace, now) } else { !is_alive }
            };
            let left: Vec<ListedObject> = objects.iter().filter(is_left).map(|(_, object)| object.clone()).collect();
            swept.runs += u64::from(!left.is_empty() && !is_complete);
            self.delete_swept(&left, swept).await?;
        }
        Ok(())
    }

    /// All chunks that a manifest or a fresh claim names. Inner error: something that may name chunks cannot be read.
    async fn named_chunks(
        &self,
        fresh: (Duration, Timestamp),
    ) -> Result<Result<BTreeSet<ChunkKey>, String>, ArchiveError> {
        let mut last = None;
        for _ in 0..LISTINGS_MAX {
            match self.named_chunks_once(fresh).await {
                Err(ArchiveError::Store(error @ StoreError::NotFound { .. })) => last = Some(error),
                other => return other,
            }
        }
        Err(last.map_or(ArchiveError::Stopped, ArchiveError::Store))
    }

    async fn named_chunks_once(
        &self,
        (grace, now): (Duration, Timestamp),
    ) -> Result<Result<BTreeSet<ChunkKey>, String>, ArchiveError> {
        let mut named = BTreeSet::new();
        for object in self.store.list(BACKUPS_PREFIX).await? {
            if !matches!(object.key.parse(), Ok(ObjectKey::Writing { .. })) || is_past(object.modified, grace, now) {
                continue;
            }
            let bytes = match self.store.get(&object.key).await {
                Err(error @ StoreError::Withheld { .. }) => return Ok(Err(error.to_string())),
                other => other?,
            };
            let claim: WritingWire = match serde_json::from_slice(&bytes) {
                Ok(claim) => claim,
                Err(error) => return Ok(Err(format!("{} cannot be read: {error}", object.key))),
            };
            named.extend(claim.chunks.iter().filter_map(|chunk| match chunk.parse() {
                Ok(ObjectKey::Chunk(key)) => Some(key),
                _ => None,
            }));
        }
        let (manifests, problems) = self.read_manifests().await?;
        let unreadable = |(key, _): &&(String, String)| matches!(key.parse(), Ok(ObjectKey::Manifest { .. }));
        if let Some((key, reason)) = problems.iter().find(unreadable) {
            return Ok(Err(format!("{key} cannot be read: {reason}")));
        }
        for manifest in &manifests {
            match self.chunks_named_by(manifest).await {
                Ok(chunks) => named.extend(chunks),
                // Retention took its list away: then its manifest is gone, too.
                Err(error @ ArchiveError::Store(StoreError::NotFound { .. })) => {
                    match self.store.head(&manifest_key(manifest)).await {
                        Err(StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                        Ok(_) => return Ok(Err(error.to_string())),
                    }
                }
                Err(ArchiveError::Store(error @ (StoreError::Corrupt { .. } | StoreError::Withheld { .. }))) => {
                    return Ok(Err(error.to_string()));
                }
                Err(error @ (ArchiveError::Unreadable { .. } | ArchiveError::NewerFormat { .. })) => {
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(named))
    }

    async fn chunks_named_by(&self, manifest: &Manifest) -> Result<BTreeSet<ChunkKey>, ArchiveError> {
        let mut named = BTreeSet::new();
        for entry in self.read_files(manifest).await? {
            if let EntryContent::File { chunks, .. } = entry.content {
                named.extend(chunks.into_iter().map(|chunk| chunk.key));
            }
        }
        Ok(named)
    }
}

fn manifest_key(manifest: &Manifest) -> String {
    ObjectKey::Manifest { backup: manifest.backup.id.clone() }.to_string()
}
