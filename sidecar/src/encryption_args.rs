//! What encrypts what is stored: public keys, and the key of hashes. No secret that opens anything is ever here.

use std::path::PathBuf;

use clap::Args;
use pitr_archive::{HashKey, KeyError, Recipient, Sealer};
use pitr_recovery::code;

use crate::error::Failure;

/// Flags of verbs that store.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EncryptionArgs {
    // Texts: the parser of flags would repeat a secret key that stands here by mistake.
    /// Encrypt to this age recipient, a public key (repeatable)
    #[arg(
        long = "age-recipient",
        value_name = "age1...",
        value_delimiter = ',',
        env = "PITR_ENCRYPTION_AGE_RECIPIENTS",
        hide_env_values = true
    )]
    pub(crate) age_recipients: Vec<String>,
    /// The key of hashes that all writers of an encrypted archive share: 32 bytes or their base64
    #[arg(long, value_name = "FILE", env = "PITR_ENCRYPTION_HASH_KEY_FILE", hide_env = true)]
    pub(crate) hash_key_file: Option<PathBuf>,
}

impl EncryptionArgs {
    /// The recipients; what is wrong with them otherwise.
    pub(crate) fn recipients(&self) -> Result<Vec<Recipient>, KeyError> {
        self.age_recipients.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::parse).collect()
    }

    /// What encrypts, with the hash key read from its file. `None`: nothing is encrypted.
    pub(crate) fn sealer(&self) -> Result<Option<Sealer>, Failure> {
        let recipients = self.recipients().map_err(|reason| {
            Failure::new(&code::BAD_CONFIGURATION_KEY, reason.to_string())
                .hint("recipients are public keys; nothing was stored")
                .fix("age-keygen -o identity.txt prints one")
        })?;
        if recipients.is_empty() {
            return Ok(None);
        }
        let Some(file) = &self.hash_key_file else {
            return Err(Failure::new(
                &code::BAD_CONFIGURATION_KEY,
                "encryption needs a key of hashes, and none is given",
            )
            .hint("small transactions could otherwise be guessed, and the guess confirmed by its hash")
            .fix("openssl rand -base64 32 > hash-key, then encryption.hash_key_file or --hash-key-file"));
        };
        let key = HashKey::read(file).map_err(|reason| {
            Failure::new(&code::BAD_CONFIGURATION_KEY, format!("hash key file \"{}\" {reason}", file.display()))
                .hint("all writers of an archive share one key; nothing was stored")
                .fix("openssl rand -base64 32 > hash-key")
        })?;
        Ok(Sealer::new(recipients, key))
    }
}
