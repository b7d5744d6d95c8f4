//! What a user may choose beside the target: the nearest instant, a way across a gap, another base backup, transactions to leave
//! out, a branch, a source. Each on real servers, and each compared with what the servers themselves held.

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::Mysqld;
use pitr_e2e::product::finish;
use pitr_e2e::reference::{Replica, content, log_of};
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;

const COLUMNS: &str = "id INT PRIMARY KEY, v INT NOT NULL";

async fn insert(server: &Mysqld, ids: std::ops::Range<u32>) -> Result<()> {
    let mut statements = String::new();
    for id in ids {
        statements += &format!("INSERT INTO d.t VALUES ({id}, {id});");
    }
    server.sql(&statements).await
}

async fn last_binlog(server: &Mysqld) -> Result<String> {
    let rows = server.rows("SHOW BINARY LOGS").await?;
    rows.last().and_then(|row| row.get(0)).context("no binlog")
}

fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|t| t.to_string()).unwrap_or_default()
}

/// The first word of a text that begins like this.
fn word<'a>(text: &'a str, beginning: &str) -> Result<&'a str> {
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.find(|word| word.starts_with(beginning)).with_context(|| format!("no {beginning} in:\n{text}"))
}

#[tokio::test]
async fn before_a_gap_and_across_it() -> Result<()> {
    let Some(scene) = Scene::new("targets", COLUMNS).await? else { return Ok(()) };
    scene.backup().await?;
    insert(&scene.source, 0..10).await?;
    scene.source.sql("FLUSH BINARY LOGS").await?;
    scene.archive().await?;
    let before = content(&scene.source).await?;
    insert(&scene.source, 10..20).await?;
    let lost = scene.source.gtid_executed().await?;
    scene.source.sql("FLUSH BINARY LOGS").await?;
    scene.source.sql(&format!("PURGE BINARY LOGS TO '{}'", last_binlog(&scene.source).await?)).await?;
    insert(&scene.source, 20..30).await?;
    scene.archive().await?;
    let end = log_of(&scene.installation, &scene.source).await?.last().context("a log")?.clone();

    let refused = scene.restore("none", ["--to", "latest"], &[]).await?.expect(4)?;
    ensure!(refused.stderr.contains("--nearest, or --allow-gap gap-"), "no way out:\n{}", refused.stderr);
    let gap = word(&refused.stderr, "gap-")?.to_owned();
    let unknown = scene.restore("none", ["--to", "latest"], &["--allow-gap", "gap-none"]).await?.expect(4)?;
    ensure!(unknown.stderr.contains("error[PITR0301]: \"gap-none\" names 0 gaps"), "{}", unknown.stderr);
    ensure!(!scene.volume("none").exists(), "something was created");

    for (volume, target) in [("nearest", "latest".to_owned()), ("nearest-time", rfc3339(end.commit_us))] {
        ensure!(
            scene.restored(volume, ["--to", &target], &["--nearest"]).await? == before,
            "not what was before the gap"
        );
    }

    scene.restore("across", ["--to", "latest"], &["--allow-gap", &gap]).await?.expect(0)?;
    let across = scene.started(&scene.volume("across")).await?;
    let ids: Vec<u32> = across.rows("SELECT id FROM d.t ORDER BY id").await?.iter().filter_map(|r| r.get(0)).collect();
    ensure!(ids == (0..10).chain(20..30).collect::<Vec<_>>(), "{ids:?}");
    let missing = format!("SELECT GTID_SUBTRACT('{}', @@GLOBAL.gtid_executed)", scene.source.gtid_executed().await?);
    let expected = format!("SELECT GTID_SUBTRACT('{lost}', '{}')", before.executed);
    let (missing, expected): (String, String) = (across.value(&missing).await?, across.value(&expected).await?);
    ensure!(missing == expected, "missing {missing}, expected {expected}");

    // A row that is not there stops the replay; none is skipped.
    scene.source.sql("UPDATE d.t SET v = 0 WHERE id = 15").await?;
    scene.archive().await?;
    let stopped = scene.restore("stopped", ["--to", "latest"], &["--allow-gap", &gap]).await?.expect(5)?;
    ensure!(stopped.stderr.contains("error[PITR0413]"), "{}", stopped.stderr);
    Ok(())
}

