//! Data directories that other tools have made become base backups: what is restored from them is what the source holds. What cannot be
//! known, or is being written, is refused.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::Mysqld;
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
    // A server that has been cloned holds no lock any more of what it copied.
    let cloned = scene.volume("cloned").display().to_string();
    scene.source.sql(&format!("CLONE LOCAL DATA DIRECTORY = '{cloned}'")).await?;
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
    let config = scene.volume("my.cnf");
    std::fs::write(&config, "[mysqld]\nserver_id=1\n")?;
    let config = config.display().to_string();
    let stored = register(&scene, &datadir, &["--gtid-set", &held, "--mysqld-config", &config]).await?.expect(0)?;
    ensure!(
        stored.stdout.contains(&format!("\"gtidSet\":\"{held}\"")) && stored.stdout.contains("\"method\":\"files\""),
        "{}",
        stored.stdout
    );
    ensure!(files(&datadir)? == before && files(&scene.volume("scratch"))? <= 1, "something was left, or taken");

    // What a clone knows of its server, this base knows, too.
    let backups = scene.volume("archive").join("backups");
    let mut manifests = std::fs::read_dir(backups)?.filter_map(|found| Some(found.ok()?.path().join("manifest.json")));
    let manifest = manifests.find(|path| path.exists()).context("no base backup")?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest)?)?;
    let (file, end) = (&manifest["binlog_position"]["file"], &manifest["binlog_position"]["pos"]);
    let log = datadir.join(file.as_str().context("no position")?);
    ensure!(end.as_u64() == Some(std::fs::metadata(log)?.len()), "{manifest}");
    ensure!(manifest["settings"]["log_replica_updates"] == "ON", "{manifest}");

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
async fn data_outside_of_the_directory_is_refused() -> Result<()> {
    let Some(scene) = Scene::new("register", "id INT PRIMARY KEY").await? else { return Ok(()) };
    let elsewhere = scene.volume("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    let elsewhere = elsewhere.display().to_string();
    let option = format!("--innodb_directories={elsewhere}");
    let mut other = Mysqld::fresh(&scene.installation, 2).option(&option).start().await?;
    other.sql("CREATE DATABASE d; CREATE TABLE d.here (id INT PRIMARY KEY); INSERT INTO d.here VALUES (1)").await?;
    other.sql(&format!("CREATE TABLE d.there (id INT PRIMARY KEY) DATA DIRECTORY='{elsewhere}'")).await?;
    other.stop().await?;
    let file = Path::new(&elsewhere).join("d/there.ibd");
    let before = (std::fs::read(&file)?, std::fs::metadata(&file)?.modified()?);
    let config = scene.volume("my.cnf");
    std::fs::write(&config, format!("[mysqld]\ninnodb_directories={elsewhere}\n"))?;
    let config = config.display().to_string();
    let with_config = ["--mysqld-config", config.as_str()];
    for more in [&[] as &[&str], &with_config] {
        let refused = register(&scene, other.datadir(), more).await?.expect(4)?;
        ensure!(
            refused.stderr.contains("there.ibd") && refused.stderr.contains("lies outside"),
            "{more:?} {}",
            refused.stderr
        );
    }
    ensure!((std::fs::read(&file)?, std::fs::metadata(&file)?.modified()?) == before, "the original was written to");
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
