//! A restore that is killed, or whose server is, fetches next to nothing again; and it never needs more memory than it promises. Both are
//! counted: what the store served, and what the kernel says of the process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{finish, spawn_logged};
use pitr_e2e::reference::content;
use pitr_e2e::s3::{BUCKET, S3, Served};
use pitr_e2e::sidecar::Sidecar;
use tokio::process::{Child, Command};

/// What our process may hold at any time.
const MEMORY_MAX_KIB: u64 = 256 << 10;
/// Chunks of a base backup that are in memory when a run is killed are fetched again: no more than the reader has room for.
const IN_FLIGHT: u64 = 64 << 20;

/// A server whose data and log do not compress, and a store that counts.
struct Scene {
    installation: Installation,
    source: Mysqld,
    s3: S3,
    sidecar: Sidecar,
    home: tempfile::TempDir,
}

impl Scene {
    async fn new(options: &[&str], store: &[&str]) -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let mut launch = Mysqld::fresh(&installation, 1).option("--max_allowed_packet=1G");
        for option in options {
            launch = launch.option(*option);
        }
        let source = launch.start().await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'; CREATE DATABASE r").await?;
        source.sql("CREATE TABLE r.t (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)").await?;
        let s3 = S3::start(&[&["--access-log"], store].concat()).await?;
        let sidecar = Sidecar::configure(&source, &format!("s3://{BUCKET}/r"), &s3.yaml())?.through(&s3);
        let home = tempfile::Builder::new().prefix("pitr-resume-").tempdir_in("/tmp")?;
        Ok(Some(Self { installation, source, s3, sidecar, home }))
    }

    /// One transaction of so many rows of 64 KiB, which nothing can make smaller.
    async fn write(&self, rows: u32) -> Result<()> {
        let random = ["RANDOM_BYTES(1024)"; 64].join(",");
        let sql = format!(
            "INSERT INTO r.t (b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT CONCAT({random}) FROM n"
        );
        self.source.sql(&format!("SET SESSION cte_max_recursion_depth = 1000000; {sql}")).await
    }

    async fn back_up(&self) -> Result<()> {
        self.sidecar.backup("clone", &self.installation.program("mysqld")).await?.expect(0)?;
        Ok(())
    }

    fn restore(&self, datadir: &Path) -> Command {
        self.sidecar.restore(["--to", "latest"], datadir, &self.installation.program("mysqld"))
    }

    fn datadir(&self, name: &str) -> Result<PathBuf> {
        let folder = self.home.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder.join("data"))
    }

    async fn is_equal(&self, datadir: &Path) -> Result<()> {
        let server = Mysqld::on(&self.installation, datadir, 77).option("--skip_log_bin").start().await?;
        let (restored, source) = (content(&server).await?, content(&self.source).await?);
        ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
        Ok(())
    }
}

