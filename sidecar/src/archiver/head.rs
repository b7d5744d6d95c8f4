//! Which binlog a file is: names return (RESET, a new volume), a name with the file's head does not.

use std::io;
use std::sync::Arc;

use pitr_archive::ShortHash;
use pitr_binlog::{BinlogName, Head, ScanError, Scanner};
use pitr_recovery::BinlogId;

use crate::discovery::{BinlogFile, Stat};

/// Bytes of one read while looking for the end of the head; nearly every head is shorter than one.
const READ_BYTES: usize = 64 << 10;

/// A file whose head was read.
#[derive(Debug, Clone)]
pub(crate) struct Identified {
    /// The binlog.
    pub(crate) id: BinlogId,
    /// Its name.
    pub(crate) name: BinlogName,
    /// Its head.
    pub(crate) head: Arc<Head>,
    /// The file's state just before the head was read.
    pub(crate) stat: Stat,
}

impl Identified {
    /// When the server began this file, in microseconds: no transaction in it is older than a session's clock says.
    pub(crate) fn began_us(&self) -> Option<i64> {
        let seconds = self.head.format.event_bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))?;
        (seconds > 0).then(|| i64::from(seconds) * 1_000_000)
    }
}

/// Why a file could not be identified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    /// The file cannot be read.
    #[error("read the head")]
    Read(#[from] io::Error),
    /// It is no binlog that can be read from the file.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It ends inside its head: the server is just beginning it, or it was truncated there.
    #[error("the file ends inside its head")]
    Short,
}

/// Reads the head of an open file.
pub(crate) fn identify(file: &BinlogFile, name: &BinlogName, source: &str) -> Result<Identified, HeadError> {
    let stat = file.stat()?;
    let mut scanner = Scanner::new();
    let mut bytes = vec![0; READ_BYTES];
    while scanner.head().is_none() {
        let count = file.read_at(scanner.offset(), &mut bytes)?;
        if count == 0 {
            return Err(HeadError::Short);
        }
        let fed = scanner.feed(&bytes[..count], &mut |_| {});
        // Damage behind the head is found again by whoever reads on.
        if scanner.head().is_none() {
            fed?;
        }
    }
    let Some(head) = scanner.head().cloned() else { return Err(HeadError::Short) };
    let id = BinlogId { source: source.to_owned(), number: name.number(), head: ShortHash::of(&head.bytes).0 };
    Ok(Identified { id, name: name.clone(), head: Arc::new(head), stat })
}
