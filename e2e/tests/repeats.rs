//! `dedupe: gtid` on three real servers: a primary and two replicas, each with its own archiver, and a failover that loses a tail. The
//! archive takes little more room than one server's, and every target leads to the same state as before, as an ordinary replica
//! reaches it; the lost tail and the positions of each server included.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::Mysqld;
use pitr_e2e::product::finish;
use pitr_e2e::reference::{Replica, content, log_of};
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;

const COLUMNS: &str = "id INT AUTO_INCREMENT PRIMARY KEY, round INT NOT NULL, pad VARCHAR(200) NOT NULL";

/// Transactions of ten rows each, which no codec makes much smaller.
async fn write(server: &Mysqld, round: u32, transactions: usize) -> Result<()> {
    let insert = format!(
        "INSERT INTO d.t (round, pad) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) \
         SELECT {round}, CONCAT(SHA2(RAND(), 512), i) FROM n;"
    );
    server.sql(&insert.repeat(transactions)).await
}

async fn follow(replica: &Mysqld, source: &Mysqld) -> Result<()> {
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_SSL=0, \
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
        source.port()
    );
    replica.sql(&change).await
}

async fn leave(replica: &Mysqld) -> Result<()> {
    replica.sql("STOP REPLICA; RESET REPLICA ALL").await
}

async fn caught_up(replica: &Mysqld, source: &Mysqld) -> Result<()> {
    let set = source.gtid_executed().await?;
    let reached = replica.value::<i64>(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 120)")).await?;
    ensure!(reached == 0, "the replica did not catch up");
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

fn stored_bytes(binlogs: &Path) -> Result<u64> {
    files(binlogs)?.iter().map(|file| Ok(std::fs::metadata(file)?.len())).sum()
}

/// Three hours go by for everything that is stored.
fn grow_old(binlogs: &Path) -> Result<()> {
    for path in files(binlogs)? {
        let file = std::fs::File::options().write(true).open(&path)?;
        file.set_modified(file.metadata()?.modified()? - Duration::from_secs(3 * 60 * 60))?;
    }
    Ok(())
}

async fn document(sidecar: &Sidecar, words: &[&str]) -> Result<Value> {
    let outcome = finish(&mut sidecar.command(words)).await?.expect(0)?;
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.stdout.clone())
}

#[tokio::test]
async fn three_servers_and_a_failover_that_lost_a_tail() -> Result<()> {
    let Some(scene) = Scene::new("repeats", COLUMNS).await? else { return Ok(()) };
    let old = &scene.source;
    let second = Mysqld::fresh(&scene.installation, 2).start().await?;
    let third = Mysqld::fresh(&scene.installation, 3).start().await?;
    follow(&second, old).await?;
    follow(&third, old).await?;
    scene.backup().await?;
    write(old, 1, 400).await?;
    old.sql("FLUSH BINARY LOGS").await?;
    write(old, 2, 400).await?;
    for replica in [&second, &third] {
        caught_up(replica, old).await?;
        leave(replica).await?;
    }
    // The tail that only the old primary has.
    write(old, 3, 10).await?;
    second.sql("FLUSH BINARY LOGS").await?;
    write(&second, 4, 100).await?;
    follow(&third, &second).await?;
    caught_up(&third, &second).await?;
    third.sql("FLUSH BINARY LOGS").await?;
    write(&second, 5, 100).await?;
    caught_up(&third, &second).await?;
    let url = scene.url();
    let policy = "retention: {window: 14d, grace: 2h}\ndedupe: gtid\n";
    let mut sidecars = Vec::new();
    for server in [old, &second, &third] {
        server.sql("FLUSH BINARY LOGS").await?;
        let sidecar = Sidecar::configure(server, &url, policy)?;
        sidecar.archive_once().await?.expect(0)?;
        sidecars.push(sidecar);
    }
    let binlogs = PathBuf::from(url.trim_start_matches("file://")).join("binlogs");
    let status = ["status", "--archive", &url, "-o", "json"];
    let (before, bytes_before) = (document(&sidecars[0], &status).await?, stored_bytes(&binlogs)?);
    ensure!(before["windows"]["items"].as_array().is_some_and(|windows| windows.len() >= 2), "{before:#}");

    let config = sidecars[0].config().display().to_string();
    let prune = ["prune", "--archive", &url, "--policy", &config, "--apply", "-o", "json"];
    let young = document(&sidecars[0], &prune).await?;
    ensure!(young["deduped"]["repeats"] == 0, "{young:#}");
    grow_old(&binlogs)?;
    let done = document(&sidecars[0], &prune).await?;
    ensure!(done["deduped"]["repeats"].as_u64() >= Some(3) && done["done"]["sweptDuplicates"] == 0, "{done:#}");
    let both = document(&sidecars[0], &status).await?;
    grow_old(&binlogs)?;
    let swept = document(&sidecars[0], &prune).await?;
    ensure!(swept["done"]["sweptDuplicates"] == done["deduped"]["repeats"], "{swept:#} after {done:#}");
    let (after, bytes_after) = (document(&sidecars[0], &status).await?, stored_bytes(&binlogs)?);
    println!("binlogs/: {bytes_before} bytes, with dedupe {bytes_after}: {}", done["deduped"]);
    ensure!(bytes_after * 2 < bytes_before, "{bytes_before} bytes, with dedupe {bytes_after}");
    for key in ["windows", "backups", "newest", "problems", "codes"] {
        ensure!(before[key] == both[key] && before[key] == after[key], "{key}: {:#} and {:#}", before[key], after[key]);
    }
    ensure!(after["repeats"]["segments"] == done["deduped"]["repeats"], "{after:#}");
    let verified = finish(&mut sidecars[0].command(&["verify", "--archive", &url, "--deep"])).await?;
    ensure!(verified.expect(0)?.stdout.contains("what was stored"), "what is left is damaged");

    ensure!(repeats_of(&sidecars[0], &binlogs).await? == done["deduped"]["repeats"], "inspect knows others");

    leads_where_it_led(&scene, &second, &third).await?;
    goes_on(&scene, (&second, &third), &sidecars).await
}

