//! `timeline` finds the accident: every transaction that it shows is the one that the server's own log has there, and the line
//! that it draws is where a restore stops.

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Product, finish};
use pitr_e2e::reference::{Logged, log_of};
use pitr_e2e::shop;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;

#[tokio::test]
async fn the_accident_is_found() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await?;
    source.sql(shop::SCHEMA).await?;
    let archive = tempfile::tempdir()?;
    let url = format!("file://{}", archive.path().display());
    let sidecar = Sidecar::configure(&source, &url, "")?;
    let load = shop::Load { sessions: 4, transactions: 100, seed: 7, ddl_every: 40, flush_every: 60 };
    shop::run(&source, load).await?;
    source.sql("CREATE TABLE shop.accident (id INT PRIMARY KEY); USE shop; DROP TABLE accident").await?;
    shop::run(&source, shop::Load { seed: 8, ..load }).await?;
    sidecar.archive_once().await?.expect(0)?;
    let log = log_of(&installation, &source).await?;

    let found = timeline(&url, &["--grep", "drop table", "--since", "1d"]).await?;
    let accident = one(&found, "accident")?;
    let place = log.iter().position(|t| t.gtid == accident).context("the server has the accident")?;
    ensure!(
        timeline(&url, &["--grep", "shop.accident", "--ddl"]).await?["transactions"].as_array().map(Vec::len)
            == Some(2)
    );

    let all = timeline(&url, &["--until", "2999-01-01T00:00:00Z", "--transactions", "1000"]).await?;
    ensure!(gtids(&all) == log.iter().map(|t| t.gtid.as_str()).collect::<Vec<_>>(), "not the log of the server");
    for place in (1..log.len() - 1).step_by(29).chain([place]) {
        let at = time(&log[place])?;
        let around = timeline(&url, &["--around", &at, "--transactions", "3"]).await?;
        let stop = log.iter().position(|t| t.commit_us > log[place].commit_us).unwrap_or(log.len());
        let expected: Vec<_> =
            log[stop.saturating_sub(3)..(stop + 3).min(log.len())].iter().map(|t| t.gtid.as_str()).collect();
        ensure!(gtids(&around) == expected, "around {at}: {:?}, expected {expected:?}", gtids(&around));
        ensure!(around["before"] == stop.min(3), "the line stands before {}", around["before"]);
        let before = timeline(&url, &["--around", &log[place].gtid, "--transactions", "1"]).await?;
        ensure!(gtids(&before) == [log[place - 1].gtid.as_str(), log[place].gtid.as_str()]);
    }

    let mut running = sidecar.run()?;
    let told = retried(&sidecar, "/v1/timeline?grep=drop%20table&transactions=20").await?;
    ensure!(one(&told, "accident")? == accident, "a running sidecar tells another accident");
    let binlogs = retried(&sidecar, "/v1/binlogs").await?;
    let names: Vec<_> = binlogs["items"].as_array().context("items")?.iter().map(|b| b["binlog"].clone()).collect();
    ensure!(names.len() >= 3 && names.windows(2).all(|w| w[0].as_str() < w[1].as_str()), "{names:?}");
    let refused = finish(&mut sidecar.command(&["get", "/v1/timeline?grepp=x"])).await?.expect(2)?;
    ensure!(refused.stdout.contains("PITR0108"), "{}", refused.stdout);
    running.kill().await?;
    Ok(())
}

/// What the plugin says of an archive.
async fn timeline(url: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Product::find()?.plugin();
    command.args(["timeline", "-o", "json", "--archive", url]).args(arguments);
    Ok(serde_json::from_str(&finish(&mut command).await?.expect(0)?.stdout)?)
}

/// What a sidecar that has just been started says, once it answers.
async fn retried(sidecar: &Sidecar, path: &str) -> Result<Value> {
    for _ in 0..100 {
        let outcome = finish(&mut sidecar.command(&["get", path])).await?;
        if outcome.code == Some(0) {
            return Ok(serde_json::from_str(&outcome.stdout)?);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    anyhow::bail!("the sidecar does not answer {path}")
}

fn gtids(document: &Value) -> Vec<&str> {
    document["transactions"].as_array().into_iter().flatten().filter_map(|t| t["gtid"].as_str()).collect()
}

/// The only transaction that says a word.
fn one(document: &Value, word: &str) -> Result<String> {
    let says = |t: &&Value| t["what"].as_str().is_some_and(|what| what.contains(word));
    let found: Vec<_> = document["transactions"].as_array().into_iter().flatten().filter(says).collect();
    ensure!(found.len() == 1, "{found:?}");
    Ok(found[0]["gtid"].as_str().context("a GTID")?.to_owned())
}

fn time(logged: &Logged) -> Result<String> {
    Ok(jiff::Timestamp::from_microsecond(logged.commit_us)?.to_string())
}
