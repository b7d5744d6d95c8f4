use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pitr_archive::layout::{CATALOG_PREFIX, TAIL_PREFIX};
use pitr_archive::testing::{Listener, Overheard};
use pitr_archive::{Archive, Counting, MemoryStore, Operation, StoreCounts, StoreError};
use pitr_binlog::{BinlogName, scan};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::pipeline::Pipeline;
use super::super::tail::Tail;
use super::{BATCH_SEGMENTS, Backlog, FILES_AT_ONCE};
use crate::discovery::{Found, IndexEntry};

/// Counts what is stored, by what it is, and may refuse pages.
#[derive(Debug, Default, Clone)]
struct Desk {
    segments: Arc<AtomicU64>,
    pages: Arc<AtomicU64>,
    tail: Arc<AtomicU64>,
    refuses_pages: Arc<AtomicBool>,
}

#[async_trait]
impl Listener for Desk {
    async fn storing(&self, key: &str) -> Result<(), StoreError> {
        if key.starts_with(CATALOG_PREFIX) {
            if self.refuses_pages.load(Ordering::Relaxed) {
                let (operation, key, reason) = (Operation::Put, key.to_owned(), "not now".to_owned());
                return Err(StoreError::Transient { operation, key, reason });
            }
            self.pages.fetch_add(1, Ordering::Relaxed);
        } else if key.starts_with(TAIL_PREFIX) {
            self.tail.fetch_add(1, Ordering::Relaxed);
        } else if key.starts_with("binlogs/") {
            self.segments.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Closed binlogs, one that the server writes, and an archive in memory.
struct Scene {
    _folder: TempDir,
    found: Found,
    pipeline: Arc<Pipeline>,
    desk: Desk,
    counts: StoreCounts,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../crates/binlog/tests/fixtures/mysql-9.7.4")
        .join(name)
}

impl Scene {
    async fn new(closed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let one = folder.path().join("one");
        std::fs::copy(fixture("stop.binlog"), &one).unwrap();
        let entry = |number: u64| {
            let name = format!("binlog.{number:06}");
            IndexEntry { path: folder.path().join(&name), name: BinlogName::parse(&name).unwrap() }
        };
        let entries: Vec<IndexEntry> = (1..=closed + 1).map(entry).collect();
        // The same file under all the names: what tells binlogs apart are their numbers.
        entries[..entries.len() - 1].iter().for_each(|entry| std::fs::hard_link(&one, &entry.path).unwrap());
        std::fs::copy(fixture("crash.binlog"), &entries[entries.len() - 1].path).unwrap();
        let (source, index) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(), folder.path().join("binlog.index"));
        let found = Found { source, index, entries, strange_lines: Vec::new() };

        let desk = Desk::default();
        let store = Counting::new(Overheard::new(&Arc::new(MemoryStore::new()), desk.clone()));
        let counts = store.counts();
        let archive = Archive::claim(Arc::new(store), Arc::new(jiff::Timestamp::now), "test/mysql").await.unwrap();
        let pipeline = Pipeline::over(archive, counts.clone());
        Self { _folder: folder, found, pipeline, desk, counts }
    }

    fn backlog(&self) -> Backlog {
        Backlog::new(Arc::clone(&self.pipeline), CancellationToken::new())
    }

    fn segments(&self) -> u64 {
        self.desk.segments.load(Ordering::Relaxed)
    }

    fn active(&self) -> &Path {
        &self.found.entries[self.found.entries.len() - 1].path
    }

    /// The server writes the last transaction of the active binlog once more.
    fn write(&self) {
        let mut bytes = std::fs::read(self.active()).unwrap();
        let mut transactions = Vec::new();
        scan(&bytes[..], &mut |transaction| transactions.push(transaction)).unwrap();
        let last = transactions.last().unwrap();
        let at = |offset| usize::try_from(offset).unwrap();
        bytes.extend_from_within(at(last.start)..at(last.end));
        std::fs::write(self.active(), bytes).unwrap();
    }
}

#[tokio::test]
async fn ten_thousand_binlogs_wait_behind_the_tail_and_take_few_requests() {
    const COUNT: u64 = 10_000;
    let scene = Scene::new(COUNT).await;
    let mut backlog = scene.backlog();
    let mut tail = Tail::new(Arc::clone(&scene.pipeline), None);
    let before = [Operation::List, Operation::Get, Operation::Head].map(|operation| scene.counts.calls(operation));
    let tailing = async {
        tail.tick(&scene.found, tail.see()).await.unwrap();
        let first = scene.segments();
        while scene.segments() < COUNT / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        scene.write();
        tail.tick(&scene.found, tail.see()).await.unwrap();
        (first, scene.segments(), scene.desk.tail.load(Ordering::Relaxed))
    };
    let (report, (first, second, shipped)) = tokio::join!(backlog.cycle(&scene.found), tailing);
    assert!(report.failure.is_none() && report.next_try.is_none(), "{report:?}");
    // The tail went between them, and before nearly all.
    assert!(shipped == 2 && first < COUNT / 10 && second < COUNT * 9 / 10, "{shipped} after {first} and {second}");

    // One object for each binlog, one page for many, nothing listed and nothing asked for.
    let pages = scene.desk.pages.load(Ordering::Relaxed);
    assert_eq!((scene.segments(), pages), (COUNT, COUNT.div_ceil(BATCH_SEGMENTS as u64)));
    let after = [Operation::List, Operation::Get, Operation::Head].map(|operation| scene.counts.calls(operation));
    assert_eq!(after, before);
    assert!(backlog.batch.is_empty());

    // The next look finds nothing to do, and asks the store nothing.
    let calls = Operation::ALL.map(|operation| scene.counts.calls(operation));
    assert!(backlog.cycle(&scene.found).await.failure.is_none());
    assert_eq!(Operation::ALL.map(|operation| scene.counts.calls(operation)), calls);
    let (inventory, _) = scene.pipeline.archive.inventory().await.unwrap();
    assert_eq!(inventory.binlogs.len() as u64, COUNT + 1);
}

#[tokio::test]
async fn nothing_piles_up_while_the_catalog_refuses() {
    const COUNT: u64 = 200;
    let most = (BATCH_SEGMENTS + FILES_AT_ONCE) as u64;
    let scene = Scene::new(COUNT).await;
    let mut backlog = scene.backlog();
    scene.desk.refuses_pages.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let report = backlog.cycle(&scene.found).await;
        assert!(report.failure.is_some() && report.next_try.is_some(), "{report:?}");
        assert!(backlog.batch.len() <= BATCH_SEGMENTS && scene.segments() <= most, "{}", scene.segments());
    }
    scene.desk.refuses_pages.store(false, Ordering::Relaxed);
    while let Some(pause) = backlog.cycle(&scene.found).await.next_try {
        tokio::time::sleep(pause).await;
    }
    // Only what was in work when the first page was refused is stored twice.
    assert!(scene.segments() <= COUNT + FILES_AT_ONCE as u64, "{}", scene.segments());
    assert!(backlog.batch.is_empty());
    let (inventory, _) = scene.pipeline.archive.inventory().await.unwrap();
    assert_eq!(inventory.binlogs.len() as u64, COUNT);
}
