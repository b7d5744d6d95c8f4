//! The peak of resident memory while closed binlogs are archived with 4 workers: of noise and of what compresses well, of one and of many
//! GiB, and of one transaction as long as a binlog.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, ensure};
use pitr_e2e::product::Product;
use pitr_e2e::synthetic::{Binlogs, Content};

use crate::process::measure;

/// What the archiver may take: `pipeline.memory_limit`, by default.
const MOST_MIB: u64 = 96;
const WORKERS: u32 = 4;

pub(crate) async fn run(mib: u64, times: u64) -> Result<()> {
    println!("| archived with {WORKERS} workers | raw MiB | wall s | CPU s | peak MiB |");
    println!("| --- | --- | --- | --- | --- |");
    let small = |noise| Content { transactions: mib * 4, transaction_bytes: 256 << 10, noise };
    let huge = |noise| Content { transactions: 1, transaction_bytes: mib << 20, noise };
    // One bit in eight: small in the store, as what is archived many times should be.
    let (noise, thin) = (u64::MAX, 0x0101_0101_0101_0101);
    let cases = [
        ("noise, transactions of 256 KiB", small(noise), 1),
        ("noise, one transaction", huge(noise), 1),
        ("one transaction that compresses", huge(thin), 1),
        ("many binlogs that compress", small(thin), times),
    ];
    let mut peak_mib = 0;
    for (name, content, times) in cases {
        peak_mib = peak_mib.max(case(name, content, times).await?);
    }
    ensure!(peak_mib <= MOST_MIB, "a peak of {peak_mib} MiB, and {MOST_MIB} are allowed");
    Ok(())
}

async fn case(name: &str, content: Content, times: u64) -> Result<u64> {
    let folder = tempfile::Builder::new().prefix("pitr-memory-").tempdir()?;
    let datadir = folder.path().join("data");
    let mut binlogs = Binlogs::new(&datadir)?;
    binlogs.write(content)?;
    for _ in 1..times {
        binlogs.repeat()?;
    }
    let raw = std::fs::metadata(datadir.join("binlog.000001"))?.len() * times;
    // The one that the server writes.
    binlogs.write(Content { transactions: 1, transaction_bytes: 100, ..content })?;
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, configuration(folder.path(), &datadir))?;
    let mut archive = Product::find()?.sidecar();
    archive.args(["archive", "--once", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let cost = measure(&mut archive).await?;
    let peak_mib = cost.peak_kib.div_ceil(1024);
    println!("| {name} | {} | {:.1} | {:.1} | {peak_mib} |", raw >> 20, cost.wall_s, cost.cpu_s);
    Ok(peak_mib)
}

fn configuration(folder: &Path, datadir: &Path) -> String {
    format!(
        "workload: test/mysql\narchive: file://{}\nsource: {{datadir: {}}}\npipeline: {{workers: {WORKERS}, nice: 0}}\n",
        folder.join("archive").display(),
        datadir.display()
    )
}
