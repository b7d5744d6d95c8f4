//! From COMMIT to recoverable: until a plan that is made from the bucket alone reaches the transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::s3::{BUCKET, S3};
use pitr_e2e::sidecar::Sidecar;
use tokio::task::JoinSet;

use crate::workload::{self, SCHEMA, Workload};

/// A commit that takes longer than this to become recoverable is a failure, not a figure.
const LIMIT: Duration = Duration::from_secs(30);

/// With `loaded` four sessions write all the time, and the tail is looked at every second.
pub(crate) async fn run(commits: u32, loaded: bool) -> Result<()> {
    let installation = Installation::find()?.context("this bench needs the server")?;
    let server = Arc::new(Mysqld::fresh(&installation, 1).start().await?);
    server.sql(SCHEMA).await?;
    server.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let s3 = S3::start(&[]).await?;
    let url = format!("s3://{BUCKET}/bench");
    let interval = if loaded { "1s" } else { "2s" };
    let yaml = format!("{}\nschedule: {{tail_interval: {interval}}}", s3.yaml());
    let sidecar = Sidecar::configure(&server, &url, &yaml)?.through(&s3);
    sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
    let mut running = sidecar.run()?;
    let mut load = JoinSet::new();
    if loaded {
        load.spawn(write_on(Arc::clone(&server)));
    }

    let mut seconds = Vec::new();
    for number in 0..commits {
        // Not in step with the tail interval.
        tokio::time::sleep(Duration::from_millis(u64::from(number) * 137 % 1000)).await;
        server.sql("INSERT INTO shop.orders (customer, amount, created_at) VALUES (1, 1, NOW(6))").await?;
        let committed = Instant::now();
        let gtid = last_gtid(&server).await?;
        seconds.push(until_recoverable(&sidecar, &url, &gtid, committed).await?);
    }
    ensure!(load.try_join_next().is_none(), "the load ended before the measurement");
    load.abort_all();
    running.kill().await?;
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
    println!(
        "| COMMIT to recoverable, tail_interval {interval}, {commits} commits through S3{} | s |",
        if loaded { ", beside four sessions" } else { "" }
    );
    println!("| --- | --- |");
    for (name, share) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("worst", 1.0)] {
        println!("| {name} | {:.2} |", at(share));
    }
    Ok(())
}

/// Writes until it is stopped.
async fn write_on(server: Arc<Mysqld>) -> Result<()> {
    loop {
        workload::run(&server, Workload::Small, 100_000).await?;
    }
}

async fn last_gtid(server: &Mysqld) -> Result<String> {
    let executed = server.gtid_executed().await?;
    let (uuid, numbers) = executed.split_once(':').context("one server's set")?;
    let last = numbers.rsplit([':', '-']).next().unwrap_or(numbers);
    Ok(format!("{uuid}:{last}"))
}

async fn until_recoverable(sidecar: &Sidecar, url: &str, gtid: &str, since: Instant) -> Result<f64> {
    loop {
        let plan = finish(&mut sidecar.command(&["plan", "--archive", url, "--through-gtid", gtid])).await?;
        let passed = since.elapsed();
        if plan.code == Some(0) {
            return Ok(passed.as_secs_f64());
        }
        ensure!(plan.code == Some(4), "the plan failed:\n{}", plan.stderr);
        ensure!(passed < LIMIT, "{gtid} is not recoverable after {LIMIT:?}:\n{}", plan.stderr);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
