//! The archive of one workload: the rules of archive-format.md, on top of any store.

mod adopt;
mod describe;
mod discard;
mod drill;
mod heads;
mod indices;
mod inventory;
mod keys;
mod pages;
mod plan_keys;
mod probe;
mod proofs;
mod quarantine;
mod read;
mod record_list;
mod records;
mod repeated;
mod retention;
mod tail;
#[cfg(test)]
mod tests;
mod transactions;
mod verify;
mod write;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use pitr_recovery::RangeRef;
use serde::{Deserialize, Serialize};

pub use adopt::Adoption;
pub use describe::{Description, StopDescription};
pub(crate) use drill::TRANSACTIONS_MIN;
pub use drill::{Drill, Drills, Pace};
pub use heads::RangeGtids;
pub use inventory::{InventoryReport, lay_over, remove_from};
pub use plan_keys::{OtherBase, PlanKeys, is_log_sealed};
pub use probe::{Probe, ProbeStep};
pub use proofs::Proofs;
pub use quarantine::Quarantine;
pub use record_list::RecordList;
pub use records::Discovered;
pub use retention::{Deduped, Proposal, Retained, RetentionRules, Swept, Workspace};
pub use tail::{TailCoverage, TailReport};
pub use transactions::{Found, FoundTransaction, Matching, NoResume, Point, Resume, Search, SearchError, Sought};
pub use verify::{Finding, FindingKind, LastVerified, Rebuilt, SLICES, Slices, Verified, VerifyProgress, VerifyRules};
pub use write::{EncodedSegment, Published};

use crate::catalog::PageError;
use crate::layout::ARCHIVE_KEY;
use crate::seal::{HashKey, Identities, Sealer};
use crate::segment::{DraftError, FORMAT, SegmentError, SegmentRecord};
use crate::store::{ObjectClass, Store, StoreError};

/// The clock, handed in by `main`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Requests of one reader at a time.
const READS_AT_ONCE: usize = 8;

/// Why something with an archive failed. Each variant is a decision of the caller's.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The prefix belongs to another workload: two histories never share a prefix.
    #[error("{url} holds the archive of \"{found}\"")]
    ForeignWorkload {
        /// Where.
        url: String,
        /// Whose it is.
        found: String,
    },
    /// There is no archive at this address.
    #[error("{url} holds no archive")]
    NoArchive {
        /// Where.
        url: String,
    },
    /// Something is written in a later format.
    #[error("\"{key}\" is written in format {found}, this version reads format {FORMAT}")]
    NewerFormat {
        /// The object.
        key: String,
        /// Its format.
        found: u32,
    },
    /// `archive.json`, a manifest or a list of files cannot be read.
    #[error("\"{key}\" cannot be read: {reason}")]
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A segment cannot be used.
    #[error("segment \"{key}\" cannot be used")]
    Segment {
        /// The object.
        key: String,
        /// Why.
        source: SegmentError,
    },
    /// A page of the catalog cannot be used.
    #[error("page \"{key}\" cannot be used")]
    Page {
        /// The object.
        key: String,
        /// Why.
        source: PageError,
    },
    /// A segment cannot be written like this.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// A segment that a page was to name is not in the store any more.
    #[error("\"{key}\" is no longer in the store")]
    Vanished {
        /// The object.
        key: String,
    },
    /// No object holds these bytes any more.
    #[error("bytes {}..{} of binlog {} are not in the archive any more", .range.start, .range.end, .range.binlog)]
    RangeLost {
        /// The range.
        range: Box<RangeRef>,
    },
    /// Objects cover the range, but with other bytes, or none of them is whole.
    #[error("bytes {}..{} of binlog {} do not match their hash: {reason}", .range.start, .range.end, .range.binlog)]
    RangeChanged {
        /// The range.
        range: Box<RangeRef>,
        /// What was found.
        reason: String,
    },
    /// The store's clock, or ours, is wrong: nothing that depends on how old something is can be decided.
    #[error("the store's clock says {store}, ours {ours}: nothing expires while they differ by more than an hour")]
    ClocksDiffer {
        /// When the store took what was just written.
        store: Timestamp,
        /// What it was here.
        ours: Timestamp,
    },
    /// There is no such base backup.
    #[error("base backup \"{id}\" is not in the archive")]
    NoSuchBackup {
        /// Its id.
        id: String,
    },
    /// Content of a base backup is not what it was.
    #[error("\"{path}\" of base backup \"{id}\" cannot be restored: {reason}")]
    BackupDamaged {
        /// The backup.
        id: String,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A chunk of a base backup is encrypted, and no identity at hand opens it.
    #[error("\"{key}\" is encrypted{}{}", to(.recipients), if *.wrong { ", and none of the identities at hand opens it" } else { "" })]
    BackupSealed {
        /// The object.
        key: String,
        /// To whom, where that is known.
        recipients: Vec<String>,
        /// Whether there are identities.
        wrong: bool,
    },
    /// Reading what is to be stored, or writing what is restored, failed.
    #[error("{action} \"{path}\" failed")]
    Io {
        /// What was done.
        action: &'static str,
        /// To what.
        path: String,
        /// How it failed.
        source: std::io::Error,
    },
    /// A backup could not say that it is still running for so long that its chunks may have been swept.
    #[error("base backup \"{id}\" could not renew its claim on its chunks for an hour")]
    BackupNotRenewed {
        /// The backup.
        id: String,
    },
    /// The program is being stopped.
    #[error("stopped")]
    Stopped,
}

impl ArchiveError {
    /// Why one object cannot be used although the store has it: it is damaged, or withheld by its storage class. None: it is
    /// something else.
    pub(crate) fn unusable(&self) -> Option<String> {
        match self {
            Self::Segment { source, .. } => Some(source.to_string()),
            Self::Store(StoreError::Corrupt { reason, .. }) => Some(reason.clone()),
            Self::Store(StoreError::Withheld { reason, .. }) => Some(format!("withheld: {reason}")),
            _ => None,
        }
    }

