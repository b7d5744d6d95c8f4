//! The data directory as a volume that belongs to one restore: its lock, its journal's place, what may be on it beforehand.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pitr_recovery::code;

use crate::error::Failure;

/// Our own directory in the data directory. MySQL ignores names that begin with a dot.
pub(super) const OURS: &str = ".pitr";
/// How often the lock is tried before the volume counts as taken, and the pause between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// What an empty file system holds.
pub(super) const FILE_SYSTEM_S_OWN: &str = "lost+found";

/// A locked volume. The lock goes with the value, and with the process.
#[derive(Debug)]
pub(crate) struct Volume {
    root: PathBuf,
    datadir: PathBuf,
    _lock: File,
}

/// What must be true of a data directory before it is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing in it, or a restore of ours.
    Empty,
    /// A base that another tool restored, or a restore of ours.
    Base,
    /// Anything: it stays as it is until the restored data, beside it, is verified.
    Anything,
}

impl Volume {
    /// Takes the volume for this process. Refuses what is not ours before anything is written, and a second restore at the same time.
    pub(crate) fn open(datadir: &Path, expected: Expected) -> anyhow::Result<Self> {
        let fail = |reason| could_not("open the data directory", datadir, reason);
        if !datadir.exists() && expected == Expected::Empty {
            fs::create_dir(datadir).map_err(fail)?;
        }
        let datadir = fs::canonicalize(datadir).map_err(fail)?;
        check(&datadir, expected)?;
        let ours = datadir.join(OURS);
        match fs::create_dir(&ours) {
            Ok(()) => {}
            Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists => {}
            Err(reason) => return Err(could_not("write to the volume", &datadir, reason)),
        }
        let lock =
            File::create(ours.join("lock")).map_err(|reason| could_not("write to the volume", &datadir, reason))?;
        // A run that was just killed may hold its lock for another moment.
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { root: datadir.clone(), datadir, _lock: lock }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(reason)) => return Err(could_not("lock the volume", &datadir, reason)),
            }
        }
        Err(busy(&datadir))
    }

    /// Whether a restore was begun on this directory.
    pub(crate) fn holds_a_restore(datadir: &Path) -> bool {
        datadir.join(OURS).join("journal.json").exists()
    }

    /// The data directory that is restored: the volume's own, or one beside the data that a workload has there.
    pub(crate) fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// The data directory that the volume has for its workload.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// From now on the restored data is in this directory of ours.
    pub(crate) fn stands_beside(&mut self, directory: PathBuf) {
        self.datadir = directory;
    }

    /// From now on the restored data is in the volume's own data directory.
    pub(crate) fn stands_on_root(&mut self) {
        self.datadir.clone_from(&self.root);
    }

    /// Our own directory in it.
    pub(crate) fn ours(&self) -> PathBuf {
        self.root.join(OURS)
    }

    /// What has been done.
    pub(crate) fn journal(&self) -> PathBuf {
        self.ours().join("journal.json")
    }

    /// The plan that is carried out.
    pub(crate) fn plan(&self) -> PathBuf {
        self.ours().join("plan.json")
    }

    /// The server's log while it is ours.
    pub(crate) fn server_log(&self) -> PathBuf {
        self.ours().join("mysqld.log")
    }

    /// By this file's name a server that a killed run left behind is found.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.ours().join("mysqld.pid")
    }

    /// Relay logs while the log is replayed.
    pub(crate) fn relay(&self) -> PathBuf {
        self.ours().join("relay")
    }

    /// What was last fetched of the log, for the run after a kill.
    pub(crate) fn fetched(&self) -> PathBuf {
        self.ours().join("fetched")
    }

    /// Where files of another tool's base go that must not be read meanwhile.
    pub(crate) fn aside(&self) -> PathBuf {
        self.ours().join("aside")
    }

    /// The restore's result.
    pub(crate) fn restored(&self) -> PathBuf {
        self.ours().join("RESTORED.json")
    }

    /// Everything in the data directory but our own.
    pub(crate) fn entries(&self) -> io::Result<Vec<PathBuf>> {
        foreign_entries(&self.datadir)
    }

    /// Removes everything in the data directory but our own.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in self.entries()? {
            if entry.is_dir() && !entry.is_symlink() { fs::remove_dir_all(&entry)? } else { fs::remove_file(&entry)? }
        }
        Ok(())
    }

    /// Bytes that can still be written.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.datadir)
    }

    /// Bytes that lie there already, but for our own.
    pub(crate) fn used_bytes(&self) -> io::Result<u64> {
        self.entries()?.iter().try_fold(0, |sum, entry| Ok(sum + bytes_below(entry)?))
    }
}

