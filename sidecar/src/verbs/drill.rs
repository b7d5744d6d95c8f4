//! `drill`: a real restore to a scratch directory, which is thrown away. What it proved stays in the archive.

mod scratch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pitr_archive::{Archive, Drill, Pace};

use self::scratch::Scratch;
use super::Context;
use crate::amounts::{count_of, duration};
use crate::archive_args::ArchiveArgs;
use crate::cli::OutputFormat;
use crate::error::Rendered;
use crate::output;
use crate::restore::{self, BaseOrigin, BatchSize, DumpLayout, Engine, Outcome, RestoreArgs, Verdict, XaPolicy};
use crate::target_args::TargetArgs;

/// Characters of an error's text that stay in the archive.
const MESSAGE_MAX: usize = 500;

/// `drill`
#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Directory with room for the whole server; the drill makes one of its own in it and removes it
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: PathBuf,
    /// The server to run on it [default: the one that is installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// A query that must return true (repeatable)
    #[arg(long, value_name = "SQL")]
    pub(crate) assert: Vec<String>,
    /// Count the rows of each table before and after, and hold them against the log
    #[arg(long)]
    pub(crate) count_rows: bool,
    /// Check each table: reads all of the data
    #[arg(long)]
    pub(crate) check_tables: bool,
    /// Directory for sockets and temporary files [default: the system's]
    #[arg(long, value_name = "DIR", env = "PITR_STAGING", hide_env = true)]
    pub(crate) staging: Option<PathBuf>,
    /// Leave no result in the archive
    #[arg(long)]
    pub(crate) no_record: bool,
    /// How the result is printed [default: text on a terminal, else JSON]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// Restores, throws the data away, and leaves the result. Without a target it goes to the end of what is archived.
pub(super) async fn run(args: DrillArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let json = args.output.map_or(context.json_log, |format| format == OutputFormat::Json);
    let archive = super::open_for_long(&args.archive, context).await?;
    let scratch = Scratch::take(&args.scratch).await?;
    let no_record = args.no_record;
    let args = restore_args(args, &scratch.datadir());
    let (result, verdict) = restore::judge(&args, context).await;
    let removed = scratch.remove();
    // A drill that was stopped, or asked for what makes no sense, says nothing about the archive.
    let says_something = result.as_ref().err().is_none_or(|error| Rendered::of(error).exit != 2);
    let is_kept = if no_record || !says_something || context.shutdown.is_cancelled() {
        None
    } else {
        Some(record(&archive, &result_of(&args, &verdict, context)).await)
    };
    if json {
        output::print_line(&verdict.line())?;
    } else if result.is_ok() {
        output::print_line(&told(&verdict, is_kept))?;
    }
    verdict.leave_for_kubernetes();
    result?;
    removed?;
    Ok(ExitCode::SUCCESS)
}

fn result_of(args: &RestoreArgs, verdict: &Verdict, context: &Context) -> Drill {
    let pace = verdict.pace;
    Drill {
        at: context.clock.now(),
        target: restore::asked_for(args),
        verified: verdict.result == Outcome::Verified,
        code: verdict.code.clone(),
        message: verdict.message.as_ref().map(|message| message.chars().take(MESSAGE_MAX).collect()),
        seconds: verdict.duration_seconds,
        gtid_set: verdict.gtid_set.clone(),
        pace: Pace { rest_ms: (verdict.duration_seconds * 1000).saturating_sub(pace.base_ms + pace.replay_ms), ..pace },
    }
}

/// Whether the result is in the archive now.
async fn record(archive: &Archive, drill: &Drill) -> bool {
    match archive.record_drill(drill).await {
        Ok(true) => return true,
        Ok(false) => {
            tracing::warn!(
                event = "not-recorded",
                "these credentials may not write: no status will know of this drill"
            );
        }
        Err(error) => tracing::warn!(event = "not-recorded", %error, "no status will know of this drill"),
    }
    false
}

fn restore_args(args: DrillArgs, datadir: &Path) -> RestoreArgs {
    let mut target = args.target;
    let has_target = [&target.to, &target.before_gtid, &target.through_gtid, &target.to_position]
        .iter()
        .any(|given| given.is_some());
    if !has_target {
        target.to = Some("latest".to_owned());
    }
    RestoreArgs {
        archive: args.archive,
        target,
        plan_file: None,
        datadir: datadir.to_owned(),
        in_place: false,
        restore_id: None,
        mysqld: args.mysqld,
        base: BaseOrigin::Archive,
        mysqld_config: None,
        assert: args.assert,
        count_rows: args.count_rows,
        check_tables: args.check_tables,
        tables: Vec::new(),
        dump_dir: None,
        dump_layout: DumpLayout::Mysql,
        xa: XaPolicy::Keep,
        batch: BatchSize::Auto,
        engine: Engine::Replication,
        staging: args.staging,
        output: args.output,
    }
}

fn told(verdict: &Verdict, is_kept: Option<bool>) -> String {
    let (count, all) = (count_of(verdict.transactions, "transaction"), duration(verdict.duration_seconds));
    let set = verdict.gtid_set.as_deref().unwrap_or("-");
    let rows = verdict.rows.map_or_else(String::new, |rows| format!("\n{rows}"));
    let kept = if is_kept == Some(false) {
        "\nThe result could not be left in the archive: no status will know of this drill"
    } else {
        ""
    };
    format!(
        "Drill passed: the restored server held exactly the plan's GTID set, {set}. {count} replayed, {all} in all; thrown away{rows}{kept}"
    )
}
