//! A backup that was not read back is a hope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use pitr_archive::Archive;
use pitr_archive::backup::BackupReader;

use crate::progress::{Progress, Unit, ticking};

/// Fetches every chunk of the backup; each is checked against its hash.
pub(super) async fn read_back(archive: &Arc<Archive>, id: &str, progress: &mut Progress) -> anyhow::Result<()> {
    let reader = BackupReader::open(Arc::clone(archive), id).await.context("read the backup back")?;
    progress.begin("read-back", Unit::Bytes, 0, reader.backup().raw_bytes);
    let read = Arc::new(AtomicU64::new(0));
    for entry in reader.entries() {
        let mut sink = CountingSink(Arc::clone(&read));
        let work = reader.copy_file(entry, &mut sink);
        ticking(work, || progress.set(read.load(Ordering::Relaxed))).await.context("read the backup back")?;
    }
    progress.set(read.load(Ordering::Relaxed));
    progress.end();
    Ok(())
}

/// Takes everything and keeps its length.
struct CountingSink(Arc<AtomicU64>);

impl tokio::io::AsyncWrite for CountingSink {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
