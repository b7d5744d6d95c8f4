//! Where the index file is.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BinlogFile, DiscoveryError, index_file};

/// Bit of the first event's flags that marks a relay log. Relay logs look like binlogs, have an index like binlogs, and are not
/// this server's history.
const RELAY_LOG: u8 = 0x40;

/// The index file: that of the configured base name, else `binlog.index`, else the only one whose entries are binlogs.
pub(super) fn index_file(datadir: &Path, basename: Option<&Path>) -> Result<PathBuf, DiscoveryError> {
    if let Some(basename) = basename {
        let mut name = datadir.join(basename).into_os_string();
        name.push(".index");
        let index = PathBuf::from(name);
        return if index.is_file() { Ok(index) } else { Err(DiscoveryError::NoIndex { looked: index }) };
    }
    let usual = datadir.join("binlog.index");
    if usual.is_file() {
        return Ok(usual);
    }
    let mut found = candidates(datadir)?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(DiscoveryError::NoIndex { looked: datadir.into() }),
        (Some(index), true) => Ok(index),
        (Some(last), false) => {
            found.push(last);
            Err(DiscoveryError::SeveralIndexes { found })
        }
    }
}

fn candidates(datadir: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    let unreadable = |reason| DiscoveryError::Unreadable { path: datadir.into(), reason };
    let mut found = Vec::new();
    for entry in fs::read_dir(datadir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_index = path.extension().is_some_and(|extension| extension == "index");
        if is_index && names_binlogs(&path, datadir) {
            found.push(path);
        }
    }
    found.sort();
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

fn names_binlogs(index: &Path, datadir: &Path) -> bool {
    let Ok(text) = fs::read_to_string(index) else { return false };
    let (entries, _) = index_file::parse(&text, index, datadir);
    entries.last().is_some_and(|entry| !is_relay_log(&entry.path))
}

fn is_relay_log(path: &Path) -> bool {
    let mut head = [0; 22];
    let read = BinlogFile::open(path).and_then(|file| file.read_at(0, &mut head));
    matches!(read, Ok(22)) && head[21] & RELAY_LOG != 0
}
