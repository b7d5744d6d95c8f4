use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::duration;
use super::{ArchiveArgs, DryRun, StateArgs};

/// What every list understands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "List options")]
pub struct ListArgs {
    /// Every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector of the workloads; for "restores" of their Jobs and volumes
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Field selector of the workloads, as the API server has it: metadata.name!=test; for "restores" of their Jobs
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
    /// Leave the header line out
    #[arg(long)]
    pub no_headers: bool,
    /// Order of the rows, by a field of "-o json": .workload, .endAgeSeconds, .storedBytes
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Go on and show rows again when they change, until Ctrl-C
    #[arg(short = 'w', long)]
    pub watch: bool,
}

impl ListArgs {
    /// Whether several workloads may be meant.
    pub fn is_of_many(&self) -> bool {
        self.all_namespaces || self.selector.is_some() || self.field_selector.is_some()
    }
}

/// Can I restore, and to when?
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr status mysql -n shop\n\nNeeds: statefulsets get,list; pods get,list; \
                        pods/log get (the stock role \"view\"). With --archive: nothing in the cluster."
)]
pub struct StatusArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; without it every archived workload of the namespace
    #[arg(value_name = "WORKLOAD", conflicts_with_all = ["all_namespaces", "selector", "field_selector"])]
    pub workload: Option<String>,
    /// List every known gap of one workload
    #[arg(long, conflicts_with_all = ["watch", "all_namespaces", "selector", "field_selector"])]
    pub show_gaps: bool,
    /// The end of the window may be this old
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub max_lag: Duration,
    /// Exit 3 when anything shown is not OK, or nothing is archived at all
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
    #[command(flatten)]
    pub list: ListArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// The base backups, and how far each one reaches; pin and unpin them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr backups mysql -n shop\n  kubectl pitr backups -A --sort-by .storedBytes\n  kubectl pitr backups pin mysql bb-20261121-020009-4c1d -n shop\n\nNeeds: statefulsets get,list; pods get,list; \
                        pods/log get; pods/portforward get,create. With --archive: nothing in the cluster. pin, unpin: \
                        configmaps get,patch."
)]
pub struct BackupsArgs {
    #[command(subcommand)]
    pub verb: Option<BackupsVerb>,
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD", conflicts_with_all = ["all_namespaces", "selector", "field_selector"])]
    pub workload: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

#[derive(Debug, Subcommand)]
pub enum BackupsVerb {
    /// Let a base backup never expire, nor the binlogs after it
    Pin(PinArgs),
    /// Let it expire again as the policy says
    Unpin(PinArgs),
}

/// Which base backup of which workload.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr backups pin mysql bb-20261121-020009-4c1d -n shop\n\nPins stand in retention.pins of \
                        the sidecar's ConfigMap.\n\nNeeds: statefulsets get; configmaps get,patch; pin: pods list; pods/log get; \
                        pods/portforward get,create."
)]
pub struct PinArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: String,
    /// Id of the base backup, or as much of it as is unique
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print the ConfigMap's configuration, or have the API server check it, and change nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client", value_name = "WHERE")]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub state: StateArgs,
}
