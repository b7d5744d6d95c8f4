//! Whether a server runs on a data directory: InnoDB locks its files for as long as it has them open.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, fcntl_lock};

/// Where InnoDB keeps the temporary tablespaces of its sessions.
const TEMPORARY: &str = "#innodb_temp";

/// Locks on a data directory as a server takes them: no server starts on it meanwhile. They go with the value, and that of a file
/// goes as soon as this process closes any other handle of it, as it does when it copies the file.
#[derive(Debug)]
pub(crate) struct DatadirLocks {
    _files: Vec<File>,
}

impl DatadirLocks {
    /// Takes them. `None`: a server is running on the directory.
    pub(crate) fn take(datadir: &Path) -> anyhow::Result<Option<Self>> {
        let mut files = Vec::new();
        for path in locked_by_servers(datadir).with_context(|| format!("list \"{}\"", datadir.display()))? {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(reason) if reason.kind() == io::ErrorKind::NotFound => continue,
                Err(reason) => return Err(reason).with_context(|| format!("open \"{}\"", path.display())),
            };
            match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => files.push(file),
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => return Ok(None),
                Err(reason) => return Err(reason).with_context(|| format!("lock \"{}\"", path.display())),
            }
        }
        Ok(Some(Self { _files: files }))
    }
}

/// The files that InnoDB locks while it runs. More than one is looked at: a server that has closed any handle of a file, as CLONE does with
/// all that it copies, holds no lock of that file any more. Its temporary tablespaces and doublewrite files it never copies.
fn locked_by_servers(datadir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_innodb_s = |name: &str| ["ib", "#ib"].iter().any(|start| name.starts_with(start)) || name == "mysql.ibd";
    let mut files = Vec::new();
    for (directory, all) in [(datadir.to_owned(), false), (datadir.join(TEMPORARY), true)] {
        let entries = match fs::read_dir(&directory) {
            Err(reason) if all && reason.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_named = all || entry.file_name().to_str().is_some_and(is_innodb_s);
            if is_named && entry.path().is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{DatadirLocks, locked_by_servers};

    #[test]
    fn files_that_a_clone_copies_are_not_all_that_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DatadirLocks::take(folder.path()).unwrap().is_some(), "nothing is there");
        fs::create_dir_all(folder.path().join("#innodb_temp/ib_directory")).unwrap();
        let locked = ["#ib_16384_0.dblwr", "#innodb_temp/temp_1.ibt", "ibdata1", "ibtmp1", "mysql.ibd"];
        for name in locked.into_iter().chain(["auto.cnf", "binlog.000001", "undo_001"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(locked_by_servers(folder.path()).unwrap(), locked.map(|name| folder.path().join(name)));
        assert!(DatadirLocks::take(folder.path()).unwrap().is_some(), "no server runs");
        assert!(DatadirLocks::take(&folder.path().join("elsewhere")).is_err());
    }
}
