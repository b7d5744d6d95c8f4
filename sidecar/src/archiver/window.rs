//! The piece in hand while it is scanned, so that its bytes are read once; and the buffer that pieces take turns in: fresh pages for each
//! of them cost the kernel as much as reading does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::discovery::BinlogFile;

/// A larger buffer is not kept: this much is counted with the program, whatever `pipeline.memory_limit` leaves for pieces. A piece of a
/// segment of the usual length fits.
const SPARE_BYTES_MAX: usize = 10 << 20;

/// One buffer that is not in use, kept for the next piece. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spare(Arc<Mutex<Option<Vec<u8>>>>);

impl Spare {
    /// A buffer of at least so many bytes; what is in it is of no meaning.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.filter(|buffer| buffer.len() >= bytes).unwrap_or_else(|| vec![0; bytes])
    }

    fn give(&self, buffer: Vec<u8>) {
        if buffer.len() > SPARE_BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.len() < buffer.len()) {
            *kept = Some(buffer);
        }
    }

    /// Gives its memory back to the system.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The bytes of a piece, in a buffer that goes back.
struct Borrowed {
    buffer: Vec<u8>,
    length: usize,
    spare: Spare,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.buffer));
    }
}

/// The bytes of the piece in hand, from its beginning on, as far as they were read.
#[derive(Debug)]
pub(super) struct Window {
    spare: Spare,
    /// Bytes that it holds at most; a longer piece is read again once its end is known.
    most: usize,
    /// Bytes that may be read again to catch up with the scanner.
    gap: usize,
    buffer: Option<Vec<u8>>,
    filled: usize,
    has_given_up: bool,
}

impl Window {
    pub(super) fn new(spare: Spare, most: usize, gap: usize) -> Self {
        Self { spare, most, gap, buffer: None, filled: 0, has_given_up: false }
    }

    /// Makes it hold what lies between `start` and `offset`; false when that is too much, or is not known.
    pub(super) fn catch_up(&mut self, file: &BinlogFile, start: u64, offset: u64) -> io::Result<bool> {
        let held = start + self.filled as u64;
        let missing = offset.checked_sub(held).and_then(|bytes| usize::try_from(bytes).ok());
        let Some(missing) = missing.filter(|bytes| *bytes <= self.gap) else {
            self.give_up();
            return Ok(false);
        };
        if missing > 0 {
            let Some(place) = self.place(missing) else { return Ok(false) };
            let count = file.read_at(held, place)?;
            self.filled += count;
            return Ok(count == missing);
        }
        Ok(!self.has_given_up)
    }

    /// Where the next bytes go. `None`: the piece is too long for it.
    pub(super) fn place(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if self.has_given_up || self.filled + bytes > self.most {
            self.give_up();
            return None;
        }
        let buffer = self.buffer.get_or_insert_with(|| self.spare.take(self.most));
        Some(&mut buffer[self.filled..self.filled + bytes])
    }

    /// So many bytes were read into the place that was given.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// The first bytes, if it holds so many. What is behind them is forgotten: the next piece begins there.
    pub(super) fn take(&mut self, length: usize) -> Option<Bytes> {
        let filled = std::mem::take(&mut self.filled);
        let had_given_up = std::mem::take(&mut self.has_given_up);
        let buffer = self.buffer.take_if(|_| !had_given_up && filled >= length)?;
        Some(Bytes::from_owner(Borrowed { buffer, length, spare: self.spare.clone() }))
    }

    /// A buffer for a piece that was not kept, filled by `read`.
    pub(super) fn reread<E>(&self, length: usize, read: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let mut buffer = self.spare.take(length.max(self.most));
        read(&mut buffer[..length])?;
        Ok(Bytes::from_owner(Borrowed { buffer, length, spare: self.spare.clone() }))
    }

    /// Lets its buffer go until the next piece.
    pub(super) fn give_up(&mut self) {
        self.has_given_up = true;
        self.filled = 0;
        if let Some(buffer) = self.buffer.take() {
            self.spare.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SPARE_BYTES_MAX, Spare, Window};
    use crate::discovery::BinlogFile;

    #[test]
    fn a_piece_is_handed_out_as_it_was_read_and_its_buffer_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000001");
        let bytes: Vec<u8> = (100..=255).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = BinlogFile::open(&path).unwrap();
        let spare = Spare::default();
        let mut window = Window::new(spare.clone(), 64, 16);
        // 10 bytes were read by somebody else; 20 more come in here.
        assert!(window.catch_up(&file, 30, 40).unwrap());
        let place = window.place(20).unwrap();
        assert_eq!(file.read_at(40, place).unwrap(), 20);
        window.fill(20);
        assert!(window.catch_up(&file, 30, 60).unwrap());
        let piece = window.take(25).unwrap();
        assert_eq!(piece, bytes[30..55]);
        let at = piece.as_ptr();
        drop(piece);
        assert!(spare.0.lock().unwrap().as_ref().is_some_and(|buffer| buffer.as_ptr() == at));
        // The next piece begins where that one ended, and stands in the same buffer.
        assert!(window.catch_up(&file, 55, 60).unwrap());
        assert_eq!(
            window.take(5).map(|piece| (piece.as_ptr() == at, piece.to_vec())),
            Some((true, bytes[55..60].to_vec()))
        );
        spare.clear();
        assert!(spare.0.lock().unwrap().is_none());
    }

    #[test]
    fn no_more_is_kept_than_is_counted() {
        let spare = Spare::default();
        let window = Window::new(spare.clone(), 64, 16);
        for (length, is_kept) in [(SPARE_BYTES_MAX + 1, false), (SPARE_BYTES_MAX, true)] {
            drop(window.reread::<()>(length, |_| Ok(())).unwrap());
            assert_eq!(spare.0.lock().unwrap().is_some(), is_kept);
        }
    }

    #[test]
    fn a_piece_that_is_too_long_or_too_far_behind_is_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000001");
        std::fs::write(&path, [7; 300]).unwrap();
        let file = BinlogFile::open(&path).unwrap();
        let mut window = Window::new(Spare::default(), 64, 16);
        assert!(window.place(60).is_some());
        window.fill(60);
        assert!(window.place(5).is_none() && window.place(1).is_none());
        assert!(!window.catch_up(&file, 0, 65).unwrap());
        assert_eq!(window.take(10), None);
        // The next one begins anew; one that lies far behind what was scanned does not.
        assert!(window.catch_up(&file, 60, 65).unwrap());
        assert_eq!(window.take(6), None);
        assert!(!window.catch_up(&file, 100, 200).unwrap());
        assert_eq!(window.take(1), None);
    }
}
