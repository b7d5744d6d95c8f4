//! Base backups: how one is taken and stored.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::archive_args::ArchiveArgs;
use crate::verbs::Context;

/// How the data is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackupMethod {
    /// CLONE where it is possible, else a dump
    Auto,
    /// The CLONE plugin, into a scratch directory
    Clone,
    /// A logical dump, streamed
    Dump,
}

/// `backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// How the data is copied
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) method: BackupMethod,
    /// MySQL client option file that says how the server is reached
    #[arg(long, value_name = "DSN-FILE")]
    pub(crate) mysql: PathBuf,
    /// The workload's own mysqld, needed by the clone method
    #[arg(long, value_name = "PATH")]
    pub(crate) mysqld: Option<PathBuf>,
    /// Directory for the clone, emptied afterwards
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

/// Takes one base backup.
pub(crate) async fn run(args: BackupArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not in this build yet: {args:?}")
}
