//! A data directory onto scratch. The server will change it, and what the user gave is only read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;

use crate::progress::{Progress, Unit, ticking};
use crate::restore::logs_in;
use crate::server::RunAs;

/// Copies everything below a directory but what is ours or a tool's notes.
pub(super) async fn copy(
    from: &Path,
    to: &Path,
    run_as: RunAs,
    (bytes, progress): (u64, &mut Progress),
) -> anyhow::Result<()> {
    progress.begin("copy", Unit::Bytes, 0, bytes);
    let copied = Arc::new(AtomicU64::new(0));
    // Whoever stops waiting stops the copy.
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let work = {
        let (from, to) = (from.to_owned(), to.to_owned());
        let (copied, stopped) = (Arc::clone(&copied), Arc::clone(&stop.0));
        tokio::task::spawn_blocking(move || tree(&from, &to, &|path| run_as.own(path), (&copied, &stopped)))
    };
    let done = ticking(work, || progress.set(copied.load(Ordering::Relaxed))).await;
    done.context("copy")?.with_context(|| format!("copy \"{}\" to scratch", from.display()))?;
    progress.set(copied.load(Ordering::Relaxed));
    progress.end();
    Ok(())
}

struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a name at the top is a note of a restore or a backup tool and not the server's.
pub(super) fn is_a_note(name: &str) -> bool {
    name == ".pitr" || name == "backup-my.cnf" || name.starts_with("xtrabackup_")
}

fn tree(
    from: &Path,
    to: &Path,
    own: &dyn Fn(&Path) -> io::Result<()>,
    (copied, stopped): (&AtomicU64, &AtomicBool),
) -> io::Result<()> {
    let mut directories: Vec<PathBuf> = vec![PathBuf::new()];
    fs::create_dir(to)?;
    own(to)?;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(from.join(&directory))? {
            if stopped.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let (path, kind) = (directory.join(entry.file_name()), entry.file_type()?);
            let at_top = directory.as_os_str().is_empty();
            if at_top && entry.file_name().to_str().is_some_and(is_a_note) || is_of_a_run(&path) {
                continue;
            }
            let target = to.join(&path);
            if kind.is_dir() {
                fs::create_dir(&target)?;
                directories.push(path);
            } else if kind.is_file() {
                copied.fetch_add(fs::copy(entry.path(), &target)?, Ordering::Relaxed);
            } else {
                return Err(io::Error::other(format!("\"{}\" is neither a file nor a directory", path.display())));
            }
            own(&target)?;
        }
    }
    Ok(())
}

/// What only a running server needs, such as its socket.
fn is_of_a_run(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sock" || extension == "pid" || extension == "lock")
}

/// Its binary and relay logs are the archive's, or nobody's: they must not become the beginning of a restored server's.
pub(super) fn remove_logs(datadir: &Path) -> io::Result<()> {
    for name in logs_in(datadir)? {
        match fs::remove_file(datadir.join(name)) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => return Err(reason),
            Ok(()) | Err(_) => {}
        }
    }
    File::open(datadir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::{remove_logs, tree};

    #[test]
    fn everything_is_copied_but_notes_and_logs() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("shop")).unwrap();
        fs::create_dir_all(from.join(".pitr")).unwrap();
        for (name, text) in [
            ("ibdata1", "system"),
            ("shop/t.ibd", "rows"),
            ("xtrabackup_binlog_info", "x"),
            (".pitr/journal.json", "{}"),
            ("binlog.index", "./binlog.000001\n"),
            ("binlog.000001", "events"),
            ("mysql.sock.lock", "1"),
        ] {
            fs::write(from.join(name), text).unwrap();
        }
        let copied = AtomicU64::new(0);
        tree(&from, &to, &|_| Ok(()), (&copied, &AtomicBool::new(false))).unwrap();
        remove_logs(&to).unwrap();
        let mut left: Vec<String> =
            fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["ibdata1", "shop"]);
        assert_eq!(fs::read(to.join("shop/t.ibd")).unwrap(), b"rows");
        assert!(from.join("binlog.000001").exists(), "the original is only read");
        let stopped = tree(&from, &folder.path().join("other"), &|_| Ok(()), (&copied, &AtomicBool::new(true)));
        assert!(stopped.is_err());
    }
}
