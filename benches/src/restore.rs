//! Replay of many small transactions: ours, and `mysqlbinlog | mysql` onto the same base with the same server settings.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use tokio::process::Command;

use crate::process::measure;

pub(crate) async fn run(transactions: u64) -> Result<()> {
    let installation = Installation::find()?.context("this bench needs the server")?;
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let folder = tempfile::Builder::new().prefix("pitr-bench-").tempdir_in("/tmp")?;
    let sidecar = Sidecar::configure(&source, &format!("file://{}", folder.path().join("archive").display()), "")?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    source.sql("FLUSH BINARY LOGS").await?;
    let first = binlogs(&source).await?.pop().context("a binlog")?;
    source.sql("INSERT INTO shop.stock (item, quantity) VALUES (100000, 0)").await?;
    let begin = source.gtid_executed().await?;
    shop::run(&source, Load { sessions: 4, transactions: transactions / 4, seed: 7, ddl_every: 0, flush_every: 0 })
        .await?;
    sidecar.archive_once().await?.expect(0)?;

    let (uuid, numbers) = begin.split_once(':').context("one server's set")?;
    let begin = format!("{uuid}:{}", numbers.rsplit('-').next().unwrap_or(numbers));
    let base = folder.path().join("base");
    let fixed = measure(&mut sidecar.restore(["--through-gtid", &begin], &base, &mysqld)).await?;
    let whole = measure(&mut sidecar.restore(["--to", "latest"], &folder.path().join("ours"), &mysqld)).await?;
    let replay_s = whole.wall_s - fixed.wall_s;

    let target = Mysqld::on(&installation, &base, 77)
        .option("--skip_log_bin")
        .option("--innodb_flush_log_at_trx_commit=2")
        .start()
        .await?;
    let logs = binlogs(&source).await?.into_iter().skip_while(|name| *name != first);
    let files: Vec<_> = logs.map(|name| source.datadir().join(name)).collect();
    let pipe_s = pipe(&installation, &target, &files).await?;
    ensure!(target.checksums().await? == source.checksums().await?, "the pipe's result differs from the source");

    println!("| replay of {transactions} small transactions | s |");
    println!("| --- | --- |");
    println!(
        "| pitr-sidecar restore, replay only (whole {:.1} s, of which fixed {:.1} s) | {replay_s:.1} |",
        whole.wall_s, fixed.wall_s
    );
    println!("| mysqlbinlog \\| mysql | {pipe_s:.1} |");
    println!("| ratio | {:.2} |", replay_s / pipe_s);
    Ok(())
}

async fn binlogs(server: &Mysqld) -> Result<Vec<String>> {
    Ok(server.rows("SHOW BINARY LOGS").await?.into_iter().filter_map(|r| r.get(0)).collect())
}

async fn pipe(installation: &Installation, target: &Mysqld, files: &[impl AsRef<Path>]) -> Result<f64> {
    let begun = Instant::now();
    let mut reader = Command::new(installation.program("mysqlbinlog"));
    reader.args(["--no-defaults", "--verify-binlog-checksum"]).stdout(Stdio::piped());
    for file in files {
        reader.arg(file.as_ref());
    }
    let mut reader = reader.spawn().context("start mysqlbinlog")?;
    let text: Stdio = reader.stdout.take().context("read mysqlbinlog")?.try_into()?;
    let socket = format!("--socket={}", target.socket().display());
    let writer = Command::new(installation.program("mysql"))
        .args(["--no-defaults", "-uroot", "--binary-mode", &socket])
        .env("TZ", "UTC")
        .stdin(text)
        .status()
        .await
        .context("run mysql")?;
    let reader = reader.wait().await?;
    ensure!(writer.success() && reader.success(), "the pipe failed: {reader}, {writer}");
    Ok(begun.elapsed().as_secs_f64())
}