/// Bytes that can still be written to the file system of a directory.
pub(crate) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(directory)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

fn bytes_below(path: &Path) -> io::Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + bytes_below(&entry?.path())?))
}

fn foreign_entries(datadir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(datadir)? {
        let entry = entry?;
        let name = entry.file_name();
        // An empty file system of its own; a directory of that name with files in it is somebody's.
        let own = name == OURS
            || (name == FILE_SYSTEM_S_OWN && fs::read_dir(entry.path()).is_ok_and(|mut found| found.next().is_none()));
        if !own {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// An error if the directory holds what must not be there. One that does not exist is empty.
pub(crate) fn check(datadir: &Path, expected: Expected) -> anyhow::Result<()> {
    if !datadir.exists() && expected == Expected::Empty {
        return Ok(());
    }
    let entries = foreign_entries(datadir).map_err(|reason| could_not("read the data directory", datadir, reason))?;
    let restoring = Volume::holds_a_restore(datadir);
    match expected {
        Expected::Empty if !entries.is_empty() && !restoring => {
            let first = entries[0].file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let message =
                format!("\"{}\" is not empty and holds no restore of ours: it has \"{first}\"", datadir.display());
            let failure = Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
                .hint("a restore fills an empty directory; nothing was written")
                .fix("--datadir with an empty directory, or --base existing for a base that another tool restored");
            Err(failure.into())
        }
        Expected::Base if entries.is_empty() && !restoring => {
            let failure =
                Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("\"{}\" holds no base", datadir.display()))
                    .hint("--base existing wants a data directory that another tool restored")
                    .fix("leave out --base existing to restore a base backup of the archive");
            Err(failure.into())
        }
        Expected::Empty | Expected::Base | Expected::Anything => Ok(()),
    }
}

fn busy(datadir: &Path) -> anyhow::Error {
    Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("another restore is running on \"{}\"", datadir.display()))
        .hint("two restores never write to one volume")
        .fix("wait for it, or restore into another directory")
        .into()
}

fn could_not(what: &'static str, datadir: &Path, reason: io::Error) -> anyhow::Error {
    anyhow::Error::new(reason).context(format!("{what} \"{}\"", datadir.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Expected, Volume};

    #[test]
    fn an_empty_volume_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let volume = Volume::open(folder.path(), Expected::Empty).unwrap();
        assert!(volume.entries().unwrap().is_empty());
        let second = Volume::open(folder.path(), Expected::Empty).unwrap_err();
        assert!(second.to_string().starts_with("another restore is running"), "{second}");
        drop(volume);
        Volume::open(folder.path(), Expected::Empty).unwrap();
    }

    #[test]
    fn what_is_not_ours_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ibdata1"), "x").unwrap();
        let refused = Volume::open(folder.path(), Expected::Empty).unwrap_err();
        assert!(refused.to_string().contains("it has \"ibdata1\""), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Volume::open(folder.path(), Expected::Base).unwrap();
    }

    #[test]
    fn a_base_is_expected_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Volume::open(folder.path(), Expected::Base).is_err());
    }

    #[test]
    fn clearing_leaves_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path(), Expected::Empty).unwrap();
        fs::create_dir_all(folder.path().join("mysql/deep")).unwrap();
        fs::write(folder.path().join("mysql/deep/a"), "abc").unwrap();
        assert_eq!(volume.used_bytes().unwrap(), 3);
        volume.clear().unwrap();
        assert_eq!(volume.used_bytes().unwrap(), 0);
        assert!(volume.ours().is_dir());
    }
}
