//! The payload of an age file (<https://c2sp.org/age>, "Payload"): pieces of 64 KiB, each encrypted and authenticated by itself,
//! numbered, and the last one marked.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;

use super::SealError;
use super::age_header::{FileKey, derived};

const PIECE_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 16;

/// What pieces are encrypted with.
pub(super) struct PayloadKey(LessSafeKey);

fn payload_key(file_key: &FileKey, nonce: &[u8]) -> Result<PayloadKey, SealError> {
    let key = derived(&file_key[..], nonce, b"payload")?;
    Ok(PayloadKey(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).map_err(|_| SealError::Failed)?)))
}

/// Eleven bytes that count, and one that says whether this is the last.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// Appends the payload's nonce, and gives the key of what follows it.
pub(super) fn begin(file_key: &FileKey, out: &mut Vec<u8>) -> Result<PayloadKey, SealError> {
    let mut random = [0; NONCE_BYTES];
    rand::fill(&mut random).map_err(|_| SealError::Failed)?;
    out.extend_from_slice(&random);
    payload_key(file_key, &random)
}

/// Encrypts everything in `out` from `begins` on, where it stands: the last piece moves first, to make room for the tags.
pub(super) fn encrypt(key: &PayloadKey, out: &mut Vec<u8>, begins: usize) -> Result<(), SealError> {
    let length = out.len() - begins;
    let pieces = length.div_ceil(PIECE_BYTES).max(1);
    out.reserve_exact(pieces * TAG_BYTES);
    out.resize(out.len() + pieces * TAG_BYTES, 0);
    for number in (0..pieces).rev() {
        let from = begins + number * PIECE_BYTES;
        let to = begins + number * (PIECE_BYTES + TAG_BYTES);
        let bytes = (length - number * PIECE_BYTES).min(PIECE_BYTES);
        out.copy_within(from..from + bytes, to);
        let (piece, tag) = out[to..to + bytes + TAG_BYTES].split_at_mut(bytes);
        let nonce = nonce(number as u64, number + 1 == pieces);
        let sealed = key.0.seal_in_place_separate_tag(nonce, Aad::empty(), piece).map_err(|_| SealError::Failed)?;
        tag.copy_from_slice(sealed.as_ref());
    }
    Ok(())
}

/// What nonce and pieces hold.
pub(super) fn decrypt(file_key: &FileKey, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (random, body) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealError::Damaged("it ends too early"))?;
    let key = payload_key(file_key, random)?;
    let mut plain = Vec::with_capacity(body.len());
    let pieces = body.len().div_ceil(PIECE_BYTES + TAG_BYTES);
    for (number, piece) in body.chunks(PIECE_BYTES + TAG_BYTES).enumerate() {
        let at = plain.len();
        plain.extend_from_slice(piece);
        let nonce = nonce(number as u64, number + 1 == pieces);
        let opened = key.0.open_in_place(nonce, Aad::empty(), &mut plain[at..]);
        let length = opened.map_err(|_| SealError::Damaged("a piece is not what was encrypted"))?.len();
        // Only an empty file has an empty piece.
        if length == 0 && number > 0 {
            return Err(SealError::Damaged("its last piece is empty"));
        }
        plain.truncate(at + length);
    }
    if pieces == 0 {
        return Err(SealError::Damaged("it ends too early"));
    }
    Ok(plain)
}
