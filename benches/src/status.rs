//! `status` from the bucket alone over archives of very many binlogs: requests, time, memory. The archives are made up: pages of
//! the catalog as an archiver leaves them, one base backup, and no segments, which nobody asks for here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Result, ensure};
use pitr_archive::backup::{BackupFacts, BackupWriter};
use pitr_archive::testing::History;
use pitr_archive::{
    Archive, Clock, Codec, Counting, FileStore, MemoryStore, MergeEffort, ObjectClass, Operation, Place, Store,
};
use pitr_binlog::Flavour;
use pitr_e2e::product::Product;

use crate::process::{Cost, measure};

/// Segments that an archiver with a backlog names in one page.
const PAGE: u64 = 64;
/// What an inventory may take at most: requests, and what `status` takes of memory.
const REQUESTS_MAX: u64 = 10;
const PEAK_KIB_MAX: u64 = 256 << 10;
/// The same of so many binlogs; beyond, both grow with the catalog.
const BOUNDED_BINLOGS: u64 = 100_000;

pub(crate) async fn run(sizes: &[u64], rounds: u32) -> Result<()> {
    println!("| status over | requests | wall s | CPU s | peak MiB | catalog MiB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for &binlogs in sizes {
        let folder = tempfile::Builder::new().prefix("pitr-status-").tempdir_in("/tmp")?;
        let stored = make(binlogs, folder.path()).await?;
        let requests = requests(folder.path(), binlogs).await?;
        let cost = median(folder.path(), rounds).await?;
        println!(
            "| {binlogs} binlogs | {requests} | {:.2} | {:.2} | {} | {:.1} |",
            cost.wall_s,
            cost.cpu_s,
            cost.peak_kib >> 10,
            stored as f64 / f64::from(1 << 20)
        );
        if binlogs <= BOUNDED_BINLOGS {
            ensure!(requests <= REQUESTS_MAX, "{requests} requests for {binlogs} binlogs");
            ensure!(cost.peak_kib <= PEAK_KIB_MAX, "{} KiB for {binlogs} binlogs", cost.peak_kib);
        }
    }
    Ok(())
}

fn clock() -> Clock {
    Arc::new(jiff::Timestamp::now)
}

/// Leaves in `folder` what an archiver has made of so many binlogs, without their segments; gives the catalog's length.
pub(crate) async fn make(binlogs: u64, folder: &Path) -> Result<u64> {
    let memory = Arc::new(MemoryStore::new());
    let store = Arc::clone(&memory) as Arc<dyn Store>;
    let archive = Arc::new(Archive::claim(store, clock(), "bench/mysql").await?);
    let first = History::new(1, 1, 4);
    let source = first.id.source.clone();
    let writer = BackupWriter::begin(Arc::clone(&archive), "bb-1").await?;
    let facts = BackupFacts {
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: "9.7.0".to_owned(),
        source: source.clone(),
        executed: first.previous,
        position: None,
        // As the made-up transactions have it.
        snapshot_at: jiff::Timestamp::from_second(1_700_000_000)?,
        settings: BTreeMap::new(),
    };
    writer.finish(facts, &AtomicU64::new(0)).await?;
    let mut records = Vec::new();
    for number in 1..=binlogs {
        let history = History::new(1, number, 4);
        records
            .push(archive.write_segment(history.draft(Place::Binlogs, 0, history.length()), Codec::default()).await?);
        if number % PAGE == 0 || number == binlogs {
            archive.write_page(&records).await?;
            let keys: Vec<String> = records.drain(..).map(|record| record.key.to_string()).collect();
            memory.delete(&keys).await?;
            archive.merge_pages(&source, MergeEffort::Busy).await?;
        }
    }
    archive.merge_pages(&source, MergeEffort::Idle).await?;
    let files = FileStore::new(folder);
    let mut stored = 0;
    for object in memory.list("").await? {
        files.put(&object.key, memory.get(&object.key).await?, ObjectClass::Control).await?;
        stored += if object.key.starts_with("catalog/") { object.length } else { 0 };
    }
    Ok(stored)
}

/// How many requests an inventory of the archive takes.
async fn requests(folder: &Path, binlogs: u64) -> Result<u64> {
    let counting = Counting::new(Arc::new(FileStore::new(folder)));
    let counts = counting.counts();
    let (inventory, report) = Archive::open(Arc::new(counting), clock()).inventory().await?;
    ensure!(inventory.binlogs.len() as u64 == binlogs && report.unreadable.is_empty(), "not what was made: {report:?}");
    Ok(Operation::ALL.iter().map(|operation| counts.calls(*operation)).sum())
}

async fn median(folder: &Path, rounds: u32) -> Result<Cost> {
    let product = Product::find()?;
    let mut costs = Vec::new();
    for _ in 0..rounds.max(1) {
        let mut status = product.sidecar();
        status.args(["status", "--archive", &format!("file://{}", folder.display()), "-o", "json"]);
        costs.push(measure(status.stdout(Stdio::null()).stderr(Stdio::null())).await?);
    }
    costs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    Ok(costs[costs.len() / 2])
}
