//! Bad input gets a clear error with its code, and nothing is created.

use std::path::Path;

use anyhow::{Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Outcome, finish};
use pitr_e2e::reference::{Logged, log_of};
use pitr_e2e::s3::{BUCKET, KEY, S3, SECRET};
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;

/// A server, its archive with a base backup in the middle, and a folder for volumes.
struct Scene {
    installation: Installation,
    source: Mysqld,
    sidecar: Sidecar,
    archive: TempDir,
    volumes: TempDir,
}

const LOAD: Load = Load { sessions: 2, transactions: 40, seed: 5, ddl_every: 15, flush_every: 15 };

impl Scene {
    /// A server with some history and no archive of it yet.
    async fn new() -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let source = Mysqld::fresh(&installation, 1).start().await?;
        source.sql(shop::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let archive = tempfile::tempdir()?;
        let sidecar = Sidecar::configure(&source, &format!("file://{}", archive.path().display()), "")?;
        let volumes = tempfile::Builder::new().prefix("pitr-volumes-").tempdir_in("/tmp")?;
        Ok(Some(Self { installation, source, sidecar, archive, volumes }))
    }

    async fn with_base() -> Result<Option<Self>> {
        let Some(scene) = Self::new().await? else { return Ok(None) };
        shop::run(&scene.source, LOAD).await?;
        scene.backup().await?;
        shop::run(&scene.source, LOAD).await?;
        scene.sidecar.archive_once().await?.expect(0)?;
        Ok(Some(scene))
    }

    async fn backup(&self) -> Result<()> {
        self.sidecar.backup("clone", &self.installation.program("mysqld")).await?.expect(0)?;
        Ok(())
    }

    async fn restore(&self, target: [&str; 2]) -> Result<Outcome> {
        let mysqld = self.installation.program("mysqld");
        finish(&mut self.sidecar.restore(target, &self.volumes.path().join("data"), &mysqld)).await
    }

    /// The restore is refused with this exit code and error code, and no file was made.
    async fn refused(&self, target: [&str; 2], exit: i32, code: &str) -> Result<String> {
        let outcome = self.restore(target).await?.expect(exit)?;
        named(&outcome, code)?;
        ensure!(is_empty(self.volumes.path())?, "{target:?}: something was created");
        Ok(outcome.stderr)
    }

    async fn log(&self) -> Result<Vec<Logged>> {
        log_of(&self.installation, &self.source).await
    }
}

fn named(outcome: &Outcome, code: &str) -> Result<()> {
    ensure!(outcome.stderr.contains(&format!("error[{code}]: ")), "no {code} in:\n{}", outcome.stderr);
    for word in ["hint:", "fix:"] {
        ensure!(outcome.stderr.contains(word), "no {word} in:\n{}", outcome.stderr);
    }
    Ok(())
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|t| t.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn targets_that_cannot_be_reached() -> Result<()> {
    let Some(scene) = Scene::with_base().await? else { return Ok(()) };
    let log = scene.log().await?;
    let (first, last) = (&log[0], &log[log.len() - 1]);
    scene.refused(["--to", "15m ago"], 2, "PITR0101").await?;
    scene.refused(["--to", "2026-11-21 08:14"], 2, "PITR0102").await?;
    scene.refused(["--to", "2026-11-21T07:14:03.1234567Z"], 2, "PITR0101").await?;
    scene.refused(["--to", &rfc3339(first.commit_us)], 4, "PITR0302").await?;
    scene.refused(["--to", &rfc3339(last.commit_us + 600_000_000)], 4, "PITR0303").await?;
    scene.refused(["--through-gtid", &first.gtid], 4, "PITR0304").await?;
    let unknown = format!("{}:999999", last.gtid.split(':').next().unwrap_or_default());
    scene.refused(["--through-gtid", &unknown], 4, "PITR0304").await?;
    scene.refused(["--before-gtid", "0-1-7"], 2, "PITR0104").await?;
    scene.refused(["--before-gtid", "nonsense"], 2, "PITR0104").await?;
    scene
        .refused(["--to-position", "binlog.000099:4"], 4, "PITR0304")
        .await
        .or(scene.refused(["--to-position", "binlog.000099:4"], 2, "PITR0105").await)?;
    Ok(())
}

#[tokio::test]
async fn no_base_backup() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    shop::run(&scene.source, LOAD).await?;
    // A history that does not begin with the server's first binlog is no base in itself.
    let first: String = scene.source.value("SHOW BINARY LOGS").await?;
    scene.source.sql("FLUSH BINARY LOGS").await?;
    let next = format!("{}{:06}", &first[..first.len() - 6], 2);
    scene.source.sql(&format!("PURGE BINARY LOGS TO '{next}'")).await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let message = scene.refused(["--to", "latest"], 4, "PITR0302").await?;
    ensure!(message.contains("backup"), "no way out is named:\n{message}");
    Ok(())
}

