//! Taking a base backup into the archive.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use pitr_recovery::BaseBackup;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::manifest::{BackupFacts, Manifest};
use super::{BackupChunk, BackupEntry, CHUNK_BYTES, EntryContent, chunk, files, relative};
use crate::archive::{Archive, ArchiveError, compute, unreadable};
use crate::digest::{Digest, ShortHash, sha256};
use crate::layout::{ObjectKey, backup_prefix, is_backup_id};
use crate::segment::FORMAT;
use crate::store::{ObjectClass, StoreError};

/// Chunks in work at once; each takes twice its length.
const CHUNKS_AT_ONCE: usize = 2;

/// Chunks that are read back at once; each takes twice its length.
const CHUNKS_READ_AT_ONCE: usize = 3;

/// Base backups whose chunks are reused: the newest have the most in common with this one.
const REUSED_BACKUPS: usize = 5;

/// The claim on the chunks is renewed this often. A backup whose claim is older than [`RENEWAL_MAX`] gives up, even if it
/// could renew it now: the chunks may have been swept meanwhile (T).
const RENEWAL: Duration = Duration::from_secs(30 * 60);
const RENEWAL_MAX: Duration = Duration::from_secs(60 * 60);

/// A base backup that is being taken. Dropping it leaves chunks that nobody names, which the sweep finds.
#[derive(Debug)]
pub struct BackupWriter {
    archive: Arc<Archive>,
    id: String,
    started_at: Timestamp,
    /// Chunks that exist, by content: this run's own and those of unmarked manifests.
    known: HashMap<Digest, BackupChunk>,
    used: BTreeSet<String>,
    /// Chunks of earlier backups that this run has fetched, and found to be right.
    proven: BTreeSet<String>,
    entries: Vec<BackupEntry>,
    raw_bytes: u64,
    new_stored_bytes: u64,
    claim: Claim,
}

/// The object that says which chunks a running backup needs.
#[derive(Debug)]
struct Claim {
    number: u64,
    /// By two clocks: one stops while a host sleeps, the other may be set.
    written: (Instant, Timestamp),
}

impl Claim {
    fn age(&self, now: Timestamp) -> Duration {
        let (instant, wall) = self.written;
        instant.elapsed().max(Duration::try_from(now.duration_since(wall)).unwrap_or_default())
    }
}

#[derive(Serialize)]
struct WritingWire<'a> {
    format: u32,
    id: &'a str,
    renewed_at: Timestamp,
    chunks: BTreeSet<String>,
}

impl BackupWriter {
    /// Begins a backup run with an id from [`super::backup_id`].
    ///
    /// # Errors
    /// What the store answers.
    pub async fn begin(archive: Arc<Archive>, id: &str) -> Result<Self, ArchiveError> {
        if !is_backup_id(id) {
            return Err(unreadable(id, &"not an id of a base backup"));
        }
        let started_at = archive.now();
        let known = archive.reusable_chunks().await?;
        let mut writer = Self {
            archive,
            id: id.to_owned(),
            started_at,
            known,
            used: BTreeSet::new(),
            proven: BTreeSet::new(),
            entries: Vec::new(),
            raw_bytes: 0,
            new_stored_bytes: 0,
            claim: Claim { number: 0, written: (Instant::now(), started_at) },
        };
        writer.write_claim(0).await?;
        Ok(writer)
    }

    /// The backup's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes of files taken so far.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Bytes stored by this run so far; what is reused from earlier backups costs nothing again.
    #[must_use]
    pub fn new_stored_bytes(&self) -> u64 {
        self.new_stored_bytes
    }

    /// Names a directory, so that it is there after a restore even if it is empty.
    ///
    /// # Errors
    /// [`ArchiveError::Unreadable`] for a path that does not stay in the data directory.
    pub fn add_directory(&mut self, path: &str, mode: u32) -> Result<(), ArchiveError> {
        self.check_path(path)?;
        self.entries.push(BackupEntry { path: path.to_owned(), mode, content: EntryContent::Directory });
        Ok(())
    }

