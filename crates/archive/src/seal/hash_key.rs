//! Hashes of raw bytes: SHA-256 in clear, HMAC-SHA256 where payloads are encrypted. A small transaction could otherwise be
//! guessed, and the guess confirmed by its hash.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::digest::{Digest, ShortHash, sha256};

const KEY_BYTES: usize = 32;
const ID_LABEL: &[u8] = b"pitr hash key id";

/// The key of hashes: 32 random bytes that all writers of an archive share. Shown nowhere.
#[derive(Clone)]
pub struct HashKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    key: hmac::Key,
}

/// Tells keys apart without giving them away: part of an HMAC of a fixed text.
pub type HashKeyId = ShortHash;

/// A file that holds no hash key. Its content is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It holds something else.
    #[error("holds neither 32 bytes nor their base64")]
    Length,
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.id())
    }
}

impl From<[u8; KEY_BYTES]> for HashKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), bytes: Zeroizing::new(bytes) }
    }
}

impl HashKey {
    /// Reads 32 bytes, or their base64 on one line (`openssl rand -base64 32`).
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(file: &Path) -> Result<Self, KeyFileError> {
        let content = Zeroizing::new(std::fs::read(file)?);
        let bytes = match content.len() {
            KEY_BYTES => content,
            _ => Zeroizing::new(STANDARD.decode(content.trim_ascii()).unwrap_or_default()),
        };
        let bytes = <[u8; KEY_BYTES]>::try_from(&bytes[..]).map_err(|_| KeyFileError::Length)?;
        Ok(Self::from(bytes))
    }

    /// Which key it is.
    #[must_use]
    pub fn id(&self) -> HashKeyId {
        ShortHash::of_digest(&tag(hmac::sign(&self.key, ID_LABEL)))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

fn tag(tag: hmac::Tag) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(tag.as_ref());
    digest
}

/// How raw bytes are hashed: in clear, or with a key.
pub(crate) struct RawDigest<'a>(pub(crate) Option<&'a HashKey>);

impl RawDigest<'_> {
    /// Which key it takes.
    pub(crate) fn key_id(&self) -> Option<HashKeyId> {
        self.0.map(HashKey::id)
    }

    /// The hash of some bytes.
    pub(crate) fn of(&self, bytes: &[u8]) -> Digest {
        match self.0 {
            None => sha256(bytes),
            Some(key) => tag(hmac::sign(&key.key, bytes)),
        }
    }

    /// For bytes that come piece by piece.
    pub(crate) fn hasher(&self) -> RawHasher {
        match self.0 {
            None => RawHasher::Clear(Sha256::new()),
            Some(key) => RawHasher::Keyed(Box::new(hmac::Context::with_key(&key.key))),
        }
    }
}

/// A hash that is being made.
pub(crate) enum RawHasher {
    Clear(Sha256),
    Keyed(Box<hmac::Context>),
}

impl fmt::Debug for RawHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear",
            Self::Keyed(_) => "Keyed",
        })
    }
}

impl RawHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Clear(hasher) => hasher.update(bytes),
            Self::Keyed(context) => context.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Clear(hasher) => hasher.finalize().into(),
            Self::Keyed(context) => tag(context.sign()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_with_a_key_are_hmac_sha256() {
        // RFC 4231, test case 1, with its key of 20 bytes filled up with zeros as HMAC does.
        let mut key = [0; KEY_BYTES];
        key[..20].fill(0x0b);
        let key = HashKey::from(key);
        let wanted = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex::encode(RawDigest(Some(&key)).of(b"Hi There")), wanted);
        let mut hasher = RawDigest(Some(&key)).hasher();
        hasher.update(b"Hi ");
        hasher.update(b"There");
        assert_eq!(hex::encode(hasher.finish()), wanted);
        assert_eq!(RawDigest(None).of(b"x"), sha256(b"x"));
    }

    #[test]
    fn a_key_file_is_read_and_its_key_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hash-key");
        assert!(matches!(HashKey::read(&file), Err(KeyFileError::Unreadable(_))));
        std::fs::write(&file, [9; 32]).unwrap();
        let key = HashKey::read(&file).unwrap();
        std::fs::write(&file, format!("{}\n", STANDARD.encode([9; 32]))).unwrap();
        assert_eq!(HashKey::read(&file).unwrap().id(), key.id());
        assert_ne!(HashKey::from([8; 32]).id(), key.id());
        assert_eq!(format!("{key:?}"), format!("HashKey({})", key.id()));
        for content in [&b""[..], b"short", &[1; 33]] {
            std::fs::write(&file, content).unwrap();
            assert!(matches!(HashKey::read(&file), Err(KeyFileError::Length)));
        }
    }
}
