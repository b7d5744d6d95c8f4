//! Keys that lie in files of their own: what a running archiver has read of them may be another thing than what is there now.

use pitr_archive::{HashKey, HashKeyId, ShortHash};
use pitr_recovery::code;

use crate::config::Config;
use crate::error::Failure;

/// Which keys the files hold, never the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFiles {
    /// The key of hashes, with which an encrypted archive is written.
    hash_key: Option<HashKeyId>,
    /// The key of SSE-C, without which nothing in the store can be read.
    customer_key: Option<ShortHash>,
}

/// What has become of the keys.
#[derive(Debug)]
pub(crate) enum KeyChange {
    /// They are those that are in use.
    None,
    /// Another key of hashes: it is taken, and nothing becomes unreadable by it.
    Taken(KeyFiles),
    /// The store would not give back what it holds, or a file holds no key: the next start would fail.
    Refused(Failure),
}

impl KeyFiles {
    /// Reads what is there now.
    pub(crate) fn read(config: &Config) -> Result<Self, Failure> {
        let hash_key = config.encryption.hash_key_file.as_deref().map(|file| {
            HashKey::read(file).map(|key| key.id()).map_err(|reason| {
                unreadable(format!("hash key file \"{}\" {reason}", file.display()))
                    .fix("put the key back, or another one")
            })
        });
        let customer_key = config.archive.sse.customer_key_id();
        let customer_key = customer_key.map_err(|reason| unreadable(reason).fix("put the key back"));
        Ok(Self { hash_key: hash_key.transpose()?, customer_key: customer_key? })
    }

    /// What these, which are in use, are to what is there now.
    pub(crate) fn compare(&self, now: Result<Self, Failure>) -> KeyChange {
        match now {
            Err(failure) => KeyChange::Refused(failure),
            Ok(now) if now.customer_key != self.customer_key => KeyChange::Refused(another_customer_key()),
            Ok(now) if now != *self => KeyChange::Taken(now),
            Ok(_) => KeyChange::None,
        }
    }
}

fn unreadable(message: String) -> Failure {
    Failure::new(&code::BAD_CONFIGURATION_KEY, message)
        .hint("the key that was read before goes on; the next start would fail")
}

fn another_customer_key() -> Failure {
    Failure::new(&code::BAD_CONFIGURATION_KEY, "the key file of \"s3.sse\" holds another key than the archive is stored with")
        .hint("the key that was read before goes on; with the other one nothing that is stored can be read, not even whose it is")
        .fix("put the key back, or let another key begin another archive")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config;

    #[test]
    fn another_hash_key_is_taken_and_another_customer_key_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (hash, customer) = (home.path().join("hash"), home.path().join("customer"));
        std::fs::write(&hash, [1; 32]).unwrap();
        std::fs::write(&customer, [2; 32]).unwrap();
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let text = format!(
            "workload: w\narchive: s3://b/p\ns3: {{sse: 'c:{}'}}\nencryption: {{age_recipients: [{recipient}], hash_key_file: {}}}\n",
            customer.display(),
            hash.display()
        );
        let config = config::parse(&text, &BTreeMap::new()).unwrap();
        let used = KeyFiles::read(&config).unwrap();
        let change = || used.compare(KeyFiles::read(&config));
        assert!(matches!(change(), KeyChange::None));
        std::fs::write(&hash, [3; 32]).unwrap();
        assert!(matches!(change(), KeyChange::Taken(now) if now != used));
        // The store's key decides.
        std::fs::write(&customer, [4; 32]).unwrap();
        assert!(matches!(change(), KeyChange::Refused(failure) if failure.to_string().contains("s3.sse")));
        std::fs::write(&customer, [2; 32]).unwrap();
        std::fs::write(&hash, "no key").unwrap();
        assert!(matches!(change(), KeyChange::Refused(failure) if failure.to_string().contains("hash key file")));
        std::fs::remove_file(&customer).unwrap();
        std::fs::write(&hash, [1; 32]).unwrap();
        assert!(matches!(change(), KeyChange::Refused(failure) if failure.to_string().contains("cannot be read")));
        std::fs::write(&customer, [2; 32]).unwrap();
        assert!(matches!(change(), KeyChange::None), "as it was");
        let shown = format!("{used:?}");
        assert!(!shown.contains("1, 1, 1") && !shown.contains("2, 2, 2"), "{shown}");
    }

    #[test]
    fn without_keys_nothing_changes() {
        let config = config::parse("workload: w\narchive: file:///a\n", &BTreeMap::new()).unwrap();
        let used = KeyFiles::read(&config).unwrap();
        assert!(matches!(used.compare(KeyFiles::read(&config)), KeyChange::None));
    }
}
