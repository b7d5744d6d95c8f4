//! Replay of one log in three ways onto the same base with the same server settings, in turn: `mysqlbinlog | mysql`, plain
//! replication (`--batch=1`), and ours. The parts of a restore that are the same for each log are measured and taken off.

mod floor;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Cost, cpu_of_ended_children, cpu_seconds, measure};
use crate::workload::{self, Workload};

/// What a restoring server is started with, as far as it matters for speed (`sidecar/src/server/options.rs`).
const RESTORE_SETTINGS: [&str; 6] = [
    "--skip_log_bin",
    "--innodb_flush_log_at_trx_commit=2",
    "--sync_binlog=0",
    "--innodb_buffer_pool_size=1G",
    "--innodb_redo_log_capacity=1G",
    "--event_scheduler=OFF",
];
/// The server's defaults, with a binary log, as a production server has them.
const DURABLE_SETTINGS: [&str; 5] = [
    "--log_bin",
    "--innodb_flush_log_at_trx_commit=1",
    "--sync_binlog=1",
    "--innodb_buffer_pool_size=1G",
    "--innodb_redo_log_capacity=1G",
];

/// A log with the base that it begins with.
struct Scene {
    installation: Installation,
    source: Mysqld,
    sidecar: Sidecar,
    folder: TempDir,
    /// The last transaction of the base.
    begin: String,
    files: Vec<PathBuf>,
}

/// What one way of replaying cost, beyond what a restore of the base alone costs.
#[derive(Debug, Clone, Copy, Default)]
struct Replay {
    wall_s: f64,
    cpu_s: f64,
    peak_kib: u64,
}

pub(crate) async fn run(workloads: &[Workload], hundredths: u64, rounds: u32, durable: bool) -> Result<()> {
    println!(
        "| log | transactions, MiB | way | wall s | CPU s | wall to the pipe | CPU to the pipe | peak MiB of ours |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for workload in workloads {
        let transactions = workload.transactions(hundredths);
        let scene = Scene::new(*workload, transactions).await?;
        let mut ways =
            vec![("`mysqlbinlog \\| mysql`", Vec::new()), ("plain replication", Vec::new()), ("batches", Vec::new())];
        for round in 0..rounds {
            ways[0].1.push(scene.pipe(&RESTORE_SETTINGS, round).await?);
            ways[1].1.push(scene.replay("1", round).await?);
            ways[2].1.push(scene.replay("auto", round).await?);
        }
        if floor::knows(*workload) {
            ways.push(("the same rows, 1,000 to a transaction", vec![scene.floor(rounds).await?]));
        }
        if durable {
            ways.push((
                "`mysqlbinlog \\| mysql`, durable settings",
                vec![scene.pipe(&DURABLE_SETTINGS, rounds).await?],
            ));
        }
        let bytes = scene.files.iter().map(|file| Ok(file.metadata()?.len())).sum::<Result<u64>>()?;
        let pipe = median(&ways[0].1);
        for (way, costs) in &ways {
            let cost = median(costs);
            println!(
                "| {} | {transactions}, {} | {way} | {:.1} | {:.1} | {:.2} | {:.2} | {} |",
                workload.title(),
                bytes >> 20,
                cost.wall_s,
                cost.cpu_s,
                cost.wall_s / pipe.wall_s,
                cost.cpu_s / pipe.cpu_s,
                if cost.peak_kib == 0 { String::new() } else { (cost.peak_kib >> 10).to_string() }
            );
        }
    }
    Ok(())
}

