//! Cuts a binlog into pieces that become segments.
//!
//! ```text
//! file     |head|t1|t2|   t3   |t4|t5|           t6 (huge)            |t7|...
//! cut at   0          ^first boundary at or after segment_bytes   ^multiples, inside t6   ^
//! ```
//! Cuts depend on the file and on `segment_bytes` alone, so that archivers agree on them. The scanner runs ahead through a small
//! buffer until a cut is known; then exactly that range is read again (from the page cache) and handed out, unless a window has kept it.
//! So memory is one piece, whatever the transactions are like; one larger than two segments is cut inside.

use std::io;

use bytes::Bytes;
use pitr_binlog::{FileEnd, Head, ScanError, Scanner, Transaction};

use super::window::{Spare, Window};
use crate::discovery::BinlogFile;

/// Bytes of one read: what the processor's cache holds while they are checked.
const READ_BYTES: usize = 256 << 10;

/// A byte range of a binlog with what stands in it.
#[derive(Debug)]
pub(crate) struct Piece {
    /// First byte.
    pub(crate) start: u64,
    /// Byte after the last one.
    pub(crate) end: u64,
    /// The bytes, in-use bit cleared.
    pub(crate) raw: Bytes,
    /// Transactions that end in it.
    pub(crate) transactions: Vec<Transaction>,
    /// Whether its first byte lies inside a transaction.
    pub(crate) starts_in_transaction: bool,
    /// Whether its last byte lies inside a transaction.
    pub(crate) ends_in_transaction: bool,
}

/// Where a cutter begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// A transaction boundary at or before `start`, or 0: where scanning begins.
    pub(crate) boundary: u64,
    /// First byte that is wanted.
    pub(crate) start: u64,
    /// Nothing at or behind this is read.
    pub(crate) limit: u64,
}

/// Why a piece could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    /// The file itself.
    #[error("read the binlog")]
    Read(#[from] io::Error),
    /// The file is shorter than what has been read or shipped of it.
    #[error("the binlog ends at {size}, before {wanted}")]
    Shorter {
        /// Its length.
        size: u64,
        /// What should be there.
        wanted: u64,
    },
}

/// Reads one binlog from a point on, piece by piece.
#[derive(Debug)]
pub(crate) struct Cutter {
    file: BinlogFile,
    scanner: Scanner,
    segment_bytes: u64,
    limit: u64,
    start: u64,
    /// Transactions that were scanned and not handed out.
    transactions: Vec<Transaction>,
    /// Whether `start` lies inside a transaction.
    starts_in_transaction: bool,
    damage: Option<ScanError>,
    buffer: Vec<u8>,
    window: Option<Window>,
}

impl Cutter {
    /// Begins at `extent.start` of a file with that head.
    pub(crate) fn open(file: BinlogFile, head: &Head, extent: Extent, segment_bytes: u64) -> Result<Self, CutError> {
        let size = file.stat()?.size;
        if size < extent.start {
            return Err(CutError::Shorter { size, wanted: extent.start });
        }
        let in_head = extent.boundary < head.length;
        let scanner = if in_head { Scanner::new() } else { Scanner::resume(head, extent.boundary) };
        let mut cutter = Self {
            file,
            scanner,
            segment_bytes,
            limit: extent.start,
            start: extent.start,
            transactions: Vec::new(),
            starts_in_transaction: false,
            damage: None,
            buffer: vec![0; READ_BYTES],
            window: None,
        };
        while cutter.scan_more()? {}
        cutter.transactions.clear();
        // Whatever was read behind the last boundary belongs to a transaction, be it a part of its first event.
        cutter.starts_in_transaction = cutter.scanner.offset() > cutter.scanner.boundary();
        cutter.limit = extent.limit.min(size);
        Ok(cutter)
    }

    /// Keeps what it scans of the piece in hand, up to a segment and a quarter: it needs that much memory from the first look on.
    #[must_use]
    pub(crate) fn keeping(mut self, spare: Spare) -> Self {
        let read = self.buffer.len();
        let most = usize::try_from(self.most_in_hand()).unwrap_or(usize::MAX);
        self.window = Some(Window::new(spare, most, read));
        self
    }

    /// Bytes that a piece has at most, unless its last transaction reaches far beyond the cut.
    pub(crate) fn most_in_hand(&self) -> u64 {
        self.limit.saturating_sub(self.start).min(self.segment_bytes + self.segment_bytes / 4)
    }

    /// Keeps nothing of the piece in hand: it is read again.
    pub(crate) fn let_go(&mut self) {
        if let Some(window) = &mut self.window {
            window.give_up();
        }
    }

    /// How the file ends, as far as it was scanned.
    pub(crate) fn file_end(&self) -> &FileEnd {
        self.scanner.end()
    }

    /// What makes the rest unreadable.
    pub(crate) fn damage(&self) -> Option<&ScanError> {
        self.damage.as_ref()
    }

    /// Where the readable part ends.
    pub(crate) fn damaged_at(&self) -> u64 {
        self.scanner.boundary()
    }

    /// No byte at or behind this is read.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Where the next piece that reaches a cut ends. `None` when what is left is shorter.
    pub(crate) fn find_full(&mut self) -> Result<Option<u64>, CutError> {
        loop {
            if let Some(end) = self.cut() {
                return Ok(Some(end));
            }
            if !self.scan_more()? {
                return Ok(None);
            }
        }
    }

