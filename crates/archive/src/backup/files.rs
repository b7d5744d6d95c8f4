//! The list of a backup's files: zstd-compressed JSON lines, one line for each file or directory.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::{BackupChunk, BackupEntry, CHUNK_BYTES, EntryContent, relative};
use crate::digest::parse_digest;
use crate::layout::{ChunkKey, is_backup_id};

/// The largest list that is read, decompressed: 1 TiB in one file has 7 MiB of chunks.
const READ_BYTES_MAX: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct EntryWire {
    path: String,
    mode: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    directory: bool,
    #[serde(default)]
    length: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chunks: Vec<ChunkWire>,
}

#[derive(Serialize, Deserialize)]
struct ChunkWire {
    sha256: String,
    /// The run that stored it; absent: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    length: u64,
    stored: u64,
    /// Only of encrypted chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    encrypted: bool,
}

/// The list as it is stored. One that could not be read again is an error.
pub(super) fn encode(backup: &str, entries: &[BackupEntry]) -> io::Result<Vec<u8>> {
    encode_within(READ_BYTES_MAX, backup, entries)
}

fn encode_within(most: u64, backup: &str, entries: &[BackupEntry]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    encoder.include_checksum(true)?;
    let (mut line, mut total) = (Vec::new(), 0_u64);
    for entry in entries {
        line.clear();
        serde_json::to_writer(&mut line, &entry_wire(backup, entry))?;
        line.push(b'\n');
        total += line.len() as u64;
        if total > most {
            return Err(io::Error::other(format!("a list of {} files is larger than {most} bytes", entries.len())));
        }
        encoder.write_all(&line)?;
    }
    encoder.finish()
}

fn entry_wire(backup: &str, entry: &BackupEntry) -> EntryWire {
    let (directory, length, chunks) = match &entry.content {
        EntryContent::Directory => (true, 0, Vec::new()),
        EntryContent::File { length, chunks } => {
            (false, *length, chunks.iter().map(|c| chunk_wire(backup, c)).collect())
        }
    };
    EntryWire { path: entry.path.clone(), mode: entry.mode, directory, length, chunks }
}

fn chunk_wire(backup: &str, chunk: &BackupChunk) -> ChunkWire {
    let foreign = chunk.key.backup != backup;
    ChunkWire {
        sha256: hex::encode(chunk.key.sha256),
        backup: foreign.then(|| chunk.key.backup.clone()),
        length: chunk.length,
        stored: chunk.stored,
        stored_sha256: chunk.stored_sha256.map(hex::encode),
        encrypted: chunk.key.encrypted,
    }
}

/// Reads a list. `Err`: what is wrong with it.
pub(super) fn decode(backup: &str, stored: &[u8]) -> Result<Vec<BackupEntry>, String> {
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(decoder.take(READ_BYTES_MAX + 1));
    let (mut entries, mut line, mut total) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        line.clear();
        total += lines.read_until(b'\n', &mut line).map_err(|error| error.to_string())? as u64;
        if total > READ_BYTES_MAX {
            return Err("it is larger than any list of files".to_owned());
        }
        if line.is_empty() {
            return Ok(entries);
        }
        let wire: EntryWire = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
        entries.push(entry(backup, wire)?);
    }
}

fn entry(backup: &str, wire: EntryWire) -> Result<BackupEntry, String> {
    if relative(&wire.path).is_none() {
        return Err(format!("path {:?} does not stay in the data directory", wire.path));
    }
    let content = if wire.directory {
        EntryContent::Directory
    } else {
        let chunks = wire.chunks.into_iter().map(|wire| chunk(backup, wire)).collect::<Result<Vec<_>, _>>()?;
        if chunks.iter().map(|chunk| chunk.length).sum::<u64>() != wire.length {
            return Err(format!("the chunks of {:?} do not add up to its length", wire.path));
        }
        EntryContent::File { length: wire.length, chunks }
    };
    Ok(BackupEntry { path: wire.path, mode: wire.mode & 0o7777, content })
}

fn chunk(backup: &str, wire: ChunkWire) -> Result<BackupChunk, String> {
    let sha256 = parse_digest(&wire.sha256).ok_or_else(|| format!("{:?} is no hash", wire.sha256))?;
    let backup = wire.backup.unwrap_or_else(|| backup.to_owned());
    if !is_backup_id(&backup) || wire.length > CHUNK_BYTES as u64 {
        return Err(format!("chunk {} is not valid", wire.sha256));
    }
    let hash = |text: String| parse_digest(&text).ok_or_else(|| format!("{text:?} is no hash"));
    Ok(BackupChunk {
        key: ChunkKey { sha256, backup, encrypted: wire.encrypted },
        length: wire.length,
        stored: wire.stored,
        stored_sha256: wire.stored_sha256.map(hash).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let chunk = |backup: &str| BackupChunk {
            key: ChunkKey { sha256: [7; 32], backup: backup.to_owned(), encrypted: backup == "bb-1" },
            length: 5,
            stored: 4,
            stored_sha256: (backup == "bb-1").then_some([8; 32]),
        };
        let entries = vec![
            BackupEntry { path: "shop".to_owned(), mode: 0o750, content: EntryContent::Directory },
            BackupEntry {
                path: "shop/orders.ibd".to_owned(),
                mode: 0o640,
                content: EntryContent::File { length: 10, chunks: vec![chunk("bb-2"), chunk("bb-1")] },
            },
            BackupEntry {
                path: "empty".to_owned(),
                mode: 0o640,
                content: EntryContent::File { length: 0, chunks: vec![] },
            },
        ];
        let stored = encode("bb-2", &entries).unwrap();
        assert_eq!(decode("bb-2", &stored), Ok(entries));
    }

    #[test]
    fn a_list_that_could_not_be_read_again_is_not_made() {
        let entry = |path: &str| BackupEntry { path: path.to_owned(), mode: 0o750, content: EntryContent::Directory };
        let entries = [entry("shop"), entry("other")];
        let length = zstd::decode_all(&encode("bb-1", &entries).unwrap()[..]).unwrap().len() as u64;
        assert!(encode_within(length, "bb-1", &entries).is_ok());
        let refused = encode_within(length - 1, "bb-1", &entries).unwrap_err();
        assert!(refused.to_string().contains("a list of 2 files is larger than"), "{refused}");
    }

    #[test]
    fn a_list_with_a_path_outside_is_refused() {
        let stored = zstd::encode_all(&br#"{"path":"../x","mode":420}"#[..], 1).unwrap();
        assert!(decode("bb-1", &stored).unwrap_err().contains("does not stay"));
        let stored = zstd::encode_all(&br#"{"path":"x","mode":420,"length":5}"#[..], 1).unwrap();
        assert!(decode("bb-1", &stored).unwrap_err().contains("add up"));
    }
}
