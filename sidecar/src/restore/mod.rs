//! Restore: base backup, replay up to the stop, verification.
//!
//! ```text
//! plan ─▶ fetch-base ─▶ prepare ─▶ start-server ─▶ replay ─▶ verify ─▶ dump-tables ─▶ stop-server ─▶ hand-over
//!            chunks       dump:      N2: the set     our        set ==    if asked for   events,        RESTORED.json
//!            checked      loaded     is the base's   source     plan                     account gone
//! ```
//! Each phase is journaled on the volume and may be killed at any point: the same command goes on. With `--in-place` the data of a
//! workload that stands still stays where it is up to `stop-server`; `safety-copy` then exchanges it for the restored data.

mod archived_log;
mod chosen;
mod event_states;
mod events;
mod existing;
mod extract;
mod fetch;
mod hand_over;
mod in_place;
mod journal;
mod late;
mod load;
mod memory;
mod mended;
mod phases;
mod planned;
mod preflight;
mod replay;
mod rows;
mod serve;
mod start;
mod stretch;
mod verdict;
mod verify;
mod volume;
mod xa;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use pitr_recovery::code;

use self::chosen::ChosenTables;
pub(crate) use self::existing::logs_in;
pub(crate) use self::extract::DumpLayout;
pub(crate) use self::in_place::{FinishArgs, VolumeArgs, abort, finish};
use self::phases::Facts;
pub(crate) use self::planned::asked_for;
pub(crate) use self::replay::BatchSize;
pub(crate) use self::serve::{ServeArgs, run as serve};
pub(crate) use self::verdict::{Outcome, Verdict};
pub(crate) use self::xa::XaPolicy;
use crate::archive_args::ArchiveArgs;
use crate::archive_failure;
use crate::cli::OutputFormat;
use crate::error::{Failure, Rendered};
use crate::output;
use crate::target_args::TargetArgs;
use crate::verbs::Context;

/// Exit codes of a container: a Job's policy tells by them whether another attempt makes sense.
mod container_exit {
    /// The plan or the configuration is bad.
    pub(super) const BAD_PLAN: u8 = 64;
    /// Volume, identity or version do not fit.
    pub(super) const REFUSED: u8 = 65;
    /// The restore is not what was planned.
    pub(super) const INCOMPLETE: u8 = 66;
}

/// What the data directory holds before the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaseOrigin {
    /// Nothing: a base backup of the archive is fetched
    Archive,
    /// A base that another tool restored; its GTID set is read from it
    Existing,
}

/// What applies the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Engine {
    /// The server itself, as a replica of the archive
    #[default]
    Replication,
    /// mysqlbinlog and mysql of the server's installation: slower, for comparison, and where a server cannot replicate
    Pipe,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// A plan made earlier; it is carried out as it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "skip_gtid", "from_backup", "branch", "accept_early_stop", "nearest", "allow_gap", "clock"])]
    pub(crate) plan_file: Option<PathBuf>,
    /// Data directory to fill
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: PathBuf,
    /// The data directory is a workload's that stands still: exchange its data once the restored data is verified, and keep the old
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Name of the restore in place with whoever drives it; one of another name is not gone on with
    #[arg(long, value_name = "ID", requires = "in_place")]
    pub(crate) restore_id: Option<String>,
    /// The server to run on it [default: the one that is installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// Where the base comes from
    #[arg(long, value_enum, default_value = "archive", conflicts_with_all = ["plan_file", "in_place"])]
    pub(crate) base: BaseOrigin,
    /// Option file of the server that will use the data: what it says in [mysqld] must fit the base
    #[arg(long, value_name = "FILE")]
    pub(crate) mysqld_config: Option<PathBuf>,
    /// A query that must return true before the restore counts as verified (repeatable)
    #[arg(long, value_name = "SQL")]
    pub(crate) assert: Vec<String>,
    /// Check each table before the restore counts as verified: reads all of the data
    #[arg(long)]
    pub(crate) check_tables: bool,
    /// Count the rows of each table before and after, and hold them against the log: reads all of the data twice, and the log again
    #[arg(long)]
    pub(crate) count_rows: bool,
    /// Write these tables (or SCHEMA.*) down as SQL files too, once the data is verified (repeatable, or with commas)
    #[arg(long, value_name = "SCHEMA.TABLE", value_delimiter = ',')]
    pub(crate) tables: Vec<ChosenTables>,
    /// Where those files go [default: .pitr/dump in the data directory]
    #[arg(long, value_name = "DIR", requires = "tables")]
    pub(crate) dump_dir: Option<PathBuf>,
    /// How those files are laid out
    #[arg(long, value_enum, default_value = "mysql", requires = "tables")]
    pub(crate) dump_layout: DumpLayout,
    /// What becomes of XA transactions that the target leaves prepared
    #[arg(long, value_enum, default_value = "keep")]
    pub(crate) xa: XaPolicy,
    /// Transactions that are committed as one, at most; 1 applies each as it was written [N or auto]
    #[arg(long, value_name = "N", default_value = "auto")]
    pub(crate) batch: BatchSize,
    /// How the log is applied
    #[arg(long, value_enum, default_value = "replication")]
    pub(crate) engine: Engine,
    /// Directory for sockets and temporary files [default: the system's]
    #[arg(long, value_name = "DIR", env = "PITR_STAGING", hide_env = true)]
    pub(crate) staging: Option<PathBuf>,
    /// How the result is printed [default: text on a terminal, else JSON]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// Restores to a target, and ends with exactly one verdict.
