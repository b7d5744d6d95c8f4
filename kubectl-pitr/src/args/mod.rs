//! What may stand on the command line.

mod archive;
mod attach;
mod backup;
mod check;
mod checks;
mod client;
mod config;
mod drill;
mod inject;
mod jobs;
mod logs;
mod output;
mod restore;
mod status;
mod target;
mod timeline;
mod upkeep;

pub use archive::{ArchiveArgs, PathStyle};
pub use attach::{AttachArgs, DetachArgs};
pub use backup::{BackupArgs, BackupMethod};
pub use check::{BundleArgs, CheckArgs, Threshold};
pub use checks::DataChecks;
pub(crate) use checks::literal;
pub use client::ClientArgs;
pub use config::{ConfigArgs, ConfigSetArgs, ConfigVerb, ConfigViewArgs};
pub use drill::DrillArgs;
pub use inject::{ConfirmArgs, InjectArgs, InjectMode, InjectOutput, Rollout, UninjectArgs};
pub use jobs::{DryRun, JobArgs, PodArgs};
pub use logs::LogsArgs;
pub use output::{ColourChoice, CommonArgs, OutputFormat, StateArgs, Via};
pub use restore::{ChangeArgs, InPlaceArgs, ProofArgs, ReplicasPlan, RestoreArgs, RestoresArgs, RestoresVerb, Safety};
pub use status::{BackupsArgs, BackupsVerb, ListArgs, PinArgs, StatusArgs};
pub use target::TargetArgs;
pub use timeline::{BinlogsArgs, TimelineArgs, TimelineFormat, is_duration};
pub use upkeep::{PruneArgs, VerifyArgs};

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

/// Subcommands stand in groups, which clap cannot do by itself: a test holds this list and the commands together.
const HELP: &str = "\
{about}

Usage: {usage}

Everyday:
  status      can I restore, and to when?
  backups     the base backups, and how far each one reaches; pin and unpin them
  binlogs     the archived binlogs
  timeline    what happened, and when: find the moment before an accident
  backup      take a base backup now
  restore     restore to an instant or a transaction, onto a new volume
  restores    list, describe, attach, serve, finish, resume, abort or prune restores; go on with one

Set-up:
  inject      add the archiving sidecar to a StatefulSet
  uninject    take it out again
  attach      archive a server elsewhere, or one with encrypted binlogs, over a connection
  detach      delete what attach made; the archive stays
  config      the sidecar's configuration: every key and where its value comes from; change some

Trouble:
  check       everything that archiving and restoring depend on, looked at once
  verify      is what the archive names there, and is it what was stored?
  drill       restore to scratch, verify, throw away: proof that a restore works
  prune       what may leave the archive; takes it out when confirmed
  logs        what sidecars and Jobs write, made readable
  support-bundle  what is needed to find out what went wrong, without secrets
  explain     what an error code means and what helps, or the story of a gap

Other:
  completion  completion for your shell
  version     versions of the plugin and of the sidecars

Options:
{options}

Preferences: timezone, color and output in ~/.config/kubectl-pitr/config.yaml, or the file that PITRCONFIG names.";

/// Point-in-time recovery for any MySQL StatefulSet
#[derive(Debug, Parser)]
#[command(name = "kubectl-pitr", version, disable_help_subcommand = true, help_template = HELP, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Status(Box<StatusArgs>),
    Backups(Box<BackupsArgs>),
    Binlogs(Box<BinlogsArgs>),
    Timeline(Box<TimelineArgs>),
    Backup(Box<BackupArgs>),
    Restore(Box<RestoreArgs>),
    Restores(RestoresArgs),
    Inject(Box<InjectArgs>),
    Uninject(UninjectArgs),
    Attach(Box<AttachArgs>),
    Detach(DetachArgs),
    Config(ConfigArgs),
    Check(CheckArgs),
    Verify(Box<VerifyArgs>),
    Drill(Box<DrillArgs>),
    Prune(Box<PruneArgs>),
    Logs(LogsArgs),
    SupportBundle(BundleArgs),
    Explain(Box<ExplainArgs>),
    Completion(CompletionArgs),
    Version(VersionArgs),
    #[command(hide = true)]
    Man(ManArgs),
}

/// What an error code means and what helps against it, or the story of a gap
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr explain PITR0301\n  kubectl pitr explain gap-7f2a mysql -n shop\n\nA code needs no \
                  permission and no cluster. A gap needs what \"status\" needs, and pods/portforward get,create."
)]
pub struct ExplainArgs {
    /// A code as errors print it: PITR0301, or 0301; or a gap as "status" shows it
    #[arg(value_name = "CODE|GAP-ID")]
    pub code: String,
    /// For a gap: NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// Completion for your shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr completion --install\n\nkubectl asks the plugin for completions by running \
                        \"kubectl_complete-pitr\": --install links that name to this program.\n\nNeeds no permission."
)]
pub struct CompletionArgs {
    /// The shell to print a script for, when the program is called directly and not through kubectl
    #[arg(value_enum, required_unless_present = "install")]
    pub shell: Option<clap_complete::Shell>,
    /// Make the link "kubectl_complete-pitr" beside this program
    #[arg(long)]
    pub install: bool,
}

/// Versions of the plugin and of the sidecars in the namespace
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr version --client\n\nNeeds: statefulsets list; pods list; pods/log get. With \
                        --client nothing."
)]
pub struct VersionArgs {
    /// Only the plugin's own version
    #[arg(long)]
    pub client: bool,
}

/// Write the manual pages, for those who package the program
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubectl pitr man man/man1\n\nNeeds no permission.")]
pub struct ManArgs {
    /// Directory to write them to
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// The command under the name it was called by: kubectl shows plugins as "kubectl pitr".
pub fn command(program: &str) -> clap::Command {
    let name = program.rsplit('/').next().unwrap_or(program).trim_end_matches(".exe");
    let shown = match name.strip_prefix("kubectl-") {
        Some(rest) => format!("kubectl {}", rest.replace('-', " ").replace('_', "-")),
        None => name.to_owned(),
    };
    Cli::command().bin_name(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        command("kubectl-pitr").debug_assert();
    }

    #[test]
    fn every_command_stands_in_the_grouped_help() {
        for sub in Cli::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let line = format!("\n  {:<10}  ", sub.get_name());
            assert!(HELP.contains(&line), "{} is missing in the help", sub.get_name());
        }
    }

    #[test]
    fn the_name_shown_is_the_name_called() {
        let name = |p: &str| command(p).get_bin_name().unwrap().to_owned();
        assert_eq!(name("/usr/local/bin/kubectl-pitr"), "kubectl pitr");
        assert_eq!(name("kubectl-mysql_pitr"), "kubectl mysql-pitr");
        assert_eq!(name("pitr"), "pitr");
    }
}
