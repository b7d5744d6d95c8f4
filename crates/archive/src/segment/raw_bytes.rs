//! Raw bytes on their way into a segment.

use std::ops::Deref;

use bytes::Bytes;

use crate::digest::Digest;
use crate::seal::{HashKeyId, RawDigest};

/// Raw bytes that are to be stored, and their hash if whoever read them has made it already ([`crate::Archive::hashed`]): then those who
/// compress need not.
#[derive(Debug, Clone)]
pub struct RawBytes {
    bytes: Bytes,
    hash: Option<(Option<HashKeyId>, Digest)>,
}

impl RawBytes {
    pub(crate) fn hashed(bytes: Bytes, how: &RawDigest<'_>) -> Self {
        let hash = Some((how.key_id(), how.of(&bytes)));
        Self { bytes, hash }
    }

    /// Their hash: the one that is known, if it was made in this way.
    pub(super) fn hash(&self, how: &RawDigest<'_>) -> Digest {
        match self.hash {
            Some((key, digest)) if key == how.key_id() => digest,
            _ => how.of(&self.bytes),
        }
    }
}

impl From<Bytes> for RawBytes {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, hash: None }
    }
}

impl Deref for RawBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::HashKey;

    #[test]
    fn a_hash_made_in_another_way_is_not_taken() {
        let (one, other) = (HashKey::from([1; 32]), HashKey::from([2; 32]));
        let bytes = Bytes::from_static(b"raw");
        for made in [None, Some(&one), Some(&other)].map(RawDigest) {
            for wanted in [None, Some(&one), Some(&other)].map(RawDigest) {
                assert_eq!(RawBytes::hashed(bytes.clone(), &made).hash(&wanted), wanted.of(b"raw"));
            }
        }
    }
}
