//! Base backups: files cut in chunks, stored under the hash of their content; the manifest is written last.
//!
//! ```text
//! files ─ 16 MiB chunks ─▶ chunks/<sha256>-<id>.zst ─▶ files-<hash>.jsonl.zst ─▶ all read back ─▶ manifest.json
//!              └ a chunk that a manifest names already, and that can be read, is not stored again (T)
//! ```

mod chunk;
mod files;
mod manifest;
mod reader;
#[cfg(test)]
mod trials;
mod writer;

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

pub(crate) use chunk::prove as prove_chunk;
pub use manifest::BackupFacts;
pub(crate) use manifest::Manifest;
pub use reader::{BackupReader, Restored};
pub use writer::BackupWriter;

use crate::digest::Digest;
use crate::layout::ChunkKey;

/// The length of all chunks but the last of a file.
pub const CHUNK_BYTES: usize = 16 << 20;

/// A file or directory of a base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupEntry {
    /// Relative to the data directory, with `/` between its parts.
    pub path: String,
    /// Unix permissions.
    pub mode: u32,
    /// What it is.
    pub content: EntryContent,
}

/// What an entry of a base backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// A directory: named so that empty ones are restored, too.
    Directory,
    /// A file.
    File {
        /// Its length.
        length: u64,
        /// Its content, in order.
        chunks: Vec<BackupChunk>,
    },
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupChunk {
    /// Where it is stored.
    pub key: ChunkKey,
    /// Its length in the file.
    pub length: u64,
    /// Its length in the archive.
    pub stored: u64,
    /// Hash of the stored object, where the content is encrypted: what whoever has no identity can check.
    pub stored_sha256: Option<Digest>,
}

/// The id of a backup that begins now: sorted by time, and different when two begin in the same second.
#[must_use]
pub fn backup_id(now: Timestamp) -> String {
    format!("bb-{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), rand::random::<u16>())
}

/// A path of a backup as a relative path that stays where it is joined. `None`: it would not.
fn relative(path: &str) -> Option<PathBuf> {
    let plain = !path.is_empty() && !path.contains('\0') && !path.starts_with('/') && !path.ends_with('/');
    let relative = Path::new(path);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    // "a//b" and "a/./b" are other spellings, of which none is written.
    let canonical = relative.components().map(|part| part.as_os_str().len() + 1).sum::<usize>() == path.len() + 1;
    (plain && inside && canonical).then(|| relative.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_inside_are_joined() {
        for path in ["ibdata1", "shop/orders.ibd", "#innodb_redo/#ib_redo0", "a..b/..c"] {
            assert_eq!(relative(path), Some(PathBuf::from(path)));
        }
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "./a", "a/", "a\0b"] {
            assert_eq!(relative(path), None, "{path:?}");
        }
    }

    #[test]
    fn an_id_is_a_key_part_and_sorts_by_time() {
        let at = |text: &str| backup_id(text.parse().unwrap());
        let id = at("2026-11-21T02:00:09.5Z");
        assert!(id.starts_with("bb-20261121-020009-") && crate::layout::is_backup_id(&id), "{id}");
        assert!(id < at("2026-11-21T02:00:10Z"));
    }
}
