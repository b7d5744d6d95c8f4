//! Restore: base backup, replay up to the stop, verification.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::archive_args::ArchiveArgs;
use crate::target_args::TargetArgs;
use crate::verbs::Context;

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// A plan made earlier; it is carried out as it is
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) plan_file: Option<PathBuf>,
    /// Data directory to fill
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: PathBuf,
    /// The server to run it with
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
}

/// Restores to a target.
pub(crate) async fn run(args: RestoreArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not in this build yet: {args:?}")
}
