//! Restoring into the data directory of a server that stands still: the old data is there, whole and startable, until the restored data is
//! verified, and comes back byte for byte whenever it is asked for. Every end is a real server that starts on what is left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::document::commands;
use pitr_e2e::product::{Outcome, Product, finish, spawn_logged};
use pitr_e2e::reference::{Content, content};
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;
use tokio::process::{Child, Command};

/// Entries of a data directory that an exchange takes a while to move.
const MANY: usize = 20_000;

/// A server with four rows, stopped; its archive; and the transaction of the third row.
struct Stage {
    scene: Scene,
    third: String,
    old: Content,
    uuid: String,
}

impl Stage {
    async fn new(name: &str) -> Result<Option<Self>> {
        let Some(scene) = Scene::new(name, "id INT PRIMARY KEY, v INT").await? else { return Ok(None) };
        scene.backup().await?;
        for id in 1..=3 {
            scene.source.sql(&format!("INSERT INTO d.t VALUES ({id}, {id})")).await?;
        }
        let executed = scene.source.gtid_executed().await?;
        let (set, last) = executed.rsplit_once(['-', ':']).context("a GTID set")?;
        let third = format!("{}:{last}", set.split(':').next().context("a UUID")?);
        scene.source.sql("INSERT INTO d.t VALUES (4, 4)").await?;
        scene.source.sql("SET PERSIST max_connections = 99").await?;
        scene.archive().await?;
        let (old, uuid) = (content(&scene.source).await?, scene.source.value("SELECT @@server_uuid").await?);
        Ok(Some(Self { scene, third, old, uuid }))
    }

    fn datadir(&self) -> PathBuf {
        self.scene.source.datadir().to_owned()
    }

    fn ours(&self) -> PathBuf {
        self.datadir().join(".pitr")
    }

    fn command(&self) -> Command {
        let mysqld = self.scene.installation.program("mysqld");
        let mut command = self.scene.sidecar.restore(["--through-gtid", &self.third], &self.datadir(), &mysqld);
        command.arg("--in-place");
        command
    }

    async fn restore(&self) -> Result<Outcome> {
        finish(&mut self.command()).await
    }

    async fn ending(&self, verb: &str) -> Result<Outcome> {
        let datadir = self.datadir().display().to_string();
        finish(&mut self.scene.sidecar.command(&[verb, "--datadir", &datadir])).await
    }

    /// Whether a setting is persisted in the data directory: servers of tests run with `--no-defaults`, and read none.
    fn persists(&self, setting: &str) -> Result<bool> {
        Ok(std::fs::read_to_string(self.datadir().join("mysqld-auto.cnf"))?.contains(setting))
    }

    /// The old server, as it was, starts on what is there and stops again.
    async fn stands_as_before(&mut self, when: &str) -> Result<()> {
        self.scene.source.start().await.with_context(|| format!("start the old server {when}"))?;
        let source = &self.scene.source;
        let uuid: String = source.value("SELECT @@server_uuid").await?;
        ensure!(uuid == self.uuid, "{when}: another server");
        ensure!(content(source).await? == self.old, "{when}: not what the old server held");
        self.scene.source.stop().await?;
        ensure!(self.persists("max_connections")?, "{when}: not its settings");
        Ok(())
    }