#[tokio::test]
async fn an_older_base_and_a_transaction_left_out() -> Result<()> {
    let Some(scene) = Scene::new("targets", COLUMNS).await? else { return Ok(()) };
    scene.backup().await?;
    insert(&scene.source, 0..10).await?;
    let mistake = scene.source.gtid_executed().await?;
    scene.source.sql("UPDATE d.t SET v = 99").await?;
    let with_mistake = scene.source.gtid_executed().await?;
    insert(&scene.source, 10..20).await?;
    scene.backup().await?;
    scene.archive().await?;
    let gtid: String = scene.source.value(&format!("SELECT GTID_SUBTRACT('{with_mistake}', '{mistake}')")).await?;

    let planned = finish(&mut scene.sidecar.command(&["plan", "--archive", &scene.url(), "--to", "latest"])).await?;
    let newest = word(&planned.expect(0)?.stdout, "bb-")?.to_owned();
    let through = ["--skip-gtid", gtid.as_str()];
    let refused =
        scene.restore("none", ["--to", "latest"], &[&through[..], &["--from-backup", &newest]].concat()).await?;
    ensure!(refused.expect(4)?.stderr.contains("PITR0304"), "the newest base holds the transaction already");
    let hint = scene.restore("none", ["--to", "latest"], &["--from-backup", "bb-x"]).await?.expect(4)?.stderr;
    let oldest = hint
        .split([' ', ',', ';', '\n'])
        .find(|word| word.starts_with("bb-2") && **word != *newest)
        .context("the older base")?
        .to_owned();

    scene
        .restore("older", ["--to", "latest"], &[&through[..], &["--from-backup", &oldest]].concat())
        .await?
        .expect(0)?;
    let older = scene.started(&scene.volume("older")).await?;
    let (sum, rows): (i64, i64) =
        (older.value("SELECT CAST(SUM(v) AS SIGNED) FROM d.t").await?, older.value("SELECT COUNT(*) FROM d.t").await?);
    ensure!((sum, rows) == ((0..20).sum(), 20), "sum {sum} of {rows} rows");
    // Left out, and recorded: no replica fetches it later.
    ensure!(older.gtid_executed().await? == scene.source.gtid_executed().await?, "the set has a hole");
    Ok(())
}

#[tokio::test]
async fn a_failover_that_lost_a_tail() -> Result<()> {
    let Some(scene) = Scene::new("targets", COLUMNS).await? else { return Ok(()) };
    let old = &scene.source;
    let second = Mysqld::fresh(&scene.installation, 2).start().await?;
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_SSL=0, \
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
        old.port()
    );
    second.sql(&change).await?;
    scene.backup().await?;
    insert(old, 0..10).await?;
    let shared = old.gtid_executed().await?;
    second.value::<i64>(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{shared}', 60)")).await?;
    second.sql("STOP REPLICA; RESET REPLICA ALL").await?;
    // The tail that only the old primary has.
    insert(old, 10..15).await?;
    scene.archive().await?;
    insert(&second, 20..30).await?;
    let promoted = Sidecar::configure(&second, &scene.url(), "")?;
    promoted.archive_once().await?.expect(0)?;

    let (with_tail, live) = (content(old).await?, content(&second).await?);
    ensure!(with_tail.checksums != live.checksums, "the servers do not differ");
    // Both logs hold what the first server wrote and the second applied: in batches, and one by one.
    for (volume, batch) in [("live", "auto"), ("live-7", "7"), ("live-1", "1")] {
        let restored = scene.restored(volume, ["--to", "latest"], &["--batch", batch]).await?;
        ensure!(restored == live, "latest is not the live branch with --batch {batch}:\n{restored:#?}\n{live:#?}");
    }
    let unknown = scene.restore("none", ["--to", "latest"], &["--branch", "br-none"]).await?.expect(4)?;
    let hint = unknown.stderr.split("branches: ").nth(1).context("no branches named")?;
    let branches: Vec<&str> =
        hint.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|w| w.starts_with("br-")).collect();
    ensure!(branches.len() == 2, "branches {branches:?}");
    let restored = scene.restored("tail", ["--to", "latest"], &["--branch", branches[1]]).await?;
    ensure!(restored == with_tail, "the lost tail is not restored:\n{restored:#?}\n{with_tail:#?}");

    // Both servers have a binlog of this name.
    let logged = log_of(&scene.installation, &second).await?;
    let last = logged.last().context("a log")?;
    let position = format!("{}:{}", last.binlog, last.end);
    let ambiguous = scene.restore("none", ["--to-position", &position], &[]).await?;
    ensure!(ambiguous.expect(2)?.stderr.contains("PITR0105"), "a position on two servers was guessed");
    let uuid: String = second.value("SELECT @@server_uuid").await?;
    let restored = scene.restored("position", ["--to-position", &position], &["--source", &uuid[..8]]).await?;
    ensure!(restored == live, "the position is not the second server's");
    Ok(())
}

