//! The few things that are done to a volume while data is exchanged, so that a test can die at any of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use super::super::journal::write_durably;

/// Changes a file system. Each call is on the disk, or has not happened.
pub(super) trait Hand {
    /// Gives an entry another name on the same file system.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Writes a small file, whole.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a directory that may be there.
    fn make(&mut self, directory: &Path) -> io::Result<()>;
    /// Makes an empty directory with owner and mode of another one.
    fn make_like(&mut self, directory: &Path, other: &Path) -> io::Result<()>;
    /// Removes a file, or a directory with all that is in it, if it is there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Brings the names in a directory to the disk.
    fn sync(&mut self, directory: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Disk;

impl Hand for Disk {
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        write_durably(path, bytes)
    }

    fn make(&mut self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn make_like(&mut self, directory: &Path, other: &Path) -> io::Result<()> {
        let about = fs::metadata(other)?;
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, about.permissions())?;
        chown(directory, Some(about.uid()), Some(about.gid()))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(reason) => Err(reason),
        };
        match removed {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync(&mut self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}
