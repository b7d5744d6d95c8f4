//! One binlog of the spool, as it is received: what is known already is compared, the rest is added.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pitr_binlog::event::{EventHeader, EventType};
use pitr_binlog::{BinlogName, FileEnd, Scanner};

use super::place::{FIRST, Place};
use super::spool::pieces;

/// Bytes collected before they are written.
const BUFFER: usize = 256 << 10;

/// A binlog that is being received.
#[derive(Debug)]
pub(super) struct Tape {
    file: File,
    /// Where the next event belongs.
    pub(super) place: Place,
    /// The length of the file.
    written: u64,
    /// Bytes that were received and are not written; the first belongs at `at`.
    buffer: Vec<u8>,
    at: u64,
    /// The last event that stands in the file.
    last: Option<EventHeader>,
    /// The latest time that an event gives, in seconds since 1970.
    newest: u32,
}

/// What is here of a binlog that is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The end of what is whole.
    pub(super) whole_to: u64,
    /// Whether there is a whole transaction.
    pub(super) has_transactions: bool,
    /// Whether it ends with the server's word that it ends.
    pub(super) has_ended: bool,
}

/// Why bytes cannot be put down.
#[derive(Debug, thiserror::Error)]
pub(super) enum TapeError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The server sends other bytes than it sent before: it is another file with the same name, or it lost its end in a crash.
    #[error("the server's {file} is not the one of which {known} bytes were received")]
    Another {
        /// The binlog.
        file: BinlogName,
        /// How much of it is here.
        known: u64,
    },
}

impl Tape {
    pub(super) fn new(file: File, name: BinlogName, position: u64) -> io::Result<Self> {
        let written = file.metadata()?.len();
        Ok(Self {
            file,
            place: Place { file: name, position },
            written,
            buffer: Vec::new(),
            at: position,
            last: None,
            newest: 0,
        })
    }

    /// Goes on with a file that was begun: at its last whole transaction, so that the server's bytes can be held against ours.
    ///
    /// What an earlier process left may be torn; whoever reads it then has not begun.
    pub(super) fn resume(path: &Path, name: BinlogName) -> io::Result<(Self, Known)> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut scanner, mut last, mut damaged) = (Scanner::new(), FIRST, false);
        pieces(&mut file, |bytes| {
            damaged = scanner.feed(bytes, &mut |transaction| last = transaction.start).is_err();
            !damaged
        })?;
        if damaged {
            file.set_len(scanner.boundary().max(FIRST))?;
        }
        // A request has 32 bits for it. Then everything is compared.
        let position = if u32::try_from(last).is_ok() { last } else { FIRST };
        let known = Known {
            whole_to: scanner.boundary(),
            has_transactions: last > FIRST,
            has_ended: !damaged && *scanner.end() != FileEnd::Open,
        };
        Ok((Self::new(file, name, position)?, known))
    }

    /// Where the server is asked to begin.
    pub(super) fn request_position(&self) -> u32 {
        u32::try_from(self.place.position).unwrap_or(0)
    }

    /// Whether something of the file is known, against which the server's bytes are held.
    pub(super) fn is_resumed(&self) -> bool {
        self.place.position > FIRST || self.written > FIRST
    }

    /// Bytes that are here, what was only received apart.
    pub(super) fn length(&self) -> u64 {
        self.written
    }

    /// An event was put into the file.
    pub(super) fn pass(&mut self, header: &EventHeader) {
        self.place.pass(header);
        self.last = Some(*header);
        self.newest = self.newest.max(header.timestamp);
    }

    /// Whether the last event was the server's word that the file ends.
    pub(super) fn has_ended(&self) -> bool {
        self.last.as_ref().is_some_and(|last| matches!(last.event_type, EventType::ROTATE | EventType::STOP))
    }

    /// Brings the file to the disk, as old as its last event: that may take a while. Whoever finds it named as complete after the machine
    /// lost its power finds all of it.
    pub(super) fn settle(&self) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let file = self.file.try_clone()?;
        let written_at = SystemTime::UNIX_EPOCH + Duration::from_secs(self.newest.into());
        let is_dated = self.newest > 0;
        Ok(move || {
            if is_dated {
                file.set_modified(written_at)?;
            }
            file.sync_all()
        })
    }

    /// Takes bytes that follow those before.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), TapeError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes what was taken; readers see it from now on.
    pub(super) fn flush(&mut self) -> Result<(), TapeError> {
        let known = usize::try_from(self.written.saturating_sub(self.at)).unwrap_or(usize::MAX).min(self.buffer.len());
        let (old, new) = self.buffer.split_at(known);
        if !old.is_empty() {
            let mut ours = vec![0; old.len()];
            self.file.read_exact_at(&mut ours, self.at)?;
            if ours != old {
                return Err(TapeError::Another { file: self.place.file.clone(), known: self.written });
            }
        }
        if !new.is_empty() {
            self.file.write_all_at(new, self.at + known as u64)?;
            self.written = self.at + self.buffer.len() as u64;
        }
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The server has said that the file ends here.
    pub(super) fn finish(&mut self) -> Result<(), TapeError> {
        self.flush()?;
        if self.written > self.at {
            return Err(TapeError::Another { file: self.place.file.clone(), known: self.written });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pitr_binlog::BinlogName;

    use super::{Tape, TapeError};

    fn tape(path: &std::path::Path) -> Tape {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        Tape::new(file, BinlogName::parse("b.000001").unwrap(), 4).unwrap()
    }

    #[test]
    fn what_is_known_is_compared_and_the_rest_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.000001");
        fs::write(&path, b"\xfebinone").unwrap();
        let mut same = tape(&path);
        assert!(same.is_resumed());
        same.put(b"on").unwrap();
        same.flush().unwrap();
        assert!(matches!(same.finish(), Err(TapeError::Another { known: 7, .. })), "the server's file is shorter");
        same.put(b"e and two").unwrap();
        same.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\xfebinone and two");
        let mut other = tape(&path);
        other.put(b"one or two").unwrap();
        assert!(matches!(other.finish(), Err(TapeError::Another { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"\xfebinone and two", "nothing of another file is written over it");
    }

    #[test]
    fn a_torn_file_is_cut_where_it_makes_sense() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.000001");
        fs::write(&path, [&b"\xfebin"[..], &[0; 100]].concat()).unwrap();
        let (tape, known) = Tape::resume(&path, BinlogName::parse("b.000001").unwrap()).unwrap();
        assert!(!known.has_transactions && !known.has_ended && !tape.has_ended());
        assert_eq!((fs::metadata(&path).unwrap().len(), tape.request_position(), tape.is_resumed()), (4, 4, false));
    }
}
