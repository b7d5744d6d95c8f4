//! The key grammar: the only place where object keys are built and parsed. `parse ∘ format = id` (a property test).
//!
//! ```text
//! archive.json
//! binlogs/<source>/<seq>-<head>/<start>-<end>-<hash>.zst
//! tail/<source>/<seq>-<head>/<start>-<end>-<hash>.zst
//! tail/probe-<hash>.json
//! catalog/<source>/<level>-<hash>.jsonl.zst
//! expired/<generation>-<hash>.json
//! verified/<generation>-<hash>.json
//! drills/<generation>-<hash>.json
//! backups/<id>/manifest.json, files-<hash>.jsonl.zst, writing-<n>.json
//! chunks/<first two digits>/<sha256>-<backup id>.zst
//! ```
//! A key that does not parse is somebody else's: it is reported, never touched, never fatal.

use std::fmt;
use std::str::FromStr;

use pitr_recovery::BinlogId;

use crate::digest::{Digest, ShortHash, parse_digest};

/// What names the workload of the archive.
pub const ARCHIVE_KEY: &str = "archive.json";
/// Expiry marks.
pub const EXPIRED_PREFIX: &str = "expired/";
/// Results of verification.
pub const VERIFIED_PREFIX: &str = "verified/";
/// Results of restore drills.
pub const DRILLS_PREFIX: &str = "drills/";
/// Base backups.
pub const BACKUPS_PREFIX: &str = "backups/";
/// Content of base backups.
pub const CHUNKS_PREFIX: &str = "chunks/";
/// All tail segments.
pub const TAIL_PREFIX: &str = "tail/";
/// All pages.
pub const CATALOG_PREFIX: &str = "catalog/";

/// The highest level of a page: two digits.
pub const LEVEL_MAX: u8 = 99;

/// Longer names of sources and backups are refused: S3 keys end at 1024 bytes.
const NAME_LENGTH_MAX: usize = 128;

/// Where a segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `binlogs/`: full segments, in the catalog or about to be.
    Binlogs,
    /// `tail/`: young segments of the active binlog.
    Tail,
}

/// How a segment's payload is compressed, by the suffix of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// `.zst`
    Zstd,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
}

/// The key of a segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// Under `binlogs/` or `tail/`.
    pub place: Place,
    /// The binlog.
    pub binlog: BinlogId,
    /// First byte in the raw file.
    pub start: u64,
    /// Byte after the last one in the raw file.
    pub end: u64,
    /// Hash of the stored object.
    pub hash: ShortHash,
    /// Its compression.
    pub compression: Compression,
    /// Whether the payload is encrypted.
    pub encrypted: bool,
}

/// The key of a page of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The source whose segments it names.
    pub source: String,
    /// 0 when an archiver wrote it, higher than all that it replaces when a merge did.
    pub level: u8,
    /// Hash of the stored object.
    pub hash: ShortHash,
}

/// The key of a chunk of a base backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// Hash of the raw content: SHA-256 in clear, HMAC-SHA256 where it is encrypted.
    pub sha256: Digest,
    /// The backup run that stored it.
    pub backup: String,
    /// Whether the content is encrypted.
    pub encrypted: bool,
}

/// Any key of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// `archive.json`.
    Archive,
    /// What a probe of the store writes, reads and deletes at once: no part of the archive.
    Probe {
        /// Hash of its content.
        hash: ShortHash,
    },
    /// A segment of a binlog.
    Segment(SegmentKey),
    /// A page of the catalog.
    Page(PageKey),
    /// The expiry marks of one run of retention.
    Marks {
        /// Counts up; the highest holds all live marks.
        generation: u64,
        /// Hash of the stored object.
        hash: ShortHash,
    },
    /// How a restore drill ended.
    Drill {
        /// Counts up; the highest is the last one.
        generation: u64,
        /// Hash of the stored object.
        hash: ShortHash,
    },
    /// What verification found.
    Verified {
        /// Counts up; the highest is the last run.
        generation: u64,
        /// Hash of the stored object.
        hash: ShortHash,
    },
    /// The manifest of a base backup.
    Manifest {
        /// The backup.
        backup: String,
    },
    /// The list of files of a base backup.
    Files {
        /// The backup.
        backup: String,
        /// Hash of the stored object.
        hash: ShortHash,
    },
    /// The chunks of a base backup that is being taken.
    Writing {
        /// The backup.
        backup: String,
        /// Counts up with each renewal.
        number: u64,
    },
    /// A chunk of base backups.
    Chunk(ChunkKey),
}

