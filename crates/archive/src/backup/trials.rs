//! Base backups on a memory store: taken, reused, damaged, cut short.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use pitr_binlog::{BinlogName, Flavour};

use pitr_recovery::BaseBackup;

use super::*;
use crate::archive::{Archive, ArchiveError};
use crate::digest::{ShortHash, sha256};
use crate::layout::{CHUNKS_PREFIX, ObjectKey};
use crate::store::{Counting, MemoryStore, ObjectClass, Operation, Store, StoreError};
use crate::testing::{Fault, Faulty, Listener, Overheard};

mod sealed;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// Files of one chunk each.
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// A file's name and content.
type Files = Vec<(&'static str, Bytes)>;

fn open(store: Arc<dyn Store>) -> Arc<Archive> {
    Arc::new(Archive::open(store, Arc::new(Timestamp::now)))
}

/// Content that no two files share, unless they have the same seed.
fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of it compresses.
        bytes.extend_from_slice(&(state & 0xffff_ffff).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn small_files() -> Files {
    vec![("ibdata1", content(1, 70_000)), ("shop/orders.ibd", content(2, 50_000)), ("empty", Bytes::new())]
}

fn facts() -> BackupFacts {
    BackupFacts {
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: "9.7.0".to_owned(),
        source: UUID.to_owned(),
        executed: format!("{UUID}:1-1000:blue:1-7").parse().unwrap(),
        position: Some((BinlogName::parse("binlog.000042").unwrap(), 4711)),
        snapshot_at: "2026-11-21T02:00:09.123456Z".parse().unwrap(),
        settings: BTreeMap::from([("innodb_page_size".to_owned(), "16384".to_owned())]),
    }
}

async fn take(archive: &Arc<Archive>, id: &str, files: &Files) -> Result<(BaseBackup, u64), ArchiveError> {
    let mut writer = BackupWriter::begin(Arc::clone(archive), id).await?;
    writer.add_directory("shop", 0o750)?;
    for (path, content) in files {
        writer.add_file(path, 0o640, &content[..]).await?;
    }
    let new = writer.new_stored_bytes();
    Ok((writer.finish(facts(), &AtomicU64::new(0)).await?, new))
}

async fn restored(archive: &Arc<Archive>, id: &str) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let reader = BackupReader::open(Arc::clone(archive), id).await?;
    let mut files = BTreeMap::new();
    for entry in reader.entries() {
        let mut bytes = Vec::new();
        reader.copy_file(entry, &mut bytes).await?;
        files.insert(entry.path.clone(), bytes);
    }
    Ok(files)
}

fn assert_same(restored: &BTreeMap<String, Vec<u8>>, files: &Files) {
    for (path, content) in files {
        assert!(restored[*path] == content[..], "{path}");
    }
    assert_eq!(restored.len(), files.len() + 1, "and the directory");
}

async fn keys(memory: &MemoryStore, prefix: &str) -> Vec<String> {
    memory.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
}

#[tokio::test]
async fn what_is_taken_comes_back_and_a_second_attempt_fetches_only_what_is_missing() {
    let memory = Arc::new(MemoryStore::new());
    let archive = open(Arc::clone(&memory) as Arc<dyn Store>);
    let mut files = small_files();
    files.extend([
        ("one-chunk", content(3, CHUNK_BYTES)),
        ("just-below", content(4, CHUNK_BYTES - 1)),
        ("large", content(5, 2 * CHUNK_BYTES + 5)),
    ]);
    let (backup, _) = take(&archive, "bb-1", &files).await.unwrap();
    assert_eq!(backup.raw_bytes, files.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
    assert_eq!(archive.list_backup_manifests().await.unwrap().0, std::slice::from_ref(&backup));
    assert_eq!(keys(&memory, "backups/").await.len(), 2, "manifest and list; the claim has gone");
    let stored: u64 = memory.list("chunks/").await.unwrap().iter().map(|object| object.length).sum();
    assert_eq!(backup.stored_bytes, stored);
    assert_same(&restored(&archive, "bb-1").await.unwrap(), &files);

    let directory = tempfile::tempdir().unwrap();
    let reader = BackupReader::open(Arc::clone(&archive), "bb-1").await.unwrap();
    assert_eq!(reader.backup(), &backup);
    for entry in reader.entries() {
        reader.restore_entry(entry, directory.path()).await.unwrap();
    }
    let large = directory.path().join("large");
    assert_eq!(std::fs::metadata(&large).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::metadata(directory.path().join("shop")).unwrap().permissions().mode() & 0o777, 0o750);
    // A kill in the middle: the second chunk is damaged, the third is not there, and the file is too long elsewhere.
    let mut bytes = std::fs::read(&large).unwrap();
    bytes.truncate(2 * CHUNK_BYTES);
    bytes[CHUNK_BYTES + 7] ^= 1;
    std::fs::write(&large, &bytes).unwrap();
    std::fs::write(directory.path().join("ibdata1"), [&files[0].1[..], b"more"].concat()).unwrap();
    for entry in reader.entries() {
        let done = reader.restore_entry(entry, directory.path()).await.unwrap();
        let wanted = match entry.path.as_str() {
            "large" => CHUNK_BYTES as u64 + 5,
            _ => 0,
        };
        assert_eq!(done.fetched, wanted, "{}", entry.path);
    }
    for (path, content) in &files {
        assert!(std::fs::read(directory.path().join(path)).unwrap() == content[..], "{path}");
    }
}

#[tokio::test]
async fn a_later_backup_stores_only_what_has_changed() {
    let memory = Arc::new(MemoryStore::new());
    let counting = Counting::new(Arc::clone(&memory));
    let counts = counting.counts();
    let archive = open(Arc::new(counting));
    let mut files = small_files();
    let (first, stored) = take(&archive, "bb-1", &files).await.unwrap();
    assert_eq!(first.stored_bytes, stored);
    files[1].1 = content(9, 50_000);
    files.push(("copy", content(1, 70_000)));
    let before = counts.calls(Operation::Put);
    let (second, new) = take(&archive, "bb-2", &files).await.unwrap();
    // The claim, one chunk, the list of files, the manifest.
    assert_eq!(counts.calls(Operation::Put) - before, 4);
    assert!(new > 20_000 && new < 60_000, "{new}");
    assert!(second.stored_bytes > new);
    assert_same(&restored(&archive, "bb-2").await.unwrap(), &files);
    assert_same(&restored(&archive, "bb-1").await.unwrap(), &small_files());

    // A marked backup is about to go, and its chunks with it: nothing of it is reused (T).
    let marks = r#"{"format":1,"backups":[{"id":"bb-1","since":"2026-11-21T00:00:00Z"},{"id":"bb-2","since":"2026-11-21T00:00:00Z"}]}"#;
    let key = ObjectKey::Marks { generation: 1, hash: ShortHash::of(marks.as_bytes()) }.to_string();
    memory.put(&key, marks.into(), ObjectClass::Control).await.unwrap();
    let (third, new) = take(&archive, "bb-3", &files).await.unwrap();
    assert_eq!(third.stored_bytes, new);
    let (inventory, report) = {
        let claimed =
            Archive::claim(Arc::clone(&memory) as Arc<dyn Store>, Arc::new(Timestamp::now), "shop/mysql").await;
        claimed.unwrap().inventory().await.unwrap()
    };
    assert_eq!((inventory.backups, report.hidden_backups.len()), (vec![third], 2));
}

#[tokio::test]
async fn a_damaged_or_missing_part_is_named_and_never_restored() {
    let memory = Arc::new(MemoryStore::new());
    let archive = open(Arc::clone(&memory) as Arc<dyn Store>);
    take(&archive, "bb-1", &small_files()).await.unwrap();
    for key in keys(&memory, "chunks/").await {
        let whole = memory.get(&key).await.unwrap();
        for at in [0, 4, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 4;
            memory.put(&key, bytes.into(), ObjectClass::Content).await.unwrap();
            assert_damaged(restored(&archive, "bb-1").await.unwrap_err(), &key);
        }
        memory.put(&key, whole.slice(..whole.len() - 5), ObjectClass::Content).await.unwrap();
        assert_damaged(restored(&archive, "bb-1").await.unwrap_err(), &key);
        memory.delete(std::slice::from_ref(&key)).await.unwrap();
        assert_damaged(restored(&archive, "bb-1").await.unwrap_err(), &key);
        memory.put(&key, whole, ObjectClass::Content).await.unwrap();
    }
    assert_same(&restored(&archive, "bb-1").await.unwrap(), &small_files());
    let list = keys(&memory, "backups/bb-1/files-").await.remove(0);
    memory.put(&list, Bytes::from_static(b"not a list"), ObjectClass::Control).await.unwrap();
    let error = restored(&archive, "bb-1").await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Store(StoreError::Corrupt { key, .. }) if *key == list), "{error:?}");
    memory.put("backups/bb-1/manifest.json", Bytes::from_static(b"{"), ObjectClass::Control).await.unwrap();
    let (backups, problems) = archive.list_backup_manifests().await.unwrap();
    assert!(backups.is_empty() && problems[0].0 == "backups/bb-1/manifest.json", "{problems:?}");
    let error = restored(&archive, "bb-2").await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoSuchBackup { .. }), "{error:?}");
}

