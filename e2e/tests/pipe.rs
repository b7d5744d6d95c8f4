//! `--engine pipe`, the reference: `mysqlbinlog | mysql` fed with an exactly cut log. It ends where the plan says and with what a replica
//! and the replication engine end with; what SQL text cannot carry is refused before any of it is applied.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::nasty;
use pitr_e2e::product::{finish, spawn_logged};
use pitr_e2e::reference::{Replica, content, log_of};
use pitr_e2e::scene::Scene;

const COLUMNS: &str = "id INT PRIMARY KEY, v INT NOT NULL";
const PIPE: [&str; 2] = ["--engine", "pipe"];

fn seed() -> u64 {
    let seed = std::env::var("PITR_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("PITR_TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn both_engines_and_a_replica_hold_the_same() -> Result<()> {
    let Some(scene) = Scene::new("pipe", COLUMNS).await? else { return Ok(()) };
    let source = &scene.source;
    source.sql(nasty::SCHEMA).await?;
    scene.backup().await?;
    nasty::run(source, 60, seed()).await?;
    source
        .sql("FLUSH BINARY LOGS; INSERT INTO d.t VALUES (1, 1); UPDATE d.t SET v = 99; INSERT INTO d.t VALUES (2, 2)")
        .await?;
    nasty::run(source, 40, seed()).await?;
    scene.archive().await?;
    let log = log_of(&scene.installation, source).await?;
    let replica = Replica::of(&scene.installation, source).await?;
    for place in [log.len() * 2 / 3, log.len() - 1] {
        let target = ["--through-gtid", log[place].gtid.as_str()];
        let expected = replica.forward_through(&log[place].gtid).await?;
        let piped = scene.restored(&format!("pipe-{place}"), target, &PIPE).await?;
        ensure!(piped == expected, "through {}: {piped:#?}\nexpected {expected:#?}", target[1]);
        let replicated = scene.restored(&format!("replica-{place}"), target, &[]).await?;
        ensure!(replicated == piped, "the engines differ: {replicated:#?}\n{piped:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn left_out_killed_and_gone_on_with_by_the_other() -> Result<()> {
    let Some(scene) = Scene::new("pipe", COLUMNS).await? else { return Ok(()) };
    let source = &scene.source;
    scene.backup().await?;
    source.sql("INSERT INTO d.t VALUES (0, 0)").await?;
    let before: String = source.gtid_executed().await?;
    source.sql("UPDATE d.t SET v = 77").await?;
    let mistake: String = source.value(&format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')")).await?;
    let mut inserts = String::new();
    for id in 1..4000 {
        inserts += &format!("INSERT INTO d.t VALUES ({id}, {id});");
    }
    source.sql(&inserts).await?;
    scene.archive().await?;
    let all = content(source).await?;

    let refused = scene.restore("none", ["--to", "latest"], &["--engine", "pipe", "--batch", "9"]).await?.expect(2)?;
    ensure!(refused.stderr.contains("as it was written"), "{}", refused.stderr);
    let skipped = ["--engine", "pipe", "--skip-gtid", mistake.as_str()];
    scene.restore("skipped", ["--to", "latest"], &skipped).await?.expect(0)?;
    let server = scene.started(&scene.volume("skipped")).await?;
    let (sum, rows): (i64, i64) = (
        server.value("SELECT CAST(SUM(v) AS SIGNED) FROM d.t").await?,
        server.value("SELECT COUNT(*) FROM d.t").await?,
    );
    ensure!((sum, rows) == ((0..4000).sum(), 4000), "sum {sum} of {rows} rows");
    ensure!(server.gtid_executed().await? == all.executed, "the set has a hole");
    drop(server);

    // Its server is killed under it, and it goes on; then it is killed itself, and replication goes on with the volume, and back.
    let volume = scene.volume("killed");
    let mysqld = scene.installation.program("mysqld");
    for (round, (engine, next)) in [("pipe", "replication"), ("replication", "pipe")].into_iter().enumerate() {
        let log = scene.volume(&format!("killed-{round}.log"));
        let mut first = scene.sidecar.restore(["--to", "latest"], &volume, &mysqld);
        let mut run = spawn_logged(first.args(["--engine", engine]), &log)?;
        let begun = Instant::now();
        let journal = volume.join(".pitr/journal.json");
        while run.try_wait()?.is_none()
            && !std::fs::read_to_string(&journal).unwrap_or_default().contains("\"replicaRan\": true")
        {
            ensure!(begun.elapsed() < Duration::from_secs(120), "it does not get to replay");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pid = std::fs::read_to_string(volume.join(".pitr/mysqld.pid")).context("read the server's process id")?;
        let _ = std::process::Command::new("kill").args(["-9", pid.trim()]).status()?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let _ = run.kill().await;
        let mut second = scene.sidecar.restore(["--to", "latest"], &volume, &mysqld);
        finish(second.args(["--engine", next])).await?.expect(0)?;
        ensure!(scene.content_of(&volume).await? == all, "{engine}, killed, then {next}: not the source's");
        std::fs::remove_dir_all(&volume)?;
    }
    Ok(())
}

#[tokio::test]
async fn what_text_cannot_carry_is_refused() -> Result<()> {
    let Some(scene) = Scene::new("pipe", COLUMNS).await? else { return Ok(()) };
    let source = &scene.source;
    scene.backup().await?;
    source.sql("INSERT INTO d.t VALUES (1, 1)").await?;
    let last = log_of(&scene.installation, source).await?.pop().context("a log")?;
    source.sql("CREATE TABLE d.`x\nDROP DATABASE d -- y` (id INT PRIMARY KEY)").await?;
    source.sql("INSERT INTO d.`x\nDROP DATABASE d -- y` VALUES (1)").await?;
    scene.archive().await?;
    let refused = scene.restore("breaks", ["--to", "latest"], &PIPE).await?.expect(5)?;
    ensure!(refused.stderr.contains("error[PITR0413]") && refused.stderr.contains("line break"), "{}", refused.stderr);
    // The volume is whole up to there, and the other engine goes on with it.
    ensure!(scene.restored("breaks", ["--to", "latest"], &[]).await? == content(source).await?, "not the source's");
    let through = scene.restored("before", ["--through-gtid", &last.gtid], &PIPE).await?;
    ensure!(through.checksums.keys().any(|table| table.contains("`t`") || table.ends_with(".t")), "{through:#?}");

    // An installation without the programs.
    let bare = scene.volume("bare");
    std::fs::create_dir_all(&bare)?;
    std::os::unix::fs::symlink(scene.installation.program("mysqld"), bare.join("mysqld"))?;
    let mut command = scene.sidecar.restore(["--to", "latest"], &scene.volume("none"), &bare.join("mysqld"));
    let refused = finish(command.args(PIPE).env("PATH", "/nowhere")).await?.expect(4)?;
    ensure!(refused.stderr.contains("no mysqlbinlog beside mysqld"), "{}", refused.stderr);
    ensure!(!scene.volume("none").exists(), "something was created");
    Ok(())
}
