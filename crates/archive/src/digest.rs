//! SHA-256, and the 16 hex digits of it that stand in keys.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Digest = [u8; 32];

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Reads the hex form of a SHA-256.
pub(crate) fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// The first 8 bytes of a SHA-256, written as 16 hex digits: what tells objects and binlogs apart in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortHash(pub [u8; 8]);

impl ShortHash {
    /// The short form of the SHA-256 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_digest(&sha256(bytes))
    }

    /// The short form of a SHA-256.
    #[must_use]
    pub fn of_digest(digest: &Digest) -> Self {
        let mut short = [0; 8];
        short.copy_from_slice(&digest[..8]);
        Self(short)
    }

    /// Reads exactly 16 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut short = [0; 8];
        (lower && hex::decode_to_slice(text, &mut short).is_ok()).then_some(Self(short))
    }
}

impl fmt::Display for ShortHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
