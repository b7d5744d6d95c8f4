//! Finds the binlogs of a server from its data directory: nothing is written, nothing is asked of the server.
//!
//! ```text
//! datadir/auto.cnf        whose they are
//! datadir/*.index         which there are, in which order; the last one is active
//! datadir/binlog.000042   the bytes
//! ```

mod binlog_file;
mod identity;
mod index_file;
mod locate;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::binlog_file::{BinlogFile, Stat, stat};
pub(crate) use self::index_file::IndexEntry;
use pitr_recovery::code;

use crate::config::SourceConfig;
use crate::error::Failure;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The archive's name for the server.
    pub(crate) source: String,
    /// The index file that the server writes.
    pub(crate) index: PathBuf,
    /// All binlogs in the server's order. The last one is the one being written.
    pub(crate) entries: Vec<IndexEntry>,
    /// Lines of the index that name no binlog.
    pub(crate) strange_lines: Vec<String>,
}

/// Looks once.
pub(crate) fn look(config: &SourceConfig) -> Result<Found, DiscoveryError> {
    let datadir = config.datadir.as_path();
    if !datadir.is_dir() {
        return Err(DiscoveryError::NoDatadir { datadir: datadir.into() });
    }
    let source = match &config.identity {
        Some(identity) => identity.clone(),
        None => identity::server_uuid(datadir)?.to_string(),
    };
    let mut indexes = locate::index_files(datadir, config.binlog_basename.as_deref())?;
    let Some(index) = indexes.pop() else { return Err(DiscoveryError::NoIndex { looked: datadir.into() }) };
    let mut found = Found { source, index, entries: Vec::new(), strange_lines: Vec::new() };
    for left in indexes {
        // What a server has left under another name is closed, and may be half purged.
        let (entries, _) = index_file::parse(&read_text(&left)?, &left, datadir);
        found.entries.extend(entries.into_iter().filter(|entry| entry.path.is_file()));
    }
    let (entries, strange_lines) = index_file::parse(&read_text(&found.index)?, &found.index, datadir);
    found.entries.extend(entries);
    found.strange_lines = strange_lines;
    Ok(found)
}

/// The UUID of the server in whose data directory the binlogs are.
pub(crate) fn server_uuid(config: &SourceConfig) -> Result<String, DiscoveryError> {
    identity::server_uuid(&config.datadir).map(|uuid| uuid.to_string())
}

/// Whether the server replicates from another one, as far as its files tell.
pub(crate) fn replicates(config: &SourceConfig) -> Result<bool, DiscoveryError> {
    locate::has_relay_logs(&config.datadir)
}

/// Looks again and again; the index is parsed only when it has changed, or when files came or went.
#[derive(Debug)]
pub(crate) struct Lookout {
    config: SourceConfig,
    last: Option<([Stat; 2], Arc<Found>)>,
}

impl Lookout {
    pub(crate) fn new(config: SourceConfig) -> Self {
        Self { config, last: None }
    }

    /// What there is now.
    pub(crate) fn look(&mut self) -> Result<Arc<Found>, DiscoveryError> {
        if let Some((known, found)) = &self.last
            && self.state(&found.index).is_ok_and(|now| now == *known)
        {
            return Ok(Arc::clone(found));
        }
        let strange = self.last.take().map(|(_, found)| found.strange_lines.clone()).unwrap_or_default();
        let found = Arc::new(look(&self.config)?);
        if found.strange_lines != strange {
            for line in &found.strange_lines {
                tracing::warn!(event = "strange-index-line", index = %found.index.display(), line, "it names no binlog");
            }
        }
        // An index that changes while it is read is read again next time: its state is taken as of before.
        let now = self
            .state(&found.index)
            .map_err(|reason| DiscoveryError::Unreadable { path: found.index.clone(), reason })?;
        let again = look(&self.config)?;
        if again == *found {
            self.last = Some((now, Arc::clone(&found)));
        }
        Ok(Arc::new(again))
    }

    /// A server that was started with another base name begins another index, and leaves this one as it is.
    fn state(&self, index: &Path) -> io::Result<[Stat; 2]> {
        Ok([stat(index)?, stat(&self.config.datadir)?])
    }
}

fn read_text(path: &Path) -> Result<String, DiscoveryError> {
    match std::fs::read(path) {
        // Names of files are bytes; what is not UTF-8 shows up as a strange line.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(reason) => Err(DiscoveryError::Unreadable { path: path.into(), reason }),
    }
}

/// Why binlogs were not found. None of these ends the archiver: it says so and looks again.
#[derive(Debug)]
pub(crate) enum DiscoveryError {
    /// The data directory is not there.
    NoDatadir {
        /// Where it was looked for.
        datadir: PathBuf,
    },
    /// There is a data directory and no server has started on it yet.
    NoServerYet {
        /// The data directory.
        datadir: PathBuf,
    },
    /// A MariaDB server, which has no UUID.
    NoUuid {
        /// The data directory.
        datadir: PathBuf,
    },
    /// `auto.cnf` holds no server UUID.
    NoIdentity {
        /// The file.
        path: PathBuf,
    },
    /// No index file of binlogs.
    NoIndex {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// More than one, and none is named in the configuration.
    SeveralIndexes {
        /// All of them.
        found: Vec<PathBuf>,
    },
    /// A file or directory that cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

impl DiscoveryError {
    /// The same with its code, what it means and what helps.
    pub(crate) fn failure(&self) -> Failure {
        let failure = match self {
            Self::Unreadable { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                Failure::new(&code::OWNER_UNKNOWN, self.to_string())
            }
            _ => Failure::new(&code::BINLOG_VOLUME_NOT_FOUND, self.to_string()),
        };
        match self {
            Self::NoDatadir { .. } => {
                failure.hint("the volume is not mounted here").fix("source: {datadir: DIRECTORY}")
            }
            Self::NoServerYet { .. } => failure
                .hint("the server writes auto.cnf at its first start")
                .fix("start the server, or name its directory: source: {datadir: DIRECTORY}"),
            Self::NoUuid { .. } => failure
                .hint("MariaDB gives its servers no identity; the archive needs a name that no other server of the workload has")
                .fix("source: {identity: NAME}"),
            Self::NoIdentity { .. } => {
                failure.hint("the archive needs a name for this server").fix("source: {identity: NAME}")
            }
            Self::NoIndex { .. } => failure
                .hint("the binary log is off, or lies outside the data directory")
                .fix("source: {binlog_basename: /path/to/binlog}"),
            Self::SeveralIndexes { found } => failure
                .hint(found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))
                .fix("source: {binlog_basename: NAME}"),
            Self::Unreadable { .. } => failure
                .hint("the archiver needs the same user or group as the server")
                .fix("run it as the user that owns the binlogs"),
        }
    }
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDatadir { datadir } => write!(f, "data directory \"{}\" does not exist", datadir.display()),
            Self::NoServerYet { datadir } => write!(f, "no server has started on \"{}\" yet", datadir.display()),
            Self::NoUuid { datadir } => write!(f, "\"{}\" is a MariaDB server's, which has no UUID", datadir.display()),
            Self::NoIdentity { path } => write!(f, "\"{}\" holds no server UUID", path.display()),
            Self::NoIndex { looked } => write!(f, "no binlog index in \"{}\"", looked.display()),
            Self::SeveralIndexes { found } => write!(f, "{} binlog indexes in the data directory", found.len()),
            Self::Unreadable { path, reason } => write!(f, "\"{}\" cannot be read: {reason}", path.display()),
        }
    }
}

impl std::error::Error for DiscoveryError {}

#[cfg(test)]
mod tests;
