//! Restoring a base backup: each chunk is verified, and what is there already is not fetched again.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use pitr_recovery::BaseBackup;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _, SeekFrom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::manifest::Manifest;
use super::{BackupChunk, BackupEntry, EntryContent, chunk, files, relative};
use crate::archive::{Archive, ArchiveError, compute, unreadable};
use crate::digest::sha256;
use crate::layout::ObjectKey;
use crate::seal;
use crate::segment::SegmentError;
use crate::store::StoreError;

/// Chunks of one file that are fetched at once.
const CHUNKS_AHEAD: usize = 4;
/// Bytes of chunks that are in memory at once, unpacked, over all files that are being restored; as they are stored they take as much
/// again at most.
const ROOM_KIB: u32 = 64 << 10;

/// A complete base backup.
#[derive(Debug)]
pub struct BackupReader {
    archive: Arc<Archive>,
    backup: BaseBackup,
    entries: Vec<BackupEntry>,
    room: Room,
}

/// What may be in memory: whoever holds a chunk holds its share. A file asks in the order in which it writes, so the chunk that it writes
/// next never waits for room behind those after it.
#[derive(Debug, Clone)]
struct Room {
    kib: u32,
    free: Arc<Semaphore>,
}

impl Room {
    fn of_kib(kib: u32) -> Self {
        Self { kib, free: Arc::new(Semaphore::new(kib as usize)) }
    }

    /// Waits for room for so many bytes; more than there is in all take all of it.
    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.kib);
        // It is never closed.
        Arc::clone(&self.free).acquire_many_owned(kib).await.ok()
    }
}

/// What restoring one entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Bytes of the file that were fetched.
    pub fetched: u64,
    /// Bytes that an earlier attempt had left, and that were found to be right.
    pub kept: u64,
}

impl BackupReader {
    /// Reads the manifest and the list of files of a backup.
    ///
    /// # Errors
    /// [`ArchiveError::NoSuchBackup`], or what the store answers.
    pub async fn open(archive: Arc<Archive>, id: &str) -> Result<Self, ArchiveError> {
        let manifest = archive.read_manifest(id).await?;
        let entries = archive.read_files(&manifest).await?;
        let room = Room::of_kib(ROOM_KIB);
        Ok(Self { archive, backup: manifest.backup, entries, room })
    }

    /// The same with another bound on what is in memory.
    #[cfg(test)]
    pub(super) fn with_room(mut self, kib: u32) -> Self {
        self.room = Room::of_kib(kib);
        self
    }

    /// Whether the identities at hand open its chunks.
    pub(crate) async fn check_identities(&self) -> Result<(), ArchiveError> {
        self.archive.check_chunks(&self.entries, &self.backup.recipients).await
    }

    /// What the manifest says.
    #[must_use]
    pub fn backup(&self) -> &BaseBackup {
        &self.backup
    }

    /// Files and directories, in the order in which they were taken.
    #[must_use]
    pub fn entries(&self) -> &[BackupEntry] {
        &self.entries
    }

