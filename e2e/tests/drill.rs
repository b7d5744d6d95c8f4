//! Restore drills: what they prove stays in the archive, and nothing else; one that fails is seen wherever the state is shown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::product::{Outcome, finish};
use pitr_e2e::scene::Scene;
use serde_json::Value;

/// How long a heartbeat may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn drill(scene: &Scene, scratch: &Path, more: &[&str]) -> Result<Outcome> {
    let (url, scratch) = (scene.url(), scratch.display().to_string());
    let mysqld = scene.installation.program("mysqld").display().to_string();
    let staging = tempfile::Builder::new().prefix("pitr-drill-").tempdir_in("/tmp")?;
    let sockets = staging.path().display().to_string();
    let arguments = ["drill", "--archive", &url, "--scratch", &scratch, "--mysqld", &mysqld, "--staging", &sockets];
    // As in a Job's pod, where nothing else can be written to.
    let mut command = scene.sidecar.command(&arguments);
    let outcome = finish(command.args(["-o", "json"]).args(more).env("TMPDIR", "/nowhere")).await?;
    ensure!(std::fs::read_dir(staging.path())?.next().is_none(), "the drill left something beside its sockets");
    ensure!(std::fs::read_dir(&scratch)?.next().is_none(), "the drill left something in its scratch directory");
    Ok(outcome)
}

async fn status(scene: &Scene, format: &str) -> Result<String> {
    Ok(finish(&mut scene.sidecar.command(&["status", "--archive", &scene.url(), "-o", format]))
        .await?
        .expect(0)?
        .stdout)
}