/// The round in the middle by wall time.
fn median(costs: &[Replay]) -> Replay {
    let mut costs = costs.to_vec();
    costs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

impl Scene {
    async fn new(workload: Workload, transactions: u64) -> Result<Self> {
        let installation = Installation::find()?.context("this bench needs the server")?;
        let source = Mysqld::fresh(&installation, 1).option("--innodb_buffer_pool_size=256M").start().await?;
        source.sql(workload::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let folder = tempfile::Builder::new().prefix("pitr-bench-").tempdir_in("/tmp")?;
        let sidecar = Sidecar::configure(&source, &format!("file://{}", folder.path().join("archive").display()), "")?;
        sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
        source.sql("FLUSH BINARY LOGS").await?;
        let first = binlogs(&source).await?.pop().context("a binlog")?;
        source.sql("INSERT INTO shop.stock (item, quantity) VALUES (100000, 0)").await?;
        let begin = source.gtid_executed().await?;
        workload::run(&source, workload, transactions).await?;
        sidecar.archive_once().await?.expect(0)?;
        let (uuid, numbers) = begin.split_once(':').context("one server's set")?;
        let begin = format!("{uuid}:{}", numbers.rsplit('-').next().unwrap_or(numbers));
        let logs = binlogs(&source).await?.into_iter().skip_while(|name| *name != first);
        let files = logs.map(|name| source.datadir().join(name)).collect();
        Ok(Self { installation, source, sidecar, folder, begin, files })
    }

    /// A restore of everything less a restore of the first transaction.
    async fn replay(&self, batch: &str, round: u32) -> Result<Replay> {
        let fixed = self.restore(["--through-gtid", &self.begin], batch, &format!("fixed-{batch}-{round}")).await?;
        let whole = self.restore(["--to", "latest"], batch, &format!("whole-{batch}-{round}")).await?;
        Ok(Replay { wall_s: whole.wall_s - fixed.wall_s, cpu_s: whole.cpu_s - fixed.cpu_s, peak_kib: whole.peak_kib })
    }

    async fn restore(&self, target: [&str; 2], batch: &str, name: &str) -> Result<Cost> {
        let datadir = self.folder.path().join(name);
        let mut command = self.sidecar.restore(target, &datadir, &self.installation.program("mysqld"));
        command.args(["--batch", batch]).stdout(Stdio::null()).stderr(Stdio::null());
        let before = cpu_of_ended_children()?;
        let mut cost = measure(&mut command).await?;
        // Its server's too, which it has waited for.
        cost.cpu_s = cpu_of_ended_children()? - before;
        if name.starts_with("whole") {
            let mut server = Mysqld::on(&self.installation, &datadir, 77).option("--skip_log_bin").start().await?;
            ensure!(server.checksums().await? == self.source.checksums().await?, "{name} differs from the source");
            // Its processor time counts when it has ended: now, and not in what is measured next.
            server.stop().await?;
        }
        std::fs::remove_dir_all(&datadir)?;
        Ok(cost)
    }

    async fn pipe(&self, settings: &[&str], round: u32) -> Result<Replay> {
        let name = format!("pipe-{round}");
        self.applied(settings, &name, async |target| pipe(&self.installation, target, &self.files).await).await
    }

    /// The same rows, by a client that knows them beforehand, a thousand to a transaction.
    async fn floor(&self, round: u32) -> Result<Replay> {
        let file = self.folder.path().join("floor.sql");
        if !file.exists() {
            std::fs::write(&file, floor::statements(&self.source).await?)?;
        }
        let name = format!("floor-{round}");
        self.applied(&RESTORE_SETTINGS, &name, async |target| {
            let done = client(&self.installation, target, std::fs::File::open(&file)?.into()).status().await?;
            ensure!(done.success(), "mysql failed: {done}");
            Ok(())
        })
        .await
    }

    /// What applying something to the base costs, until the server has what the source has.
    async fn applied(
        &self,
        settings: &[&str],
        name: &str,
        work: impl AsyncFnOnce(&Mysqld) -> Result<()>,
    ) -> Result<Replay> {
        let datadir = self.folder.path().join(name);
        let mysqld = self.installation.program("mysqld");
        let mut base = self.sidecar.restore(["--through-gtid", &self.begin], &datadir, &mysqld);
        measure(base.stdout(Stdio::null()).stderr(Stdio::null())).await?;
        let mut target = Mysqld::on(&self.installation, &datadir, 77);
        for setting in settings {
            target = target.option(*setting);
        }
        let mut target = target.start().await?;
        let pid = target.pid().context("the server runs")?;
        let cpu = || Ok::<f64, anyhow::Error>(cpu_of_ended_children()? + cpu_seconds(pid).context("the server runs")?);
        let (before, begun) = (cpu()?, Instant::now());
        work(&target).await?;
        let cost = Replay { wall_s: begun.elapsed().as_secs_f64(), cpu_s: cpu()? - before, peak_kib: 0 };
        ensure!(target.checksums().await? == self.source.checksums().await?, "{name} differs from the source");
        target.stop().await?;
        std::fs::remove_dir_all(&datadir)?;
        Ok(cost)
    }
}

async fn binlogs(server: &Mysqld) -> Result<Vec<String>> {
    Ok(server.rows("SHOW BINARY LOGS").await?.into_iter().filter_map(|r| r.get(0)).collect())
}

async fn pipe(installation: &Installation, target: &Mysqld, files: &[impl AsRef<Path>]) -> Result<()> {
    let mut reader = Command::new(installation.program("mysqlbinlog"));
    reader.args(["--no-defaults", "--verify-binlog-checksum"]).stdout(Stdio::piped());
    for file in files {
        reader.arg(file.as_ref());
    }
    let mut reader = reader.spawn().context("start mysqlbinlog")?;
    let text: Stdio = reader.stdout.take().context("read mysqlbinlog")?.try_into()?;
    let writer = client(installation, target, text).status().await.context("run mysql")?;
    let reader = reader.wait().await?;
    ensure!(writer.success() && reader.success(), "the pipe failed: {reader}, {writer}");
    Ok(())
}

fn client(installation: &Installation, target: &Mysqld, text: Stdio) -> Command {
    let mut command = Command::new(installation.program("mysql"));
    command.args(["--no-defaults", "-uroot", "--binary-mode"]);
    command.arg(format!("--socket={}", target.socket().display())).env("TZ", "UTC").stdin(text);
    command
}
