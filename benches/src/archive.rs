//! Archiving closed binlogs with one and two workers: how long, how much memory, how small; beside `zstd -1 --long=24 -T1` on the same
//! files, in turns.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::shop;
use pitr_e2e::sidecar::Sidecar;
use tokio::process::Command;

use crate::process::{Cost, measure};

pub(crate) async fn run(mib: u64, rounds: u32) -> Result<()> {
    let installation = Installation::find()?.context("this bench needs the server")?;
    let mut server = Mysqld::fresh(&installation, 1).option("--max_binlog_size=128M").start().await?;
    make_binlogs(&server, mib).await?;
    let names: Vec<String> = server.rows("SHOW BINARY LOGS").await?.into_iter().filter_map(|r| r.get(0)).collect();
    server.stop().await?;
    let files: Vec<PathBuf> = names.iter().map(|n| server.datadir().join(n)).collect();
    let raw = files.iter().map(|f| Ok(f.metadata()?.len())).sum::<Result<u64>>()?;

    let folder = tempfile::tempdir()?;
    let (one, two) = (sidecar(&server, folder.path(), 1)?, sidecar(&server, folder.path(), 2)?);
    let mut best = [Cost::default(); 3];
    let mut sizes = [0; 3];
    // In turns, so that what else the machine does concerns all alike; the least of each counts.
    for _ in 0..rounds {
        for (place, sidecar) in [&one, &two].into_iter().enumerate() {
            let archive = folder.path().join("archive");
            let config = sidecar.config().display().to_string();
            let mut once = sidecar.command(&["archive", "--config", &config, "--once"]);
            let cost = measure(once.stdout(Stdio::null()).stderr(Stdio::null())).await?;
            best[place] = least(best[place], cost);
            sizes[place] = size_of(&archive.join("binlogs"))? + size_of(&archive.join("tail"))?;
            std::fs::remove_dir_all(&archive)?;
        }
        let mut zstd = Command::new("zstd");
        zstd.args(["-q", "-f", "-1", "--long=24", "-T1", "--output-dir-flat"]).arg(folder.path()).args(&files);
        best[2] = least(best[2], measure(&mut zstd).await?);
        sizes[2] = files.iter().map(|f| size_of_zst(folder.path(), f)).sum::<Result<u64>>()?;
    }

    println!("| archive of {} binlogs, {} MiB | wall s | CPU s | peak MiB | stored MiB |", files.len(), raw >> 20);
    println!("| --- | --- | --- | --- | --- |");
    let names = [
        "pitr-sidecar archive --once, 1 worker (scan, CRC, SHA-256, index, fsync)",
        "pitr-sidecar archive --once, 2 workers",
        "zstd -1 --long=24 -T1 (no fsync)",
    ];
    for (place, name) in names.iter().enumerate() {
        row(name, &best[place], sizes[place]);
    }
    let [one, two, zstd] = best;
    println!(
        "| 1 worker, as part of zstd | {:.2} | {:.2} | | {:.2} |",
        one.wall_s / zstd.wall_s,
        one.cpu_s / zstd.cpu_s,
        ratio(sizes[0], sizes[2])
    );
    println!("| 2 workers, times as fast as 1 | {:.2} | | | |", one.wall_s / two.wall_s);
    Ok(())
}

/// A sidecar with so many workers, as nice as zstd is.
fn sidecar(server: &Mysqld, folder: &Path, workers: u32) -> Result<Sidecar> {
    let url = format!("file://{}", folder.join("archive").display());
    Sidecar::configure(server, &url, &format!("pipeline: {{workers: {workers}, nice: 0}}\n"))
}

/// The lesser of each figure, but the greater peak.
fn least(known: Cost, new: Cost) -> Cost {
    if known.peak_kib == 0 {
        return new;
    }
    Cost {
        wall_s: known.wall_s.min(new.wall_s),
        cpu_s: known.cpu_s.min(new.cpu_s),
        peak_kib: known.peak_kib.max(new.peak_kib),
    }
}

/// Bulk rows with text that compresses as a shop's does: half words, half digits.
async fn make_binlogs(server: &Mysqld, mib: u64) -> Result<()> {
    server.sql(shop::SCHEMA).await?;
    server.sql("CREATE TABLE shop.bulk (id BIGINT AUTO_INCREMENT PRIMARY KEY, a INT, b DOUBLE, c VARCHAR(200), d DATETIME(6))").await?;
    server.sql("SET PERSIST cte_max_recursion_depth = 100000").await?;
    let insert = "INSERT INTO shop.bulk (a, b, c, d) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
                  SELECT i * 7 % 1000, RAND(), CONCAT('order of customer ', i % 977, ' for item ', FLOOR(RAND() * 1e9), ' note ', SHA2(RAND(), 256)), NOW(6) FROM n";
    let mut written = 0;
    while written < mib << 20 {
        for _ in 0..8 {
            server.sql(insert).await?;
            server.sql("UPDATE shop.bulk SET a = a + 1 ORDER BY id LIMIT 500").await?;
        }
        let sizes = server.rows("SHOW BINARY LOGS").await?;
        written = sizes.iter().filter_map(|r| r.get::<u64, _>(1)).sum();
        server.sql("TRUNCATE shop.bulk").await?;
    }
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn size_of_zst(folder: &Path, file: &Path) -> Result<u64> {
    let name = file.file_name().context("a binlog has a name")?.to_string_lossy();
    Ok(folder.join(format!("{name}.zst")).metadata()?.len())
}

fn row(what: &str, cost: &Cost, stored: u64) {
    println!("| {what} | {:.2} | {:.2} | {} | {} |", cost.wall_s, cost.cpu_s, cost.peak_kib >> 10, stored >> 20);
}

#[allow(clippy::cast_precision_loss)] // sizes far below 2^52
fn ratio(ours: u64, theirs: u64) -> f64 {
    ours as f64 / theirs as f64
}
