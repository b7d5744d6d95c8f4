//! The plugin looks after an archive with no cluster at hand: what is whole is found whole, one bad byte is named, a lost catalog is made
//! again, nothing is deleted that was not confirmed. And a sidecar tries its store and leaves nothing there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Outcome, Product, finish};
use pitr_e2e::shop;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;

async fn plugin(words: &[&str]) -> Result<Outcome> {
    finish(Product::find()?.plugin().args(words)).await
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn an_archive_is_verified_and_pruned_from_where_the_user_sits() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await?;
    source.sql(shop::SCHEMA).await?;
    let archive = tempfile::tempdir()?;
    let url = format!("file://{}", archive.path().display());
    let sidecar = Sidecar::configure(&source, &url, "")?;
    shop::run(&source, shop::Load { sessions: 2, transactions: 60, seed: 3, ddl_every: 40, flush_every: 30 }).await?;
    source.sql("FLUSH BINARY LOGS").await?;
    sidecar.archive_once().await?.expect(0)?;

    let whole = plugin(&["verify", "--archive", &url, "--deep", "-o", "json"]).await?.expect(0)?;
    let document: Value = serde_json::from_str(&whole.stdout)?;
    ensure!(document["ok"] == true && document["segmentsRead"] == document["segments"], "{document:#}");
    std::fs::remove_dir_all(archive.path().join("catalog"))?;
    let made = plugin(&["verify", "--archive", &url, "--rebuild-catalog"]).await?.expect(0)?;
    ensure!(made.stdout.contains("made again") && made.stdout.contains("all of it is what was stored"), "{made:?}");

    let again = plugin(&["verify", "--archive", &url, "-o", "json"]).await?.expect(0)?;
    let again: Value = serde_json::from_str(&again.stdout)?;
    ensure!(again["segments"] == document["segments"], "{again:#} after {document:#}");

    nothing_is_deleted_unasked(&archive.path().join("binlogs"), &url).await?;
    the_store_is_tried(&sidecar, archive.path()).await?;

    let bad = files(&archive.path().join("binlogs"))?.pop().context("a segment")?;
    let mut bytes = std::fs::read(&bad)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bad, bytes)?;
    let damaged = plugin(&["verify", "--archive", &url]).await?.expect(3)?;
    let name = bad.file_name().and_then(|name| name.to_str()).context("its name")?;
    ensure!(damaged.stdout.contains(name) && damaged.stderr.contains("PITR0606"), "{damaged:?}");
    Ok(())
}

async fn nothing_is_deleted_unasked(binlogs: &Path, url: &str) -> Result<()> {
    let before = files(binlogs)?;
    let no_policy = plugin(&["prune", "--archive", url]).await?.expect(2)?;
    ensure!(no_policy.stderr.contains("PITR0209"), "{no_policy:?}");
    let plan = plugin(&["prune", "--archive", url, "--window", "1d"]).await?.expect(0)?;
    ensure!(plan.stdout.contains("Window      1d") && plan.stdout.contains("nothing expires"), "{plan:?}");
    let other = plugin(&["prune", "--archive", url, "--window", "1d", "--confirm", "another"]).await?.expect(4)?;
    ensure!(other.stderr.contains("PITR0402"), "{other:?}");
    let job = plugin(&["prune", "--archive", url, "--window", "1d", "--secret", "x"]).await?.expect(2)?;
    ensure!(job.stderr.contains("--secret does not go with it"), "{job:?}");
    for verb in ["prune", "verify"] {
        let window: &[&str] = if verb == "prune" { &["--window", "1d"] } else { &[] };
        let foreign = plugin(&[&[verb, "of-somebody-else", "--archive", url], window].concat()).await?.expect(2)?;
        ensure!(foreign.stderr.contains("the archive belongs to"), "{foreign:?}");
        let idle = plugin(&[verb, "mysql", "--endpoint", "http://127.0.0.1:1"]).await?.expect(2)?;
        ensure!(idle.stderr.contains("--archive URL"), "{idle:?}");
    }
    ensure!(files(binlogs)? == before, "a plan deleted something");
    Ok(())
}

async fn the_store_is_tried(sidecar: &Sidecar, archive: &Path) -> Result<()> {
    let mut running = sidecar.run()?;
    let mut tried = Value::Null;
    for _ in 0..100 {
        let outcome = finish(&mut sidecar.command(&["get", "/v1/check", "--data", "{}"])).await?;
        if outcome.code == Some(0) {
            tried = serde_json::from_str(&outcome.stdout)?;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    running.kill().await?;
    let steps: Vec<_> = tried["steps"].as_array().context("steps")?.iter().map(|step| &step["operation"]).collect();
    ensure!(steps == ["put", "get", "head", "list", "delete"], "{tried:#}");
    ensure!(tried["steps"].as_array().into_iter().flatten().all(|step| step["ok"] == true), "{tried:#}");
    let left: Vec<_> = files(archive)?.into_iter().filter(|path| path.to_string_lossy().contains("probe")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
