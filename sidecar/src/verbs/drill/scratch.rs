//! Where a drill restores to: one directory of a fixed name, so that what a killed drill left is found and removed by the next.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pitr_recovery::code;

use crate::error::Failure;
use crate::server::end_leftover;

/// Our directory in the one that the user gave.
const OURS: &str = "pitr-drill";
const LOCK: &str = "lock";
const DATA: &str = "data";

/// A locked scratch directory. The lock goes with the value, and with the process.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Takes the scratch directory for this process, and removes what a drill that was killed has left: its server, and its data.
    pub(super) async fn take(parent: &Path) -> anyhow::Result<Self> {
        let named = || format!("use \"{}\" for the drill", parent.display());
        let parent = fs::canonicalize(parent).with_context(named)?;
        let folder = parent.join(OURS);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists => only_ours(&folder)?,
            Err(reason) => return Err(reason).with_context(named),
        }
        let lock = File::create(folder.join(LOCK)).with_context(named)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(&folder)),
            Err(TryLockError::Error(reason)) => return Err(reason).with_context(named),
        }
        let scratch = Self { folder, _lock: lock };
        end_leftover(&scratch.datadir().join(".pitr/mysqld.pid"))
            .await
            .context("end a server that a killed drill left")?;
        remove_tree(&scratch.datadir()).context("remove what a killed drill left")?;
        Ok(scratch)
    }

    /// Where to restore to; nothing is there.
    pub(super) fn datadir(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Removes everything.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        remove_tree(&self.datadir())
            .and_then(|()| fs::remove_dir_all(&self.folder))
            .with_context(|| format!("remove what was restored to \"{}\"", self.folder.display()))
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whatever else is in a directory of that name is somebody's.
fn only_ours(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read \"{}\"", folder.display()))? {
        let name = entry?.file_name();
        if name != LOCK && name != DATA {
            let message = format!("\"{}\" is not a drill's: it has {}", folder.display(), name.display());
            let failure = Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message);
            return Err(failure.hint("nothing was removed").fix("another --scratch").into());
        }
    }
    Ok(())
}

fn busy(folder: &Path) -> anyhow::Error {
    Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, format!("another drill is running in \"{}\"", folder.display()))
        .hint("two drills never write to one directory")
        .fix("wait for it, or another --scratch")
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Scratch;

    #[tokio::test]
    async fn a_drill_takes_its_directory_once_and_removes_what_a_killed_one_left() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join("pitr-drill/data/mysql")).unwrap();
        let scratch = Scratch::take(parent.path()).await.unwrap();
        assert!(!scratch.datadir().exists());
        let second = Scratch::take(parent.path()).await.unwrap_err();
        assert!(second.to_string().starts_with("another drill is running"), "{second}");
        fs::create_dir(scratch.datadir()).unwrap();
        scratch.remove().unwrap();
        assert!(fs::read_dir(parent.path()).unwrap().next().is_none());
    }

    #[tokio::test]
    async fn what_is_not_a_drill_s_stays() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join("pitr-drill/photos")).unwrap();
        assert!(Scratch::take(parent.path()).await.is_err());
        assert!(parent.path().join("pitr-drill/photos").exists());
    }
}