/// A key that is not one of an archive's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no key of an archive")]
pub struct UnknownKey(pub String);

/// Whether a source may stand in keys: `[A-Za-z0-9._-]`, not hidden, not relative.
#[must_use]
pub fn is_source(name: &str) -> bool {
    is_name(name)
}

/// Whether a backup's id may stand in keys.
#[must_use]
pub fn is_backup_id(name: &str) -> bool {
    is_name(name)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl Place {
    /// The prefix of all segments here.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Binlogs => "binlogs/",
            Self::Tail => TAIL_PREFIX,
        }
    }

    /// The prefix of a source's segments here.
    #[must_use]
    pub fn source_prefix(self, source: &str) -> String {
        format!("{}{source}/", self.prefix())
    }

    /// The prefix of a binlog's segments here.
    #[must_use]
    pub fn binlog_prefix(self, binlog: &BinlogId) -> String {
        format!("{}{}/", self.prefix(), BinlogPath(binlog))
    }
}

/// The prefix of a source's pages.
#[must_use]
pub fn catalog_prefix(source: &str) -> String {
    format!("{CATALOG_PREFIX}{source}/")
}

/// The prefix of one base backup.
#[must_use]
pub fn backup_prefix(backup: &str) -> String {
    format!("{BACKUPS_PREFIX}{backup}/")
}

/// `<source>/<seq>-<head>`
struct BinlogPath<'a>(&'a BinlogId);

impl fmt::Display for BinlogPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BinlogId { source, number, head } = self.0;
        write!(f, "{source}/{number:010}-{}", ShortHash(*head))
    }
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, binlog, start, end, hash, compression, encrypted } = self;
        let suffix = match compression {
            Compression::Zstd => "zst",
            Compression::Gzip => "gz",
            Compression::Bzip2 => "bz2",
        };
        let age = if *encrypted { ".age" } else { "" };
        write!(f, "{}{}/{start:012}-{end:012}-{hash}.{suffix}{age}", place.prefix(), BinlogPath(binlog))
    }
}

impl fmt::Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CATALOG_PREFIX}{}/{:02}-{}.jsonl.zst", self.source, self.level, self.hash)
    }
}

impl fmt::Display for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sha256 = hex::encode(self.sha256);
        let age = if self.encrypted { ".age" } else { "" };
        write!(f, "chunks/{}/{sha256}-{}.zst{age}", &sha256[..2], self.backup)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive => f.write_str(ARCHIVE_KEY),
            Self::Probe { hash } => write!(f, "{TAIL_PREFIX}probe-{hash}.json"),
            Self::Segment(key) => key.fmt(f),
            Self::Page(key) => key.fmt(f),
            Self::Marks { generation, hash } => write!(f, "{EXPIRED_PREFIX}{generation:010}-{hash}.json"),
            Self::Verified { generation, hash } => write!(f, "{VERIFIED_PREFIX}{generation:010}-{hash}.json"),
            Self::Drill { generation, hash } => write!(f, "{DRILLS_PREFIX}{generation:010}-{hash}.json"),
            Self::Manifest { backup } => write!(f, "{BACKUPS_PREFIX}{backup}/manifest.json"),
            Self::Files { backup, hash } => write!(f, "{BACKUPS_PREFIX}{backup}/files-{hash}.jsonl.zst"),
            Self::Writing { backup, number } => write!(f, "{BACKUPS_PREFIX}{backup}/writing-{number}.json"),
            Self::Chunk(key) => key.fmt(f),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        parse(text).ok_or_else(|| UnknownKey(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [ARCHIVE_KEY] => Some(ObjectKey::Archive),
        ["binlogs", source, binlog, file] => parse_segment(Place::Binlogs, source, binlog, file),
        ["tail", source, binlog, file] => parse_segment(Place::Tail, source, binlog, file),
        ["tail", file] => parse_probe(file),
        ["catalog", source, file] => parse_page(source, file),
        ["expired", file] => parse_generation(file).map(|(generation, hash)| ObjectKey::Marks { generation, hash }),
        ["verified", file] => parse_generation(file).map(|(generation, hash)| ObjectKey::Verified { generation, hash }),
        ["drills", file] => parse_generation(file).map(|(generation, hash)| ObjectKey::Drill { generation, hash }),
        ["backups", backup, file] => parse_backup(backup, file),
        ["chunks", folder, file] => parse_chunk(folder, file),
        _ => None,
    }
}