/// How many of the stored segments are repeats, as `inspect` has it.
async fn repeats_of(sidecar: &Sidecar, binlogs: &Path) -> Result<u64> {
    let mut repeats = 0;
    for file in files(binlogs)? {
        let path = file.display().to_string();
        let outcome = finish(&mut sidecar.command(&["inspect", &path])).await?.expect(0)?;
        repeats += u64::from(outcome.stdout.contains("stored as     what differs from"));
    }
    Ok(repeats)
}

/// Targets of both times, on both branches, by GTID and by another server's positions.
async fn leads_where_it_led(scene: &Scene, second: &Mysqld, third: &Mysqld) -> Result<()> {
    let (with_tail, live) = (content(&scene.source).await?, content(second).await?);
    ensure!(with_tail.checksums != live.checksums, "the servers do not differ");
    let restored = scene.restored("live", ["--to", "latest"], &[]).await?;
    ensure!(restored == live, "latest is not the live branch:\n{restored:#?}\n{live:#?}");
    let unknown = scene.restore("none", ["--to", "latest"], &["--branch", "br-none"]).await?.expect(4)?;
    let words = unknown.stderr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let branches: Vec<&str> = words.filter(|word| word.starts_with("br-") && *word != "br-none").collect();
    let mut is_there = false;
    for branch in &branches {
        let restored = scene.restored(branch, ["--to", "latest"], &["--branch", branch]).await?;
        is_there |= restored == with_tail;
    }
    ensure!(is_there, "the lost tail is on none of {branches:?}");

    let log = log_of(&scene.installation, second).await?;
    let replica = Replica::of(&scene.installation, second).await?;
    let seed: u64 = std::env::var("PITR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    for round in 0..3 {
        // In the order of the log: the replica goes on from one to the next.
        let target = &log[(log.len() * round + (seed as usize * 37) % log.len()) / 3];
        let expected = replica.forward_through(&target.gtid).await?;
        let restored = scene.restored(&format!("gtid-{round}"), ["--through-gtid", &target.gtid], &[]).await?;
        ensure!(restored == expected, "{}:\n{restored:#?}\n{expected:#?}", target.gtid);
    }
    // The same transaction, by where the third server has it.
    let log = log_of(&scene.installation, third).await?;
    let last = log.last().context("a log")?;
    let uuid: String = third.value("SELECT @@server_uuid").await?;
    let position = format!("{}:{}", last.binlog, last.end);
    let restored = scene.restored("position", ["--to-position", &position], &["--source", &uuid]).await?;
    ensure!(restored == live, "the third server's position:\n{restored:#?}\n{live:#?}");
    Ok(())
}

/// Archiving goes on behind repeats, and so does what is restored.
async fn goes_on(scene: &Scene, (second, third): (&Mysqld, &Mysqld), sidecars: &[Sidecar]) -> Result<()> {
    write(second, 6, 20).await?;
    caught_up(third, second).await?;
    for sidecar in sidecars {
        sidecar.archive_once().await?.expect(0)?;
    }
    let (restored, live) = (scene.restored("later", ["--to", "latest"], &[]).await?, content(second).await?);
    ensure!(restored == live, "latest, later:\n{restored:#?}\n{live:#?}");
    Ok(())
}