    /// Writes a file's content, in order, to `out`.
    ///
    /// # Errors
    /// [`ArchiveError::BackupDamaged`], [`ArchiveError::Io`], or what the store answers.
    pub async fn copy_file(
        &self,
        entry: &BackupEntry,
        out: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<u64, ArchiveError> {
        let failed = |source| ArchiveError::Io { action: "write", path: entry.path.clone(), source };
        let mut written = 0;
        let mut chunks =
            stream::iter(chunks_of(entry)).map(|chunk| self.fetch(entry, chunk)).buffered(CHUNKS_AHEAD).boxed();
        while let Some((raw, _room)) = chunks.try_next().await? {
            out.write_all(&raw).await.map_err(failed)?;
            written += raw.len() as u64;
        }
        out.flush().await.map_err(failed)?;
        Ok(written)
    }

    /// Restores one entry below `directory`. Chunks that are there already with the right content are kept, so this can
    /// be called again after a kill at any point. The file is synced; its directory is not.
    ///
    /// # Errors
    /// As [`Self::copy_file`].
    pub async fn restore_entry(&self, entry: &BackupEntry, directory: &Path) -> Result<Restored, ArchiveError> {
        let path = self.path_of(entry, directory)?;
        match &entry.content {
            EntryContent::Directory => {
                fs::create_dir_all(&path).await.map_err(|source| io("make directory", &path, source))?;
                set_mode(&path, entry.mode).await?;
                Ok(Restored::default())
            }
            EntryContent::File { length, chunks } => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).await.map_err(|source| io("make directory", parent, source))?;
                }
                let restored = self.restore_file(entry, &path, *length, chunks).await?;
                set_mode(&path, entry.mode).await?;
                Ok(restored)
            }
        }
    }

    fn path_of(&self, entry: &BackupEntry, directory: &Path) -> Result<PathBuf, ArchiveError> {
        let inside = relative(&entry.path).ok_or_else(|| self.damaged(entry, "its path leaves the data directory"))?;
        Ok(directory.join(inside))
    }

    async fn restore_file(
        &self,
        entry: &BackupEntry,
        path: &Path,
        length: u64,
        chunks: &[BackupChunk],
    ) -> Result<Restored, ArchiveError> {
        let failed = |source| io("write", path, source);
        self.learn_hash_key(chunks).await?;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).await.map_err(failed)?;
        let present = file.metadata().await.map_err(failed)?.len();
        let mut restored = Restored::default();
        let mut missing = Vec::new();
        let mut position = 0;
        for chunk in chunks {
            let there = position + chunk.length <= present && {
                let _room = self.room.take(chunk.length).await;
                self.holds(&mut file, position, chunk).await.map_err(failed)?
            };
            if there {
                restored.kept += chunk.length;
            } else {
                missing.push((position, chunk));
            }
            position += chunk.length;
        }
        // As they come, so that a kill loses none that is here.
        let fetch = async |(place, chunk)| Ok::<_, ArchiveError>((place, self.fetch(entry, chunk).await?));
        let mut fetched = stream::iter(missing).map(fetch).buffer_unordered(CHUNKS_AHEAD).boxed();
        while let Some((place, (raw, _room))) = fetched.try_next().await? {
            file.seek(SeekFrom::Start(place)).await.map_err(failed)?;
            file.write_all(&raw).await.map_err(failed)?;
            restored.fetched += raw.len() as u64;
        }
        file.flush().await.map_err(failed)?;
        file.set_len(length).await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        Ok(restored)
    }

    /// Encrypted chunks are told apart by hashes whose key is inside each of them: one is fetched for it.
    async fn learn_hash_key(&self, chunks: &[BackupChunk]) -> Result<(), ArchiveError> {
        match chunks.iter().find(|chunk| chunk.key.encrypted) {
            Some(chunk) if !self.archive.knows_hash_keys() => {
                let _room = self.room.take(chunk.length).await;
                chunk::fetch(&self.archive, chunk).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether a file has a chunk's content at this place.
    async fn holds(&self, file: &mut File, position: u64, chunk: &BackupChunk) -> std::io::Result<bool> {
        file.seek(SeekFrom::Start(position)).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(chunk.length).unwrap_or(0));
        file.take(chunk.length).read_to_end(&mut bytes).await?;
        let (archive, wanted) = (Arc::clone(&self.archive), chunk.key.sha256);
        compute(move || archive.has_digest(&bytes, &wanted)).await.map_err(std::io::Error::other)
    }

    /// A chunk, with the room that it takes.
    async fn fetch(
        &self,
        entry: &BackupEntry,
        chunk: &BackupChunk,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ArchiveError> {
        let room = self.room.take(chunk.length).await;
        let raw = match chunk::fetch(&self.archive, chunk).await {
            Ok(raw) => raw,
            Err(ArchiveError::Store(error @ (StoreError::NotFound { .. } | StoreError::Corrupt { .. }))) => {
                return Err(self.damaged(entry, &error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if raw.len() as u64 == chunk.length {
            Ok((raw, room))
        } else {
            Err(self.damaged(entry, "a chunk does not have its length"))
        }
    }

    fn damaged(&self, entry: &BackupEntry, reason: &str) -> ArchiveError {
        ArchiveError::BackupDamaged { id: self.backup.id.clone(), path: entry.path.clone(), reason: reason.to_owned() }
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> ArchiveError {
    ArchiveError::Io { action, path: path.display().to_string(), source }
}

fn chunks_of(entry: &BackupEntry) -> &[BackupChunk] {
    match &entry.content {
        EntryContent::Directory => &[],
        EntryContent::File { chunks, .. } => chunks,
    }
}

async fn set_mode(path: &Path, mode: u32) -> Result<(), ArchiveError> {
    let permissions = std::fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).await.map_err(|source| io("set the mode of", path, source))
}

impl Archive {
    /// Whether the identities at hand open a base backup.
    ///
    /// # Errors
    /// [`ArchiveError::BackupSealed`], or as for [`BackupReader::open`].
    pub async fn check_base(&self, id: &str) -> Result<(), ArchiveError> {
        let manifest = self.read_manifest(id).await?;
        let recipients = &manifest.backup.recipients;
        if recipients.is_empty() {
            return Ok(());
        }
        self.check_chunks(&self.read_files(&manifest).await?, recipients).await
    }

    /// Whether the identities at hand open chunks, asked of one chunk of each run that stored some.
    async fn check_chunks(&self, entries: &[BackupEntry], recipients: &[String]) -> Result<(), ArchiveError> {
        let mut runs = BTreeSet::new();
        for chunk in entries.iter().flat_map(chunks_of).filter(|chunk| chunk.key.encrypted) {
            if !runs.insert(&chunk.key.backup) {
                continue;
            }
            let key = chunk.key.to_string();
            let first = self.store().get_range(&key, 0..seal::HEADER_BYTES_MAX as u64).await?;
            match self.check_opens(&first, recipients) {
                Err(SegmentError::Encrypted { recipients }) => {
                    return Err(ArchiveError::BackupSealed { key, recipients, wrong: false });
                }
                Err(SegmentError::WrongIdentity { recipients }) => {
                    return Err(ArchiveError::BackupSealed { key, recipients, wrong: true });
                }
                checked => checked.map_err(|source| ArchiveError::Segment { key, source })?,
            }
        }
        Ok(())
    }

    /// The list of files of a backup, checked against the hash in its manifest.
    pub(crate) async fn read_files(&self, manifest: &Manifest) -> Result<Vec<BackupEntry>, ArchiveError> {
        let id = manifest.backup.id.clone();
        let key = ObjectKey::Files { backup: id.clone(), hash: manifest.files }.to_string();
        let listed = self.fetch_matching(&key, |bytes| sha256(bytes) == manifest.files_sha256).await?;
        compute(move || files::decode(&id, &listed)).await?.map_err(|reason| unreadable(&key, &reason))
    }
}
