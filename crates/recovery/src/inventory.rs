//! What an archive holds, as plain values: the only thing from which windows and plans are computed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, TransactionFlags};

use crate::target::Clock;

/// Identifies a binlog: names return (RESET, a new volume, a fail-back), a name with the file's head does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinlogId {
    /// The server: MySQL's server UUID. A name space; nothing relies on it for uniqueness.
    pub source: String,
    /// The number in the binlog's name.
    pub number: u64,
    /// First bytes of the SHA-256 of the file's head.
    pub head: [u8; 8],
}

impl fmt::Display for BinlogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:010}-", self.source, self.number)?;
        self.head.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// All that is archived of one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// What the archive belongs to.
    pub workload: String,
    /// In any order (a listing gives them in that of their ids), and shared by whoever knows the same of them: an archive of years has
    /// very many.
    pub binlogs: Vec<Arc<ArchivedBinlog>>,
    /// In any order.
    pub backups: Vec<BaseBackup>,
    /// When the first listing behind this inventory began.
    pub listed_us: i64,
    /// The server that whoever asks sees running, and not as a replica: its history has not ended, whatever times say. None where nobody
    /// looks at a server.
    pub running: Option<String>,
}

/// What is archived of one binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedBinlog {
    /// Which binlog.
    pub id: BinlogId,
    /// Its file name.
    pub name: BinlogName,
    /// The family of the server that wrote it.
    pub flavour: Flavour,
    /// The version of that server.
    pub server_version: String,
    /// What had been executed before its first transaction, from its head.
    pub previous: GtidSet,
    /// Whether `previous` is known: false while the range that holds the head is not archived.
    pub previous_known: bool,
    /// In any order. They may overlap (the tail over the rest, archivers that cut differently) and have holes.
    pub ranges: Vec<ArchivedRange>,
    /// How it ended, as far as a catalogued range says.
    pub closed: Closed,
    /// From where on it could not be read.
    pub damage: Option<Damage>,
}

/// How a binlog ended. When it is not open, the file ends where its last catalogued range ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Closed {
    /// Nothing is archived that says so: it may go on.
    #[default]
    Open,
    /// By a ROTATE event.
    Rotated {
        /// The file that the server went on in.
        next: BinlogName,
    },
    /// By a clean shutdown.
    Stopped,
    /// Without a last event, and the server has begun another file since.
    Crashed,
}

/// A place in a binlog after which nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The offset of the first byte that makes no sense.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// Bytes `start..end` of a binlog, as one or more objects with the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRange {
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Hash of the raw bytes.
    pub raw_sha256: [u8; 32],
    /// Where it is kept.
    pub kind: RangeKind,
    /// The GTIDs of its transactions. A transaction belongs to the range that holds its last byte.
    pub gtids: GtidSet,
    /// How many transactions end in it, those without GTID included.
    pub transactions: u64,
    /// Its first transaction.
    pub first: Option<TransactionPoint>,
    /// Its last transaction.
    pub last: Option<TransactionPoint>,
    /// The least commit time of its transactions; without meaning when it has none.
    pub min_commit_us: i64,
    /// The greatest commit time of its transactions; without meaning when it has none.
    pub max_commit_us: i64,
    /// By how much at most a commit time in it lies below an earlier one in it; 0 when times never step back.
    pub step_back_us: i64,
    /// What is in it.
    pub flags: RangeFlags,
    /// The objects that hold it; any of them serves. None: it was archived, and cannot be read any more.
    pub objects: Vec<StoredObject>,
}

/// Where a range is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeKind {
    /// In the catalog: from a full segment's worth, or from a closed binlog.
    Catalogued,
    /// In the tail: from a binlog that the server was still writing.
    Tail,
}