#[tokio::test]
async fn a_target_inside_a_gap() -> Result<()> {
    let Some(scene) = Scene::with_base().await? else { return Ok(()) };
    let before = scene.log().await?.len();
    shop::run(&scene.source, LOAD).await?;
    let lost = scene.log().await?;
    scene.source.sql("FLUSH BINARY LOGS").await?;
    let open: Vec<String> = scene.source.rows("SHOW BINARY LOGS").await?.into_iter().filter_map(|r| r.get(0)).collect();
    scene.source.sql(&format!("PURGE BINARY LOGS TO '{}'", open[open.len() - 1])).await?;
    shop::run(&scene.source, LOAD).await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    let inside = lost[before + (lost.len() - before) / 2 + 5].commit_us;
    let message = scene.refused(["--to", &rfc3339(inside)], 4, "PITR0301").await?;
    ensure!(message.contains("gap-"), "the gap is not named:\n{message}");
    scene.refused(["--to", "latest"], 4, "PITR0301").await?;
    // A new base backup makes what follows reachable again; the gap stays refused.
    scene.backup().await?;
    scene.sidecar.archive_once().await?.expect(0)?;
    scene.refused(["--to", &rfc3339(inside)], 4, "PITR0301").await?;
    scene.restore(["--to", "latest"]).await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn a_prefix_of_another_workload() -> Result<()> {
    let Some(scene) = Scene::with_base().await? else { return Ok(()) };
    let other = Mysqld::fresh(&scene.installation, 2).start().await?;
    let url = format!("file://{}", scene.archive.path().display());
    let sidecar = Sidecar::configure(&other, &url, "")?;
    let text = std::fs::read_to_string(sidecar.config())?.replace("test/mysql", "billing/db");
    std::fs::write(sidecar.config(), text)?;
    let before = count_files(scene.archive.path())?;
    let outcome = sidecar.archive_once().await?.expect(4)?;
    named(&outcome, "PITR0207")?;
    ensure!(count_files(scene.archive.path())? == before, "something was stored in a foreign archive");
    Ok(())
}

fn count_files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_named() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let s3 = S3::start(&[]).await?;
    let good = s3.yaml();
    let elsewhere = "s3: {endpoint: \"http://127.0.0.1:9\", region: us-east-1, path_style: true}".to_owned();
    let no_ca = good.replace("path_style", "ca_file: /no/such.pem, path_style");
    for (bucket, yaml, secret, code) in [
        ("no-such-bucket", &good, SECRET, "PITR0601"),
        (BUCKET, &good, "wrong", "PITR0602"),
        (BUCKET, &elsewhere, SECRET, "PITR0601"),
        (BUCKET, &no_ca, SECRET, "PITR0601"),
    ] {
        let sidecar = Sidecar::configure(&scene.source, &format!("s3://{bucket}/shop"), yaml)?;
        let sidecar = sidecar.environment("AWS_ACCESS_KEY_ID", KEY).environment("AWS_SECRET_ACCESS_KEY", secret);
        let outcome = sidecar.archive_once().await?;
        ensure!(outcome.code != Some(0), "archiving to nowhere succeeded: {outcome:?}");
        named(&outcome, code)?;
        ensure!(!outcome.stderr.contains(secret) || secret == "wrong", "a secret was shown:\n{}", outcome.stderr);
    }
    ensure!(count_files(s3.folder())? == 0, "something was stored");
    Ok(())
}

