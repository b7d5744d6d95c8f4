//! The commands of docs/restore-runbook.md are run as they stand there: those marked `local` here, those for a cluster in `cluster.rs`.

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::document::commands;
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Product, finish};
use pitr_e2e::reference::{content, log_of};
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use tokio::process::Command;

#[tokio::test]
async fn by_hand_on_any_linux_host() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let home = tempfile::Builder::new().prefix("pitr-runbook-").tempdir_in("/tmp")?;
    let archive = format!("file://{}", home.path().join("archive").display());
    let sidecar = Sidecar::configure(&source, &archive, "")?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    shop::run(&source, Load { sessions: 2, transactions: 50, seed: 3, ddl_every: 0, flush_every: 20 }).await?;
    let before = content(&source).await?;
    source.sql("DROP TABLE shop.invoices").await?;
    sidecar.archive_once().await?.expect(0)?;
    let log = log_of(&installation, &source).await?;
    let dropped = log.last().context("the DROP is logged")?.commit_us;

    let datadir = home.path().join("restored");
    let commands = commands("restore-runbook.md", "sh local")?;
    ensure!(commands.len() == 6, "the runbook has other commands: {commands:#?}");
    let drills = home.path().join("drills");
    std::fs::create_dir(&drills)?;
    for line in commands {
        let (ours, servers) = (Product::find()?.folder().display().to_string(), mysqld.parent().context("a folder")?);
        let path = format!("{ours}:{}:{}", servers.display(), std::env::var("PATH")?);
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", &line])
            .env("PATH", path)
            .env("ARCHIVE", &archive)
            .env("MYSQLD", &mysqld)
            .env("DATADIR", &datadir)
            .env("SCRATCH", home.path().join("scratch"))
            .env("DRILLS", &drills)
            .env("CLIENT", sidecar.client());
        shell.env("TARGET", jiff::Timestamp::from_microsecond(dropped - 1)?.to_string());
        let outcome = finish(&mut shell).await?.expect(0).with_context(|| line.clone())?;
        println!("$ {line}\n{}", outcome.stdout);
    }
    ensure!(std::fs::read_dir(&drills)?.next().is_none(), "the drill left something behind");
    let left: Vec<_> = std::fs::read_dir(home.path().join("archive/drills"))?.collect::<Result<_, _>>()?;
    ensure!(left.len() == 1, "the drill left {} results", left.len());
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(left[0].path())?)?;
    ensure!(result["verified"] == true, "{result:#}");
    // The dropped table is back in the database that never stopped.
    ensure!(source.checksums().await? == before.checksums, "the source does not hold what it did before the DROP");
    let restored = Mysqld::on(&installation, &datadir, 77).option("--skip_log_bin").start().await?;
    ensure!(content(&restored).await? == before, "the restored server is not what the source was before the DROP");
    Ok(())
}
