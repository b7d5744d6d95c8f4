use crate::BinlogName;
use crate::event::{EventType, FormatDescription};
use crate::gtid::GtidSet;

/// What stands at the beginning of a file, before its first transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who wrote the file, and how.
    pub format: FormatDescription,
    /// All GTIDs of earlier files. MySQL: PREVIOUS_GTIDS, exact. MariaDB: GTID_LIST, which only says the last number of
    /// each domain and server, read as "all up to it". Empty for files without either.
    pub previous: GtidSet,
    /// The offset after the event that `previous` was read from (after the format description if there is none).
    pub length: u64,
    /// The raw bytes 4 to `length`, in-use bit cleared: what identifies a binlog.
    pub bytes: Vec<u8>,
}

/// How a file ends, as far as it has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileEnd {
    /// A ROTATE event: the server went on in this file.
    Rotate {
        /// The file after this one.
        next: BinlogName,
    },
    /// A STOP event: the server shut down.
    Stop,
    /// Nothing yet: the file is being written, or its server crashed, or there is more to feed.
    #[default]
    Open,
}

/// Counts of what a scanner has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All events.
    pub events: u64,
    /// Transactions handed to the sink.
    pub transactions: u64,
    /// Those among them without a GTID.
    pub anonymous: u64,
    /// Events of a type we don't know.
    pub unknown_events: u64,
    /// Incidents: holes that the server itself reports.
    pub incidents: u64,
}

/// Why a file can't be read further. Everything before the scanner's boundary is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The first four bytes are not those of a binlog.
    #[error("not a binlog: the file begins with {found:02x?}")]
    NotABinlog {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Encrypted by the server: MySQL's `binlog_encryption` or MariaDB's `encrypt_binlog`.
    #[error("the binlog is encrypted by the server")]
    Encrypted,
    /// A file of MariaDB's binlog within InnoDB.
    #[error("the file belongs to a binlog that is kept within InnoDB")]
    InnodbBinlog,
    /// A replica's relay log.
    #[error("the file is a relay log, not a binlog")]
    RelayLog,
    /// An event whose checksum is not that of its bytes.
    #[error("the {event_type} event at offset {offset} has a wrong checksum")]
    BadChecksum {
        /// Where the event begins.
        offset: u64,
        /// What it says it is.
        event_type: EventType,
    },
    /// An event that can't be: a length below its own header, an order that no server writes, a body cut short.
    #[error("the {event_type} event at offset {offset} is not valid: {reason}")]
    BadEvent {
        /// Where the event begins.
        offset: u64,
        /// What it says it is.
        event_type: EventType,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What `scan` has found out about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The file's head, if it is all there.
    pub head: Option<Head>,
    /// The end of the last whole transaction or control event.
    pub boundary: u64,
    /// How many bytes were read.
    pub length: u64,
    /// How the file ends.
    pub end: FileEnd,
    /// Whether it ends within a transaction.
    pub in_transaction: bool,
    /// What was passed.
    pub counts: Counts,
    /// Why the rest can't be read.
    pub damage: Option<ScanError>,
}
