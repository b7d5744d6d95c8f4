//! Data directories that other tools have made become base backups: what is restored from them is what the source holds. What cannot be
//! known, or is being written, is refused.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::product::{Outcome, finish};
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;

async fn register(scene: &Scene, from: &Path, more: &[&str]) -> Result<Outcome> {
    let (url, from) = (scene.url(), from.display().to_string());
    let (scratch, mysqld) = (scene.volume("scratch"), scene.installation.program("mysqld"));
    let (scratch, mysqld) = (scratch.display().to_string(), mysqld.display().to_string());
    let arguments = [
        "register",
        "--archive",
        &url,
        "--workload",
        "test/mysql",
        "--from",
        &from,
        "--scratch",
        &scratch,
        "--mysqld",
        &mysqld,
        "-o",
        "json",
    ];
    finish(scene.sidecar.command(&arguments).args(more)).await
}

async fn insert(scene: &Scene, ids: std::ops::Range<u32>) -> Result<()> {
    for id in ids {
        scene.source.sql(&format!("INSERT INTO d.t VALUES ({id}, {id})")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cold_copy_becomes_a_base_that_restores_begin_with() -> Result<()> {
    let Some(mut scene) = Scene::new("register", "id INT PRIMARY KEY, v INT").await? else { return Ok(()) };
    scene
        .source
        .sql("CREATE TABLE d.isam (id INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO d.isam VALUES (1), (2)")
        .await?;
    insert(&scene, 0..10).await?;
    let datadir = scene.source.datadir().to_owned();
    let running = register(&scene, &datadir, &[]).await?.expect(4)?;
    ensure!(running.stderr.contains("a server is running on"), "{}", running.stderr);
    ensure!(!scene.volume("archive").exists(), "something was stored");

    let held = scene.source.gtid_executed().await?;
    let uuid = held.split(':').next().context("a set")?.to_owned();
    scene.source.stop().await?;
    let files = |folder: &Path| -> Result<usize> { Ok(std::fs::read_dir(folder)?.count()) };
    let before = files(&datadir)?;
    // Somebody's note of another moment is not believed, and nothing is stored by it.
    let wrong = register(&scene, &datadir, &["--gtid-set", &format!("{uuid}:1-5")]).await?.expect(4)?;
    ensure!(wrong.stderr.contains("its server says") && wrong.stderr.contains(&held), "{}", wrong.stderr);
    let stored = register(&scene, &datadir, &["--gtid-set", &held]).await?.expect(0)?;
    ensure!(
        stored.stdout.contains(&format!("\"gtidSet\":\"{held}\"")) && stored.stdout.contains("\"method\":\"files\""),
        "{}",
        stored.stdout
    );
    ensure!(files(&datadir)? == before && files(&scene.volume("scratch"))? <= 1, "something was left, or taken");

    scene.source.start().await?;
    insert(&scene, 10..30).await?;
    scene.archive().await?;
    let expected = content(&scene.source).await?;
    ensure!(scene.restored("restored", ["--to", "latest"], &[]).await? == expected, "it is not what the source holds");
    let restored = scene.started(&scene.volume("restored")).await?;
    ensure!(restored.value::<i64>("SELECT COUNT(*) FROM d.isam").await? == 2, "rows outside InnoDB are gone");
    ensure!(!scene.volume("restored").join("binlog.000001").exists(), "the source's own log came with the base");
    Ok(())
}

#[tokio::test]
async fn a_dump_of_another_tool_is_refused_with_what_it_says() -> Result<()> {
    let Some(scene) = Scene::new("register", "id INT PRIMARY KEY").await? else { return Ok(()) };
    let dump = scene.volume("dump");
    std::fs::create_dir(&dump)?;
    std::fs::write(dump.join("@.json"), r#"{"gtidExecuted": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9"}"#)?;
    let refused = register(&scene, &dump, &[]).await?.expect(4)?;
    ensure!(
        refused.stderr.contains("error[PITR0801]") && refused.stderr.contains("dump of MySQL Shell"),
        "{}",
        refused.stderr
    );
    ensure!(!scene.volume("archive").exists(), "something was stored");
    Ok(())
}
