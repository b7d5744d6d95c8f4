//! Recipients (`age1...`) and identities (`AGE-SECRET-KEY-1...`): X25519 keys in Bech32.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const RECIPIENT_PREFIX: &str = "age";
const IDENTITY_PREFIX: &str = "age-secret-key-";

/// A key that cannot be used. Nothing of an identity is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `age1` and 58 characters, or one of them is wrong.
    #[error("\"{0}\" is no age recipient (age1...)")]
    Recipient(String),
    /// Somebody gave away the wrong half of the pair.
    #[error(
        "an identity (AGE-SECRET-KEY-1...) stands where a recipient (age1...) belongs: it opens everything, take it away and make a new pair"
    )]
    SecretAsRecipient,
    /// Not an identity.
    #[error("line {0} is no age identity (AGE-SECRET-KEY-1...)")]
    Identity(usize),
    /// Nothing but comments.
    #[error("there is no age identity (AGE-SECRET-KEY-1...) in it")]
    NoIdentity,
}

/// A file that gives no identity. Its content is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It holds something else.
    #[error("cannot be used: {0}")]
    Unusable(#[from] KeyError),
}

/// Whom something is encrypted to: a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    text: String,
    pub(super) public: [u8; KEY_BYTES],
}

fn decoded(text: &str, prefix: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if !checked.hrp().as_str().eq_ignore_ascii_case(prefix) {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.iter_mut().zip(checked.byte_iter()).for_each(|(slot, byte)| *slot = byte);
    (checked.byte_iter().count() == KEY_BYTES).then_some(key)
}

fn encoded(key: &[u8; KEY_BYTES], prefix: &'static str) -> Option<String> {
    bech32::encode::<Bech32>(Hrp::parse(prefix).ok()?, key).ok()
}

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.to_ascii_lowercase().starts_with(IDENTITY_PREFIX) {
            return Err(KeyError::SecretAsRecipient);
        }
        let public = decoded(text, RECIPIENT_PREFIX).filter(|_| text.starts_with(RECIPIENT_PREFIX));
        let public = public.ok_or_else(|| KeyError::Recipient(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), public: *public })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What opens things that are encrypted to its recipient. Shown nowhere.
#[derive(Clone)]
pub struct Identity {
    secret: Arc<PrivateKey>,
    pub(super) public: [u8; KEY_BYTES],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(of {})", self.recipient())
    }
}

impl Identity {
    /// A new one; it lives as long as this process. `None`: the system gives no random numbers.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(&mut *secret).ok()?;
        Self::from_secret(&secret)
    }

    fn from_secret(secret: &[u8; KEY_BYTES]) -> Option<Self> {
        let secret = PrivateKey::from_private_key(&X25519, secret).ok()?;
        let public = secret.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self { secret: Arc::new(secret), public })
    }

    fn parse(text: &str) -> Option<Self> {
        // Written in capitals, so that nobody takes it for the other half.
        decoded(text, IDENTITY_PREFIX)
            .filter(|_| !text.contains(|c: char| c.is_ascii_lowercase()))
            .and_then(|secret| Self::from_secret(&secret))
    }

    /// Its public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        let text = encoded(&self.public, RECIPIENT_PREFIX).unwrap_or_default();
        Recipient { text, public: self.public }
    }

    /// What it has in common with the owner of another public key. `None`: that is no key.
    pub(super) fn shared_with(&self, public: &[u8; KEY_BYTES]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        let peer = UnparsedPublicKey::new(&X25519, public);
        agree(&self.secret, peer, (), |shared| shared.try_into().map(Zeroizing::new).map_err(drop)).ok()
    }
}

/// Identities from a file as `age-keygen` writes it: one a line, `#` begins a comment.
#[derive(Debug, Clone, Default)]
pub struct Identities(Arc<[Identity]>);

impl Identities {
    /// Reads a file of them.
    ///
    /// # Errors
    /// [`IdentityFileError`].
    pub fn read(file: &Path) -> Result<Self, IdentityFileError> {
        let text = Zeroizing::new(std::fs::read_to_string(file)?);
        Ok(text.parse()?)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.0.iter()
    }
}

impl From<Vec<Identity>> for Identities {
    fn from(identities: Vec<Identity>) -> Self {
        Self(identities.into())
    }
}

impl FromStr for Identities {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut identities = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                identities.push(Identity::parse(line).ok_or(KeyError::Identity(at + 1))?);
            }
        }
        if identities.is_empty() { Err(KeyError::NoIdentity) } else { Ok(identities.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("testdata/identity.txt");

    #[test]
    fn a_file_of_age_keygen_is_read() {
        let identities: Identities = FILE.parse().unwrap();
        let recipient = FILE.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        let [identity] = &identities.0[..] else { panic!("{identities:?}") };
        assert_eq!(identity.recipient().to_string(), recipient);
        assert_eq!(recipient.parse(), Ok(identity.recipient()));
        let secret = FILE.lines().last().unwrap();
        assert!(!format!("{identities:?}").contains(&secret[20..]));
    }

    #[test]
    fn wrong_keys_are_named_and_secrets_are_not_repeated() {
        let secret = FILE.lines().last().unwrap();
        assert_eq!(secret.parse::<Recipient>(), Err(KeyError::SecretAsRecipient));
        let spoiled = secret.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1Q");
        for text in [format!("# mine\n{spoiled}"), format!("\n{}", secret.to_lowercase()), "\nage1xyz".to_owned()] {
            let error = text.parse::<Identities>().unwrap_err();
            assert_eq!(error, KeyError::Identity(2), "{error}");
        }
        assert_eq!("# nothing\n".parse::<Identities>().unwrap_err(), KeyError::NoIdentity);
        let recipient = Identity::generate().unwrap().recipient().to_string();
        for text in [
            "",
            "age1",
            "age1xyz",
            &recipient.to_uppercase(),
            &recipient.replace("age1", "age1q"),
            &format!("{recipient} "),
        ] {
            assert!(matches!(text.parse::<Recipient>(), Err(KeyError::Recipient(_))), "{text}");
        }
    }
}
