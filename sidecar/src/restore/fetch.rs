//! fetch-base: the base backup's files onto the volume, each chunk checked; chunks that are there already are kept.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use pitr_archive::backup::{BackupEntry, BackupReader, EntryContent, Restored};

use super::phases::{Restore, interrupted};
use crate::backup::DUMP_FILE;
use crate::progress::{Unit, ticking};

/// Files that are fetched at once; each fetches some chunks ahead, within what the reader keeps in memory for all of them.
const FILES_AT_ONCE: usize = 8;

/// Fetches a base of files. A dump is not fetched but streamed when it is loaded.
pub(super) async fn run(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    let Some(base) = &restore.base else { return Ok(()) };
    if is_dump(base) {
        return Ok(());
    }
    let (datadir, run_as, progress) = (restore.volume.datadir(), restore.machine.run_as, &mut restore.progress);
    let total = base.entries().iter().map(length).sum();
    let done = AtomicU64::new(0);
    progress.begin("fetch-base", Unit::Bytes, 0, total);
    let (directories, files): (Vec<_>, Vec<_>) =
        base.entries().iter().partition(|entry| length_of_file(entry).is_none());
    for directory in directories {
        base.restore_entry(directory, datadir).await?;
        run_as.own(&datadir.join(&directory.path)).context("give a directory to the server's user")?;
    }
    let fetch = async |entry: &BackupEntry| -> anyhow::Result<Restored> {
        let restored = base.restore_entry(entry, datadir).await?;
        run_as.own(&datadir.join(&entry.path)).context("give a file to the server's user")?;
        done.fetch_add(restored.fetched + restored.kept, Ordering::Relaxed);
        Ok(restored)
    };
    let work = futures::stream::iter(files).map(fetch).buffer_unordered(FILES_AT_ONCE);
    let work = work.try_fold(0_u64, async |kept, restored| Ok(kept + restored.kept));
    let shutdown = &restore.context.shutdown;
    let kept = tokio::select! {
        kept = ticking(work, || progress.set(done.load(Ordering::Relaxed))) => kept?,
        () = shutdown.cancelled() => return Err(interrupted()),
    };
    progress.set(done.load(Ordering::Relaxed));
    progress.end();
    tracing::info!(event = "fetched", bytes = done.load(Ordering::Relaxed), kept, "base backup is on the volume");
    sync_directories(restore)
}

/// Whether the base is a logical dump.
pub(super) fn is_dump(base: &BackupReader) -> bool {
    base.backup().method == "dump" && base.entries().iter().any(|entry| entry.path == DUMP_FILE)
}

fn length_of_file(entry: &BackupEntry) -> Option<u64> {
    match &entry.content {
        EntryContent::File { length, .. } => Some(*length),
        EntryContent::Directory => None,
    }
}

fn length(entry: &BackupEntry) -> u64 {
    length_of_file(entry).unwrap_or_default()
}

/// The journal says next that all files are there: their names must be on the disk first.
fn sync_directories(restore: &Restore<'_>) -> anyhow::Result<()> {
    let mut directories = vec![restore.volume.datadir().to_owned()];
    while let Some(directory) = directories.pop() {
        let sync = || -> std::io::Result<Vec<std::path::PathBuf>> {
            std::fs::File::open(&directory)?.sync_all()?;
            let entries = std::fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
            Ok(entries.iter().map(std::fs::DirEntry::path).filter(|path| path.is_dir() && !path.is_symlink()).collect())
        };
        directories.extend(sync().with_context(|| format!("sync \"{}\"", directory.display()))?);
    }
    Ok(())
}
