//! One binlog on disk, opened for reading and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Bit of the first event's flags that says "the server has this file open".
const IN_USE: u8 = 0x01;

/// A binlog opened read-only. Its bytes are the server's own but for the in-use bit, which is cleared on every read: it is the
/// one byte that the server changes after writing it.
#[derive(Debug)]
pub(crate) struct BinlogFile {
    file: File,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Device and inode.
    pub(crate) inode: (u64, u64),
    /// Bytes.
    pub(crate) size: u64,
    /// Last change of content, in nanoseconds since the epoch. Only ever compared for being the same.
    pub(crate) modified_ns: i128,
}

impl BinlogFile {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// A second handle of the same file.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Its state now.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        self.file.metadata().map(|metadata| stat_of(&metadata))
    }

    /// Says that it will be read from beginning to end.
    pub(crate) fn read_ahead(&self) {
        // Advice only: a file system that does not take it reads all the same.
        let _ignored = fadvise(&self.file, 0, None, Advice::Sequential);
    }

    /// Says that bytes will not be needed again, so that they do not push the server's own pages out of memory.
    pub(crate) fn forget(&self, start: u64, end: u64) {
        let length = std::num::NonZeroU64::new(end.saturating_sub(start));
        if length.is_some() {
            let _ignored = fadvise(&self.file, start, length, Advice::DontNeed);
        }
    }

    /// Reads at `offset` until `bytes` is full or the file ends; says how many were read.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(reason) => return Err(reason),
            }
        }
        clear_in_use(offset, &mut bytes[..done]);
        Ok(done)
    }
}

/// The state of the file at `path` now.
pub(crate) fn stat(path: &Path) -> io::Result<Stat> {
    std::fs::metadata(path).map(|metadata| stat_of(&metadata))
}

fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    Stat {
        inode: (metadata.dev(), metadata.ino()),
        size: metadata.len(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

fn clear_in_use(offset: u64, bytes: &mut [u8]) {
    let flags = pitr_binlog::IN_USE_OFFSET.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
    if let Some(flags) = flags.and_then(|at| bytes.get_mut(at)) {
        *flags &= !IN_USE;
    }
}

#[cfg(test)]
mod tests {
    use super::BinlogFile;

    #[test]
    fn only_the_in_use_bit_is_cleared_wherever_a_read_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binlog.000001");
        std::fs::write(&path, [0xff_u8; 40]).unwrap();
        let file = BinlogFile::open(&path).unwrap();
        for start in 0..40_u64 {
            let mut bytes = [0; 64];
            let count = file.read_at(start, &mut bytes).unwrap();
            assert_eq!(count as u64, 40 - start);
            for (at, byte) in (start..).zip(&bytes[..count]) {
                assert_eq!(*byte, if at == 21 { 0xfe } else { 0xff }, "offset {at}, read from {start}");
            }
        }
    }
}
