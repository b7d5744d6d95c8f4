//! A private directory for sockets, temporary tables and files with passwords. It lives as long as one run.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::programs::RunAs;

/// The longest path of a Unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// A directory that only the server and we can enter; removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: TempDir,
    run_as: RunAs,
}

impl Staging {
    /// Makes one below `parent`, or below the system's directory for temporary files.
    pub(crate) fn create(parent: Option<&Path>, run_as: RunAs) -> io::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let directory = tempfile::Builder::new().prefix("pitr-").tempdir_in(std::path::absolute(parent)?)?;
        run_as.own(directory.path())?;
        let staging = Self { directory, run_as };
        if staging.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is too long for a socket: use a shorter one",
            ));
        }
        fs::create_dir(staging.temporary())?;
        run_as.own(&staging.temporary())?;
        Ok(staging)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("mysqld.sock")
    }

    /// The server's directory for temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// Writes a file that nobody else can read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        self.run_as.own(&path)?;
        Ok(path)
    }
}