    /// Where the next piece ends: at the next cut, or else at the last whole transaction. `None` when nothing whole is left.
    pub(crate) fn find_whole(&mut self) -> Result<Option<u64>, CutError> {
        if let Some(end) = self.find_full()? {
            return Ok(Some(end));
        }
        let end = self.scanner.boundary();
        Ok((end > self.start).then_some(end))
    }

    /// After all whole pieces: where the next part of what is left ends, as it is.
    pub(crate) fn find_unreadable(&self) -> Option<u64> {
        let end = self.limit.min(self.target());
        (end > self.start).then_some(end)
    }

    /// Where the next piece begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// How many transactions were scanned and not handed out.
    pub(crate) fn waiting(&self) -> usize {
        self.transactions.len()
    }

    /// The file has grown up to here.
    pub(crate) fn grow(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// How much was read.
    pub(crate) fn offset(&self) -> u64 {
        self.scanner.offset()
    }

    /// The end of the last whole transaction that was read.
    pub(crate) fn boundary(&self) -> u64 {
        self.scanner.boundary()
    }

    /// What was scanned and lies between `from` and the last whole transaction, without taking it. `from` is where an earlier one
    /// of these ended, or where the next piece begins.
    pub(crate) fn young(&self, from: u64) -> Result<Option<Piece>, CutError> {
        let (start, end) = (from.max(self.start), self.scanner.boundary());
        if end <= start {
            return Ok(None);
        }
        let ends_inside = |transaction: &&Transaction| transaction.end > start && transaction.end <= end;
        Ok(Some(Piece {
            start,
            end,
            raw: self.read(start, end)?,
            transactions: self.transactions.iter().filter(ends_inside).cloned().collect(),
            starts_in_transaction: start == self.start && self.starts_in_transaction,
            ends_in_transaction: false,
        }))
    }

    /// The multiple of `segment_bytes` that ends the piece in hand.
    fn target(&self) -> u64 {
        (self.start / self.segment_bytes + 1) * self.segment_bytes
    }

    /// Where the piece in hand is to be cut, once enough was scanned to know.
    fn cut(&self) -> Option<u64> {
        let target = self.target();
        if let Some(transaction) = self.transactions.iter().find(|transaction| transaction.end >= target) {
            let is_huge = transaction.length() > 2 * self.segment_bytes && transaction.start < target;
            return Some(if is_huge { target } else { transaction.end });
        }
        let boundary = self.scanner.boundary();
        if boundary >= target {
            return Some(boundary);
        }
        let offset = self.scanner.offset();
        let is_huge = offset - boundary > 2 * self.segment_bytes;
        (self.scanner.in_transaction() && is_huge && offset >= target).then_some(target)
    }

    /// Reads and hands out what lies before `end`, which one of the `find_` functions has given.
    pub(crate) fn take(&mut self, end: u64) -> Result<Piece, CutError> {
        let length = usize::try_from(end - self.start).unwrap_or(usize::MAX);
        let raw = match self.window.as_mut().and_then(|window| window.take(length)) {
            Some(raw) => raw,
            None => self.read(self.start, end)?,
        };
        let later = self.transactions.iter().position(|transaction| transaction.end > end);
        let rest = later.map_or_else(Vec::new, |at| self.transactions.split_off(at));
        let transactions = std::mem::replace(&mut self.transactions, rest);
        // Either the transaction at `end` was scanned already, or the scanner stands in it.
        let ends_in_transaction = match self.transactions.first() {
            Some(next) => next.start < end,
            None => self.scanner.in_transaction() && self.scanner.boundary() < end,
        };
        let starts_in_transaction = std::mem::replace(&mut self.starts_in_transaction, ends_in_transaction);
        let start = std::mem::replace(&mut self.start, end);
        Ok(Piece { start, end, raw, transactions, starts_in_transaction, ends_in_transaction })
    }

    /// A piece that was taken is not read again.
    pub(crate) fn forget(&self, piece: &Piece) {
        self.file.forget(piece.start, piece.end);
    }

    fn read(&self, start: u64, end: u64) -> Result<Bytes, CutError> {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let read = |place: &mut [u8]| {
            let count = self.file.read_at(start, place)?;
            if count < place.len() {
                return Err(CutError::Shorter { size: start + count as u64, wanted: end });
            }
            Ok(())
        };
        if let Some(window) = &self.window {
            return window.reread(length, read);
        }
        let mut raw = vec![0; length];
        read(&mut raw)?;
        Ok(Bytes::from(raw))
    }

    /// Scans the next bytes; false when there are none before the limit, or when they make no sense.
    fn scan_more(&mut self) -> Result<bool, CutError> {
        if self.damage.is_some() {
            return Ok(false);
        }
        let offset = self.scanner.offset();
        let wanted = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX).min(self.buffer.len());
        let keeps = match &mut self.window {
            Some(window) => window.catch_up(&self.file, self.start, offset)?,
            None => false,
        };
        let kept = self.window.as_mut().filter(|_| keeps).and_then(|window| window.place(wanted));
        let is_kept = kept.is_some();
        let place = kept.unwrap_or(&mut self.buffer[..wanted]);
        let count = self.file.read_at(offset, place)?;
        let transactions = &mut self.transactions;
        if let Err(damage) = self.scanner.feed(&place[..count], &mut |transaction| transactions.push(transaction)) {
            self.damage = Some(damage);
        }
        if let Some(window) = self.window.as_mut().filter(|_| is_kept) {
            window.fill(count);
        }
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests;
