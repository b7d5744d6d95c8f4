//! What the archiver takes in memory while it catches up, at worst: bytes that do not compress, all workers, and a transaction that is
//! longer than many segments. No server: the binlogs are made by counting.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pitr_archive::{Archive, FileStore};
use pitr_e2e::synthetic::{Binlogs, Content};
use tokio::process::Command;

/// The default of `pipeline.memory_limit`.
const MOST_KIB: u64 = 96 << 10;

/// The highest mark of resident memory of a process so far.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn four_workers_stay_within_the_memory_limit() {
    let home = tempfile::Builder::new().prefix("pitr-memory-").tempdir_in("/tmp").unwrap();
    let datadir = home.path().join("data");
    let mut binlogs = Binlogs::new(&datadir).unwrap();
    let noise = Content { transactions: 0, transaction_bytes: 0, noise: u64::MAX };
    // 256 MiB: binlogs of transactions that fit into a segment, of very many small ones, and of one alone.
    for _ in 0..3 {
        binlogs.write(Content { transactions: 224, transaction_bytes: 256 << 10, ..noise }).unwrap();
    }
    binlogs.write(Content { transactions: 64 << 10, transaction_bytes: 256, ..noise }).unwrap();
    binlogs.write(Content { transactions: 1, transaction_bytes: 64 << 20, ..noise }).unwrap();
    binlogs.write(Content { transactions: 1, transaction_bytes: 100, ..noise }).unwrap();
    let config = home.path().join("config.yaml");
    let archive = home.path().join("archive");
    let text = format!(
        "workload: test/mysql\narchive: file://{}\nsource: {{datadir: {}}}\npipeline: {{workers: 4}}\n",
        archive.display(),
        datadir.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut once = Command::new(env!("CARGO_BIN_EXE_pitr-sidecar"));
    once.args(["archive", "--once", "--config"]).arg(&config).stdout(Stdio::null()).kill_on_drop(true);
    let mut once = once.spawn().unwrap();
    let pid = once.id().unwrap();
    let mut peak = 0;
    let status = loop {
        tokio::select! {
            status = once.wait() => break status.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(2)) => peak = peak.max(peak_kib(pid)),
        }
    };
    assert!(status.success(), "{status}");
    println!("peak of resident memory: {} MiB", peak >> 10);
    assert!((1..=MOST_KIB).contains(&peak), "{peak} KiB of resident memory");

    // All of it is there, each byte once.
    let store = Arc::new(FileStore::new(archive));
    let (inventory, _) = Archive::open(store, Arc::new(jiff::Timestamp::now)).inventory().await.unwrap();
    assert_eq!(inventory.binlogs.len(), 6);
    for binlog in &inventory.binlogs {
        let mut ranges: Vec<(u64, u64)> = binlog.ranges.iter().map(|range| (range.start, range.end)).collect();
        ranges.sort_unstable();
        let end = ranges.iter().fold(0, |at, range| if range.0 == at { range.1 } else { 0 });
        assert_eq!(end, std::fs::metadata(datadir.join(binlog.name.as_str())).unwrap().len(), "{ranges:?}");
    }
}
