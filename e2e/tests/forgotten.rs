//! What a GTID set does not tell: what the restoring server had in memory only and lost when it was started again, and the states of events
//! that a base has from a replica.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use pitr_e2e::product::spawn_logged;
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;
use serde_json::Value;
use tokio::process::Child;

const LATEST: [&str; 2] = ["--to", "latest"];

/// Begins a restore, and gives it as soon as its journal has these words.
async fn begun(scene: &Scene, volume: &str, words: &str) -> Result<Child> {
    let (datadir, mysqld) = (scene.volume(volume), scene.installation.program("mysqld"));
    let log = scene.volume("restore.log");
    let mut run = spawn_logged(&mut scene.sidecar.restore(LATEST, &datadir, &mysqld), &log)?;
    let begun = Instant::now();
    while !journal(&datadir).contains(words) {
        ensure!(run.try_wait()?.is_none(), "it ended before {words}:\n{}", std::fs::read_to_string(&log)?);
        ensure!(begun.elapsed() < Duration::from_secs(120), "it never noted {words}: {}", journal(&datadir));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(run)
}

fn journal(datadir: &Path) -> String {
    std::fs::read_to_string(datadir.join(".pitr/journal.json")).unwrap_or_default()
}

#[tokio::test]
async fn statements_with_temporary_tables_are_not_gone_on_with() -> Result<()> {
    let Some(scene) = Scene::new("temporary", "id INT AUTO_INCREMENT PRIMARY KEY, v INT").await? else { return Ok(()) };
    let fill = "CREATE PROCEDURE d.fill (n INT) WHILE n > 0 DO INSERT INTO d.t (v) SELECT v FROM d.tmp; SET n = n - 1; END WHILE";
    let mut session = scene.source.connect().await?;
    session.query_drop(fill).await?;
    scene.backup().await?;
    let open = [
        "SET SESSION binlog_format = STATEMENT",
        "CREATE TEMPORARY TABLE d.tmp (v INT)",
        "INSERT INTO d.tmp VALUES (1)",
    ];
    for statement in open {
        session.query_drop(statement).await?;
    }
    // Statements are applied one by one, which takes long enough to be stopped in their midst.
    session.query_drop("CALL d.fill(20000)").await?;
    scene.archive().await?;
    // Stopped in order, as a drained node does it.
    let mut run = begun(&scene, "stopped", "\"temporaryTables\": true").await?;
    let pid = run.id().context("it ended by itself")?.to_string();
    ensure!(std::process::Command::new("kill").args(["-TERM", &pid]).status()?.success(), "it is gone");
    ensure!(!run.wait().await?.success(), "it was done before it was stopped");
    ensure!(journal(&scene.volume("stopped")).contains("\"replicaRan\": false"), "its server was not stopped in order");
    let refused = scene.restore("stopped", LATEST, &[]).await?.expect(5)?;
    ensure!(
        refused.stderr.contains("error[PITR0419]") && refused.stderr.contains("temporary tables"),
        "{}",
        refused.stderr
    );
    ensure!(scene.restored("another", LATEST, &[]).await? == content(&scene.source).await?, "an empty volume differs");
    Ok(())
}

#[tokio::test]
async fn tables_in_memory_are_not_gone_on_with() -> Result<()> {
    let Some(scene) = Scene::new("memory", "id INT PRIMARY KEY").await? else { return Ok(()) };
    scene.source.sql("CREATE TABLE d.mem (v INT) ENGINE=MEMORY").await?;
    scene.backup().await?;
    scene.source.sql("INSERT INTO d.mem VALUES (2); INSERT INTO d.t VALUES (1)").await?;
    // A row that no log holds: its deletion is where the replay stops, and its server is shut down in order.
    scene.source.sql("SET sql_log_bin = 0; INSERT INTO d.t VALUES (2)").await?;
    scene.source.sql("DELETE FROM d.t WHERE id = 2").await?;
    scene.archive().await?;
    let stopped = scene.restore("stopped", LATEST, &[]).await?.expect(5)?;
    ensure!(stopped.stderr.contains("1032"), "{}", stopped.stderr);
    ensure!(journal(&scene.volume("stopped")).contains("\"replicaRan\": false"), "its server was not stopped in order");
    let refused = scene.restore("stopped", LATEST, &[]).await?.expect(5)?;
    ensure!(
        refused.stderr.contains("error[PITR0419]") && refused.stderr.contains("engine MEMORY"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_prepared_transaction_that_is_gone_is_missed() -> Result<()> {
    let Some(scene) = Scene::new("gone", "id INT PRIMARY KEY").await? else { return Ok(()) };
    scene.source.sql("XA START 'base'; INSERT INTO d.t VALUES (1); XA END 'base'; XA PREPARE 'base'").await?;
    scene.backup().await?;
    scene.source.sql("XA START 'log'; INSERT INTO d.t VALUES (2); XA END 'log'; XA PREPARE 'log'").await?;
    scene.source.sql("INSERT INTO d.t VALUES (3)").await?;
    scene.archive().await?;
    for xid in ["base", "log"] {
        // Not handed over: what is prepared is not wanted. Then the server forgets one.
        scene.restore(xid, LATEST, &["--xa", "fail"]).await?.expect(5)?;
        let mut server = scene.started(&scene.volume(xid)).await?;
        server.sql(&format!("XA ROLLBACK '{xid}'")).await?;
        server.stop().await?;
        let missed = scene.restore(xid, LATEST, &[]).await?.expect(5)?;
        // The server may have forgotten the other one by itself (decision 0020).
        let told = missed.stderr.contains("error[PITR0411]") && missed.stderr.contains("prepared XA transaction");
        ensure!(told, "{xid}: {}", missed.stderr);
    }
    scene.restore("kept", LATEST, &[]).await?.expect(0).map(drop)
}

#[tokio::test]
async fn events_of_a_replica_have_the_state_that_the_log_tells_or_are_named() -> Result<()> {
    let Some(scene) = Scene::new("events", "id INT PRIMARY KEY").await? else { return Ok(()) };
    let later = "ON SCHEDULE EVERY 1 YEAR STARTS '2099-01-01 00:00:00'";
    for name in ["told", "untold"] {
        scene.source.sql(&format!("CREATE EVENT d.{name} {later} DISABLE ON REPLICA DO DELETE FROM d.t")).await?;
    }
    scene.backup().await?;
    scene.source.sql("ALTER EVENT d.told ENABLE").await?;
    scene.archive().await?;
    scene.restore("restored", LATEST, &[]).await?.expect(0)?;
    let report: Value = serde_json::from_slice(&std::fs::read(scene.volume("restored").join(".pitr/RESTORED.json"))?)?;
    let Some(events) = report["events"].as_array() else { bail!("{report:#}") };
    let of = |name: &str| {
        let event = events.iter().find(|event| event["name"] == name);
        event.map(|event| (event["state"].clone(), event["exact"].clone())).unwrap_or_default()
    };
    ensure!(of("d.told") == ("enabled".into(), true.into()), "{report:#}");
    ensure!(of("d.untold") == ("replica-side-disabled".into(), false.into()), "{report:#}");
    let server = scene.started(&scene.volume("restored")).await?;
    let rows = server.rows("SELECT status FROM information_schema.events WHERE event_name = 'told'").await?;
    let status: Option<String> = rows.into_iter().next().and_then(|row| row.get(0));
    ensure!(status.as_deref() == Some("ENABLED"), "{status:?}");
    Ok(())
}
