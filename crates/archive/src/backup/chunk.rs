//! One chunk: stored under the hash of its content, fetched and verified.

use bytes::Bytes;

use super::{BackupChunk, CHUNK_BYTES};
use crate::archive::{Archive, ArchiveError, compute, unreadable};
use crate::digest::{Digest, sha256};
use crate::layout::ChunkKey;
use crate::segment::{Codec, decompress};
use crate::store::{Call, ObjectClass, Operation};

/// Stores a chunk of this backup run.
pub(super) async fn store(
    archive: &Archive,
    backup: &str,
    raw: Bytes,
    digest: Digest,
) -> Result<BackupChunk, ArchiveError> {
    let key = ChunkKey { sha256: digest, backup: backup.to_owned() };
    let length = raw.len() as u64;
    let compressed = compute(move || Codec::default().for_length(raw.len()).compress_onto(&raw, Vec::new())).await?;
    let object: Bytes = compressed.map_err(|error| unreadable(&key.to_string(), &error))?.into();
    let stored = object.len() as u64;
    archive.store().put(&key.to_string(), object, ObjectClass::Content).await?;
    Ok(BackupChunk { key, length, stored })
}

/// Fetches a chunk; what does not have its hash is fetched again, for it may be damaged on the way only.
pub(crate) async fn fetch(archive: &Archive, chunk: &BackupChunk) -> Result<Bytes, ArchiveError> {
    const ATTEMPTS: usize = 3;
    let key = chunk.key.to_string();
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        let object = archive.store().get(&key).await?;
        let decoded = compute(move || {
            let raw = decompress(&object, CHUNK_BYTES)?;
            let digest = sha256(&raw);
            Ok::<_, crate::CodecError>((raw, digest))
        });
        match decoded.await? {
            Ok((raw, digest)) if digest == chunk.key.sha256 => return Ok(raw.into()),
            Ok(_) => "its content does not match the hash in its key".clone_into(&mut reason),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(Call::new(Operation::Get, &key).corrupt(reason).into())
}
