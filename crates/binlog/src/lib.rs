//! What a MySQL or MariaDB binary log is: names, events, checksums, GTID sets and the scanner.
//!
//! ```text
//! bytes ── Scanner ──▶ Head (format description, previous GTIDs)
//!             ├──────▶ Transaction, one per GTID group: GTID, commit time, byte range, flags
//!             └──────▶ boundary (all before it is whole), FileEnd (ROTATE, STOP or open)
//! ```
//!
//! Pure values and bytes: no files, no clock, no network, no async. Positions are 64-bit offsets that we count; what an
//! event says about its position is never relied on. No allocation follows an unchecked length.
//!
//! Tested with files of MySQL 9.7, MariaDB 10.11 and 11.8 (`tests/fixtures`). The formats of MySQL 8.0 and 8.4 are subsets
//! of 9.7's, but files of these servers have not been read. Logs before MySQL 5.6 and MariaDB 5.3 are refused.

#![deny(missing_docs)]

pub mod describe;
pub mod event;
mod flavour;
mod gtid;
mod name;
mod reader;
mod scanner;
mod transaction;

pub use flavour::{Flavour, UnknownFlavour};
pub use gtid::{Gtid, GtidSet, GtidSource, GtidTextError, GtidWireError, Tag, TagError, Uuid, UuidError};
pub use name::{BinlogName, NameError};
pub use scanner::{Counts, FileEnd, Head, Scan, ScanError, Scanner, scan};
pub use transaction::{Transaction, TransactionFlags};

/// The first four bytes of a binlog.
pub const MAGIC: [u8; 4] = *b"\xfebin";
/// The first four bytes of a binlog that MySQL encrypts (`binlog_encryption=ON`).
pub const ENCRYPTED_MAGIC: [u8; 4] = [0xfd, b'b', b'i', b'n'];
/// Where in a file the byte with the in-use bit is: the flags of its format description.
pub const IN_USE_OFFSET: u64 = 21;
