//! A restore that commits many transactions as one, killed again and again while it replays, itself and its server, with other
//! sizes of batches in between: it ends with what the log says, and with what a restore without batches ends with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{finish, spawn_logged};
use pitr_e2e::reference::{Content, content};
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::process::{Child, Command};

/// Transactions of the log, of all sessions.
const TRANSACTIONS: u64 = 9000;
/// Kills that must have hit a replay.
const HITS: usize = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The moments of this run's kills: printed, so that a failure can be run again with `PITR_TEST_SEED`.
fn random() -> StdRng {
    let seed = std::env::var("PITR_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("PITR_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

struct Scene {
    installation: Installation,
    source: Mysqld,
    sidecar: Sidecar,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=8M").start().await?;
        source.sql(shop::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let folder = tempfile::Builder::new().prefix("pitr-batches-").tempdir_in("/tmp")?;
        let url = format!("file://{}", folder.path().join("archive").display());
        // A run goes on at the seams between segments.
        let sidecar = Sidecar::configure(&source, &url, "pipeline: {segment_bytes: 64KiB}")?;
        sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
        let load = Load { sessions: 3, transactions: TRANSACTIONS / 3, seed: 5, ddl_every: 150, flush_every: 0 };
        shop::run(&source, load).await?;
        sidecar.archive_once().await?.expect(0)?;
        Ok(Some(Self { installation, source, sidecar, folder }))
    }

    fn restore(&self, datadir: &Path, batch: &str) -> Command {
        let mut command = self.sidecar.restore(["--to", "latest"], datadir, &self.installation.program("mysqld"));
        command.args(["--batch", batch]);
        command
    }

    async fn content_of(&self, datadir: &Path) -> Result<Content> {
        content(&Mysqld::on(&self.installation, datadir, 77).option("--skip_log_bin").start().await?).await
    }
}

/// What a restore has noted on its volume.
fn journal(datadir: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(datadir.join(".pitr/journal.json")).ok()?).ok()
}

fn has_replayed(journal: &Value) -> bool {
    !matches!(journal["done"].as_str(), None | Some("fetch-base" | "prepare" | "start-server"))
}

/// Waits until the replica of this run gets the log. False if the restore ends before.
async fn until_replaying(run: &mut Child, datadir: &Path, log: &Path) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let journal = journal(datadir).unwrap_or_default();
        if journal["replicaRan"] == true && text.contains("\"replay\"") && !has_replayed(&journal) {
            return Ok(true);
        }
        if run.try_wait()?.is_some() {
            return Ok(false);
        }
        ensure!(begun.elapsed() < PATIENCE, "the restore does not get to replay: {text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kill_server(datadir: &Path) -> Result<()> {
    let pid = std::fs::read_to_string(datadir.join(".pitr/mysqld.pid")).context("read the server's process id")?;
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status()?;
    ensure!(killed.success(), "kill {pid}: {killed}");
    Ok(())
}

#[tokio::test]
async fn killed_at_any_moment_a_restore_ends_with_what_the_log_says() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let mut random = random();
    let expected = content(&scene.source).await?;
    let reference = scene.folder.path().join("reference");
    finish(&mut scene.restore(&reference, "1")).await?.expect(0)?;
    ensure!(scene.content_of(&reference).await? == expected, "without batches it is not the source's");

    // A kill may come too late on a fast machine: then the restore is whole, which is proven, and another one is begun.
    let (mut hits, mut begun) = (0, 0);
    let mut datadir = scene.folder.path().join("data-0");
    for round in 0.. {
        ensure!(round < 60, "only {hits} kills hit a replay: make the log longer");
        // Mostly as it is used, with changes of mind in between.
        let batch = ["auto", "auto", "1", "auto", "7"][round % 5];
        let log = scene.folder.path().join(format!("restore-{round}.log"));
        let mut run = spawn_logged(&mut scene.restore(&datadir, batch), &log)?;
        let replays = until_replaying(&mut run, &datadir, &log).await?;
        if replays {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
            if random.random_range(0..2) == 0 && kill_server(&datadir).is_ok() {
                // It starts another one, and goes on; then it dies too.
                tokio::time::sleep(Duration::from_millis(random.random_range(500..1500))).await;
            }
            run.kill().await.context("kill the restore")?;
        }
        println!("round {round}, --batch={batch}: {:?}", journal(&datadir).map(|journal| journal["batching"].clone()));
        let hit = replays && journal(&datadir).is_some_and(|journal| !has_replayed(&journal));
        hits += usize::from(hit);
        if hits >= HITS || !hit {
            finish(&mut scene.restore(&datadir, "auto")).await?.expect(0)?;
            let restored = scene.content_of(&datadir).await?;
            ensure!(restored == expected, "restored {restored:#?}\nexpected {expected:#?}");
            begun += 1;
            datadir = scene.folder.path().join(format!("data-{begun}"));
        }
        if hits >= HITS {
            return Ok(());
        }
    }
    Ok(())
}

/// What the volume notes is what makes the batches: nobody goes on with others.
#[tokio::test]
async fn a_volume_of_another_cutter_is_refused() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let datadir: PathBuf = scene.folder.path().join("data");
    let log = scene.folder.path().join("restore.log");
    let mut run = spawn_logged(&mut scene.restore(&datadir, "auto"), &log)?;
    ensure!(until_replaying(&mut run, &datadir, &log).await?, "it ended early");
    run.kill().await?;
    let mut noted = journal(&datadir).context("a journal")?;
    let right = noted.clone();
    noted["batching"]["cutter"] = 4711.into();
    std::fs::write(datadir.join(".pitr/journal.json"), noted.to_string())?;
    let refused = finish(&mut scene.restore(&datadir, "auto")).await?.expect(5)?;
    ensure!(refused.stderr.contains("version 4711 of the cutter"), "{}", refused.stderr);
    std::fs::write(datadir.join(".pitr/journal.json"), right.to_string())?;
    finish(&mut scene.restore(&datadir, "auto")).await?.expect(0)?;
    ensure!(scene.content_of(&datadir).await? == content(&scene.source).await?, "it is not the source's");
    Ok(())
}
