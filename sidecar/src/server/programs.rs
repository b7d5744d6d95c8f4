//! Where the server's programs are, and as whom they run.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

/// Where a server is looked for when nobody names it, besides `PATH`.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/libexec", "/usr/bin", "/usr/local/mysql/bin", "/opt/bitnami/mysql/bin"];

/// The programs of one server installation.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The server.
    pub(crate) mysqld: PathBuf,
}

impl Programs {
    /// The server that was named, or the one that this machine has.
    pub(crate) fn find(named: Option<&Path>) -> Option<Self> {
        match named {
            Some(path) => Some(Self { mysqld: path.to_owned() }).filter(|found| found.mysqld.is_file()),
            None => look_for("mysqld", &[]).map(|mysqld| Self { mysqld }),
        }
    }

    /// Another program of the same installation (`mysql`, `mysqldump`).
    pub(crate) fn companion(&self, name: &str) -> Option<PathBuf> {
        let beside = self.mysqld.parent();
        let bin = beside.and_then(Path::parent).map(|root| root.join("bin"));
        look_for(name, &[beside.map(Path::to_owned), bin])
    }

    /// A client program when no server is at hand.
    pub(crate) fn client(name: &str) -> Option<PathBuf> {
        look_for(name, &[])
    }
}

fn look_for(name: &str, first: &[Option<PathBuf>]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        first.iter().flatten().cloned().chain(std::env::split_paths(&path)).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// As whom the server runs. Only root has a choice, and then the data's owner decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunAs(Option<(u32, u32)>);

impl RunAs {
    /// The owner of `directory` if we are root, else ourselves.
    pub(crate) fn owner_of(directory: &Path) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let owner = std::fs::metadata(directory)?;
        Ok(Self(Some((owner.uid(), owner.gid()))))
    }

    /// What `--user` says.
    pub(super) fn argument(self) -> Option<String> {
        self.0.map(|(uid, _)| if uid == 0 { "--user=root".to_owned() } else { format!("--user={uid}") })
    }

    /// Gives a file or directory of ours to the server.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) if uid != 0 => chown(path, Some(uid), Some(gid)),
            Some(_) | None => Ok(()),
        }
    }
}
