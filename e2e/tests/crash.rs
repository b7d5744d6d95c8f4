//! SIGKILL of the sidecar, of mysqld and of the restore, at random moments: nothing is lost, and the restore completes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Outcome, finish, spawn_logged};
use pitr_e2e::reference::{Content, content};
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The moments of this run's kills: printed, so that a failure can be run again with `PITR_TEST_SEED`.
fn seed() -> u64 {
    let seed = std::env::var("PITR_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("PITR_TEST_SEED={seed}");
    seed
}

/// A server with a base backup in an archive.
struct Scene {
    installation: Installation,
    source: Mysqld,
    sidecar: Sidecar,
    _archive: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await?;
        source.sql(shop::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let archive = tempfile::tempdir()?;
        let url = format!("file://{}", archive.path().display());
        let quick = "schedule: {archive_interval: 1s, tail_interval: 500ms}";
        let sidecar = Sidecar::configure(&source, &url, quick)?;
        sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
        Ok(Some(Self { installation, source, sidecar, _archive: archive }))
    }

    fn load(seed: u64, transactions: u64) -> Load {
        Load { sessions: 3, transactions, seed, ddl_every: 40, flush_every: 80 }
    }

    /// Restores to `latest` on a new volume and says what is there.
    async fn restore_latest(&self) -> Result<Content> {
        let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
        let datadir = volume.path().join("data");
        self.restore(&datadir).await?.expect(0)?;
        self.content_of(&datadir).await
    }

    async fn restore(&self, datadir: &Path) -> Result<Outcome> {
        let mysqld = self.installation.program("mysqld");
        finish(&mut self.sidecar.restore(["--to", "latest"], datadir, &mysqld)).await
    }

    async fn content_of(&self, datadir: &Path) -> Result<Content> {
        let server = Mysqld::on(&self.installation, datadir, 77).option("--skip_log_bin").start().await?;
        content(&server).await
    }
}

#[tokio::test]
async fn a_killed_sidecar_loses_nothing() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let mut random = StdRng::seed_from_u64(seed());
    let load = shop::run(&scene.source, Scene::load(1, 1500));
    let kills = async {
        for _ in 0..8 {
            let mut run = scene.sidecar.run()?;
            tokio::time::sleep(Duration::from_millis(random.random_range(20..1800))).await;
            run.kill().await.context("kill the sidecar")?;
        }
        anyhow::Ok(())
    };
    let (loaded, killed) = tokio::join!(load, kills);
    loaded?;
    killed?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let (restored, source) = (scene.restore_latest().await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_server_loses_nothing() -> Result<()> {
    let Some(mut scene) = Scene::new().await? else { return Ok(()) };
    let mut random = StdRng::seed_from_u64(seed());
    let mut run = scene.sidecar.run()?;
    for round in 0..3 {
        let pause = Duration::from_millis(random.random_range(300..2500));
        // The load ends with an error when its server dies; what it had committed is what counts.
        let _ = tokio::time::timeout(pause, shop::run(&scene.source, Scene::load(round, 5000))).await;
        scene.source.kill().await?;
        scene.source.start().await?;
    }
    shop::run(&scene.source, Scene::load(9, 50)).await?;
    ensure!(run.try_wait()?.is_none(), "the sidecar ended with its server");
    run.kill().await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let (restored, source) = (scene.restore_latest().await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_restore_completes_when_run_again() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    shop::run(&scene.source, Scene::load(3, 1500)).await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let mut random = StdRng::seed_from_u64(seed());
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let mysqld = scene.installation.program("mysqld");
    for _ in 0..8 {
        let mut command = scene.sidecar.restore(["--to", "latest"], &datadir, &mysqld);
        let mut run = spawn_logged(&mut command, &volume.path().join("restore.log"))?;
        tokio::time::sleep(Duration::from_millis(random.random_range(50..5000))).await;
        run.kill().await.context("kill the restore")?;
    }
    scene.restore(&datadir).await?.expect(0)?;
    let (restored, source) = (scene.content_of(&datadir).await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

/// Starts a restore and kills it as soon as it says that it is in `phase`.
async fn kill_in(scene: &Scene, datadir: &Path, phase: &str, more: &[&str]) -> Result<()> {
    let log = datadir.with_extension(format!("{phase}.log"));
    let mysqld = scene.installation.program("mysqld");
    let mut run = spawn_logged(scene.sidecar.restore(["--to", "latest"], datadir, &mysqld).args(more), &log)?;
    let sign = format!("\"phase\":\"{phase}\"");
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(&log)?.contains(&sign) {
        ensure!(run.try_wait()?.is_none(), "it ended before {phase}:\n{}", std::fs::read_to_string(&log)?);
        ensure!(begun.elapsed() < Duration::from_secs(120), "it never came to {phase}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    run.kill().await.context("kill the restore")
}

#[tokio::test]
async fn a_restore_killed_in_each_phase_completes() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    shop::run(&scene.source, Scene::load(4, 400)).await?;
    // A GTID without changes ends like those of engines without rollback, and must not be taken for one.
    scene.source.sql("SET gtid_next = CONCAT(@@server_uuid, ':1000000'); BEGIN; COMMIT").await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let more = ["--tables", "shop.stock", "--check-tables"];
    for phase in ["fetch-base", "start-server", "replay", "verify", "check-tables", "dump-tables", "stop-server"] {
        kill_in(&scene, &datadir, phase, &more).await?;
    }
    let mysqld = scene.installation.program("mysqld");
    let last = finish(scene.sidecar.restore(["--to", "latest"], &datadir, &mysqld).args(more)).await?.expect(0)?;
    ensure!(last.stdout.contains("\"tables\":1,\"rows\":200"), "{}", last.stdout);
    let (restored, source) = (scene.content_of(&datadir).await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

#[tokio::test]
async fn two_restores_never_share_a_volume() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    shop::run(&scene.source, Scene::load(5, 200)).await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let (first, second) = tokio::join!(scene.restore(&datadir), async {
        while !datadir.join(".pitr/journal.json").exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        scene.restore(&datadir).await
    });
    let refused = second?.expect(5)?;
    ensure!(refused.stderr.contains("error[PITR0412]: another restore is running on"), "{}", refused.stderr);
    first?.expect(0)?;
    let (restored, source) = (scene.content_of(&datadir).await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

#[tokio::test]
async fn a_killed_replay_of_engines_without_rollback_is_not_gone_on_with() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    scene.source.sql("CREATE TABLE shop.my (id INT AUTO_INCREMENT PRIMARY KEY, v INT) ENGINE=MyISAM").await?;
    let fill = "CREATE PROCEDURE shop.fill (n INT) BEGIN WHILE n > 0 DO INSERT INTO shop.my (v) VALUES (n); SET n = n - 1; END WHILE; END";
    scene.source.sql(fill).await?;
    scene.source.sql("CALL shop.fill(3000)").await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    kill_in(&scene, &datadir, "replay", &[]).await?;
    let refused = scene.restore(&datadir).await?.expect(5)?;
    ensure!(
        refused.stderr.contains("error[PITR0419]") && refused.stderr.contains("without rollback"),
        "{}",
        refused.stderr
    );
    let (restored, source) = (scene.restore_latest().await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}
