//! Servers whose binlogs do not tell what they began with: a renamed log, a restored server, its clone after a failover. MySQL leaves
//! what it knows only from its own table out of `PREVIOUS_GTIDS` for ever; a base backup of the server makes up for it. Each
//! ends in a restore that equals the server.

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::Mysqld;
use pitr_e2e::product::finish;
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;

const LATEST: [&str; 2] = ["--to", "latest"];

async fn insert(server: &Mysqld, id: u32) -> Result<()> {
    server.sql(&format!("INSERT INTO d.t VALUES ({id}, {id})")).await
}

/// The status that the archive alone gives.
async fn status(scene: &Scene) -> Result<Value> {
    let url = scene.url();
    let told = finish(&mut scene.sidecar.command(&["status", "--archive", &url, "-o", "json"])).await?.expect(0)?;
    Ok(serde_json::from_str(&told.stdout)?)
}

#[tokio::test]
async fn a_renamed_log_goes_on_where_the_old_one_ended() -> Result<()> {
    let Some(mut scene) = Scene::new("renamed", "id INT PRIMARY KEY, v INT").await? else { return Ok(()) };
    scene.backup().await?;
    insert(&scene.source, 1).await?;
    scene.archive().await?;
    scene.source.stop().await?;
    scene.source.add_option("--log-bin=other");
    scene.source.start().await?;
    insert(&scene.source, 2).await?;
    scene.archive().await?;
    scene.sidecar = Sidecar::configure(&scene.source, &scene.url(), "")?;
    scene.backup().await?;
    insert(&scene.source, 3).await?;
    scene.source.sql("FLUSH BINARY LOGS").await?;
    insert(&scene.source, 4).await?;
    scene.archive().await?;
    let held = content(&scene.source).await?;
    ensure!(scene.restored("new", LATEST, &[]).await? == held, "not what the server holds");
    // The first base backup leads across the change of name, too.
    let document = status(&scene).await?;
    let windows = document["windows"]["items"].as_array().context("windows")?;
    ensure!(windows.len() == 1 && windows[0]["backups"].as_array().is_some_and(|all| all.len() == 2), "{document:#}");
    Ok(())
}

#[tokio::test]
async fn a_restored_server_that_archives_into_the_same_prefix_is_recoverable() -> Result<()> {
    let Some(scene) = Scene::new("restored", "id INT PRIMARY KEY, v INT").await? else { return Ok(()) };
    scene.backup().await?;
    for id in 1..=3 {
        insert(&scene.source, id).await?;
    }
    scene.archive().await?;
    let target = scene.source.gtid_executed().await?;
    insert(&scene.source, 4).await?;
    scene.archive().await?;
    let (uuid, last) = target.rsplit_once(['-', ':']).context("a GTID set")?;
    let uuid = uuid.split(':').next().context("a UUID")?;
    scene.restore("second", ["--through-gtid", &format!("{uuid}:{last}")], &[]).await?.expect(0)?;

    let second = Mysqld::on(&scene.installation, scene.volume("second"), 2).start().await?;
    let sidecar = Sidecar::configure(&second, &scene.url(), "")?;
    insert(&second, 100).await?;
    sidecar.archive_once().await?.expect(0)?;
    // Until it has a base backup of its own nothing says what its log goes on from, and status does not call that well.
    let before = status(&scene).await?;
    ensure!(before["codes"].to_string().contains("PITR0504"), "{before:#}");
    sidecar.backup("clone", &scene.installation.program("mysqld")).await?.expect(0)?;
    insert(&second, 101).await?;
    second.sql("FLUSH BINARY LOGS").await?;
    insert(&second, 102).await?;
    sidecar.archive_once().await?.expect(0)?;
    let held = content(&second).await?;
    ensure!(scene.restored("third", LATEST, &[]).await? == held, "not what the restored server holds");

    // The old future is still there, on a branch of its own.
    let after = status(&scene).await?;
    let windows = after["windows"]["items"].as_array().context("windows")?;
    let old = windows.iter().find(|window| window["live"] != true).context("a window of another branch")?;
    let branch = old["branch"].as_str().context("a branch")?;
    let first = content(&scene.source).await?;
    ensure!(scene.restored("first", LATEST, &["--branch", branch]).await? == first, "not what the first server held");
    Ok(())
}
