//! A backup that was not read back is a hope.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use pitr_archive::backup::{BackupFacts, BackupWriter};
use pitr_recovery::BaseBackup;

use crate::progress::{Progress, Unit, ticking};

/// Fetches every chunk of the backup, each checked against its hash, and commits it then.
pub(super) async fn commit(
    writer: BackupWriter,
    facts: BackupFacts,
    progress: &mut Progress,
) -> anyhow::Result<BaseBackup> {
    progress.begin("read-back", Unit::Bytes, 0, writer.unproven_bytes());
    let read = AtomicU64::new(0);
    let work = writer.finish(facts, &read);
    let backup = ticking(work, || progress.set(read.load(Ordering::Relaxed))).await;
    let backup = backup.context("read the backup back and commit it")?;
    progress.set(read.load(Ordering::Relaxed));
    progress.end();
    Ok(backup)
}
