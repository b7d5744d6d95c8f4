//! The key of SSE-C: read from a file once, shown nowhere.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::digest::ShortHash;

/// AES-256, the only algorithm of SSE-C.
pub(super) const ALGORITHM: &str = "AES256";

const KEY_BYTES: usize = 32;

/// The key as it stands in headers.
#[derive(Clone)]
pub(super) struct CustomerKey {
    /// Base64 of the key.
    pub(super) key: String,
    /// Base64 of its MD5, by which the service sees that the key arrived whole.
    pub(super) md5: String,
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

impl CustomerKey {
    /// Reads 32 bytes, or their base64 on one line. `Err`: what is wrong, without the content.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let name = file.display();
        let content =
            std::fs::read(file).map_err(|error| format!("SSE-C key file \"{name}\" cannot be read: {error}"))?;
        let bytes = match content.len() {
            KEY_BYTES => content,
            _ => STANDARD.decode(content.trim_ascii()).unwrap_or_default(),
        };
        if bytes.len() != KEY_BYTES {
            return Err(format!("SSE-C key file \"{name}\" holds neither {KEY_BYTES} bytes nor their base64"));
        }
        Ok(Self { key: STANDARD.encode(&bytes), md5: STANDARD.encode(Md5::digest(&bytes)) })
    }

    /// Which key it is, without giving it away.
    pub(super) fn id(&self) -> ShortHash {
        ShortHash::of(format!("pitr sse-c key id {}", self.key).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_their_base64() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        assert!(CustomerKey::read(&file).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, [7; 32]).unwrap();
        let raw = CustomerKey::read(&file).unwrap();
        std::fs::write(&file, format!("{}\n", STANDARD.encode([7; 32]))).unwrap();
        let again = CustomerKey::read(&file).unwrap();
        assert_eq!((again.key.as_str(), again.id()), (raw.key.as_str(), raw.id()));
        std::fs::write(&file, [8; 32]).unwrap();
        assert_ne!(CustomerKey::read(&file).unwrap().id(), raw.id());
        assert_eq!(format!("{raw:?}"), "CustomerKey(..)");
        for content in [&b""[..], &[1; 31], b"c2hvcnQ="] {
            std::fs::write(&file, content).unwrap();
            assert!(CustomerKey::read(&file).unwrap_err().contains("neither 32 bytes"));
        }
    }
}