#[tokio::test]
async fn numbers_that_return_after_a_reset() -> Result<()> {
    let Some(scene) = Scene::new("targets", COLUMNS).await? else { return Ok(()) };
    scene.backup().await?;
    insert(&scene.source, 0..10).await?;
    scene.archive().await?;
    let before = content(&scene.source).await?;
    let last = log_of(&scene.installation, &scene.source).await?.last().context("a log")?.clone();
    scene.source.sql("RESET BINARY LOGS AND GTIDS").await?;
    scene.source.sql("CREATE TABLE d.after_reset (id INT PRIMARY KEY)").await?;
    scene.backup().await?;
    insert(&scene.source, 10..20).await?;
    scene.archive().await?;
    let after = content(&scene.source).await?;
    ensure!(scene.restored("after", ["--to", "latest"], &[]).await? == after, "latest is not what the server holds");
    // The old future is kept, under numbers that mean something else today.
    let refused = scene.restore("none", ["--to", "latest"], &["--branch", "br-none"]).await?.expect(4)?;
    let hint = refused.stderr.split("branches: ").nth(1).context("no branches named")?;
    let branches: Vec<&str> =
        hint.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|w| w.starts_with("br-")).collect();
    let mut found = 0;
    for (number, branch) in branches.iter().enumerate() {
        let volume = format!("old-{number}");
        let outcome = scene.restore(&volume, ["--to", &rfc3339(last.commit_us)], &["--branch", branch]).await?;
        if outcome.code == Some(0) {
            ensure!(scene.content_of(&scene.volume(&volume)).await? == before, "{branch} restores something else");
            found += 1;
        }
    }
    ensure!(found == 1, "{found} of {branches:?} lead to the time before the reset");
    Ok(())
}

#[tokio::test]
async fn a_time_that_a_client_put_into_the_future() -> Result<()> {
    let Some(scene) = Scene::new("targets", COLUMNS).await? else { return Ok(()) };
    scene.backup().await?;
    insert(&scene.source, 0..5).await?;
    let mut future = scene.source.connect().await?;
    mysql_async::prelude::Queryable::query_drop(
        &mut future,
        "SET SESSION original_commit_timestamp = 4000000000000000; INSERT INTO d.t VALUES (100, 100)",
    )
    .await?;
    insert(&scene.source, 5..6).await?;
    // Further back than what is accepted in silence.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    insert(&scene.source, 6..10).await?;
    scene.archive().await?;
    let log = log_of(&scene.installation, &scene.source).await?;
    let (culprit, last) = (&log[log.len() - 6], &log[log.len() - 1]);
    ensure!(culprit.commit_us == 4_000_000_000_000_000, "the time was not taken over: {culprit:?}");
    let refused = scene.restore("none", ["--to", &rfc3339(last.commit_us)], &[]).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0307") && refused.stderr.contains(&culprit.gtid), "{}", refused.stderr);
    let replica = Replica::of(&scene.installation, &scene.source).await?;
    let early = replica.forward_through(&log[log.len() - 7].gtid).await?;
    let to = rfc3339(last.commit_us);
    ensure!(scene.restored("early", ["--to", &to], &["--accept-early-stop"]).await? == early, "not before the culprit");
    // By the clock of the server nothing lies in the future: all that it had then, the culprit too.
    let said = scene.restore("none", ["--to", &to], &["--clock", "mine"]).await?.expect(2)?;
    ensure!(said.stderr.contains("immediate"), "{}", said.stderr);
    let before_last = &log[log.len() - 2];
    let by_server = rfc3339(before_last.commit_us);
    let plan = ["plan", "--archive", &scene.url(), "--to", &by_server, "--clock", "immediate"];
    let planned = finish(&mut scene.sidecar.command(&plan)).await?.expect(0)?.stdout;
    ensure!(
        planned.contains(&format!("by --clock original this time means a stop before {}", culprit.gtid)),
        "the other clock is not told:\n{planned}"
    );
    let shown = replica.forward_through(&before_last.gtid).await?;
    let restored = scene.restored("immediate", ["--to", &by_server], &["--clock", "immediate"]).await?;
    ensure!(restored == shown, "not what the server showed then");
    let all = replica.forward_through(&last.gtid).await?;
    ensure!(scene.restored("all", ["--through-gtid", &last.gtid], &[]).await? == all, "not through the last");
    Ok(())
}