    /// The restored server starts on what is there and stops again.
    async fn stands_restored(&mut self) -> Result<()> {
        self.scene.source.start().await?;
        let source = &self.scene.source;
        ensure!(source.value::<u32>("SELECT COUNT(*) FROM d.t").await? == 3, "not three rows");
        ensure!(source.value::<String>("SELECT @@server_uuid").await? != self.uuid, "the identity of the old server");
        self.scene.source.stop().await?;
        ensure!(self.persists("max_connections")?, "not the workload's persisted settings");
        Ok(())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn kept(stage: &Stage, prefix: &str) -> Option<PathBuf> {
    names(&stage.ours()).into_iter().find(|name| name.starts_with(prefix)).map(|name| stage.ours().join(name))
}

fn refused(outcome: &Outcome, code: &str, words: &str) -> Result<()> {
    ensure!(outcome.code != Some(0), "not refused: {}", outcome.stdout);
    ensure!(outcome.stderr.contains(code) && outcome.stderr.contains(words), "{}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn a_server_is_restored_in_place_and_turned_back_again() -> Result<()> {
    let Some(mut stage) = Stage::new("in-place").await? else { return Ok(()) };
    refused(&stage.restore().await?, "PITR0405", "a server is running on")?;
    ensure!(!stage.ours().exists(), "a refused restore left something");
    stage.scene.source.stop().await?;
    // A directory without which the server does not start, and that no base backup holds.
    let scratch = stage.datadir().join("scratch");
    std::fs::create_dir(&scratch)?;
    stage.scene.source.add_option(format!("--tmpdir={}", scratch.display()));

    stage.restore().await?.expect(0)?;
    let again = stage.restore().await?.expect(0)?;
    ensure!(again.stdout.contains("verified and handed over"), "{}", again.stdout);
    let aside = kept(&stage, "aside-").context("no old data aside")?;
    let identity = std::fs::read_to_string(aside.join("auto.cnf"))?;
    ensure!(
        identity.contains(&stage.uuid) && aside.join("binlog.index").exists(),
        "the old server's files: {identity}"
    );
    stage.stands_restored().await?;

    // One volume, one plan, until it is finished.
    let mysqld = stage.scene.installation.program("mysqld");
    let mut other = stage.scene.sidecar.restore(["--to", "latest"], &stage.datadir(), &mysqld);
    refused(&finish(other.arg("--in-place")).await?, "PITR0412", "finish or abort that one first")?;

    // Somebody uses it, and it archives where the old server did: a branch of its own.
    stage.scene.source.start().await?;
    stage.scene.sidecar = Sidecar::configure(&stage.scene.source, &stage.scene.url(), "")?;
    stage.scene.source.sql("INSERT INTO d.t VALUES (100, 100)").await?;
    stage.scene.archive().await?;
    stage.scene.backup().await?;
    stage.scene.source.sql("INSERT INTO d.t VALUES (101, 101)").await?;
    stage.scene.archive().await?;
    let used = content(&stage.scene.source).await?;
    refused(&stage.ending("abort").await?, "PITR0405", "a server is running on")?;
    let latest = stage.scene.restored("latest", ["--to", "latest"], &[]).await?;
    ensure!(latest == used, "the new branch is not restorable");
    let url = stage.scene.url();
    let told =
        finish(&mut stage.scene.sidecar.command(&["status", "--archive", &url, "-o", "json"])).await?.expect(0)?;
    let status: Value = serde_json::from_str(&told.stdout)?;
    let windows = status["windows"]["items"].as_array().context("windows")?;
    let old = windows.iter().find(|window| window["live"] != true).context("no window of the old branch")?;
    let branch = old["branch"].as_str().context("a branch")?;
    let before = stage.scene.restored("before", ["--to", "latest"], &["--branch", branch]).await?;
    ensure!(before == stage.old, "the old server's history is not restorable");
    stage.scene.source.stop().await?;

    stage.ending("abort").await?.expect(0)?;
    stage.stands_as_before("after the restored data was used").await?;
    ensure!(kept(&stage, "withdrawn-").is_some(), "what was used is gone");
    refused(&stage.restore().await?, "PITR0412", "finish, then restore anew")?;
    stage.ending("abort").await?.expect(0)?;
    stage.ending("finish").await?.expect(0)?;
    ensure!(names(&stage.ours()) == ["lock"], "{:?}", names(&stage.ours()));
    stage.ending("finish").await?.expect(0)?;
    stage.stands_as_before("after the end").await?;

    // And once more, for good: while the server runs, what was kept goes.
    stage.restore().await?.expect(0)?;
    stage.scene.source.start().await?;
    stage.ending("finish").await?.expect(0)?;
    ensure!(names(&stage.ours()) == ["RESTORED.json", "lock"], "{:?}", names(&stage.ours()));
    stage.scene.source.stop().await?;
    stage.stands_restored().await?;
    let nothing = stage.ending("abort").await?.expect(0)?;
    ensure!(nothing.stdout.contains("no restore in place"), "{}", nothing.stdout);
    stage.stands_restored().await
}

/// Waits until a log says this; `Ok(false)` if the run ended before.
async fn says(log: &Path, run: &mut Child, sign: &str) -> Result<bool> {
    let begun = Instant::now();
    while !std::fs::read_to_string(log).unwrap_or_default().contains(sign) {
        if run.try_wait()?.is_some() {
            return Ok(false);
        }
        ensure!(begun.elapsed() < Duration::from_secs(120), "it never said {sign}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(true)
}

#[tokio::test]
async fn until_the_exchange_a_killed_restore_leaves_the_old_server_as_it_was() -> Result<()> {
    let Some(mut stage) = Stage::new("in-place-killed").await? else { return Ok(()) };
    stage.scene.source.stop().await?;
    for phase in ["fetch-base", "start-server", "replay", "verify", "stop-server"] {
        let log = stage.scene.volume(&format!("{phase}.log"));
        let mut run = spawn_logged(stage.command().args(["--log-format", "json"]), &log)?;
        let said = says(&log, &mut run, &format!("\"phase\":\"{phase}\"")).await?;
        ensure!(said, "no {phase}: {}", std::fs::read_to_string(&log)?);
        run.kill().await.context("kill the restore")?;
        if kept(&stage, "aside-").is_some() {
            // It was quicker than the signal.
            break;
        }
        stage.stands_as_before(&format!("after a kill in {phase}")).await?;
        refused(&stage.ending("finish").await?, "PITR0411", "has not ended")?;
    }
    stage.restore().await?.expect(0)?;
    stage.stands_restored().await?;
    stage.ending("abort").await?.expect(0)?;
    stage.stands_as_before("after abort").await?;

    // Turned back half-way, nothing of ours stays.
    stage.ending("finish").await?.expect(0)?;
    let log = stage.scene.volume("half.log");
    let mut run = spawn_logged(stage.command().args(["--log-format", "json"]), &log)?;
    ensure!(says(&log, &mut run, "\"phase\":\"start-server\"").await?, "{}", std::fs::read_to_string(&log)?);
    run.kill().await.context("kill the restore")?;
    stage.ending("abort").await?.expect(0)?;
    ensure!(names(&stage.ours()) == ["lock"], "{:?}", names(&stage.ours()));
    stage.stands_as_before("after it was turned back half-way").await
}

#[tokio::test]
async fn a_restore_killed_in_the_exchange_lets_no_server_start_and_goes_either_way() -> Result<()> {
    let Some(mut stage) = Stage::new("in-place-exchange").await? else { return Ok(()) };
    stage.scene.source.stop().await?;
    for number in 0..MANY {
        std::fs::write(stage.datadir().join(format!("other-{number:05}")), "")?;
    }
    for way in ["abort", "restore"] {
        let log = stage.scene.volume(&format!("{way}.log"));
        let mut run = spawn_logged(&mut stage.command(), &log)?;
        let begun = Instant::now();
        while kept(&stage, "aside-").is_none_or(|aside| names(&aside).len() < 100) {
            ensure!(run.try_wait()?.is_none(), "it ended: {}", std::fs::read_to_string(&log)?);
            ensure!(begun.elapsed() < Duration::from_secs(120), "no exchange");
        }
        run.kill().await.context("kill the restore")?;
        let left = names(&stage.datadir());
        println!("{way}: killed with {} entries left of {MANY}", left.len());
        ensure!(left.len() > 100, "it was quicker than the signal");
        ensure!(stage.scene.source.start().await.is_err(), "a server started on half of the data");
        match way {
            "abort" => {
                stage.ending("abort").await?.expect(0)?;
                ensure!(names(&stage.ours()) == ["lock"], "{:?}", names(&stage.ours()));
                stage.stands_as_before("after a kill in the exchange").await?;
            }
            _ => {
                stage.restore().await?.expect(0)?;
                ensure!(names(&stage.datadir()).len() < 100, "the old files are in the way");
                stage.stands_restored().await?;
            }
        }
    }
    stage.ending("abort").await?.expect(0)?;
    ensure!(names(&stage.datadir()).len() > MANY, "not all came back");
    stage.stands_as_before("at the end").await
}

#[tokio::test]
async fn a_volume_that_holds_an_ended_restore_is_restored_in_place_as_well() -> Result<()> {
    let Some(stage) = Stage::new("in-place-adopted").await? else { return Ok(()) };
    stage.scene.restore("adopted", ["--to", "latest"], &[]).await?.expect(0)?;
    let (datadir, mysqld) = (stage.scene.volume("adopted"), stage.scene.installation.program("mysqld"));
    let mut command = stage.scene.sidecar.restore(["--through-gtid", &stage.third], &datadir, &mysqld);
    finish(command.arg("--in-place")).await?.expect(0)?;
    let mut server = stage.scene.started(&datadir).await?;
    let held = server.value::<u32>("SELECT COUNT(*) FROM d.t").await?;
    server.stop().await?;
    ensure!(held == 3, "{held} rows");
    let earlier = names(&datadir.join(".pitr")).into_iter().find(|name| name.starts_with("earlier-"));
    let earlier = earlier.context("the records of the first restore are gone")?;
    ensure!(datadir.join(".pitr").join(earlier).join("RESTORED.json").exists(), "no report of the first restore");
    let verdict =
        finish(&mut stage.scene.sidecar.command(&["abort", "--datadir", &datadir.display().to_string()])).await?;
    verdict.expect(0)?;
    let held = content(&stage.scene.started(&datadir).await?).await?;
    ensure!(held == stage.old, "not what was adopted");
    Ok(())
}

#[tokio::test]
async fn as_the_runbook_says() -> Result<()> {
    let Some(mut stage) = Stage::new("in-place-runbook").await? else { return Ok(()) };
    let plan = ["plan", "--archive", &stage.scene.url(), "--through-gtid", &stage.third, "-o", "json"];
    let plan = finish(&mut stage.scene.sidecar.command(&plan)).await?.expect(0)?;
    let plan: Value = serde_json::from_str(&plan.stdout)?;
    let target = plan["lastApplied"]["committedAt"].as_str().context("the last transaction's time")?;
    stage.scene.source.stop().await?;
    let mysqld = stage.scene.installation.program("mysqld");
    let path = format!("{}:{}", Product::find()?.folder().display(), std::env::var("PATH")?);
    let lines = commands("restore-runbook.md", "sh in-place")?;
    ensure!(lines.len() == 3, "the runbook has other commands: {lines:#?}");
    for line in lines {
        let mut shell = Command::new("sh");
        shell.args(["-ec", &line]).env("PATH", &path).env("ARCHIVE", stage.scene.url()).env("TARGET", target);
        shell.env("DATADIR", stage.datadir()).env("MYSQLD", &mysqld);
        finish(&mut shell).await?.expect(0).with_context(|| line.clone())?;
        match line.split_whitespace().nth(1) {
            Some("restore") => stage.stands_restored().await?,
            _ => stage.stands_as_before(&line).await?,
        }
    }
    ensure!(names(&stage.ours()) == ["lock"], "{:?}", names(&stage.ours()));
    Ok(())
}
