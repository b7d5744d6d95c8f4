//! What a sidecar holds in memory of what is archived already: beside archives of many binlogs, of which its own server has one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pitr_e2e::product::Product;
use pitr_e2e::synthetic::{Binlogs, Content};
use tokio::process::Child;

use crate::{process, status};

/// By then everything has been listed a second time, beside what was known from the first.
const LISTED_TWICE: Duration = Duration::from_secs(640);

pub(crate) async fn run(sizes: &[u64]) -> Result<()> {
    let mut running = Vec::new();
    for &binlogs in sizes {
        let folder = tempfile::Builder::new().prefix("pitr-known-").tempdir()?;
        let sidecar = start(binlogs, folder.path()).await?;
        running.push((binlogs, folder, sidecar));
    }
    tokio::time::sleep(LISTED_TWICE).await;
    println!("| a sidecar at rest beside an archive of | RssAnon MiB | peak MiB |");
    println!("| --- | --- | --- |");
    for (binlogs, _folder, mut sidecar) in running {
        let pid = sidecar.id().context("a sidecar has ended")?;
        let mib = |name| process::memory_kib(pid, name).map_or(0.0, |kib| kib as f64 / 1024.0);
        println!("| {binlogs} binlogs | {:.1} | {:.1} |", mib("RssAnon:"), mib("VmHWM:"));
        sidecar.kill().await?;
    }
    Ok(())
}

async fn start(binlogs: u64, folder: &Path) -> Result<Child> {
    let (archive, datadir, config) = (folder.join("archive"), folder.join("data"), folder.join("config.yaml"));
    status::make(binlogs, &archive).await?;
    Binlogs::new(&datadir)?.write(Content { transactions: 1, transaction_bytes: 100, noise: u64::MAX })?;
    let (archive, datadir) = (archive.display(), datadir.display());
    let text = format!(
        "workload: bench/mysql\narchive: file://{archive}\nsource: {{datadir: {datadir}}}\nlisten: none\ncontrol_listen: none\n"
    );
    std::fs::write(&config, text)?;
    let mut sidecar = Product::find()?.sidecar();
    sidecar.args(["run", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    sidecar.spawn().context("start a sidecar")
}