/// The results in the archive, in the order of their generations.
fn results(scene: &Scene) -> Result<Vec<Value>> {
    let mut files = files_below(&scene.volume("archive/drills"))?;
    files.sort();
    files.iter().map(|file| Ok(serde_json::from_slice(&std::fs::read(file)?)?)).collect()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// Changes one byte in the middle of each segment under `binlogs/`.
fn damage(scene: &Scene) -> Result<()> {
    let segments = files_below(&scene.volume("archive/binlogs"))?;
    ensure!(!segments.is_empty(), "nothing is archived");
    for segment in segments {
        let mut bytes = std::fs::read(&segment)?;
        let middle = bytes.len() * 3 / 4;
        bytes[middle] ^= 0x55;
        std::fs::write(&segment, bytes)?;
    }
    Ok(())
}

/// What a running sidecar writes down in the end.
async fn heartbeat_with(scene: &Scene, wanted: &str) -> Result<()> {
    let mut run = scene.sidecar.run()?;
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(scene.sidecar.log())?;
        if log.contains(wanted) {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "no heartbeat has {wanted}:\n{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.kill().await.context("stop the sidecar")
}

#[tokio::test]
async fn a_drill_leaves_its_result_and_nothing_else_and_a_failed_one_is_seen() -> Result<()> {
    let Some(scene) = Scene::new("drill", "id INT PRIMARY KEY, v INT").await? else { return Ok(()) };
    scene.backup().await?;
    for number in 0..20 {
        scene.source.sql(&format!("INSERT INTO d.t VALUES ({number}, {number})")).await?;
    }
    scene.source.sql("FLUSH BINARY LOGS").await?;
    scene.archive().await?;
    let scratch = scene.volume("scratch");
    std::fs::create_dir(&scratch)?;

    let passed =
        drill(&scene, &scratch, &["--assert", "SELECT COUNT(*) = 20 FROM d.t", "--check-tables"]).await?.expect(0)?;
    ensure!(passed.stdout.contains("\"result\":\"verified\""), "{}", passed.stdout);
    let [result] = &results(&scene)?[..] else { anyhow::bail!("not one result") };
    ensure!(
        result["verified"] == true && result["target"] == "--to latest" && result["pace"]["transactions"] == 20,
        "{result:#}"
    );
    let seen = status(&scene, "text").await?;
    ensure!(seen.contains("restore drill passed"), "{seen}");
    heartbeat_with(&scene, &format!("\"drillSeconds\":{}.0", result["seconds"])).await?;

    // What was asked for wrongly says nothing about the archive; what cannot be restored does.
    drill(&scene, &scratch, &["--to", "yesterday"]).await?.expect(2)?;
    ensure!(results(&scene)?.len() == 1, "a mistake was recorded");
    damage(&scene)?;
    let failed = drill(&scene, &scratch, &[]).await?;
    ensure!(failed.code.is_some_and(|code| code != 0), "a damaged archive passed: {}", failed.stdout);
    let [before, result] = &results(&scene)?[..] else { anyhow::bail!("not two results") };
    ensure!(before["verified"] == true && result["verified"] == false, "{result:#}");
    let code = result["code"].as_str().context("a code")?;
    let seen: Value = serde_json::from_str(&status(&scene, "json").await?)?;
    ensure!(seen["verify"]["drillFailedCode"] == code && seen["verify"]["drillAt"].is_string(), "{seen:#}");
    ensure!(seen["state"] == "degraded" && seen["codes"].to_string().contains("PITR0514"), "{seen:#}");
    let seen = status(&scene, "text").await?;
    ensure!(seen.contains(&format!("restore drill FAILED 0s ago with {code}")) || seen.contains("ago with"), "{seen}");
    std::fs::remove_file(scene.sidecar.log())?;
    heartbeat_with(&scene, "PITR0514").await?;
    Ok(())
}

/// Gives the last drill another pace, and asks which base backup a restore to the end would begin with.
async fn base_at_pace(scene: &Scene, pace: Value) -> Result<String> {
    let file = files_below(&scene.volume("archive/drills"))?.pop().context("no drill")?;
    let before = sha256(&file)?;
    let mut drill: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    drill["pace"] = pace;
    std::fs::write(&file, serde_json::to_vec(&drill)?)?;
    // The name says what the content is.
    std::fs::rename(&file, file.display().to_string().replace(&before, &sha256(&file)?))?;
    let plan = ["plan", "--archive", &scene.url(), "--to", "latest", "-o", "json"];
    let plan = finish(&mut scene.sidecar.command(&plan)).await?.expect(0)?;
    let plan: Value = serde_json::from_str(&plan.stdout)?;
    Ok(plan["base"]["id"].as_str().context("a base backup")?.to_owned())
}

/// The beginning of a file's SHA-256, as objects are named.
fn sha256(file: &Path) -> Result<String> {
    let output = std::process::Command::new("sha256sum").arg(file).output().context("run sha256sum")?;
    Ok(String::from_utf8(output.stdout)?.get(..16).context("a hash")?.to_owned())
}

#[tokio::test]
async fn the_base_backup_that_takes_the_least_time_at_the_last_drills_pace_is_taken() -> Result<()> {
    let Some(scene) = Scene::new("pace", "id INT PRIMARY KEY, v LONGBLOB").await? else { return Ok(()) };
    scene.backup().await?;
    let random = ["RANDOM_BYTES(1024)"; 64].join(",");
    for number in 0..100 {
        scene.source.sql(&format!("INSERT INTO d.t VALUES ({number}, CONCAT({random}))")).await?;
    }
    scene.source.sql("FLUSH BINARY LOGS").await?;
    scene.archive().await?;
    let scratch = scene.volume("scratch");
    std::fs::create_dir(&scratch)?;
    drill(&scene, &scratch, &[]).await?.expect(0)?;
    scene.backup().await?;
    let pace = |base_ms: u64, replay_ms: u64| serde_json::json!({"baseBytes": 1_000_000, "baseMs": base_ms, "transactions": 1000, "replayMs": replay_ms, "restMs": 1});
    let small = base_at_pace(&scene, pace(100_000, 1)).await?;
    let large = base_at_pace(&scene, pace(1, 100_000)).await?;
    // Their ids are in the order of their making.
    ensure!(small < large, "a slow fetch begins with {small}, a slow replay with {large}");
    Ok(())
}
