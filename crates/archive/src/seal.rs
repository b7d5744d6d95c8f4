//! Client-side encryption: payloads in the age format for X25519 recipients, and keyed hashes of what is in them.
//!
//! ```text
//! raw bytes ─ codec ─▶ ┌ skippable frame ┐┌ compressed ┐ ─ age ─▶ sealed      age -d -i identity | zstd -dc
//!                      │ hash key        ││            │
//! ```
//! Whoever stores holds public keys and the hash key; whoever reads holds an identity, and finds the hash key inside. The format
//! is that of age (<https://c2sp.org/age>), built on the primitives of the TLS library that is here anyway; why not the
//! `age` crate: docs/decisions/0006-age-on-aws-lc.md.

mod age_header;
mod age_stream;
mod hash_key;
mod keys;

use std::sync::Arc;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

pub use hash_key::{HashKey, HashKeyId, KeyFileError};
pub(crate) use hash_key::{RawDigest, RawHasher};
pub use keys::{Identities, Identity, IdentityFileError, KeyError, Recipient};

use age_header::{FILE_KEY_BYTES, FileKey};

/// A zstd skippable frame, so that `zstd -dc` passes over the hash key.
const KEY_FRAME: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
const KEY_BYTES: usize = 32;

/// The most bytes that a sealed payload's own header may have: hundreds of recipients.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;

/// Encrypts for recipients: what a writer holds.
#[derive(Debug, Clone)]
pub struct Sealer {
    recipients: Arc<[Recipient]>,
    hash_key: HashKey,
}

/// Why sealed bytes give nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// None of the identities is one that it is encrypted to.
    #[error("none of the identities at hand opens it")]
    WrongIdentity,
    /// The bytes are not what was sealed.
    #[error("the encrypted bytes are damaged: {0}")]
    Damaged(&'static str),
    /// The system's random numbers or a primitive failed.
    #[error("encrypting failed")]
    Failed,
}

impl Sealer {
    /// Encrypts for these recipients; hashes are made with the key. `None`: there is no recipient.
    #[must_use]
    pub fn new(recipients: Vec<Recipient>, hash_key: HashKey) -> Option<Self> {
        (!recipients.is_empty()).then(|| Self { recipients: recipients.into(), hash_key })
    }

    /// To whom it encrypts.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The key of hashes.
    #[must_use]
    pub fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// Begins a payload behind what is in `out`: whatever is appended then is sealed by [`Sealing::finish`], where it stands.
    pub(crate) fn begin_onto(&self, out: &mut Vec<u8>) -> Result<Sealing, SealError> {
        let mut file_key: FileKey = Zeroizing::new([0; FILE_KEY_BYTES]);
        rand::fill(&mut *file_key).map_err(|_| SealError::Failed)?;
        age_header::write(&self.recipients, &file_key, out)?;
        let key = age_stream::begin(&file_key, out)?;
        let begins = out.len();
        out.extend_from_slice(&KEY_FRAME);
        out.extend_from_slice(self.hash_key.bytes());
        Ok(Sealing { key, begins })
    }
}

/// A payload that is being written.
pub(crate) struct Sealing {
    key: age_stream::PayloadKey,
    begins: usize,
}

impl Sealing {
    /// How much of `out` is content so far.
    pub(crate) fn content_bytes(&self, out: &[u8]) -> usize {
        out.len().saturating_sub(self.begins + KEY_FRAME.len() + KEY_BYTES)
    }

    /// Seals what was appended, in place: no second copy of it is made.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Result<(), SealError> {
        age_stream::encrypt(&self.key, out, self.begins)
    }
}

/// What was sealed.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The key of its hashes.
    pub(crate) hash_key: HashKey,
    plain: Vec<u8>,
}

impl Opened {
    /// The compressed content.
    pub(crate) fn content(&self) -> &[u8] {
        self.plain.get(KEY_FRAME.len() + KEY_BYTES..).unwrap_or_default()
    }
}

/// Opens what [`Sealing::finish`] made.
pub(crate) fn open(identities: &Identities, sealed: &[u8]) -> Result<Opened, SealError> {
    let (file_key, body) = age_header::read(identities, sealed)?;
    let plain = age_stream::decrypt(&file_key, body)?;
    let key = plain.strip_prefix(&KEY_FRAME).and_then(|rest| rest.first_chunk::<KEY_BYTES>());
    let hash_key = HashKey::from(*key.ok_or(SealError::Damaged("it does not begin with its hash key"))?);
    Ok(Opened { hash_key, plain })
}

/// Whether one of the identities opens what begins with these bytes, which need not be all of it.
pub(crate) fn check(identities: &Identities, first: &[u8]) -> Result<(), SealError> {
    age_header::read(identities, first).map(drop)
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(identity: &Identity) -> Sealer {
        Sealer::new(vec![identity.recipient()], HashKey::from([7; 32])).unwrap()
    }

    fn sealed(identity: &Identity, content: &[u8]) -> Vec<u8> {
        seal(&sealer(identity), content)
    }

    fn seal(sealer: &Sealer, content: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let sealing = sealer.begin_onto(&mut out).unwrap();
        out.extend_from_slice(content);
        assert_eq!(sealing.content_bytes(&out), content.len());
        sealing.finish(&mut out).unwrap();
        out.split_off(b"before".len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_sealed_is_opened(content in prop::collection::vec(any::<u8>(), 0..300), times in 1..1000_usize) {
            let identity = Identity::generate().unwrap();
            let content = content.repeat(times);
            let opened = open(&Identities::from(vec![identity.clone()]), &sealed(&identity, &content)).unwrap();
            prop_assert_eq!(opened.content(), &content[..]);
            prop_assert_eq!(opened.hash_key.id(), HashKey::from([7; 32]).id());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let identities = Identities::from(vec![Identity::generate().unwrap()]);
            prop_assert!(open(&identities, &bytes).is_err());
            let header = b"age-encryption.org/v1\n-> X25519 ";
            prop_assert!(open(&identities, &[&header[..], &bytes].concat()).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_end_is_found() {
        let identity = Identity::generate().unwrap();
        let identities = Identities::from(vec![identity.clone()]);
        let sealed = sealed(&identity, &[3; 200]);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(open(&identities, &damaged).is_err(), "byte {at}");
            assert!(open(&identities, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(open(&identities, &[&sealed[..], b"x"].concat()).is_err());
    }

    #[test]
    fn each_recipient_opens_it_and_nobody_else() {
        let [a, b, other] = [(); 3].map(|()| Identity::generate().unwrap());
        let sealer = Sealer::new(vec![a.recipient(), b.recipient()], HashKey::from([1; 32])).unwrap();
        let out = seal(&sealer, b"content");
        for identities in [vec![a.clone()], vec![b.clone()], vec![other.clone(), b.clone()]] {
            let identities = Identities::from(identities);
            assert_eq!(open(&identities, &out).unwrap().content(), b"content");
            assert_eq!(check(&identities, &out[..out.len() - 20]), Ok(()), "the beginning is enough to tell");
        }
        assert_eq!(open(&Identities::from(vec![other]), &out).unwrap_err(), SealError::WrongIdentity);
        assert_eq!(open(&Identities::default(), &out).unwrap_err(), SealError::WrongIdentity);
        assert!(Sealer::new(vec![], HashKey::from([1; 32])).is_none());
    }
}
