//! One chunk: stored under the hash of its content, fetched and verified.

use bytes::Bytes;

use super::{BackupChunk, CHUNK_BYTES};
use crate::archive::{Archive, ArchiveError, compute, unreadable};
use crate::digest::{Digest, sha256};
use crate::layout::ChunkKey;
use crate::seal::{self, HashKey, Identities, RawDigest, SealError, Sealer};
use crate::segment::{Codec, DraftError, decompress};
use crate::store::{Call, ObjectClass, Operation};

/// Attempts at a chunk that does not have its hash: it may be damaged on the way only.
const ATTEMPTS: usize = 3;

/// Stores a chunk of this backup run.
pub(super) async fn store(
    archive: &Archive,
    backup: &str,
    raw: Bytes,
    digest: Digest,
) -> Result<BackupChunk, ArchiveError> {
    let sealer = archive.sealer().cloned();
    let key = ChunkKey { sha256: digest, backup: backup.to_owned(), encrypted: sealer.is_some() };
    let length = raw.len() as u64;
    let encoded = compute(move || encoded(&raw, sealer.as_ref())).await?;
    let (object, stored_sha256) = encoded.map_err(|error| unreadable(&key.to_string(), &error))?;
    let stored = object.len() as u64;
    archive.store().put(&key.to_string(), object, ObjectClass::Content).await?;
    Ok(BackupChunk { key, length, stored, stored_sha256 })
}

/// The object, and its hash where only that can prove it later.
fn encoded(raw: &[u8], sealer: Option<&Sealer>) -> Result<(Bytes, Option<Digest>), DraftError> {
    let codec = Codec::default().for_length(raw.len());
    let Some(sealer) = sealer else {
        return Ok((codec.compress_onto(raw, Vec::new())?.into(), None));
    };
    let mut object = Vec::new();
    let sealing = sealer.begin_onto(&mut object)?;
    let mut object = codec.compress_onto(raw, object)?;
    sealing.finish(&mut object)?;
    let digest = sha256(&object);
    Ok((object.into(), Some(digest)))
}

/// Fetches a chunk; what does not have its hash is fetched again.
pub(crate) async fn fetch(archive: &Archive, chunk: &BackupChunk) -> Result<Bytes, ArchiveError> {
    let key = chunk.key.to_string();
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        let object = archive.store().get(&key).await?;
        let (identities, encrypted, wanted) = (archive.identities().clone(), chunk.key.encrypted, chunk.key.sha256);
        match compute(move || decoded(&object, encrypted.then_some(&identities), &wanted)).await? {
            Ok((raw, hash_key)) => {
                hash_key.into_iter().for_each(|key| archive.learn(key));
                return Ok(raw);
            }
            Err(Undecoded::Sealed) => {
                return Err(ArchiveError::BackupSealed {
                    key,
                    recipients: Vec::new(),
                    wrong: !archive.identities().is_empty(),
                });
            }
            Err(Undecoded::Damaged(why)) => reason = why,
        }
    }
    Err(Call::new(Operation::Get, &key).corrupt(reason).into())
}

/// Makes sure that a chunk is there and is what was stored: by its content, or, where that is encrypted to others, by the hash of the
/// object. Whoever takes backups holds no identity.
pub(crate) async fn prove(archive: &Archive, chunk: &BackupChunk) -> Result<(), ArchiveError> {
    let key = chunk.key.to_string();
    let corrupt = |reason: &str| Err(Call::new(Operation::Get, &key).corrupt(reason).into());
    if !chunk.key.encrypted || !archive.identities().is_empty() {
        match fetch(archive, chunk).await {
            Ok(raw) if raw.len() as u64 == chunk.length => return Ok(()),
            Ok(_) => return corrupt("it does not have its length"),
            // For somebody else: an archive may have had other recipients.
            Err(ArchiveError::BackupSealed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(wanted) = chunk.stored_sha256 else { return corrupt("nothing tells what was stored") };
    for _ in 0..ATTEMPTS {
        let object = archive.store().get(&key).await?;
        if compute(move || sha256(&object)).await? == wanted {
            return Ok(());
        }
    }
    corrupt("it is not what was stored")
}

enum Undecoded {
    /// No identity at hand opens it.
    Sealed,
    Damaged(String),
}

fn decoded(
    object: &[u8],
    identities: Option<&Identities>,
    wanted: &Digest,
) -> Result<(Bytes, Option<HashKey>), Undecoded> {
    let opened =
        identities.map(|identities| seal::open(identities, object)).transpose().map_err(|error| match error {
            SealError::WrongIdentity => Undecoded::Sealed,
            error => Undecoded::Damaged(error.to_string()),
        })?;
    let content = opened.as_ref().map_or(object, seal::Opened::content);
    let raw = decompress(content, CHUNK_BYTES).map_err(|error| Undecoded::Damaged(error.to_string()))?;
    let hash_key = opened.as_ref().map(|opened| &opened.hash_key);
    if RawDigest(hash_key).of(&raw) != *wanted {
        return Err(Undecoded::Damaged("its content does not match the hash in its key".to_owned()));
    }
    let hash_key = hash_key.cloned();
    Ok((raw.into(), hash_key))
}
