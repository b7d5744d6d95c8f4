//! Two servers that executed the same transactions in different orders, as replicas of several sources do, archive into one workload: a
//! restore follows one of them, and where that one ends it goes on with the other and applies nothing twice.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::Mysqld;
use pitr_e2e::product::finish;
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;

/// Sources that neither server is.
const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// A transaction of another server: its GTID, and when it was committed there.
#[derive(Clone, Copy)]
struct Origin {
    uuid: &'static str,
    number: u64,
    commit_us: u64,
}

/// Executes it as the applier of a channel does. The row says which it is.
async fn apply(server: &Mysqld, origin: Origin, row: u32) -> Result<()> {
    let Origin { uuid, number, commit_us } = origin;
    let sql = format!(
        "SET gtid_next = '{uuid}:{number}', original_commit_timestamp = {commit_us}; BEGIN; INSERT INTO d.t VALUES ({row}); COMMIT;
         SET gtid_next = AUTOMATIC"
    );
    server.sql(&sql).await
}

async fn rows(server: &Mysqld) -> Result<BTreeSet<u32>> {
    server.rows("SELECT id FROM d.t").await?.into_iter().map(|row| row.get(0).context("a number")).collect()
}

fn rfc3339(us: u64) -> Result<String> {
    Ok(jiff::Timestamp::from_microsecond(i64::try_from(us)?)?.to_string())
}

#[tokio::test]
async fn a_restore_follows_one_servers_order_and_applies_nothing_twice() -> Result<()> {
    let Some(scene) = Scene::new("orders", "id INT PRIMARY KEY").await? else { return Ok(()) };
    scene.backup().await?;
    scene.source.sql("INSERT INTO d.t VALUES (1)").await?;
    scene.archive().await?;
    scene.restore("second", ["--to", "latest"], &[]).await?.expect(0)?;
    let second = Mysqld::on(&scene.installation, scene.volume("second"), 2).start().await?;
    let sidecar = Sidecar::configure(&second, &scene.url(), "")?;
    sidecar.archive_once().await?.expect(0)?;
    sidecar.backup("clone", &scene.installation.program("mysqld")).await?.expect(0)?;

    let now: u64 = second.value("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)").await?;
    let early = Origin { uuid: A, number: 1, commit_us: now };
    let late = Origin { uuid: B, number: 1, commit_us: now + 2000 };
    apply(&scene.source, early, 10).await?;
    apply(&scene.source, late, 20).await?;
    apply(&second, late, 20).await?;
    apply(&second, early, 10).await?;
    for (number, row) in [(2, 11), (3, 12)] {
        let both = Origin { uuid: A, number, commit_us: now + 3000 * number };
        apply(&scene.source, both, row).await?;
        apply(&second, both, row).await?;
    }
    scene.archive().await?;
    sidecar.archive_once().await?.expect(0)?;
    ensure!(scene.source.gtid_executed().await? == second.gtid_executed().await?, "they executed the same");

    // Between the two: the first server had one of them by then, the second one neither.
    let between = rfc3339(now + 1000)?;
    let plan = ["plan", "--archive", &scene.url(), "--to", &between, "-o", "json"];
    let plan: Value = serde_json::from_str(&finish(&mut scene.sidecar.command(&plan)).await?.expect(0)?.stdout)?;
    scene.restore("between", ["--to", &between], &[]).await?.expect(0)?;
    let restored = scene.started(&scene.volume("between")).await?;
    let (held, executed) = (rows(&restored).await?, restored.gtid_executed().await?);
    let first: String = scene.source.value("SELECT @@server_uuid").await?;
    let follows_the_first = plan["stop"]["source"] == first;
    let as_it_was = match follows_the_first {
        true => held == [1, 10].into() && executed.contains(A),
        false => held == [1].into() && !executed.contains(A),
    };
    ensure!(as_it_was && !executed.contains(B), "{held:?} with {executed}, by {}", plan["stop"]);
    drop(restored);

    // The first server is gone; the second one goes on. From the first one's base backup its log leads there, and what both executed is
    // applied once.
    let last = Origin { uuid: B, number: 2, commit_us: now + 20_000 };
    apply(&second, last, 21).await?;
    second.sql("FLUSH BINARY LOGS").await?;
    sidecar.archive_once().await?.expect(0)?;
    let expected = content(&second).await?;
    let first_base = oldest_base(&scene)?;
    for (volume, more) in [("from-the-first", vec!["--from-backup", &first_base]), ("by-itself", vec![])] {
        for batch in ["auto", "1"] {
            let volume = format!("{volume}-{batch}");
            let more = [&more[..], &["--batch", batch]].concat();
            let restored = scene.restored(&volume, ["--to", "latest"], &more).await?;
            ensure!(restored == expected, "{volume}: restored {restored:#?}, expected {expected:#?}");
        }
    }
    Ok(())
}

/// Ids are in the order of their making.
fn oldest_base(scene: &Scene) -> Result<String> {
    let names = std::fs::read_dir(scene.volume("archive").join("backups"))?;
    let names = names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<BTreeSet<_>>>()?.pop_first().context("no base backup")
}
