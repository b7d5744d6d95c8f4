//! The built programs against S3 servers that others wrote (`make test-stores`): every option that goes to the store, several
//! archivers at once with one that is held for a while, and SIGKILL at random moments. What is restored equals the source.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Outcome, Product, finish, spawn_logged};
use pitr_e2e::real_store::RealStore;
use pitr_e2e::reference::content;
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::process::Child;

const QUICK: &str = "schedule: {archive_interval: 1s, tail_interval: 500ms}\nlisten: none\ncontrol_listen: none";

/// A number of the environment, or another one.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The moments of this run's kills: printed, so that a failure can be run again with `PITR_TEST_SEED`.
fn seed() -> u64 {
    let seed = number("PITR_TEST_SEED", rand::random());
    println!("PITR_TEST_SEED={seed}");
    seed
}

/// A server whose base backup is in an archive of a real store.
struct Scene {
    installation: Installation,
    source: Mysqld,
    store: RealStore,
    archive: String,
    sidecar: Sidecar,
}

impl Scene {
    async fn new() -> Result<Self> {
        let installation = Installation::find()?.context("no MySQL: e2e/parts/mysql/build.sh")?;
        let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await?;
        source.sql(shop::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let store = RealStore::find()?;
        let archive = store.archive();
        let sidecar = archiver(&source, &store, &archive)?;
        sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
        Ok(Self { installation, source, store, archive, sidecar })
    }

    fn archiver(&self) -> Result<Sidecar> {
        archiver(&self.source, &self.store, &self.archive)
    }

    async fn plugin(&self, words: &[&str]) -> Result<Outcome> {
        let mut command = Product::find()?.plugin();
        command.args(words).args(["--archive", &self.archive]).args(self.store.flags()).envs(self.store.environment());
        finish(&mut command).await
    }

    /// The archive is whole, and a restore of it is the source.
    async fn is_equal(&self) -> Result<()> {
        self.sidecar.archive_once().await?.expect(0)?;
        let whole = self.plugin(&["verify", "--deep", "-o", "json"]).await?.expect(0)?;
        let document: Value = serde_json::from_str(&whole.stdout)?;
        ensure!(document["ok"] == true && document["segmentsRead"] == document["segments"], "{document:#}");
        self.plugin(&["status"]).await?.expect(0)?;
        restored_equals(&self.sidecar, &self.installation, &self.source).await
    }
}

fn archiver(source: &Mysqld, store: &RealStore, archive: &str) -> Result<Sidecar> {
    let yaml = format!("{}\n{QUICK}", store.yaml(""));
    Ok(store.reached_by(Sidecar::configure(source, archive, &yaml)?))
}

async fn restored_equals(sidecar: &Sidecar, installation: &Installation, source: &Mysqld) -> Result<()> {
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let mysqld = installation.program("mysqld");
    finish(&mut sidecar.restore(["--to", "latest"], &datadir, &mysqld)).await?.expect(0)?;
    let server = Mysqld::on(installation, datadir, 77).option("--skip_log_bin").start().await?;
    let (restored, wanted) = (content(&server).await?, content(source).await?);
    ensure!(restored == wanted, "restored {restored:#?}\nsource {wanted:#?}");
    Ok(())
}

fn load(seed: u64, transactions: u64) -> Load {
    Load { sessions: 3, transactions, seed, ddl_every: 40, flush_every: 80 }
}

fn signal(child: &Child, signal: &str) -> Result<()> {
    let pid = child.id().context("it has ended")?.to_string();
    let sent = std::process::Command::new("kill").args([signal, &pid]).status()?;
    ensure!(sent.success(), "kill {signal} {pid}: {sent}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn customer_keys_and_a_class_over_tls_reach_it_from_every_verb() -> Result<()> {
    let installation = Installation::find()?.context("no MySQL: e2e/parts/mysql/build.sh")?;
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let store = RealStore::find()?;
    let home = tempfile::tempdir()?;
    let key = home.path().join("sse-key");
    std::fs::write(&key, [42; 32])?;
    let sse = format!("c:{}", key.display());
    let yaml = store.yaml_tls(&format!(", sse: \"{sse}\", storage_class: STANDARD_IA"));
    let archive = store.archive();
    let sidecar = store.reached_by_tls(Sidecar::configure(&source, &archive, &yaml)?);
    sidecar.archive_once().await?.expect(0)?;
    let status = ["status", "--archive", &archive];
    let without_key = finish(&mut sidecar.command(&status)).await?;
    ensure!(without_key.code != Some(0), "read without the key: {without_key:?}");

    let sidecar = sidecar.environment("PITR_S3_SSE", &sse).environment("PITR_S3_STORAGE_CLASS", "STANDARD_IA");
    sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
    shop::run(&source, load(1, 100)).await?;
    source.sql("FLUSH BINARY LOGS").await?;
    sidecar.archive_once().await?.expect(0)?;
    finish(&mut sidecar.command(&status)).await?.expect(0)?;
    finish(&mut sidecar.command(&["verify", "--archive", &archive])).await?.expect(0)?;
    restored_equals(&sidecar, &installation, &source).await
}

/// `PITR_TEST_STORE_SECONDS` (30): how long.
#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn three_archivers_one_of_them_held_for_a_while_lose_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let mut random = StdRng::seed_from_u64(seed());
    let (others, held) = ([scene.archiver()?, scene.archiver()?], scene.archiver()?);
    let mut running = [others[0].run()?, others[1].run()?];
    let mut held_run = held.run()?;
    let begun = std::time::Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(number("PITR_TEST_STORE_SECONDS", 30)) {
        round += 1;
        // It is held wherever it is: in the middle of an upload, between a page and the deletion of what the page covers.
        signal(&held_run, "-STOP")?;
        shop::run(&scene.source, load(round, random.random_range(40..160))).await?;
        signal(&held_run, "-CONT")?;
        shop::run(&scene.source, load(1000 + round, random.random_range(10..80))).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
    }
    for child in running.iter_mut().chain([&mut held_run]) {
        ensure!(child.try_wait()?.is_none(), "an archiver ended by itself");
        child.kill().await?;
    }
    for sidecar in others.iter().chain([&held]) {
        let log = std::fs::read_to_string(sidecar.log())?;
        ensure!(!log.contains("diverg") && !log.contains("panicked"), "{log}");
    }
    scene.is_equal().await
}

/// `PITR_TEST_STORE_KILLS` (16): how many of the sidecar.
#[tokio::test]
#[ignore = "needs a real S3 server: make test-stores"]
async fn killed_sidecars_and_restores_lose_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..number("PITR_TEST_STORE_KILLS", 16) {
        let moment = Duration::from_millis(random.random_range(20..1800));
        let mut run = scene.sidecar.run()?;
        let (loaded, ()) = tokio::join!(shop::run(&scene.source, load(round, 60)), tokio::time::sleep(moment));
        loaded?;
        run.kill().await.context("kill the sidecar")?;
    }
    scene.sidecar.archive_once().await?.expect(0)?;
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let mysqld = scene.installation.program("mysqld");
    for _ in 0..4 {
        let mut command = scene.sidecar.restore(["--to", "latest"], &datadir, &mysqld);
        let mut run = spawn_logged(&mut command, &volume.path().join("restore.log"))?;
        tokio::time::sleep(Duration::from_millis(random.random_range(50..4000))).await;
        run.kill().await.context("kill the restore")?;
    }
    finish(&mut scene.sidecar.restore(["--to", "latest"], &datadir, &mysqld)).await?.expect(0)?;
    let server = Mysqld::on(&scene.installation, datadir, 78).option("--skip_log_bin").start().await?;
    ensure!(content(&server).await? == content(&scene.source).await?, "the restore that was killed four times differs");
    scene.is_equal().await
}
