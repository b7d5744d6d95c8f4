//! The command line. What is not built yet is not listed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::archive_args::ArchiveArgs;
use crate::backup::{BackupArgs, RegisterArgs};
use crate::logging::LoggingArgs;
use crate::restore::{FinishArgs, RestoreArgs, ServeArgs, VolumeArgs};
use crate::target_args::TargetArgs;
use crate::verbs::DrillArgs;

/// Archives the binary logs of a MySQL server, takes base backups, and restores to an exact point.
#[derive(Debug, Parser)]
#[command(name = "pitr-sidecar", version, disable_help_subcommand = true, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The sidecar: archive binlogs and the tail, serve status and metrics, until SIGTERM
    Run(ConfigArgs),
    /// One cycle by hand or from cron: everything that is whole now, the active binlog included
    Archive(ArchiveOnceArgs),
    /// Take a base backup and store it in the archive
    Backup(BackupArgs),
    /// Store a data directory that another tool has made as a base backup in the archive
    Register(RegisterArgs),
    /// Restore a base backup and replay the archive up to a target
    Restore(RestoreArgs),
    /// Turn a restore in place back: the old data goes to its place again
    Abort(VolumeArgs),
    /// End a restore in place, or one that was turned back: what was kept aside is deleted
    Finish(FinishArgs),
    /// Run the server on restored data, read-only, to look around
    Serve(ServeArgs),
    /// Restore to a scratch directory and throw it away; the result stays in the archive for status and metrics
    Drill(DrillArgs),
    /// Show what a restore would do; creates nothing
    Plan(PlanArgs),
    /// What is recoverable, from the archive alone or from a running sidecar
    Status(StatusArgs),
    /// Whether what the archive names is there and is what was stored; --rebuild-catalog makes the catalog again
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// What may leave the archive under a retention policy; with --apply it is marked, and deleted a grace later
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneArgs),
    /// What is in a binlog file or in a stored segment
    Inspect(InspectArgs),
    /// Write archived binlogs to standard output as one stream, for mysqlbinlog or any other tool
    Cat(CatArgs),
    /// Answer one request of the control API on standard output
    Get(GetArgs),
    /// Read a configuration file and say what is wrong with it, or what it means
    CheckConfig(CheckConfigArgs),
    /// Copy this program into a directory (for images that have no cp)
    InstallSelf(InstallSelfArgs),
    /// Version of the program, of the archive format and of the documents
    Version,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", env = "PITR_CONFIG", hide_env = true)]
    pub(crate) config: PathBuf,
}

/// `archive`
#[derive(Debug, Args)]
pub(crate) struct ArchiveOnceArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// One cycle, then exit (without it: cycle until SIGTERM, but with no HTTP server)
    #[arg(long)]
    pub(crate) once: bool,
}

/// How a document is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// `plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// Control API of a running sidecar, such as http://127.0.0.1:9398
    #[arg(long, value_name = "HTTP", conflicts_with = "archive")]
    pub(crate) url: Option<String>,
    /// How the status is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// `cat`
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// Begin with the binlog that holds this transaction, or the first commit at or after this time
    #[arg(long, value_name = "GTID|TIME")]
    pub(crate) from: Option<String>,
    /// End with the binlog that holds this transaction, or the last commit at or before this time
    #[arg(long, value_name = "GTID|TIME")]
    pub(crate) to: Option<String>,
    /// One binlog only, by its name or its id
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to", "branch"])]
    pub(crate) binlog: Option<String>,
    /// The server that NAME belongs to, if several have a binlog of that name
    #[arg(long, value_name = "ID", requires = "binlog")]
    pub(crate) source: Option<String>,
    /// Follow this branch of the history
    #[arg(long, value_name = "ID")]
    pub(crate) branch: Option<String>,
}

/// How `inspect` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// For people
    Text,
    /// One document a file
    Json,
    /// One line a file, and one line a transaction
    Jsonl,
}

const VERIFY_HELP: &str = "\
Example:
  pitr-sidecar verify --archive s3://backups/shop/mysql                  everything: exit 0 when all is well, 3 when something is not
  pitr-sidecar verify --archive s3://backups/shop/mysql --sample 5%      a twentieth, the one that was read longest ago
  pitr-sidecar verify --archive s3://backups/shop/mysql --rebuild-catalog

Permissions in the bucket: ListBucket and GetObject; PutObject and DeleteObject on verified/ to leave the result, on catalog/ to rebuild.";

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// How much of segments and chunks is fetched; each run takes the part that was read longest ago
    #[arg(long, default_value = "100%", value_name = "N%")]
    pub(crate) sample: String,
    /// Walk the events too: their checksums, and whether each segment's index fits them
    #[arg(long)]
    pub(crate) deep: bool,
    /// First make the catalog again from the headers of all segments
    #[arg(long)]
    pub(crate) rebuild_catalog: bool,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: OutputFormat,
}

const PRUNE_HELP: &str = "\
Example:
  pitr-sidecar prune --archive s3://backups/shop/mysql --window 14d             print the plan; nothing is written
  pitr-sidecar prune --archive s3://backups/shop/mysql --policy config.yaml --apply

Permissions in the bucket: ListBucket and GetObject for the plan; PutObject on expired/ and catalog/, DeleteObject on all with --apply,
and PutObject on binlogs/ where the policy says dedupe: gtid.";

/// `prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// A sidecar's configuration file, whose "retention" section is the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// How far back every instant stays restorable, such as 14d
    #[arg(long, value_name = "DURATION")]
    pub(crate) window: Option<String>,
    /// Usable base backups to keep at least
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u64>,
    /// Between the mark and the deletion of what expires
    #[arg(long, value_name = "DURATION")]
    pub(crate) grace: Option<String>,
    /// A base backup that stays, with the binlogs after it (repeatable)
    #[arg(long = "pin", value_name = "ID")]
    pub(crate) pins: Vec<String>,
    /// Mark what expires, and delete what was marked a grace ago
    #[arg(long)]
    pub(crate) apply: bool,
    /// Let a window shrink that was promised to be longer
    #[arg(long)]
    pub(crate) force: bool,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// `inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Binlog files, or segments taken from an archive
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// List every transaction too
    #[arg(long)]
    pub(crate) transactions: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: InspectFormat,
}

/// `get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Path of the control API, such as /v1/status
    pub(crate) path: String,
    /// Body of a POST request (JSON)
    #[arg(long, value_name = "JSON")]
    pub(crate) data: Option<String>,
    /// Where the running sidecar listens
    #[arg(long, default_value = "127.0.0.1:9398", value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// Answer in one line, errors too, that is found again in a log with other lines in it
    #[arg(long, requires = "archive")]
    pub(crate) in_log: bool,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
}

/// `check-config`
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// Configuration file (YAML)
    pub(crate) file: PathBuf,
}

/// `install-self`
#[derive(Debug, Args)]
pub(crate) struct InstallSelfArgs {
    /// Directory that receives the program as `pitr-sidecar`
    pub(crate) directory: PathBuf,
}