/// `probe-<hash>.json`
fn parse_probe(file: &str) -> Option<ObjectKey> {
    let hash = ShortHash::parse(file.strip_prefix("probe-")?.strip_suffix(".json")?)?;
    Some(ObjectKey::Probe { hash })
}

/// `<generation>-<hash>.json`
fn parse_generation(file: &str) -> Option<(u64, ShortHash)> {
    let (generation, hash) = file.strip_suffix(".json")?.split_once('-')?;
    Some((parse_padded(generation, 10)?, ShortHash::parse(hash)?))
}

fn parse_segment(place: Place, source: &str, binlog: &str, file: &str) -> Option<ObjectKey> {
    let binlog = parse_binlog(source, binlog)?;
    let (name, suffix) = file.split_once('.')?;
    let (suffix, encrypted) = match suffix.strip_suffix(".age") {
        Some(inner) => (inner, true),
        None => (suffix, false),
    };
    let compression = match suffix {
        "zst" => Compression::Zstd,
        "gz" => Compression::Gzip,
        "bz2" => Compression::Bzip2,
        _ => return None,
    };
    let mut numbers = name.splitn(3, '-');
    let start = parse_padded(numbers.next()?, 12)?;
    let end = parse_padded(numbers.next()?, 12)?;
    let hash = ShortHash::parse(numbers.next()?)?;
    let key = SegmentKey { place, binlog, start, end, hash, compression, encrypted };
    (start < end).then_some(ObjectKey::Segment(key))
}

/// A binlog as its folder is named: `3e11fa47-...` and `0000000413-1f2e3d4c5b6a7988`.
pub(crate) fn parse_binlog(source: &str, text: &str) -> Option<BinlogId> {
    let (number, head) = text.split_once('-')?;
    let (number, head) = (parse_padded(number, 10)?, ShortHash::parse(head)?);
    is_source(source).then(|| BinlogId { source: source.to_owned(), number, head: head.0 })
}

fn parse_page(source: &str, file: &str) -> Option<ObjectKey> {
    let (level, hash) = file.strip_suffix(".jsonl.zst")?.split_once('-')?;
    let level = u8::try_from(parse_padded(level, 2)?).ok().filter(|level| *level <= LEVEL_MAX)?;
    let hash = ShortHash::parse(hash)?;
    is_source(source).then(|| ObjectKey::Page(PageKey { source: source.to_owned(), level, hash }))
}

fn parse_backup(backup: &str, file: &str) -> Option<ObjectKey> {
    let id = || backup.to_owned();
    if !is_backup_id(backup) {
        return None;
    }
    if file == "manifest.json" {
        return Some(ObjectKey::Manifest { backup: id() });
    }
    if let Some(hash) = file.strip_prefix("files-").and_then(|rest| rest.strip_suffix(".jsonl.zst")) {
        return Some(ObjectKey::Files { backup: id(), hash: ShortHash::parse(hash)? });
    }
    let number = file.strip_prefix("writing-")?.strip_suffix(".json")?;
    Some(ObjectKey::Writing { backup: id(), number: parse_padded(number, 1)? })
}

fn parse_chunk(folder: &str, file: &str) -> Option<ObjectKey> {
    let (file, encrypted) = file.strip_suffix(".age").map_or((file, false), |inner| (inner, true));
    let (sha256, backup) = file.strip_suffix(".zst")?.split_once('-')?;
    let lower = !sha256.bytes().any(|b| b.is_ascii_uppercase());
    let digest = parse_digest(sha256).filter(|_| lower && sha256.starts_with(folder) && folder.len() == 2)?;
    is_backup_id(backup).then(|| ObjectKey::Chunk(ChunkKey { sha256: digest, backup: backup.to_owned(), encrypted }))
}

