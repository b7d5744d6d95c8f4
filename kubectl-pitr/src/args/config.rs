use std::time::Duration;

use clap::{Args, Subcommand};

use super::DryRun;
use super::client::{duration, key_value};

/// The sidecar's configuration: every key and where its value comes from; change some
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr config view mysql -n shop\n  kubectl pitr config set mysql -n shop schedule.tail_interval=5s"
)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    View(ConfigViewArgs),
    Set(ConfigSetArgs),
}

/// Every key, its value, and whether that is the default
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr config view mysql -n shop\n\nIt is read from the ConfigMap: what a sidecar's environment (PITR_...) lays over it is \
                        not seen.\n\nNeeds: statefulsets get; configmaps get."
)]
pub struct ConfigViewArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: String,
    /// Only keys that the ConfigMap names
    #[arg(long)]
    pub set_only: bool,
    /// Leave the header line out
    #[arg(long)]
    pub no_headers: bool,
}

/// Change keys of the ConfigMap; running sidecars take most of them without a restart
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr config set mysql -n shop schedule.tail_interval=5s pipeline.bandwidth_limit=20MiB\n  kubectl pitr config set mysql -n shop s3.endpoint=https://s3.example.com --restart\n\nNothing \
                        restarts without --restart: for keys that only a start takes it is said. Another archive is another history: that is for \"inject\". Pins are for \"backups pin\".\n\nNeeds: statefulsets get; configmaps get,patch; --restart: statefulsets patch; pods get,list; pods/log get."
)]
pub struct ConfigSetArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: String,
    /// Keys of docs/configuration.md
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = key_value)]
    pub settings: Vec<(String, String)>,
    /// Restart the pods then, the last one first: the others follow when that one archives
    #[arg(long)]
    pub restart: bool,
    /// The workload's name, to confirm --restart without a terminal
    #[arg(long, value_name = "NAME", requires = "restart")]
    pub confirm: Option<String>,
    /// Stop waiting for a restarted pod after this time
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION", requires = "restart")]
    pub timeout: Duration,
    /// Print or check the ConfigMap and change nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: DryRun,
}
