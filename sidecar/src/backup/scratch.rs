//! The scratch directory of a clone: ours for one run, and empty again afterwards.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// How our directories in it begin.
const PREFIX: &str = "pitr-clone-";

/// A directory in the scratch directory, removed when dropped. Holds the scratch directory's lock.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// Takes the scratch directory (made if missing) for this run, and removes what a killed run left in it.
    pub(super) fn take(parent: &Path) -> anyhow::Result<Self> {
        let at = || format!("use the scratch directory \"{}\"", parent.display());
        fs::create_dir_all(parent).with_context(at)?;
        let parent = fs::canonicalize(parent).with_context(at)?;
        let lock = File::create(parent.join(".pitr-scratch.lock")).with_context(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another backup is using the scratch directory \"{}\"", parent.display())
            }
            Err(TryLockError::Error(reason)) => return Err(reason).with_context(at),
        }
        for entry in fs::read_dir(&parent).with_context(at)? {
            let entry = entry.with_context(at)?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path()).with_context(at)?;
            }
        }
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent).with_context(at)?;
        Ok(Self { directory, _lock: lock })
    }

    /// Our directory.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A place in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Bytes that can still be written.
    pub(super) fn free_bytes(&self) -> std::io::Result<u64> {
        let file_system = rustix::fs::statvfs(self.path())?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Scratch;

    #[test]
    fn one_run_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("pitr-clone-old/data")).unwrap();
        fs::write(folder.path().join("mine"), "kept").unwrap();
        let scratch = Scratch::take(folder.path()).unwrap();
        assert!(!folder.path().join("pitr-clone-old").exists());
        assert!(Scratch::take(folder.path()).is_err());
        drop(scratch);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
