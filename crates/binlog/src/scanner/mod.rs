//! The scanner: bytes in, transactions and a precise end state out.

mod frame;
mod group;
mod outcome;
mod passage;

use std::io::{self, Read};

pub use outcome::{Counts, FileEnd, Head, Scan, ScanError};

use crate::Transaction;
use crate::event::{EventHeader, crc32_matches};
use frame::Partial;
use passage::Passage;

/// Reads a binlog that is fed to it in pieces of any size, and finds its transactions.
///
/// Memory is bounded: of an event only what decides is kept (at most 64 MiB for the set of GTIDs in the head, 67 KiB for
/// a statement, the header of anything else), and an event that comes in one piece is not copied at all.
#[derive(Clone, Debug)]
pub struct Scanner {
    passage: Passage,
    /// Where the next event begins, or the one that is partly there.
    start: u64,
    partial: Partial,
    failure: Option<ScanError>,
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
        Self { passage: Passage::new(), start: 0, partial: Partial::new(), failure: None }
    }

    /// A scanner in the middle of a file whose head is known; `at` must be a transaction boundary.
    #[must_use]
    pub fn resume(head: &Head, at: u64) -> Self {
        Self { passage: Passage::resume(head, at), start: at, ..Self::new() }
    }

    /// Takes the bytes that directly follow those fed before, and hands each transaction that they complete to `sink`.
    ///
    /// Whether the in-use bit is cleared already makes no difference. After an error the scanner stays where it is:
    /// everything before `boundary()` is good, and feeding more gives the same error.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Transaction)) -> Result<(), ScanError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.advance(bytes, sink).inspect_err(|failure| self.failure = Some(failure.clone()))
    }

    fn advance(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Transaction)) -> Result<(), ScanError> {
        while !bytes.is_empty() {
            let used = if self.passage.expects_magic() {
                self.magic(bytes)?
            } else {
                match self.whole_event(bytes, sink)? {
                    Some(used) => used,
                    None => self.piece(bytes, sink)?,
                }
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    fn magic(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        let used = self.partial.take_magic(bytes);
        if let Some(magic) = self.partial.kept().first_chunk() {
            self.passage.magic(*magic)?;
            self.next_event(magic.len() as u64);
        }
        Ok(used)
    }

    /// The next event, if all of it is there: the usual case, without a copy.
    fn whole_event(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Transaction)) -> Result<Option<usize>, ScanError> {
        let Some(header) = bytes.first_chunk().filter(|_| self.partial.is_empty()) else {
            return Ok(None);
        };
        let header = EventHeader::parse(header);
        self.passage.check_header(&header, self.start)?;
        let Some(event) = usize::try_from(header.size).ok().and_then(|size| bytes.get(..size)) else {
            return Ok(None);
        };
        if self.passage.has_checksums() && !crc32_matches(event) {
            return Err(self.bad_checksum(&header));
        }
        self.passage.event(&header, event, self.start, sink)?;
        self.start += u64::from(header.size);
        Ok(Some(event.len()))
    }

    /// A piece of an event.
    fn piece(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Transaction)) -> Result<usize, ScanError> {
        let Some(header) = self.partial.header() else {
            let used = self.partial.take_header(bytes);
            if let Some(header) = self.partial.header() {
                self.passage.check_header(&header, self.start)?;
                self.complete(&header, sink)?;
            }
            return Ok(used);
        };
        let used = self.partial.take_body(bytes, header.size);
        self.complete(&header, sink)?;
        Ok(used)
    }

    /// Passes the event that came in pieces, if it is all there.
    fn complete(&mut self, header: &EventHeader, sink: &mut dyn FnMut(Transaction)) -> Result<(), ScanError> {
        if self.partial.seen() < u64::from(header.size) {
            return Ok(());
        }
        if self.passage.has_checksums() && !self.partial.checksum_matches() {
            return Err(self.bad_checksum(header));
        }
        self.passage.event(header, self.partial.kept(), self.start, sink)?;
        self.next_event(header.size.into());
        Ok(())
    }

    fn next_event(&mut self, length: u64) {
        self.partial.clear();
        self.start += length;
    }

    const fn bad_checksum(&self, header: &EventHeader) -> ScanError {
        ScanError::BadChecksum { offset: self.start, event_type: header.event_type }
    }

    /// The file's head, once it has been read.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.passage.head.as_ref()
    }

    /// The offset after the last byte taken: all bytes fed, but for those after an error.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.start + self.partial.seen()
    }

    /// The end of the last whole transaction or control event: everything before it can be kept. It is 0 until the
    /// head is complete.
    #[must_use]
    pub const fn boundary(&self) -> u64 {
        self.passage.boundary
    }

    /// How the file ends, as far as it is known.
    #[must_use]
    pub const fn end(&self) -> &FileEnd {
        &self.passage.end
    }

    /// Whether a transaction has begun and not ended.
    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        self.passage.group.is_some()
    }

    /// What has been passed so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.passage.counts
    }
}

/// Scans a whole file. What is wrong with the file is in the result; an error is one of reading.
pub fn scan(mut reader: impl Read, sink: &mut dyn FnMut(Transaction)) -> io::Result<Scan> {
    const BUFFER: usize = 1 << 20;
    let mut scanner = Scanner::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if scanner.feed(&buffer[..length], sink).is_err() {
            break;
        }
    }
    Ok(Scan {
        boundary: scanner.boundary(),
        length: scanner.offset(),
        in_transaction: scanner.in_transaction(),
        counts: scanner.counts(),
        head: scanner.passage.head,
        end: scanner.passage.end,
        damage: scanner.failure,
    })
}
