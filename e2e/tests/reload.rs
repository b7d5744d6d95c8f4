//! A running sidecar takes a changed configuration without a restart: codec, bandwidth and retention of a real server's archive change under
//! way, bad files and changes that only a start takes are said while the old configuration goes on, and nothing is lost by any of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::reference::content;
use pitr_e2e::s3::{BUCKET, S3};
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;
use tokio::process::Child;

/// No more than this for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Random bytes in one row: no codec makes them smaller.
const INCOMPRESSIBLE: u64 = 3 << 20;
/// The least bandwidth that can be set, in bytes a second.
const BANDWIDTH: u64 = 256 << 10;
const DAYS_30_US: &str = "2592000000000";

struct Scene {
    source: Mysqld,
    s3: S3,
    sidecar: Sidecar,
    /// What never changes in the configuration.
    fixed: String,
    address: String,
    running: Child,
}

impl Scene {
    async fn begin(installation: &Installation) -> Result<Self> {
        let source = Mysqld::fresh(installation, 1).start().await?;
        source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, body LONGBLOB)").await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let s3 = S3::start(&[]).await?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let archive = format!("s3://{BUCKET}/shop");
        let fixed = format!(
            "workload: test/mysql\narchive: {archive}\nsource: {{datadir: {}}}\n{}\nlisten: none\ncontrol_listen: {address}\n",
            source.datadir().display(),
            s3.yaml(),
        );
        let sidecar = Sidecar::configure(&source, &archive, "")?.through(&s3);
        write(&sidecar, &format!("{fixed}pipeline: {{codec: \"zstd:3\"}}\n"))?;
        let running = sidecar.run()?;
        Ok(Self { source, s3, sidecar, fixed, address, running })
    }

    /// Puts another configuration in the place of the old one.
    fn configure(&self, more: &str) -> Result<()> {
        write(&self.sidecar, &format!("{}{more}\n", self.fixed))
    }

    /// Commits something and closes the binlog.
    async fn write_binlog(&self) -> Result<()> {
        self.source.sql("INSERT INTO d.t (body) VALUES ('something'); FLUSH BINARY LOGS").await
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.sidecar.log())?)
    }

    /// The sidecar's state, as long as it is the process that was started.
    async fn status(&mut self) -> Result<String> {
        ensure!(self.running.try_wait()?.is_none(), "the sidecar has ended: {}", self.log()?);
        let asked = finish(&mut self.sidecar.command(&["get", "/v1/status", "--address", &self.address])).await?;
        Ok(asked.stdout)
    }

    /// Waits until the state has one text and has not another.
    async fn shows(&mut self, text: &str, not: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let status = self.status().await?;
            if status.contains(text) && (not.is_empty() || !status.contains(not)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("no \"{text}\" (without \"{not}\") in {status}\n{}", self.log()?);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the log has a text so many times.
    async fn says(&self, text: &str, times: usize) -> Result<()> {
        let begun = Instant::now();
        while self.log()?.matches(text).count() < times {
            ensure!(begun.elapsed() < PATIENCE, "not {times} times \"{text}\": {}", self.log()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Catalogued segments with this suffix.
    fn segments(&self, suffix: &str) -> Result<usize> {
        let all = files(self.s3.folder().join(BUCKET).join("shop/binlogs"))?;
        Ok(all.iter().filter(|path| path.to_string_lossy().ends_with(suffix)).count())
    }

    /// Waits until there are more of them than there were.
    async fn stores_more(&self, suffix: &str, than: usize) -> Result<()> {
        let begun = Instant::now();
        while self.segments(suffix)? <= than {
            ensure!(begun.elapsed() < PATIENCE, "no {suffix} segment beyond {than}: {}", self.log()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// As the kubelet does it: the file is there whole, or not yet.
fn write(sidecar: &Sidecar, text: &str) -> Result<()> {
    let file = sidecar.config();
    let next = file.with_extension("next");
    std::fs::write(&next, text)?;
    std::fs::rename(next, file).context("replace the configuration")
}

fn files(folder: PathBuf) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_running_sidecar_takes_what_changes_and_loses_nothing() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let mut scene = Scene::begin(&installation).await?;
    scene.write_binlog().await?;
    scene.stores_more(".zst", 0).await?;
    let mysqld = installation.program("mysqld");
    scene.sidecar.backup("clone", &mysqld).await?.expect(0)?;

    // Another codec, a limit, and retention, at once.
    let good = "pipeline: {codec: gzip, bandwidth_limit: 256KiB}\nretention: {run: here, window: 30d}\n\
                schedule: {tail: false, archive_interval: 1s}";
    scene.configure(good)?;
    for key in ["pipeline.codec", "pipeline.bandwidth_limit", "retention.run", "retention.window", "schedule.tail"] {
        scene.says(key, 1).await?;
    }
    scene.write_binlog().await?;
    scene.stores_more(".gz", 0).await?;
    promises(&scene).await?;
    the_limit_holds(&scene).await?;

    the_old_one_goes_on(&mut scene, good).await?;

    scene.running.start_kill()?;
    scene.running.wait().await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let volume = TempDir::new_in("/tmp")?;
    let datadir = volume.path().join("data");
    finish(&mut scene.sidecar.restore(["--to", "latest"], &datadir, &mysqld)).await?.expect(0)?;
    let restored = Mysqld::on(&installation, &datadir, 77).option("--skip_log_bin").start().await?;
    ensure!(content(&restored).await? == content(&scene.source).await?, "something was lost on the way");
    Ok(())
}

/// Retention runs here now, with the window that stands in the file.
async fn promises(scene: &Scene) -> Result<()> {
    let begun = Instant::now();
    loop {
        let marks = files(scene.s3.folder().join(BUCKET).join("shop/expired"))?;
        if marks.iter().any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(DAYS_30_US))) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "no marks with the new window: {}", scene.log()?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What was sent is paid for before anything else goes: of two large segments the second one has to wait for the first.
async fn the_limit_holds(scene: &Scene) -> Result<()> {
    let begun = Instant::now();
    let rows = format!(
        "SET SESSION cte_max_recursion_depth = 10000; INSERT INTO d.t (body) WITH RECURSIVE n(i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT RANDOM_BYTES(1024) FROM n; FLUSH BINARY LOGS",
        INCOMPRESSIBLE >> 10
    );
    scene.source.sql(&rows).await?;
    scene.source.sql(&rows).await?;
    let is_large = |path: &PathBuf| path.metadata().is_ok_and(|of| of.len() >= INCOMPRESSIBLE);
    while files(scene.s3.folder().join(BUCKET).join("shop/binlogs"))?.iter().filter(|path| is_large(path)).count() < 2 {
        ensure!(begun.elapsed() < PATIENCE, "not stored: {}", scene.log()?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let least = Duration::from_secs(INCOMPRESSIBLE / BANDWIDTH / 2);
    ensure!(begun.elapsed() >= least, "twice {INCOMPRESSIBLE} bytes went within {:?}", begun.elapsed());
    Ok(())
}

async fn the_old_one_goes_on(scene: &mut Scene, good: &str) -> Result<()> {
    // Neither a key that does not exist nor one that only a start takes changes anything of the rest.
    for (bad, said) in [
        ("pipeline: {codec: \"zstd:3\"}\nschedule: {tail_intervall: 1s}", "tail_intervall"),
        ("pipeline: {codec: \"zstd:3\", nice: 3}", "pipeline.nice"),
        ("pipeline: {codec: \"zstd:3\"}\nencryption: {hash_key_file: /nowhere}", "encryption.hash_key_file"),
        ("pipeline: [", "not valid YAML"),
    ] {
        scene.configure(bad)?;
        scene.says(said, 1).await?;
        scene.shows("PITR0209", "").await?;
        let (gzip, zstd) = (scene.segments(".gz")?, scene.segments(".zst")?);
        scene.write_binlog().await?;
        scene.stores_more(".gz", gzip).await?;
        ensure!(scene.segments(".zst")? == zstd, "a part of a file that is not taken was taken: {bad}");
    }
    scene.configure(good)?;
    scene.shows("\"state\"", "PITR0209").await
}
