//! Whether base backups that are to stay have their content: nothing may go in favour of one that cannot be restored.

use std::collections::{BTreeMap, BTreeSet};

use pitr_recovery::{Decision, ExpireItem, ExpirePlan, Verdict};

use crate::archive::{Archive, ArchiveError};
use crate::backup::{EntryContent, Manifest};
use crate::layout::{CHUNKS_PREFIX, ChunkKey, ObjectKey};
use crate::store::StoreError;

/// What one run knows of the content of base backups. The chunks are listed once, and only if something is to go.
#[derive(Default)]
pub(super) struct Content {
    listed: Option<Listed>,
    asked: BTreeSet<String>,
    /// Base backups that lack chunks, and how many.
    pub(super) missing: BTreeMap<String, u64>,
}

impl Content {
    /// What is known before anything is looked at.
    pub(super) fn lacking(missing: BTreeMap<String, u64>) -> Self {
        Self { missing, ..Self::default() }
    }
}

struct Listed {
    chunks: BTreeMap<ChunkKey, u64>,
    manifests: Vec<Manifest>,
}

impl Archive {
    /// Looks for the content of those base backups that a plan keeps and nobody looked at yet. Whether one of them lacks some.
    pub(super) async fn find_incomplete(&self, plan: &ExpirePlan, content: &mut Content) -> Result<bool, ArchiveError> {
        if plan.expired().next().is_none() {
            return Ok(false);
        }
        let listed = match content.listed.take() {
            Some(listed) => listed,
            None => self.list_content().await?,
        };
        let mut found = false;
        for id in plan.decisions.iter().filter_map(kept_backup) {
            if !content.asked.insert(id.to_owned()) {
                continue;
            }
            let missing = match listed.manifests.iter().find(|manifest| manifest.backup.id == id) {
                Some(manifest) => self.missing_chunks(manifest, &listed.chunks).await?,
                // Another run of retention was faster.
                None => 1,
            };
            if missing > 0 {
                content.missing.insert(id.to_owned(), missing);
                found = true;
            }
        }
        content.listed = Some(listed);
        Ok(found)
    }

    async fn list_content(&self) -> Result<Listed, ArchiveError> {
        // The manifests first: what they name was stored before.
        let (manifests, _) = self.read_manifests().await?;
        let mut chunks = BTreeMap::new();
        for object in self.store.list(CHUNKS_PREFIX).await? {
            if let Ok(ObjectKey::Chunk(key)) = object.key.parse() {
                chunks.insert(key, object.length);
            }
        }
        Ok(Listed { chunks, manifests })
    }

    /// How many chunks of a base backup are not in the store as they were stored. One whose list of files is gone or damaged lacks at
    /// least one.
    async fn missing_chunks(&self, manifest: &Manifest, listed: &BTreeMap<ChunkKey, u64>) -> Result<u64, ArchiveError> {
        let entries = match self.read_files(manifest).await {
            Ok(entries) => entries,
            Err(
                ArchiveError::Unreadable { .. }
                | ArchiveError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. }),
            ) => return Ok(1),
            // It may be had again, and is left alone until then.
            Err(ArchiveError::Store(StoreError::Withheld { .. })) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut missing = 0;
        for entry in entries {
            let EntryContent::File { chunks, .. } = entry.content else { continue };
            let is_missing = |chunk: &&crate::backup::BackupChunk| listed.get(&chunk.key) != Some(&chunk.stored);
            missing += chunks.iter().filter(is_missing).count() as u64;
        }
        Ok(missing)
    }
}

fn kept_backup(decision: &Decision) -> Option<&str> {
    match (&decision.item, &decision.verdict) {
        (ExpireItem::Backup(id), Verdict::Keep(_)) => Some(id),
        _ => None,
    }
}
