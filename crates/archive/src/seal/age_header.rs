//! The header of an age file (<https://c2sp.org/age>, "Header"): the file key, wrapped for each recipient.
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 <ephemeral public key>
//! <wrapped file key>
//! --- <HMAC of all above>
//! ```

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::keys::{Identities, Identity, Recipient};
use super::{HEADER_BYTES_MAX, SealError};

/// Bytes of a file key.
pub(super) const FILE_KEY_BYTES: usize = 16;
/// What payloads are encrypted from; like all keys here it is wiped from memory when it goes.
pub(super) type FileKey = Zeroizing<[u8; FILE_KEY_BYTES]>;

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const X25519_KIND: &str = "X25519";
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const TAG_BYTES: usize = 16;
/// Base64 lines of a stanza are this long, and the last one is shorter.
const COLUMNS: usize = 64;

/// Without padding, and in one way only.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// HKDF-SHA256 with an output of one hash's length.
pub(super) fn derived(secret: &[u8], salt: &[u8], label: &[u8]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let mut key = Zeroizing::new([0; 32]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&[label], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *key)).map_err(|_| SealError::Failed)?;
    Ok(key)
}

fn mac_key(file_key: &FileKey) -> Result<hmac::Key, SealError> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*derived(&file_key[..], &[], b"header")?))
}

fn wrapping_key(shared: &[u8], share: &[u8; 32], recipient: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    let key = derived(shared, &[&share[..], recipient].concat(), X25519_LABEL)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).map_err(|_| SealError::Failed)?;
    Ok(LessSafeKey::new(key))
}

/// Each wrapping key is used once.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Appends the header to `out`.
pub(super) fn write(recipients: &[Recipient], file_key: &FileKey, out: &mut Vec<u8>) -> Result<(), SealError> {
    let begins = out.len();
    out.extend_from_slice(VERSION);
    for recipient in recipients {
        let ephemeral = Identity::generate().ok_or(SealError::Failed)?;
        let shared = ephemeral.shared_with(&recipient.public).ok_or(SealError::Failed)?;
        // Room for the tag: no copy of the key is left behind where it grows.
        let mut body = Vec::with_capacity(FILE_KEY_BYTES + TAG_BYTES);
        body.extend_from_slice(&file_key[..]);
        wrapping_key(&*shared, &ephemeral.public, &recipient.public)?
            .seal_in_place_append_tag(only_nonce(), Aad::empty(), &mut body)
            .map_err(|_| SealError::Failed)?;
        out.extend_from_slice(format!("-> {X25519_KIND} {}\n", BASE64.encode(ephemeral.public)).as_bytes());
        out.extend_from_slice(format!("{}\n", BASE64.encode(body)).as_bytes());
    }
    out.extend_from_slice(b"---");
    let mac = hmac::sign(&mac_key(file_key)?, &out[begins..]);
    out.extend_from_slice(format!(" {}\n", BASE64.encode(mac)).as_bytes());
    Ok(())
}

/// The part of one recipient.
struct Stanza {
    arguments: Vec<String>,
    body: Vec<u8>,
}

/// Reads the header, and gives the file key and what follows the header.
pub(super) fn read<'a>(identities: &Identities, sealed: &'a [u8]) -> Result<(FileKey, &'a [u8]), SealError> {
    let mut rest = sealed.strip_prefix(VERSION).ok_or(SealError::Damaged("it is no age file"))?;
    let mut stanzas = Vec::new();
    let mac = loop {
        let above = rest;
        let line = line(&mut rest)?;
        if let Some(arguments) = line.strip_prefix("-> ") {
            stanzas.push(stanza(arguments, &mut rest)?);
        } else if let Some(mac) = line.strip_prefix("--- ") {
            let signed_to = sealed.len() - above.len() + "---".len();
            break (BASE64.decode(mac).map_err(|_| damaged())?, signed_to);
        } else {
            return Err(damaged());
        }
        if sealed.len() - rest.len() > HEADER_BYTES_MAX {
            return Err(SealError::Damaged("its header is too long"));
        }
    };
    if stanzas.is_empty() {
        return Err(damaged());
    }
    let file_key = unwrapped(identities, &stanzas)?.ok_or(SealError::WrongIdentity)?;
    let (mac, signed_to) = mac;
    hmac::verify(&mac_key(&file_key)?, &sealed[..signed_to], &mac)
        .map_err(|_| SealError::Damaged("its header was changed"))?;
    Ok((file_key, rest))
}

fn damaged() -> SealError {
    SealError::Damaged("its header cannot be read")
}

/// Takes the next line, which holds nothing but visible characters and single spaces.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, SealError> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    let visible = line.iter().all(|byte| (b' '..=b'~').contains(byte));
    std::str::from_utf8(line).ok().filter(|_| visible).ok_or_else(damaged)
}

fn stanza(arguments: &str, rest: &mut &[u8]) -> Result<Stanza, SealError> {
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    if arguments.iter().any(String::is_empty) {
        return Err(damaged());
    }
    let mut text = String::new();
    loop {
        let line = line(rest)?;
        text.push_str(line);
        match line.len() {
            COLUMNS => {}
            ..COLUMNS => break,
            _ => return Err(damaged()),
        }
        if text.len() > HEADER_BYTES_MAX {
            return Err(damaged());
        }
    }
    Ok(Stanza { arguments, body: BASE64.decode(text).map_err(|_| damaged())? })
}

/// The file key from the first stanza that an identity opens. Stanzas of other kinds are passed over; one of ours that cannot be is
/// damage.
fn unwrapped(identities: &Identities, stanzas: &[Stanza]) -> Result<Option<FileKey>, SealError> {
    for stanza in stanzas.iter().filter(|stanza| stanza.arguments[0] == X25519_KIND) {
        let [_, share] = &stanza.arguments[..] else { return Err(damaged()) };
        let share: [u8; 32] = BASE64.decode(share).ok().and_then(|share| share.try_into().ok()).ok_or_else(damaged)?;
        if stanza.body.len() != FILE_KEY_BYTES + TAG_BYTES {
            return Err(damaged());
        }
        for identity in identities.iter() {
            // A share without a common secret is one that only damage or malice makes.
            let shared = identity.shared_with(&share).ok_or_else(damaged)?;
            let key = wrapping_key(&*shared, &share, &identity.public)?;
            let mut body = Zeroizing::new(stanza.body.clone());
            if let Ok(opened) = key.open_in_place(only_nonce(), Aad::empty(), &mut body) {
                return Ok(<[u8; FILE_KEY_BYTES]>::try_from(&*opened).ok().map(Zeroizing::new));
            }
        }
    }
    Ok(None)
}
