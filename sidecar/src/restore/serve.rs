//! `serve`: the server on restored data, for whoever wants to look around or take one table out. Only what was verified is served,
//! and nothing is written to it: read-only for everybody, no replication, no events, no binary log.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use pitr_archive::document::PlanDocument;
use pitr_recovery::code;
use serde::Deserialize;

use super::journal::Journal;
use super::memory;
use super::preflight;
use super::volume::{Expected, Volume};
use crate::error::Failure;
use crate::server::{MatchedSettings, Programs, Purpose, RunAs, ServerOptions, Staging, end_leftover, serve};
use crate::verbs::Context;

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Data directory that a restore of ours has filled
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: PathBuf,
    /// Port on every address of this host or pod
    #[arg(long, default_value_t = 3306, value_name = "PORT")]
    pub(crate) port: u16,
    /// The server to run on it [default: the one that is installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// Directory for sockets and temporary files [default: the system's]
    #[arg(long, value_name = "DIR", env = "PITR_STAGING", hide_env = true)]
    pub(crate) staging: Option<PathBuf>,
}

/// What `RESTORED.json` says about the data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Restored {
    workload: String,
    target: String,
    verdict: Ended,
}

#[derive(Deserialize)]
struct Ended {
    result: String,
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: &ServeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if !Volume::holds_a_restore(&args.datadir) {
        return Err(not_verified(args, "no restore of ours was made on it").into());
    }
    // The lock of a restore: neither runs while the other does.
    let volume = Volume::open(&args.datadir, Expected::Base)?;
    if Journal::read(&volume.journal()).context("read the journal")?.is_some_and(|journal| journal.in_place.is_some()) {
        return Err(not_verified(args, "it is a workload's, which serves it itself").into());
    }
    let restored = match std::fs::read(volume.restored()) {
        Ok(text) => serde_json::from_slice::<Restored>(&text).context("read what was restored")?,
        Err(_) => return Err(not_verified(args, "its restore has not ended, or not well").into()),
    };
    if restored.verdict.result != "verified" {
        return Err(not_verified(args, &format!("its restore ended as \"{}\"", restored.verdict.result)).into());
    }
    end_leftover(&volume.pid_file()).await.context("end a server that was left behind")?;
    let programs = Programs::find(args.mysqld.as_deref()).context("find mysqld: --mysqld names it")?;
    let run_as = RunAs::owner_of(volume.datadir()).context("ask who owns the data")?;
    let staging = Staging::create(args.staging.as_deref(), run_as).context("make a private directory")?;
    let options = ServerOptions {
        mysqld: programs.mysqld,
        datadir: volume.datadir().to_owned(),
        pid_file: volume.pid_file(),
        log: volume.server_log(),
        run_as,
        server_id: 1,
        settings: settings(&volume)?,
        buffer_pool: memory::buffer_pool(volume.used_bytes().context("measure the data")?),
        redo_capacity: preflight::redo_capacity(volume.free_bytes().context("ask how much room the volume has")?),
    };
    tracing::info!(
        event = "serving",
        workload = restored.workload,
        target = restored.target,
        port = args.port,
        "read-only"
    );
    serve(&options, &Purpose::Serve { port: args.port }, &staging, &context.shutdown).await.context("serve")?;
    Ok(ExitCode::SUCCESS)
}

/// What the data was restored with.
fn settings(volume: &Volume) -> anyhow::Result<MatchedSettings> {
    let bytes = std::fs::read(volume.plan()).context("read the plan of the restore")?;
    let plan = PlanDocument::decode(&bytes).context("read the plan of the restore")?;
    Ok(MatchedSettings::from_recorded(&plan.base().settings))
}

fn not_verified(args: &ServeArgs, why: &str) -> Failure {
    Failure::new(&code::RESTORE_INCOMPLETE, format!("\"{}\" is not served: {why}", args.datadir.display()))
        .hint("only data whose GTID set was verified is served")
        .fix("kubectl pitr restores resume NAME")
}
