//! Where the index files are.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{DiscoveryError, index_file};

/// Bit of the first event's flags that marks a relay log. Relay logs look like binlogs, have an index like binlogs, and are not
/// this server's history.
const RELAY_LOG: u8 = 0x40;
/// Bytes up to the flags of the first event, whose header begins after the magic with its time.
const HEAD_BYTES: usize = 22;
/// Where those flags are.
const FLAGS_AT: usize = 21;
/// Bit of the same flags that a binlog has until its server is done with it (`LOG_EVENT_BINLOG_IN_USE_F`, binlog_event.h).
const IN_USE: u8 = 0x01;

/// The index files: that of the configured base name, else all whose entries are binlogs, the one that the server writes last.
///
/// A server that was started with another base name leaves the old index behind, and its binlogs may not be archived yet.
pub(super) fn index_files(datadir: &Path, basename: Option<&Path>) -> Result<Vec<PathBuf>, DiscoveryError> {
    if let Some(basename) = basename {
        let mut name = datadir.join(basename).into_os_string();
        name.push(".index");
        let index = PathBuf::from(name);
        return if index.is_file() { Ok(vec![index]) } else { Err(DiscoveryError::NoIndex { looked: index }) };
    }
    let mut found = candidates(datadir)?;
    found.sort();
    match &found[..] {
        [] => Err(DiscoveryError::NoIndex { looked: datadir.into() }),
        // Of two that began in the same second nobody knows which is written.
        [.., (before, _), (last, _)] if before == last => {
            Err(DiscoveryError::SeveralIndexes { found: found.into_iter().map(|(_, index)| index).collect() })
        }
        _ => Ok(found.into_iter().map(|(_, index)| index).collect()),
    }
}

/// How sure it is that a server writes by an index: first whether the last binlog is in use, which no clock can get wrong, then the
/// second in which it was begun.
type Written = (bool, u32);

/// Indexes of binlogs, each with how sure it is that the server writes by it.
fn candidates(datadir: &Path) -> Result<Vec<(Written, PathBuf)>, DiscoveryError> {
    let unreadable = |reason| DiscoveryError::Unreadable { path: datadir.into(), reason };
    let mut found = Vec::new();
    for entry in fs::read_dir(datadir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_index = path.extension().is_some_and(|extension| extension == "index");
        if is_index && let Some(written) = last_binlog_says(&path, datadir) {
            found.push((written, path));
        }
    }
    Ok(found)
}

/// Whether the server keeps relay logs here: then it replicates from another one.
pub(super) fn has_relay_logs(datadir: &Path) -> Result<bool, DiscoveryError> {
    let unreadable = |reason| DiscoveryError::Unreadable { path: datadir.into(), reason };
    for entry in fs::read_dir(datadir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "index") && names_relay_logs(&path, datadir) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn names_relay_logs(index: &Path, datadir: &Path) -> bool {
    let Ok(text) = fs::read_to_string(index) else { return false };
    let (entries, _) = index_file::parse(&text, index, datadir);
    entries.last().is_some_and(|entry| entry.name.base().contains("relay") || is_relay_log(&entry.path))
}

/// What the last binlog of an index says; none when it is no index of binlogs. The one before it counts while the server is just
/// beginning the last.
fn last_binlog_says(index: &Path, datadir: &Path) -> Option<Written> {
    let text = fs::read_to_string(index).ok()?;
    let (entries, _) = index_file::parse(&text, index, datadir);
    let last = entries.iter().rev().take(2);
    entries.last()?;
    let (mut in_use, mut began) = (false, 0);
    for head in last.filter_map(|entry| head(&entry.path)) {
        if is_relay(&head) {
            return None;
        }
        let seconds = head.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
        began = began.max(seconds.unwrap_or(0));
        in_use |= head[FLAGS_AT] & IN_USE != 0;
    }
    Some((in_use, began))
}

fn is_relay_log(path: &Path) -> bool {
    head(path).is_some_and(|head| is_relay(&head))
}

fn is_relay(head: &[u8; HEAD_BYTES]) -> bool {
    head[FLAGS_AT] & RELAY_LOG != 0
}

/// The magic and the header of the first event, as they stand in the file: reading it as a binlog would clear [`IN_USE`].
fn head(path: &Path) -> Option<[u8; HEAD_BYTES]> {
    let mut head = [0; HEAD_BYTES];
    fs::File::open(path).and_then(|file| file.read_exact_at(&mut head, 0)).ok()?;
    head.starts_with(&pitr_binlog::MAGIC).then_some(head)
}
