//! What archiving takes from the server beside it: the same load with and without a sidecar, in turns.

use std::time::Instant;

use anyhow::{Context as _, Result};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::s3::{BUCKET, S3};
use pitr_e2e::sidecar::Sidecar;

use crate::process::cpu_of_ended_children;
use crate::workload::{self, SCHEMA, Workload};

/// One load, with or without a sidecar.
#[derive(Debug, Clone, Copy)]
struct Run {
    per_second: f64,
    /// Processor time of the sidecar alone.
    sidecar_cpu_s: f64,
}

pub(crate) async fn run(transactions: u64, rounds: u32) -> Result<()> {
    let installation = Installation::find()?.context("this bench needs the server")?;
    let server = Mysqld::fresh(&installation, 1).option("--max_binlog_size=64M").start().await?;
    server.sql(SCHEMA).await?;
    let s3 = S3::start(&[]).await?;
    let yaml = format!("{}\nschedule: {{tail_interval: 1s}}", s3.yaml());
    let sidecar = Sidecar::configure(&server, &format!("s3://{BUCKET}/cost"), &yaml)?.through(&s3);
    // Once for nothing: buffers, the redo log and the first pages of the tables are not what is measured.
    workload::run(&server, Workload::Small, transactions).await?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whichever comes second has the larger tables.
        for with in [round % 2 == 0, round % 2 != 0] {
            let measured = once(&server, with.then_some(&sidecar), transactions).await?;
            if with { beside.push(measured) } else { alone.push(measured) }
        }
    }
    println!(
        "| {transactions} small transactions, 4 sessions, median of {rounds} | per second | CPU s of the sidecar |"
    );
    println!("| --- | --- | --- |");
    println!("| nobody archives | {:.0} | |", median(alone.iter().map(|run| run.per_second)));
    println!(
        "| a sidecar beside it, through S3, tail_interval 1s | {:.0} | {:.2} |",
        median(beside.iter().map(|run| run.per_second)),
        median(beside.iter().map(|run| run.sidecar_cpu_s))
    );
    let ratios = beside.iter().zip(&alone).map(|(beside, alone)| beside.per_second / alone.per_second);
    println!("| what is left of the speed, median of pairs | {:.3} | |", median(ratios));
    Ok(())
}

async fn once(server: &Mysqld, sidecar: Option<&Sidecar>, transactions: u64) -> Result<Run> {
    let mut running = None;
    if let Some(sidecar) = sidecar {
        // What was written while nobody archived is not part of it.
        sidecar.archive_once().await?.expect(0)?;
        running = Some(sidecar.run()?);
    }
    let before = cpu_of_ended_children()?;
    let begun = Instant::now();
    workload::run(server, Workload::Small, transactions).await?;
    let per_second = transactions as f64 / begun.elapsed().as_secs_f64();
    if let Some(running) = &mut running {
        running.kill().await?;
    }
    Ok(Run { per_second, sidecar_cpu_s: cpu_of_ended_children()? - before })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
