//! What a restoring server is set to for the time of the restore, and that nothing of it stays in what is handed over.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::product::spawn_logged;
use pitr_e2e::scene::Scene;

/// How long the restoring server may take to appear.
const PATIENCE: Duration = Duration::from_secs(120);
/// Each is pinned or chosen while a log of rows is applied.
const MEANWHILE: [&str; 8] = [
    "--innodb-buffer-pool-size=",
    "--loose-innodb-redo-log-capacity=",
    "--innodb-flush-log-at-trx-commit=2",
    "--transaction-isolation=READ-COMMITTED",
    "--super-read-only=ON",
    "--event-scheduler=OFF",
    "--innodb-strict-mode=OFF",
    "--skip-log-bin",
];
/// And says afterwards that nobody has set it.
const AFTERWARDS: [&str; 7] = [
    "transaction_isolation",
    "super_read_only",
    "event_scheduler",
    "innodb_strict_mode",
    "max_allowed_packet",
    "relay_log_space_limit",
    "replica_parallel_workers",
];

#[tokio::test]
async fn what_is_set_for_a_restore_ends_with_it() -> Result<()> {
    let Some(scene) = Scene::new("settings", "id INT PRIMARY KEY").await? else { return Ok(()) };
    scene.backup().await?;
    scene.source.sql("INSERT INTO d.t VALUES (1), (2)").await?;
    scene.archive().await?;
    let (volume, mysqld) = (scene.volume("restored"), scene.installation.program("mysqld"));
    let mut run =
        spawn_logged(&mut scene.sidecar.restore(["--to", "latest"], &volume, &mysqld), &scene.volume("restore.log"))?;
    let begun = Instant::now();
    let options = loop {
        let pid = std::fs::read_to_string(volume.join(".pitr/mysqld.pid")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        if words.iter().any(|word| word.starts_with("--relay-log=")) {
            break words;
        }
        ensure!(run.try_wait()?.is_none() && begun.elapsed() < PATIENCE, "the restoring server was not seen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    for option in MEANWHILE {
        ensure!(options.iter().any(|word| word.starts_with(option)), "no {option} in {options:?}");
    }
    ensure!(run.wait().await.context("wait for the restore")?.success(), "the restore failed");

    let server = scene.started(&volume).await?;
    for name in AFTERWARDS {
        let source =
            format!("SELECT VARIABLE_SOURCE FROM performance_schema.variables_info WHERE VARIABLE_NAME = '{name}'");
        let source: String = server.value(&source).await.with_context(|| name.to_owned())?;
        ensure!(source == "COMPILED", "{name} is set by {source}");
    }
    let persisted: i64 = server.value("SELECT COUNT(*) FROM performance_schema.persisted_variables").await?;
    ensure!(persisted == 0, "{persisted} settings are persisted");
    Ok(())
}