/// A decimal number in exactly `width` digits, or more without leading zeros: the one form that is written.
fn parse_padded(text: &str, width: usize) -> Option<u64> {
    let canonical = text.len() == width || (text.len() > width && !text.starts_with('0'));
    if !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}"
    }

    fn hash() -> impl Strategy<Value = ShortHash> {
        any::<[u8; 8]>().prop_map(ShortHash)
    }

    fn segment() -> impl Strategy<Value = ObjectKey> {
        let place = prop_oneof![Just(Place::Binlogs), Just(Place::Tail)];
        let compression = prop_oneof![Just(Compression::Zstd), Just(Compression::Gzip), Just(Compression::Bzip2)];
        let binlog = (name(), 0..u64::from(u32::MAX) * 9, any::<[u8; 8]>())
            .prop_map(|(source, number, head)| BinlogId { source, number, head });
        (place, binlog, 0..u64::MAX - 1, 1..1_u64 << 40, hash(), (compression, any::<bool>())).prop_map(
            |(place, binlog, start, length, hash, (compression, encrypted))| {
                let end = start.saturating_add(length);
                ObjectKey::Segment(SegmentKey { place, binlog, start, end, hash, compression, encrypted })
            },
        )
    }

    fn key() -> impl Strategy<Value = ObjectKey> {
        prop_oneof![
            Just(ObjectKey::Archive),
            any::<[u8; 8]>().prop_map(|hash| ObjectKey::Probe { hash: ShortHash(hash) }),
            segment(),
            (name(), 0..=LEVEL_MAX, hash()).prop_map(|(source, level, hash)| ObjectKey::Page(PageKey {
                source,
                level,
                hash
            })),
            (any::<u64>(), hash()).prop_map(|(generation, hash)| ObjectKey::Marks { generation, hash }),
            (any::<u64>(), hash()).prop_map(|(generation, hash)| ObjectKey::Verified { generation, hash }),
            (any::<u64>(), hash()).prop_map(|(generation, hash)| ObjectKey::Drill { generation, hash }),
            name().prop_map(|backup| ObjectKey::Manifest { backup }),
            (name(), hash()).prop_map(|(backup, hash)| ObjectKey::Files { backup, hash }),
            (name(), any::<u64>()).prop_map(|(backup, number)| ObjectKey::Writing { backup, number }),
            (any::<[u8; 32]>(), name(), any::<bool>())
                .prop_map(|(sha256, backup, encrypted)| ObjectKey::Chunk(ChunkKey { sha256, backup, encrypted })),
        ]
    }

    proptest! {
        #[test]
        fn parse_undoes_format(key in key()) {
            prop_assert_eq!(key.to_string().parse::<ObjectKey>(), Ok(key));
        }

        #[test]
        fn what_parses_is_written_in_one_way(text in "(binlogs|tail)/[a-z]{1,3}/0{7,10}[0-9]{1,3}-[0-9a-f]{16}/0{9,12}[0-9]{1,3}-0{8,11}[0-9]{1,4}-[0-9a-f]{16}\\.zst") {
            if let Ok(key) = text.parse::<ObjectKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "\\PC{0,120}") {
            if let Ok(key) = text.parse::<ObjectKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }

    #[test]
    fn keys_look_as_the_format_says() {
        let binlog = BinlogId {
            source: "3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(),
            number: 42,
            head: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
        };
        let key = SegmentKey {
            place: Place::Binlogs,
            binlog,
            start: 0,
            end: 33_554_519,
            hash: ShortHash([0xfe; 8]),
            compression: Compression::Zstd,
            encrypted: false,
        };
        assert_eq!(
            key.to_string(),
            "binlogs/3e11fa47-71ca-11e1-9e33-c80aa9429562/0000000042-0123456789abcdef/\
             000000000000-000033554519-fefefefefefefefe.zst"
        );
    }

    #[test]
    fn foreign_keys_are_refused() {
        for text in [
            "",
            "archive.json.bak",
            "binlogs/a/0000000001-0123456789abcdef/000000000000-000000000000-0123456789abcdef.zst",
            "binlogs/../0000000001-0123456789abcdef/000000000000-000000000004-0123456789abcdef.zst",
            "binlogs/a/0000000001-0123456789ABCDEF/000000000000-000000000004-0123456789abcdef.zst",
            "binlogs/a/1-0123456789abcdef/000000000000-000000000004-0123456789abcdef.zst",
            "tail/a/0000000001-0123456789abcdef/000000000000-000000000004-0123456789abcdef.lz4",
            "catalog/a/100-0123456789abcdef.jsonl.zst",
            "backups/.hidden/manifest.json",
            "backups/x/writing-01.json",
            "chunks/00/ff-x.zst",
        ] {
            assert_eq!(text.parse::<ObjectKey>(), Err(UnknownKey(text.to_owned())));
        }
    }
}