    /// Takes a file to its end, whatever its length turns out to be. A chunk of an earlier backup is fetched before it is
    /// used again: one that is gone or damaged is stored anew, while its content is at hand.
    ///
    /// # Errors
    /// [`ArchiveError::Io`] when reading fails, [`ArchiveError::BackupNotRenewed`], or what the store answers.
    pub async fn add_file(
        &mut self,
        path: &str,
        mode: u32,
        mut content: impl AsyncRead + Unpin + Send,
    ) -> Result<(), ArchiveError> {
        self.check_path(path)?;
        self.renew().await?;
        let mut chunks: Vec<Option<BackupChunk>> = Vec::new();
        let mut working: JoinSet<Result<(usize, BackupChunk), ArchiveError>> = JoinSet::new();
        let mut length = 0_u64;
        loop {
            let raw = read_chunk(&mut content).await.map_err(|source| ArchiveError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            })?;
            if raw.is_empty() {
                break;
            }
            length += raw.len() as u64;
            let hashed = raw.clone();
            let archive = Arc::clone(&self.archive);
            let digest = compute(move || archive.raw_digest().of(&hashed)).await?;
            let place = chunks.len();
            let known = self.known.get(&digest).cloned();
            self.used.extend(known.iter().map(|chunk| chunk.key.to_string()));
            if known.as_ref().is_some_and(|chunk| self.is_proven(chunk)) {
                chunks.push(known);
            } else {
                chunks.push(None);
                if working.len() == CHUNKS_AT_ONCE {
                    self.finish_one(&mut working, &mut chunks).await?;
                }
                let (archive, id) = (Arc::clone(&self.archive), self.id.clone());
                working.spawn(async move {
                    let chunk = match known {
                        Some(chunk) if is_right(&archive, &chunk, raw.len()).await? => chunk,
                        _ => chunk::store(&archive, &id, raw, digest).await?,
                    };
                    Ok((place, chunk))
                });
            }
            self.renew().await?;
        }
        while !working.is_empty() {
            self.finish_one(&mut working, &mut chunks).await?;
        }
        let chunks: Vec<BackupChunk> = chunks.into_iter().flatten().collect();
        self.raw_bytes += length;
        let content = EntryContent::File { length, chunks };
        self.entries.push(BackupEntry { path: path.to_owned(), mode, content });
        Ok(())
    }

    /// Bytes that [`Self::finish`] will read back: chunks stored by this run, each once. Chunks of earlier backups were
    /// fetched when they were taken.
    #[must_use]
    pub fn unproven_bytes(&self) -> u64 {
        self.unproven().iter().map(|(_, chunk)| chunk.length).sum()
    }

    /// Stores the list of files, reads every chunk back that was not fetched yet, and only then commits the backup with its
    /// manifest: a backup that cannot be read is never listed. `read` counts the bytes read back.
    ///
    /// # Errors
    /// [`ArchiveError::BackupDamaged`], [`ArchiveError::BackupNotRenewed`], or what the store answers.
    pub async fn finish(mut self, facts: BackupFacts, read: &AtomicU64) -> Result<BaseBackup, ArchiveError> {
        self.renew().await?;
        let (id, entries) = (self.id.clone(), self.entries.clone());
        let stored_bytes = stored_bytes(&entries);
        let listed = compute(move || files::encode(&id, &entries)).await?;
        let listed: Bytes = listed.map_err(|error| unreadable(&self.id, &error))?.into();
        let files_sha256 = sha256(&listed);
        let hash = ShortHash::of_digest(&files_sha256);
        let key = ObjectKey::Files { backup: self.id.clone(), hash }.to_string();
        self.archive.store().put(&key, listed, ObjectClass::Control).await?;
        self.archive.fetch_matching(&key, |bytes| sha256(bytes) == files_sha256).await?;
        self.read_back(read).await?;
        let backup = BaseBackup {
            id: self.id.clone(),
            method: facts.method,
            flavour: facts.flavour,
            server_version: facts.server_version,
            source: facts.source,
            executed: facts.executed,
            position: facts.position,
            snapshot_us: facts.snapshot_at.as_microsecond(),
            started_us: self.started_at.as_microsecond(),
            finished_us: self.archive.now().as_microsecond(),
            raw_bytes: self.raw_bytes,
            stored_bytes,
            settings: facts.settings,
            recipients: self.archive.sealed_to(),
        };
        let manifest = Manifest { backup, files: hash, files_sha256 };
        let key = ObjectKey::Manifest { backup: self.id.clone() }.to_string();
        self.archive.store().put(&key, manifest.to_json()?.into(), ObjectClass::Control).await?;
        // The host slept, or the store kept the manifest waiting: what it names may have been swept just before.
        if self.claim.age(self.archive.now()) >= RENEWAL_MAX {
            self.archive.store().delete(&[key]).await?;
            return Err(ArchiveError::BackupNotRenewed { id: self.id.clone() });
        }
        self.drop_claims(u64::MAX).await;
        Ok(manifest.backup)
    }

    /// Fetches what was not fetched yet. That may take hours: the claim on the chunks is renewed meanwhile.
    async fn read_back(&mut self, read: &AtomicU64) -> Result<(), ArchiveError> {
        let (archive, id) = (Arc::clone(&self.archive), self.id.clone());
        let fetch = |(path, chunk): (String, BackupChunk)| {
            let (archive, id) = (&archive, &id);
            async move {
                let damaged = |reason| ArchiveError::BackupDamaged { id: id.clone(), path, reason };
                match chunk::prove(archive, &chunk).await {
                    Ok(()) => Ok(chunk.length),
                    Err(ArchiveError::Store(error @ (StoreError::NotFound { .. } | StoreError::Corrupt { .. }))) => {
                        Err(damaged(error.to_string()))
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let mut fetched = Box::pin(stream::iter(self.unproven()).map(fetch).buffer_unordered(CHUNKS_READ_AT_ONCE));
        while let Some(length) = fetched.try_next().await? {
            read.fetch_add(length, Ordering::Relaxed);
            self.renew().await?;
        }
        self.renew().await
    }

    /// The chunks of this run, each once, with a file that it belongs to.
    fn unproven(&self) -> Vec<(String, BackupChunk)> {
        let mut seen = BTreeSet::new();
        let mut unproven = Vec::new();
        for entry in &self.entries {
            let EntryContent::File { chunks, .. } = &entry.content else { continue };
            for chunk in chunks {
                let key = chunk.key.to_string();
                if !self.proven.contains(&key) && seen.insert(key) {
                    unproven.push((entry.path.clone(), chunk.clone()));
                }
            }
        }
        unproven
    }

    /// Whether a chunk may be used as it is: this run has fetched it, or will when it reads back what it stored.
    fn is_proven(&self, chunk: &BackupChunk) -> bool {
        chunk.key.backup == self.id || self.proven.contains(&chunk.key.to_string())
    }

    fn check_path(&self, path: &str) -> Result<(), ArchiveError> {
        match relative(path) {
            Some(_) => Ok(()),
            None => Err(unreadable(&self.id, &format!("path {path:?} does not stay in the data directory"))),
        }
    }

    async fn finish_one(
        &mut self,
        working: &mut JoinSet<Result<(usize, BackupChunk), ArchiveError>>,
        chunks: &mut [Option<BackupChunk>],
    ) -> Result<(), ArchiveError> {
        let Some(done) = working.join_next().await else { return Ok(()) };
        let (place, chunk) = done.map_err(|_| ArchiveError::Stopped)??;
        if chunk.key.backup == self.id {
            self.new_stored_bytes += chunk.stored;
        } else {
            self.proven.insert(chunk.key.to_string());
        }
        self.known.insert(chunk.key.sha256, chunk.clone());
        self.used.insert(chunk.key.to_string());
        chunks[place] = Some(chunk);
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), ArchiveError> {
        let age = self.claim.age(self.archive.now());
        if age < RENEWAL {
            return Ok(());
        }
        if age >= RENEWAL_MAX {
            if !self.used.is_empty() {
                return Err(ArchiveError::BackupNotRenewed { id: self.id.clone() });
            }
            // Nothing depends on what was looked at so long ago (the copy may have taken hours): look again.
            self.known = self.archive.reusable_chunks().await?;
        }
        let number = self.claim.number + 1;
        match self.write_claim(number).await {
            Ok(()) => {
                self.drop_claims(number).await;
                Ok(())
            }
            Err(error) if error_is_passing(&error) => {
                tracing::warn!(%error, "the claim on chunks cannot be renewed yet");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn write_claim(&mut self, number: u64) -> Result<(), ArchiveError> {
        let begun = (Instant::now(), self.archive.now());
        let key = ObjectKey::Writing { backup: self.id.clone(), number }.to_string();
        // What may be reused is claimed from the first look on: the backups that name it may be marked right after, and go.
        let known = self.known.values().map(|chunk| chunk.key.to_string());
        let chunks = self.used.iter().cloned().chain(known).collect();
        let wire = WritingWire { format: FORMAT, id: &self.id, renewed_at: self.archive.now(), chunks };
        let json = serde_json::to_vec(&wire).map_err(|error| unreadable(&key, &error))?;
        self.archive.store().put(&key, json.into(), ObjectClass::Control).await?;
        self.claim = Claim { number, written: begun };
        Ok(())
    }

    /// Deletes claims below `number`. Whatever fails here, the sweep does it.
    async fn drop_claims(&self, number: u64) {
        if let Err(error) = self.delete_claims(number).await {
            tracing::warn!(%error, "old claims on chunks stay for now");
        }
    }

    async fn delete_claims(&self, number: u64) -> Result<(), StoreError> {
        let mut old = Vec::new();
        for object in self.archive.store().list(&backup_prefix(&self.id)).await? {
            if let Ok(ObjectKey::Writing { number: found, .. }) = object.key.parse()
                && found < number
            {
                old.push(object.key);
            }
        }
        if old.is_empty() { Ok(()) } else { self.archive.store().delete(&old).await }
    }
}

/// Fetches a chunk of an earlier backup. `false`: it is gone, or is not what it was.
async fn is_right(archive: &Archive, chunk: &BackupChunk, length: usize) -> Result<bool, ArchiveError> {
    if chunk.length != length as u64 {
        return Ok(false);
    }
    match chunk::prove(archive, chunk).await {
        Ok(()) => Ok(true),
        Err(ArchiveError::Store(error @ (StoreError::NotFound { .. } | StoreError::Corrupt { .. }))) => {
            tracing::warn!(%error, "a chunk of an earlier backup is damaged and stored anew; that backup is damaged, too");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn error_is_passing(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Store(error) if error.is_retryable())
}

/// What a backup takes in the archive, each chunk counted once.
fn stored_bytes(entries: &[BackupEntry]) -> u64 {
    let mut counted = HashMap::new();
    for entry in entries {
        if let EntryContent::File { chunks, .. } = &entry.content {
            counted.extend(chunks.iter().map(|chunk| (chunk.key.clone(), chunk.stored)));
        }
    }
    counted.values().sum()
}

/// The next chunk: full, or what is left. A chunk is filled before it is used, so that equal content is cut alike.
async fn read_chunk(content: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
    let mut limited = content.take(CHUNK_BYTES as u64);
    while limited.read_buf(&mut chunk).await? > 0 {}
    Ok(chunk.freeze())
}

impl Archive {
    /// To whom this archive's writers encrypt now; empty: to nobody.
    fn sealed_to(&self) -> Vec<String> {
        self.sealer().map(|s| s.recipients().iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// Chunks that an unmarked manifest names now (T), by content. Only what is encrypted to exactly those to whom this run
    /// encrypts: a chunk keeps the recipients of the run that stored it, and a backup must need nobody else's identity.
    async fn reusable_chunks(&self) -> Result<HashMap<Digest, BackupChunk>, ArchiveError> {
        let (marks, _) = self.read_marks().await?;
        let (manifests, _) = self.read_manifests().await?;
        let set = |recipients: &[String]| recipients.iter().cloned().collect::<BTreeSet<_>>();
        let wanted = set(&self.sealed_to());
        let (ours, others): (Vec<&Manifest>, Vec<&Manifest>) =
            manifests.iter().rev().partition(|manifest| set(&manifest.backup.recipients) == wanted);
        let of_others: BTreeSet<&str> = others.iter().map(|manifest| manifest.backup.id.as_str()).collect();
        let fits = |chunk: &BackupChunk| {
            chunk.key.encrypted != wanted.is_empty() && !of_others.contains(chunk.key.backup.as_str())
        };
        let mut known = HashMap::new();
        let unmarked = ours.iter().filter(|manifest| !marks.backups.contains_key(&manifest.backup.id));
        for manifest in unmarked.take(REUSED_BACKUPS) {
            // One that cannot be read is not reused; that costs space and nothing else.
            let Ok(entries) = self.read_files(manifest).await else { continue };
            for entry in entries {
                if let EntryContent::File { chunks, .. } = entry.content {
                    known.extend(chunks.into_iter().filter(fits).map(|chunk| (chunk.key.sha256, chunk)));
                }
            }
        }
        Ok(known)
    }
}