/// What is in a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeFlags {
    /// The flags of its transactions, together.
    pub transactions: TransactionFlags,
    /// A transaction without GTID is in it.
    pub anonymous: bool,
    /// A commit time in it is only known to the second.
    pub whole_seconds: bool,
    /// Its first bytes belong to a transaction that began in an earlier range.
    pub starts_in_transaction: bool,
    /// Its last bytes belong to a transaction that ends in a later range.
    pub ends_in_transaction: bool,
    /// It ends with the server's word that it was shut down. A binlog whose end nobody catalogued, because its volume went, tells it in the
    /// tail.
    pub shut_down: bool,
}

/// Where one transaction lies in its binlog, and when it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionPoint {
    /// Its GTID, if it has one.
    pub gtid: Option<Gtid>,
    /// Its commit time.
    pub commit_us: i64,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
}

/// An object that holds a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its key in the archive.
    pub key: String,
    /// Its length as stored.
    pub length: u64,
    /// The beginning of the SHA-256 of what is stored.
    pub sha256_begins: [u8; 8],
}

/// A restorable copy of the data, with the exact set of transactions that it contains.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseBackup {
    /// `bb-...`
    pub id: String,
    /// How it was made: `clone`, `dump`, ...
    pub method: String,
    /// The family of the server that it was taken from.
    pub flavour: Flavour,
    /// The version of that server.
    pub server_version: String,
    /// The server that it was taken from; empty where that is not known.
    pub source: String,
    /// All that had been executed, purged transactions included.
    pub executed: GtidSet,
    /// The same as a position in that server's log.
    pub position: Option<(BinlogName, u64)>,
    /// When it was consistent, by the clock of whoever took it. A hint: sets decide wherever they can (T8).
    pub snapshot_us: i64,
    /// When it was begun.
    pub started_us: i64,
    /// When it was complete.
    pub finished_us: i64,
    /// Its size when restored.
    pub raw_bytes: u64,
    /// Its size in the archive.
    pub stored_bytes: u64,
    /// Settings that a restoring server must match.
    pub settings: BTreeMap<String, String>,
    /// Public keys that it is encrypted to, each of which alone opens it; empty: it is in clear.
    pub recipients: Vec<String>,
}

/// Names one range by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeRef {
    /// The binlog.
    pub binlog: BinlogId,
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Hash of the raw bytes.
    pub raw_sha256: [u8; 32],
}

/// What the index of one range says about its transactions, in log order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionIndex {
    /// One entry for each transaction that ends in the range.
    pub entries: Vec<IndexEntry>,
}

/// One transaction, as a range's index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its GTID, if it has one.
    pub gtid: Option<Gtid>,
    /// Its commit time, as [`pitr_binlog::Transaction::commit_us`] says.
    pub commit_us: i64,
    /// When the server that wrote this log committed it.
    pub immediate_us: Option<i64>,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
    /// What is in it.
    pub flags: TransactionFlags,
    /// Hash of the identifier of an XA transaction, as `pitr_binlog::event::XaId::hash64` makes it.
    pub xid: Option<u64>,
}

/// Indices that have been read.
pub type Indices = BTreeMap<RangeRef, TransactionIndex>;

impl IndexEntry {
    /// When it was committed, by one of two clocks.
    #[must_use]
    pub fn us(&self, clock: Clock) -> i64 {
        match clock {
            Clock::Original => self.commit_us,
            Clock::Immediate => self.immediate_us.unwrap_or(self.commit_us),
        }
    }
}

impl Inventory {
    /// Where a binlog stands among those that are in the order of their ids. `Err`: where it would.
    pub fn place_of(&self, id: &BinlogId) -> Result<usize, usize> {
        self.binlogs.binary_search_by(|binlog| binlog.id.cmp(id))
    }
}

impl ArchivedRange {
    /// Whether an object holds it that can be read. Where none does, the range still tells what was archived.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.objects.is_empty()
    }
}

impl ArchivedBinlog {
    /// The reference that names one of this binlog's ranges.
    #[must_use]
    pub fn range_ref(&self, range: &ArchivedRange) -> RangeRef {
        RangeRef { binlog: self.id.clone(), start: range.start, end: range.end, raw_sha256: range.raw_sha256 }
    }
}