/// Waits until a log of a restore says this; the restore must still run then.
async fn says(log: &Path, run: &mut Child, sign: &str) -> Result<()> {
    let begun = Instant::now();
    while !std::fs::read_to_string(log).unwrap_or_default().contains(sign) {
        ensure!(run.try_wait()?.is_none(), "it ended before {sign}:\n{}", std::fs::read_to_string(log)?);
        ensure!(begun.elapsed() < Duration::from_secs(120), "it never said {sign}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The server that a restore has started on its data.
fn server_of(datadir: &Path) -> Result<i32> {
    let argument = format!("--datadir={}", datadir.display());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|found| found == argument.as_bytes()) {
            return entry.file_name().to_string_lossy().parse().context("read a process id");
        }
    }
    anyhow::bail!("no server runs on {}", datadir.display())
}

fn signal(pid: i32, signal: &str) -> Result<()> {
    let sent = std::process::Command::new("kill").args([signal, &pid.to_string()]).status()?;
    ensure!(sent.success(), "kill {signal} {pid}: {sent}");
    Ok(())
}

/// Bytes of objects that were read, by what they are.
fn read_bytes(served: &[Served]) -> (u64, u64) {
    let of = |part: &str| {
        let is_read = |served: &&Served| served.method == "GET" && served.uri.contains(part);
        served.iter().filter(is_read).map(|served| served.bytes).sum()
    };
    (of("/chunks/"), of("/binlogs/"))
}

#[tokio::test]
async fn a_rerun_fetches_nothing_again_but_what_was_in_flight() -> Result<()> {
    let Some(scene) = Scene::new(&["--max_binlog_size=1M"], &[]).await? else { return Ok(()) };
    for _ in 0..10 {
        scene.write(256).await?;
    }
    scene.back_up().await?;
    for _ in 0..300 {
        scene.write(2).await?;
    }
    scene.sidecar.archive_once().await?.expect(0)?;
    drop(scene.s3.take_served());
    let whole = scene.datadir("whole")?;
    finish(&mut scene.restore(&whole)).await?.expect(0)?;
    std::fs::remove_dir_all(&whole)?;
    let (chunks, binlogs) = read_bytes(&scene.s3.take_served());
    ensure!(chunks > 150 << 20 && binlogs > 30 << 20, "{chunks} and {binlogs} bytes do not make a test");

    let datadir = scene.datadir("killed")?;
    let mut read = Vec::new();
    for phase in ["fetch-base", "start-server", "replay", "verify", "stop-server", "the end"] {
        let log = datadir.with_extension(format!("{phase}.log"));
        let mut run = spawn_logged(&mut scene.restore(&datadir), &log)?;
        if phase == "the end" {
            let status = run.wait().await?;
            ensure!(status.success(), "{status}: {}", std::fs::read_to_string(&log)?);
        } else {
            says(&log, &mut run, &format!("\"phase\":\"{phase}\"")).await?;
            while phase == "fetch-base" && size_of(&datadir) < 250 << 20 {
                ensure!(run.try_wait()?.is_none(), "it ended while it fetched");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            run.kill().await.context("kill the restore")?;
        }
        // What a dead run has asked for may still be told.
        tokio::time::sleep(Duration::from_millis(500)).await;
        read.push(read_bytes(&scene.s3.take_served()));
    }
    println!("once: {chunks} and {binlogs} bytes; killed in each phase: {read:?}");
    ensure!(read[0].0 + read[1].0 <= chunks + chunks / 20 + IN_FLIGHT, "chunks were fetched again: {read:?}");
    ensure!(read[2..].iter().all(|read| read.0 == 0), "chunks were fetched after the base was there: {read:?}");
    ensure!(read[4..].iter().all(|read| read.1 == 0), "a log that is applied was fetched again: {read:?}");
    scene.is_equal(&datadir).await
}

/// One binlog in many segments: a rerun goes on within it, and what was read ahead is still on the volume.
#[tokio::test]
async fn a_rerun_reads_next_to_nothing_of_a_log_again() -> Result<()> {
    let Some(mut scene) = Scene::new(&["--max_binlog_size=1G"], &[]).await? else { return Ok(()) };
    let yaml = format!("{}\npipeline: {{segment_bytes: 1MiB}}", scene.s3.yaml());
    scene.sidecar = Sidecar::configure(&scene.source, &format!("s3://{BUCKET}/r"), &yaml)?.through(&scene.s3);
    scene.back_up().await?;
    for _ in 0..1200 {
        scene.write(2).await?;
    }
    scene.sidecar.archive_once().await?.expect(0)?;
    drop(scene.s3.take_served());
    let whole = scene.datadir("whole")?;
    finish(&mut scene.restore(&whole)).await?.expect(0)?;
    let (_, once) = read_bytes(&scene.s3.take_served());
    ensure!(once > 140 << 20, "{once} bytes do not make a test");

    let datadir = scene.datadir("killed")?;
    let (mut read, mut total) = (Vec::new(), 0);
    let kills = [once / 2, once * 3 / 4, once * 9 / 10];
    for kill_at in kills.into_iter().chain([u64::MAX]) {
        let log = datadir.with_extension(format!("{kill_at}.log"));
        let mut run = spawn_logged(&mut scene.restore(&datadir), &log)?;
        let mut own = 0;
        while run.try_wait()?.is_none() {
            own += read_bytes(&scene.s3.take_served()).1;
            if total + own > kill_at {
                run.kill().await.context("kill the restore")?;
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        own += read_bytes(&scene.s3.take_served()).1;
        total += own;
        read.push(own);
        ensure!(kill_at < u64::MAX || run.wait().await?.success(), "{}", std::fs::read_to_string(&log)?);
    }
    println!("once: {once} bytes of log; killed three times: {read:?}, {total} in all");
    let again = total - once;
    ensure!(again <= kills.len() as u64 * once / 20, "{again} bytes were fetched again: {read:?}, {once} at once");
    scene.is_equal(&datadir).await
}

#[tokio::test]
async fn a_server_that_gives_no_answer_is_started_again() -> Result<()> {
    let Some(scene) = Scene::new(&["--max_binlog_size=256K"], &["--delay-ms", "150"]).await? else { return Ok(()) };
    scene.back_up().await?;
    for _ in 0..200 {
        scene.write(2).await?;
    }
    scene.sidecar.archive_once().await?.expect(0)?;
    let datadir = scene.datadir("silent")?;
    let log = datadir.with_extension("log");
    let mut run = spawn_logged(&mut scene.restore(&datadir), &log)?;
    says(&log, &mut run, "\"phase\":\"replay\"").await?;
    signal(server_of(&datadir)?, "-STOP")?;
    let status = tokio::time::timeout(Duration::from_secs(400), run.wait()).await.context("it waits for ever")??;
    let said = std::fs::read_to_string(&log)?;
    ensure!(status.success() && said.contains("server-silent"), "{status}: {said}");
    scene.is_equal(&datadir).await
}

#[tokio::test]
async fn rows_and_transactions_of_any_size_take_no_more_memory_than_promised() -> Result<()> {
    let Some(scene) = Scene::new(&["--max_binlog_size=1G"], &[]).await? else { return Ok(()) };
    scene.back_up().await?;
    scene.source.sql("INSERT INTO r.t (b) VALUES (REPEAT(RANDOM_BYTES(1024), 96 * 1024))").await?;
    scene.write(4000).await?;
    for _ in 0..60 {
        scene.write(16).await?;
    }
    scene.sidecar.archive_once().await?.expect(0)?;
    let datadir = scene.datadir("large")?;
    let log = datadir.with_extension("log");
    let mut run = spawn_logged(&mut scene.restore(&datadir), &log)?;
    let pid = run.id().context("it ended at once")?;
    let mut peak = 0;
    let status = loop {
        tokio::select! {
            status = run.wait() => break status?,
            () = tokio::time::sleep(Duration::from_millis(5)) => peak = peak.max(resident_kib(pid)),
        }
    };
    ensure!(status.success(), "{status}: {}", std::fs::read_to_string(&log)?);
    println!("peak of resident memory: {} MiB", peak >> 10);
    ensure!((1..=MEMORY_MAX_KIB).contains(&peak), "{peak} KiB of resident memory");
    scene.is_equal(&datadir).await
}

/// The most that a process has ever held, in KiB; 0 when it is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes of all files below a folder that are on the disk.
fn size_of(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
