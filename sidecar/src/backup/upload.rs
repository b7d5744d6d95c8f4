//! A data directory into the archive.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::Context as _;
use pitr_archive::backup::BackupWriter;
use tokio::io::{AsyncRead, ReadBuf};

use crate::progress::{Progress, Unit, ticking};

/// A file or directory to store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: String,
    mode: u32,
    /// Absent for a directory.
    length: Option<u64>,
}

/// Stores a data directory whose server has been shut down in order.
pub(super) async fn upload(datadir: &Path, writer: &mut BackupWriter, progress: &mut Progress) -> anyhow::Result<()> {
    let found = list(datadir).with_context(|| format!("list \"{}\"", datadir.display()))?;
    let total = found.iter().filter_map(|entry| entry.length).sum();
    progress.begin("upload", Unit::Bytes, 0, total);
    let mut done = 0;
    for entry in found {
        let Some(length) = entry.length else {
            writer.add_directory(&entry.path, entry.mode)?;
            continue;
        };
        let file = tokio::fs::File::open(datadir.join(&entry.path))
            .await
            .with_context(|| format!("read \"{}\"", entry.path))?;
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: file, read: Arc::clone(&read) };
        let work = writer.add_file(&entry.path, entry.mode, counted);
        ticking(work, || progress.set(done + read.load(Ordering::Relaxed))).await?;
        done += length;
        progress.set(done);
    }
    progress.end();
    Ok(())
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

fn list(datadir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(datadir.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let text = path.to_str().ok_or_else(|| io::Error::other("a file name is not UTF-8"))?.to_owned();
            let about = entry.metadata()?;
            if is_left_out(&text) {
                continue;
            }
            let mode = about.permissions().mode() & 0o777;
            if about.is_dir() {
                directories.push(path);
                found.push(Found { path: text, mode, length: None });
            } else if about.is_file() {
                found.push(Found { path: text, mode, length: Some(about.len()) });
            } else {
                return Err(io::Error::other(format!("\"{text}\" is neither a file nor a directory")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// What belongs to one server rather than to its data, and what is empty after a clean shutdown.
fn is_left_out(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    // The identity is the next server's own to make, and so are its keys: they are secrets.
    let identity = matches!(top, "auto.cnf" | "mysqld-auto.cnf" | "private_key.pem" | "public_key.pem");
    let temporary = matches!(top, "#clone" | "#innodb_temp" | "ibtmp1" | "mysql.sock" | "mysql.sock.lock");
    let file = !path.contains('/');
    let extension = Path::new(top).extension().and_then(|extension| extension.to_str());
    let by_extension = file && matches!(extension, Some("pem" | "pid" | "lock" | "dblwr" | "bdblwr" | "err"));
    identity || temporary || by_extension
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{is_left_out, list};

    #[test]
    fn what_is_one_server_s_own_stays_out() {
        for path in ["auto.cnf", "ca-key.pem", "#clone/x", "#innodb_temp", "ibtmp1", "#ib_16384_0.dblwr"] {
            assert!(is_left_out(path), "{path}");
        }
        for path in
            ["ibdata1", "#innodb_redo/#ib_redo7", "mysql.ibd", "undo_001", "shop/t.ibd", "shop/a.pem", "ib_buffer_pool"]
        {
            assert!(!is_left_out(path), "{path}");
        }
    }

    #[test]
    fn empty_directories_and_modes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        fs::create_dir_all(folder.path().join("shop")).unwrap();
        fs::write(folder.path().join("shop/t.ibd"), "rows").unwrap();
        let found = list(folder.path()).unwrap();
        let shown: Vec<(&str, Option<u64>)> = found.iter().map(|entry| (entry.path.as_str(), entry.length)).collect();
        assert_eq!(shown, [("empty", None), ("shop", None), ("shop/t.ibd", Some(4))]);
    }
}