#[tokio::test]
async fn a_corrupted_binlog_ends_the_window_and_nothing_else() -> Result<()> {
    let Some(mut scene) = Scene::with_base().await? else { return Ok(()) };
    let before = scene.log().await?;
    let last = before[before.len() - 1].clone();
    scene.source.sql("FLUSH BINARY LOGS").await?;
    shop::run(&scene.source, Load { flush_every: 0, ..LOAD }).await?;
    let damaged: Vec<String> =
        scene.source.rows("SHOW BINARY LOGS").await?.into_iter().filter_map(|r| r.get(0)).collect();
    let damaged = damaged[damaged.len() - 1].clone();
    scene.source.sql("FLUSH BINARY LOGS").await?;
    shop::run(&scene.source, Load { flush_every: 0, ..LOAD }).await?;
    let log = scene.log().await?;
    let victim = log.iter().filter(|t| t.binlog == damaged).nth(10).cloned().expect("ten transactions in the binlog");
    scene.source.stop().await?;
    flip_a_bit(&scene.source.datadir().join(&damaged), victim.end - 20)?;
    let outcome = scene.sidecar.archive_once().await?;
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(said.contains(&damaged), "the damaged binlog is not named:\n{said}");
    // What follows the damage is archived and cannot be reached; what precedes it can.
    let target = rfc3339(log[log.len() - 1].commit_us);
    let refused = scene.restore(["--to", &target]).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0308") || refused.stderr.contains("PITR0301"), "{}", refused.stderr);
    ensure!(is_empty(scene.volumes.path())?, "something was created");
    scene.restore(["--through-gtid", &last.gtid]).await?.expect(0)?;
    Ok(())
}

fn flip_a_bit(file: &Path, at: u64) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    bytes[usize::try_from(at)?] ^= 0x10;
    Ok(std::fs::write(file, bytes)?)
}

#[tokio::test]
async fn encrypted_binlogs_are_refused_by_name() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    // Any file that begins with the magic of an encrypted binlog: a keyring would only make it slower to get.
    let index = scene.source.datadir().join("binlog.index");
    let mut text = std::fs::read_to_string(&index)?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let (number, stem) = (names.len() + 1, names[0].trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
    let encrypted = format!("{stem}{number:06}");
    text.push_str(&encrypted);
    text.push('\n');
    let mut bytes = b"\xfdbin".to_vec();
    bytes.resize(4096, 7);
    std::fs::write(scene.source.datadir().join(encrypted.trim_start_matches("./")), bytes)?;
    std::fs::write(&index, text)?;
    let outcome = scene.sidecar.archive_once().await?;
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(said.contains("PITR0505"), "encryption is not named:\n{said}");
    ensure!(outcome.code != Some(0), "an unreadable binlog is no success:\n{said}");
    Ok(())
}

#[tokio::test]
async fn a_volume_that_is_not_ours_or_too_small() -> Result<()> {
    let Some(scene) = Scene::with_base().await? else { return Ok(()) };
    let data = scene.volumes.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("precious"), "x")?;
    let outcome = scene.restore(["--to", "latest"]).await?;
    ensure!(outcome.code == Some(4) || outcome.code == Some(5), "{outcome:?}");
    ensure!(std::fs::read_dir(&data)?.count() == 1, "files were added to somebody's folder");
    std::fs::remove_dir_all(&data)?;
    let small = Small::mount(&data)?;
    let outcome = scene.restore(["--to", "latest"]).await?.expect(4)?;
    named(&outcome, "PITR0403")?;
    ensure!(is_empty(&data)?, "something was fetched");
    drop(small);
    Ok(())
}

/// A file system of 32 MiB.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path) -> Result<Self> {
        std::fs::create_dir(path)?;
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(path).status()?;
        ensure!(status.success(), "mount a small file system (root is needed): {status}");
        Ok(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}
