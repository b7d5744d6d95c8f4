//! A server that keeps its binlogs for longer than the archive does: what retention has let go is not archived again.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::product::finish;
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;

#[tokio::test]
async fn what_retention_has_let_go_is_not_archived_again() -> Result<()> {
    let Some(scene) = Scene::new("circles", "id INT PRIMARY KEY").await? else { return Ok(()) };
    for number in 0..3 {
        scene.source.sql(&format!("INSERT INTO d.t VALUES ({number}); FLUSH BINARY LOGS")).await?;
    }
    scene.backup().await?;
    scene.source.sql("INSERT INTO d.t VALUES (10); FLUSH BINARY LOGS; INSERT INTO d.t VALUES (11)").await?;
    // The files are as old as a server may keep them.
    let mut touch = tokio::process::Command::new("find");
    touch.arg(scene.source.datadir()).args(["-name", "*.00000*", "-exec", "touch", "-d", "3 days ago", "{}", ";"]);
    ensure!(touch.status().await.context("run find")?.success(), "the files cannot be made old");

    // Retention has been here, and has forgotten what was before the base backup.
    let url = scene.url();
    let prune = ["prune", "--archive", &url, "--window", "1d", "--apply"];
    finish(&mut scene.sidecar.command(&prune)).await?.expect(0)?;
    scene.archive().await?;
    let stored = numbers(&scene.volume("archive").join("binlogs"))?;
    let all = scene.source.sql("SHOW BINARY LOGS").await.map(drop);
    all?;
    ensure!(stored.iter().all(|number| *number >= 4), "{stored:?}: the base backup contains what is before");
    ensure!(!stored.is_empty(), "what follows the base backup is archived, old or not");
    let restored = scene.restored("restored", ["--to", "latest"], &[]).await?;
    let source = content(&scene.source).await?;
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

/// The numbers of the binlogs of which something is stored.
fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for source in std::fs::read_dir(folder)? {
        for binlog in std::fs::read_dir(source?.path())? {
            let name = binlog?.file_name().to_string_lossy().into_owned();
            numbers.extend(name.split('-').next().and_then(|number| number.parse::<u64>().ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