fn assert_damaged(error: ArchiveError, key: &str) {
    match error {
        ArchiveError::BackupDamaged { id, path, reason } => {
            assert_eq!(id, "bb-1");
            assert!(small_files().iter().any(|(name, _)| *name == path), "{path}");
            assert!(reason.contains(key), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_is_never_listed() {
    let memory = Arc::new(MemoryStore::new());
    let archive = open(Arc::clone(&memory) as Arc<dyn Store>);
    let mut writer = BackupWriter::begin(Arc::clone(&archive), "bb-1").await.unwrap();
    for (path, content) in &small_files() {
        writer.add_file(path, 0o640, &content[..]).await.unwrap();
    }
    assert_eq!(writer.unproven_bytes(), 120_000);
    let key = keys(&memory, "chunks/").await.remove(0);
    memory.delete(std::slice::from_ref(&key)).await.unwrap();
    assert_damaged(writer.finish(facts(), &AtomicU64::new(0)).await.unwrap_err(), &key);
    assert_eq!(archive.list_backup_manifests().await.unwrap(), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_damaged_chunk_of_an_earlier_backup_is_stored_anew() {
    let memory = Arc::new(MemoryStore::new());
    let archive = open(Arc::clone(&memory) as Arc<dyn Store>);
    take(&archive, "bb-1", &small_files()).await.unwrap();
    let chunks = keys(&memory, "chunks/").await;
    memory.put(&chunks[0], Bytes::from_static(b"rot"), ObjectClass::Content).await.unwrap();
    memory.delete(&chunks[1..]).await.unwrap();
    let (second, new) = take(&archive, "bb-2", &small_files()).await.unwrap();
    assert_eq!(second.stored_bytes, new, "nothing of it was used again");
    assert_same(&restored(&archive, "bb-2").await.unwrap(), &small_files());
}

#[tokio::test]
async fn a_store_that_refuses_is_no_damage() {
    let memory = Arc::new(MemoryStore::new());
    take(&open(Arc::clone(&memory) as Arc<dyn Store>), "bb-1", &small_files()).await.unwrap();
    // Manifest, list of files, two chunks.
    for at in 0..4 {
        let archive = open(Arc::new(Faulty::new(Arc::clone(&memory), at, Fault::Dies)));
        let error = restored(&archive, "bb-1").await.unwrap_err();
        assert!(matches!(error, ArchiveError::Store(StoreError::Cancelled { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_backup_that_dies_leaves_no_manifest() {
    let memory = Arc::new(MemoryStore::new());
    let whole = Arc::new(Faulty::new(Arc::clone(&memory), u64::MAX, Fault::Fails));
    take(&open(Arc::clone(&whole) as Arc<dyn Store>), "bb-0", &small_files()).await.unwrap();
    assert!(whole.calls() >= 8, "{}", whole.calls());
    for at in 0..whole.calls() {
        for fault in [Fault::Fails, Fault::LosesReply, Fault::Dies, Fault::DiesAfter] {
            let memory = Arc::new(MemoryStore::new());
            let taken =
                take(&open(Arc::new(Faulty::new(Arc::clone(&memory), at, fault))), "bb-1", &small_files()).await;
            let archive = open(Arc::clone(&memory) as Arc<dyn Store>);
            let (backups, problems) = archive.list_backup_manifests().await.unwrap();
            assert!(problems.is_empty(), "{problems:?}");
            match (&taken, &backups[..]) {
                (Ok((taken, _)), [listed]) => assert_eq!(taken, listed),
                // The manifest is there, and only the word about it was lost.
                (Err(_), [_]) => assert!(matches!(fault, Fault::LosesReply | Fault::DiesAfter), "{at} {fault:?}"),
                (Err(_), []) => {}
                other => panic!("{at} {fault:?}: {other:?}"),
            }
            if !backups.is_empty() {
                assert_same(&restored(&archive, "bb-1").await.unwrap(), &small_files());
            }
        }
    }
}

/// A clock that can be set.
fn movable() -> (Arc<AtomicI64>, crate::Clock) {
    let second = Arc::new(AtomicI64::new(1_800_000_000));
    let read = Arc::clone(&second);
    (second, Arc::new(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap()))
}

#[tokio::test]
async fn a_backup_that_slept_through_its_claim_gives_up() {
    let (wall, clock) = movable();
    let pause = |seconds: i64| wall.fetch_add(seconds, Ordering::SeqCst);
    let memory = Arc::new(MemoryStore::new());
    let archive = Arc::new(Archive::open(Arc::clone(&memory) as Arc<dyn Store>, clock));
    let mut writer = BackupWriter::begin(Arc::clone(&archive), "bb-1").await.unwrap();
    // The copy takes hours before the first byte: nothing depends on the claim yet.
    pause(5 * 3600);
    writer.add_file("a", 0o640, &b"content"[..]).await.unwrap();
    assert_eq!(keys(&memory, "backups/").await, ["backups/bb-1/writing-1.json"]);
    pause(40 * 60);
    writer.add_file("b", 0o640, &b"more"[..]).await.unwrap();
    assert_eq!(keys(&memory, "backups/").await, ["backups/bb-1/writing-2.json"]);
    let claim = memory.get("backups/bb-1/writing-2.json").await.unwrap();
    assert!(String::from_utf8_lossy(&claim).contains("chunks/"), "{claim:?}");
    // Now there are chunks that a sweep may have taken.
    pause(61 * 60);
    let late = writer.add_file("c", 0o640, &b"content"[..]).await.unwrap_err();
    assert!(matches!(late, ArchiveError::BackupNotRenewed { .. }), "{late:?}");
    assert!(matches!(writer.finish(facts(), &AtomicU64::new(0)).await, Err(ArchiveError::BackupNotRenewed { .. })));
    assert!(archive.list_backup_manifests().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn names_that_would_leave_the_directory_are_refused() {
    let archive = open(Arc::new(MemoryStore::new()));
    assert!(BackupWriter::begin(Arc::clone(&archive), "../x").await.is_err());
    let mut writer = BackupWriter::begin(archive, "bb-1").await.unwrap();
    for path in ["../x", "/etc/passwd", "a//b", ""] {
        assert!(writer.add_file(path, 0o640, &b"x"[..]).await.is_err(), "{path}");
        assert!(writer.add_directory(path, 0o750).is_err(), "{path}");
    }
}

/// A store that takes a moment for each chunk, and knows how many were asked for at once.
#[derive(Debug)]
struct Slow {
    now: AtomicUsize,
    most: AtomicUsize,
    expected: usize,
}

#[async_trait::async_trait]
impl Listener for Slow {
    async fn asked(&self, key: &str) -> Result<(), StoreError> {
        if !key.starts_with(CHUNKS_PREFIX) {
            return Ok(());
        }
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        // Until as many as there may be are under way; then a little longer, for one more to come that may not.
        let begun = std::time::Instant::now();
        while self.most.load(Ordering::SeqCst) < self.expected && begun.elapsed().as_secs() < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Many files are fetched at once, and never more of them than there is room for.
#[tokio::test]
async fn what_is_fetched_ahead_is_bounded_over_all_files() {
    let memory = Arc::new(MemoryStore::new());
    let files: Files = NAMES.iter().zip(0..).map(|(name, seed)| (*name, content(seed, 100 << 10))).collect();
    take(&open(Arc::clone(&memory) as Arc<dyn Store>), "bb-1", &files).await.unwrap();
    for (kib, at_once) in [(1 << 20, NAMES.len()), (350, 3), (100, 1), (10, 1)] {
        let (now, most) = (AtomicUsize::default(), AtomicUsize::default());
        let slow = Arc::new(Overheard::new(&memory, Slow { now, most, expected: at_once }));
        let reader =
            BackupReader::open(open(Arc::clone(&slow) as Arc<dyn Store>), "bb-1").await.unwrap().with_room(kib);
        let directory = tempfile::tempdir().unwrap();
        let work = reader.entries().iter().map(|entry| reader.restore_entry(entry, directory.path()));
        let restored = futures::future::try_join_all(work).await.unwrap();
        assert_eq!(restored.iter().map(|r| r.fetched).sum::<u64>(), NAMES.len() as u64 * (100 << 10));
        assert_eq!(slow.listener.most.load(Ordering::SeqCst), at_once, "{kib} KiB");
    }
}