pub(crate) async fn run(args: RestoreArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let json = args.output.map_or(context.json_log, |format| format == OutputFormat::Json);
    let (result, verdict) = judge(&args, context).await;
    if json {
        output::print_line(&verdict.line())?;
    } else if result.is_ok() {
        output::print_line(&verdict.to_string())?;
    }
    verdict.leave_for_kubernetes();
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // A plan file means a Job: its policy reads the container's exit code.
        Err(error) if args.plan_file.is_some() => Err(for_a_job(error)),
        Err(error) => Err(error),
    }
}

/// Restores, and says how it ended.
pub(crate) async fn judge(args: &RestoreArgs, context: &Context) -> (anyhow::Result<()>, Verdict) {
    let begun = Instant::now();
    let archive = args.archive.archive.as_deref().unwrap_or_default();
    let mut facts = Facts::default();
    let result = phases::run(args, context, &mut facts).await.map_err(|error| named(error, &facts, archive));
    let outcome = result.as_ref().err().map_or(Outcome::Verified, outcome_of);
    let mut verdict = Verdict::new(outcome, &args.datadir);
    facts.tell(&mut verdict);
    if let Err(error) = &result {
        let rendered = Rendered::of(error);
        (verdict.code, verdict.message) = (rendered.code.clone(), Some(rendered.text()));
    }
    verdict.duration_seconds = begun.elapsed().as_secs();
    (result, verdict)
}

/// An error that has no name of its own is a failed restore.
fn named(error: anyhow::Error, facts: &Facts, archive: &str) -> anyhow::Error {
    if error.chain().any(|cause| cause.downcast_ref::<Failure>().is_some()) {
        return error;
    }
    if let Some(failure) = archive_failure::named(&error, archive) {
        return failure.hint("what is done stays done; the same command goes on").into();
    }
    let phase = facts.phase.map_or_else(String::new, |phase| format!(" in phase \"{}\"", phase.name()));
    Failure::new(&code::RESTORE_FAILED, format!("restore failed{phase}: {error:#}"))
        .hint("what is done stays done")
        .fix("run the same command again")
        .into()
}

fn outcome_of(error: &anyhow::Error) -> Outcome {
    let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) else { return Outcome::Failed };
    let number = failure.code().number;
    if [code::RESTORE_INCOMPLETE, code::VOLUME_SPOILED].iter().any(|code| code.number == number) {
        return Outcome::Incomplete;
    }
    let exit = Rendered::of(error).exit;
    let refused = exit == 2 || exit == 4 || number == code::VOLUME_OF_ANOTHER_PLAN.number;
    if refused { Outcome::Refused } else { Outcome::Failed }
}

fn for_a_job(error: anyhow::Error) -> anyhow::Error {
    let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) else { return error };
    let container = match (outcome_of(&error), Rendered::of(&error).exit) {
        (Outcome::Refused, 2) => container_exit::BAD_PLAN,
        (Outcome::Refused, _) => container_exit::REFUSED,
        (Outcome::Incomplete, _) => container_exit::INCOMPLETE,
        // What cannot be got again will not be there for another attempt either.
        (_, _) if is_final(failure) => container_exit::INCOMPLETE,
        (_, exit) => exit,
    };
    failure.clone().exit(container).into()
}

fn is_final(failure: &Failure) -> bool {
    [code::EVENT_REFUSED, code::PLANNED_OBJECT_GONE, code::XA_UNDECIDED, code::TABLE_NOT_THERE]
        .iter()
        .any(|code| code.number == failure.code().number)
}

#[cfg(test)]
mod tests {
    use pitr_recovery::code;

    use super::{Facts, Outcome, for_a_job, named, outcome_of};
    use crate::error::{Failure, Rendered};

    #[test]
    fn a_job_tells_by_its_exit_code_whether_to_try_again() {
        let exit = |code| Rendered::of(&for_a_job(Failure::new(code, "x").into())).exit;
        assert_eq!(exit(&code::VOLUME_OF_ANOTHER_PLAN), 65);
        assert_eq!(exit(&code::SERVER_TOO_OLD), 65);
        assert_eq!(exit(&code::RESTORE_INCOMPLETE), 66);
        assert_eq!(exit(&code::VOLUME_SPOILED), 66);
        assert_eq!(exit(&code::EVENT_REFUSED), 66);
        assert_eq!(exit(&code::TABLE_NOT_THERE), 66);
        assert_eq!(exit(&code::STORE_UNREACHABLE), 1);
        assert_eq!(exit(&code::TIME_WITHOUT_ZONE), 64);
    }

    #[test]
    fn a_nameless_error_is_a_failed_restore() {
        let error = named(anyhow::anyhow!("no space left").context("write"), &Facts::default(), "");
        assert_eq!(
            Rendered::of(&error).text().lines().next(),
            Some("error[PITR0410]: restore failed: write: no space left")
        );
        assert_eq!(outcome_of(&error), Outcome::Failed);
    }
}
