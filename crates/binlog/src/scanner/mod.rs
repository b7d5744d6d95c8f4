//! The scanner: bytes in, transactions and a precise end state out.

mod outcome;

use std::io::{self, Read};

pub use outcome::{Counts, FileEnd, Head, Scan, ScanError};

use crate::Transaction;

/// Reads a binlog that is fed to it in pieces of any size, and finds its transactions.
#[derive(Clone, Debug)]
pub struct Scanner {
    offset: u64,
    boundary: u64,
    head: Option<Head>,
    end: FileEnd,
    counts: Counts,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the beginning of a file.
    #[must_use]
    pub fn new() -> Self {
        Self { offset: 0, boundary: 0, head: None, end: FileEnd::Open, counts: Counts::default() }
    }

    /// A scanner in the middle of a file whose head is known; `at` must be a transaction boundary.
    #[must_use]
    pub fn resume(head: &Head, at: u64) -> Self {
        Self { offset: at, boundary: at, head: Some(head.clone()), end: FileEnd::Open, counts: Counts::default() }
    }

    /// Takes the bytes that directly follow those fed before, and hands each transaction that they complete to `sink`.
    ///
    /// Whether the in-use bit is cleared already makes no difference. After an error the scanner stays where it is:
    /// everything before `boundary()` is good, and feeding more gives the same error.
    pub fn feed(&mut self, bytes: &[u8], _sink: &mut dyn FnMut(Transaction)) -> Result<(), ScanError> {
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// The file's head, once it has been read.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The offset after the last byte fed.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The end of the last whole transaction or control event: everything before it can be kept.
    #[must_use]
    pub const fn boundary(&self) -> u64 {
        self.boundary
    }

    /// How the file ends, as far as it is known.
    #[must_use]
    pub const fn end(&self) -> &FileEnd {
        &self.end
    }

    /// Whether a transaction has begun and not ended.
    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        false
    }

    /// What has been passed so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

/// Scans a whole file. What is wrong with the file is in the result; an error is one of reading.
pub fn scan(mut reader: impl Read, sink: &mut dyn FnMut(Transaction)) -> io::Result<Scan> {
    let mut scanner = Scanner::new();
    let mut buffer = vec![0; 1 << 20];
    let damage = loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break None,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Err(error) = scanner.feed(&buffer[..length], sink) {
            break Some(error);
        }
    };
    Ok(Scan {
        boundary: scanner.boundary(),
        length: scanner.offset(),
        end: scanner.end().clone(),
        in_transaction: scanner.in_transaction(),
        counts: scanner.counts(),
        head: scanner.head,
        damage,
    })
}
