//! `--count-rows`: rows of a real server's tables, held against its base and its log; what a log cannot tell is named.

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::scene::Scene;
use serde_json::{Value, json};

const LATEST: [&str; 2] = ["--to", "latest"];
const NEVER: [&str; 2] = ["--assert", "SELECT 1 = 2"];

async fn scene() -> Result<Option<Scene>> {
    let Some(scene) = Scene::new("rows", "id INT PRIMARY KEY, v INT").await? else { return Ok(None) };
    let source = &scene.source;
    source.sql("INSERT INTO d.t VALUES (1, 1), (2, 2), (3, 3); CREATE TABLE d.quiet (id INT PRIMARY KEY)").await?;
    source.sql("CREATE TABLE d.emptied (id INT PRIMARY KEY); INSERT INTO d.emptied VALUES (1)").await?;
    source.sql("CREATE TABLE d.parent (id INT PRIMARY KEY); INSERT INTO d.parent VALUES (1), (2)").await?;
    source
        .sql("CREATE TABLE d.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES d.parent (id) ON DELETE CASCADE)")
        .await?;
    source.sql("CREATE TABLE d.prepared (id INT PRIMARY KEY); INSERT INTO d.child VALUES (1, 1), (2, 2)").await?;
    scene.backup().await?;
    source.sql("INSERT INTO d.t VALUES (4, 4), (5, 5), (6, 6); UPDATE d.t SET v = 0 WHERE id < 3").await?;
    source
        .sql("SET binlog_transaction_compression = ON; DELETE FROM d.t WHERE id = 1; REPLACE INTO d.t VALUES (2, 9)")
        .await?;
    source
        .sql("BEGIN; INSERT INTO d.t VALUES (7, 7); SAVEPOINT s; INSERT INTO d.t VALUES (8, 8); ROLLBACK TO s; COMMIT")
        .await?;
    source.sql("TRUNCATE d.emptied; CREATE TABLE d.later (id INT PRIMARY KEY); INSERT INTO d.later VALUES (1)").await?;
    source.sql("DELETE FROM d.parent WHERE id = 1").await?;
    source.sql("XA START 'x'; INSERT INTO d.prepared VALUES (1); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'").await?;
    scene.archive().await?;
    Ok(Some(scene))
}

#[tokio::test]
async fn rows_are_what_base_and_log_make() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let done = scene.restore("data", LATEST, &["--count-rows"]).await?.expect(0)?;
    let verdict: Value = serde_json::from_str(done.stdout.lines().last().context("a verdict")?)?;
    let expected = json!({"equal": 3, "differ": 0, "notAccounted": 4, "inserted": 4, "updated": 3, "deleted": 2});
    ensure!(verdict["rows"] == expected, "{verdict:#}");
    let report: Value = serde_json::from_slice(&std::fs::read(scene.volume("data").join(".pitr/RESTORED.json"))?)?;
    let of = |kind: &str, name: &str| {
        let mut tables = report["rows"][kind].as_array().into_iter().flatten();
        tables.find(|table| table["table"] == name).cloned().unwrap_or_default()
    };
    let t = json!({"schema": "d", "table": "t", "before": 3, "inserted": 4, "updated": 3, "deleted": 1, "after": 6});
    ensure!(of("tables", "t") == t, "{report:#}");
    ensure!(of("tables", "quiet")["after"] == 0 && of("tables", "parent")["deleted"] == 1, "{report:#}");
    for (name, why) in [("emptied", "emptied"), ("later", "defined"), ("child", "another table"), ("prepared", "XA")] {
        let told = of("notAccounted", name);
        ensure!(told["why"].as_str().is_some_and(|text| text.contains(why)), "{name}: {report:#}");
    }
    // Told again by a later run, which does nothing.
    let told = scene.restore("data", LATEST, &["--count-rows"]).await?.expect(0)?;
    ensure!(told.stdout.contains("\"notAccounted\":4"), "{}", told.stdout);
    Ok(())
}

#[tokio::test]
async fn rows_that_the_base_had_prepared_are_not_held_against_the_log() -> Result<()> {
    let Some(scene) = Scene::new("rows-xa", "id INT PRIMARY KEY").await? else { return Ok(()) };
    let source = &scene.source;
    source.sql("XA START 'x'; INSERT INTO d.t VALUES (1), (2); XA END 'x'; XA PREPARE 'x'").await?;
    scene.backup().await?;
    source.sql("XA COMMIT 'x'").await?;
    source.sql("INSERT INTO d.t VALUES (3)").await?;
    scene.archive().await?;
    let done = scene.restore("data", LATEST, &["--count-rows"]).await?.expect(0)?;
    let verdict: Value = serde_json::from_str(done.stdout.lines().last().context("a verdict")?)?;
    ensure!(verdict["rows"]["equal"] == 0 && verdict["rows"]["notAccounted"] == 1, "{verdict:#}");
    let report = std::fs::read_to_string(scene.volume("data").join(".pitr/RESTORED.json"))?;
    ensure!(report.contains("an XA transaction that the base had prepared"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_row_too_many_is_not_verified() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let stopped = scene.restore("data", LATEST, &[&["--count-rows"][..], &NEVER].concat()).await?.expect(5)?;
    ensure!(stopped.stderr.contains("SELECT 1 = 2"), "{}", stopped.stderr);
    // What the base had is in the journal: with another number there, the server has a row too few.
    let journal = scene.volume("data").join(".pitr/journal.json");
    let text = std::fs::read_to_string(&journal)?;
    let changed = text.replacen("\"t\": 3", "\"t\": 4", 1);
    ensure!(changed != text, "no rows of the base in the journal:\n{text}");
    std::fs::write(&journal, changed)?;
    let refused = scene.restore("data", LATEST, &["--count-rows"]).await?.expect(5)?;
    for words in ["error[PITR0411]", "d.t has 6 rows", "the base had 4, the log inserted 4 and deleted 1"] {
        ensure!(refused.stderr.contains(words), "no {words} in:\n{}", refused.stderr);
    }
    std::fs::write(&journal, text)?;
    scene.restore("data", LATEST, &["--count-rows"]).await?.expect(0)?;

    // Asked for when the replay was over: nobody has counted the base.
    scene.restore("late", LATEST, &NEVER).await?.expect(5)?;
    let late = scene.restore("late", LATEST, &["--count-rows"]).await?.expect(5)?;
    ensure!(late.stderr.contains("error[PITR0412]"), "{}", late.stderr);
    scene.restore("late", LATEST, &[]).await?.expect(0).map(drop)
}