    /// Whether there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFound { .. }))
    }

    /// Whether nothing that is stored gives this range now: what holds it is gone, damaged or withheld.
    pub(crate) fn is_of_lost_range(&self) -> bool {
        matches!(self, Self::RangeLost { .. } | Self::RangeChanged { .. } | Self::Store(StoreError::Withheld { .. }))
    }
}

/// The archive of one workload.
pub struct Archive {
    store: Arc<dyn Store>,
    clock: Clock,
    writer: String,
    /// What encrypts payloads, if anything does.
    sealer: Option<Sealer>,
    /// What opens them.
    identities: Identities,
    /// Keys of hashes that were given, or found in payloads.
    hash_keys: Mutex<Vec<HashKey>>,
    /// When this process stored segments that no page names yet.
    stored: Mutex<HashMap<String, write::StoredAt>>,
    /// Redundant objects that a store with a cached view keeps a little longer.
    discards: Mutex<Vec<discard::Discard>>,
    /// Headers of tail segments, which are read again and again.
    tail_headers: Mutex<HashMap<String, SegmentRecord>>,
    /// Segments of replicas whose bytes are not like those of another server's log, though their numbers are.
    unlike: Mutex<HashSet<String>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("store", &self.store.describe()).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ArchiveWire {
    format: u32,
    workload: String,
}

/// Enough to refuse a later format by name.
#[derive(Deserialize)]
struct OnlyFormat {
    format: u32,
}

impl Archive {
    /// An archive to read. Nothing is asked of the store yet.
    #[must_use]
    pub fn open(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            writer: format!("pitr-archive {}", env!("CARGO_PKG_VERSION")),
            sealer: None,
            identities: Identities::default(),
            hash_keys: Mutex::default(),
            stored: Mutex::default(),
            discards: Mutex::default(),
            tail_headers: Mutex::default(),
            unlike: Mutex::default(),
        }
    }

    /// An archive to write into: says whose it is, and refuses one that is somebody else's.
    ///
    /// # Errors
    /// [`ArchiveError::ForeignWorkload`], or what the store answers.
    pub async fn claim(store: Arc<dyn Store>, clock: Clock, workload: &str) -> Result<Self, ArchiveError> {
        let archive = Self::open(store, clock);
        match archive.workload().await {
            Err(ArchiveError::NoArchive { .. }) => {
                let wire = ArchiveWire { format: FORMAT, workload: workload.to_owned() };
                let json = serde_json::to_vec(&wire).map_err(|error| unreadable(ARCHIVE_KEY, &error))?;
                archive.store.put(ARCHIVE_KEY, json.into(), ObjectClass::Control).await?;
            }
            found => drop(found?),
        }
        // Read again: another workload may have written at the same moment, and one of the two has won.
        archive.check_claim(workload).await?;
        Ok(archive)
    }

    /// Whether the prefix is still this workload's. An archiver asks every hour.
    ///
    /// # Errors
    /// [`ArchiveError::ForeignWorkload`], [`ArchiveError::NoArchive`], or what the store answers.
    pub async fn check_claim(&self, workload: &str) -> Result<(), ArchiveError> {
        // It carries no hash: what does not read as ours is read again before anybody acts on it.
        let found = match self.workload().await {
            Ok(found) if found == workload => found,
            Ok(_) | Err(ArchiveError::Unreadable { .. } | ArchiveError::NewerFormat { .. }) => self.workload().await?,
            Err(error) => return Err(error),
        };
        if found == workload {
            Ok(())
        } else {
            Err(ArchiveError::ForeignWorkload { url: self.store.describe(), found })
        }
    }

    /// What the archive belongs to.
    ///
    /// # Errors
    /// [`ArchiveError::NoArchive`], [`ArchiveError::NewerFormat`], or what the store answers.
    pub async fn workload(&self) -> Result<String, ArchiveError> {
        let json = match self.store.get(ARCHIVE_KEY).await {
            Err(error) if error.is_not_found() => {
                return Err(ArchiveError::NoArchive { url: self.store.describe() });
            }
            other => other?,
        };
        let wire: ArchiveWire = parse_json(ARCHIVE_KEY, &json)?;
        Ok(wire.workload)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The store's address.
    #[must_use]
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// Whether the store has an object.
    pub(crate) async fn is_there(&self, key: &str) -> Result<bool, ArchiveError> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }
}

/// Reads a JSON object of this format; refuses another format by name.
pub(crate) fn parse_json<T: for<'a> Deserialize<'a>>(key: &str, json: &[u8]) -> Result<T, ArchiveError> {
    let OnlyFormat { format } = serde_json::from_slice(json).map_err(|error| unreadable(key, &error))?;
    if format != FORMAT {
        return Err(ArchiveError::NewerFormat { key: key.to_owned(), found: format });
    }
    serde_json::from_slice(json).map_err(|error| unreadable(key, &error))
}

pub(crate) fn unreadable(key: &str, error: &impl fmt::Display) -> ArchiveError {
    ArchiveError::Unreadable { key: key.to_owned(), reason: error.to_string() }
}

/// Runs what is bound by the processor where it does not hold up anything else.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ArchiveError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ArchiveError::Stopped)
}

/// A lock whose holder cannot leave the data half changed.
fn to(recipients: &[String]) -> String {
    if recipients.is_empty() { String::new() } else { format!(" to {}", recipients.join(", ")) }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of a segment that was fetched whole.
pub(crate) struct Fetched {
    pub(crate) record: SegmentRecord,
    pub(crate) raw: Bytes,
}
