use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::DryRun;
use super::client::{duration, key_value};

/// Add the archiving sidecar to a StatefulSet
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr inject mysql -n shop --secret pitr-s3 -o patch \\\n    --archive s3://backups/shop/mysql --image REGISTRY/pitr-sidecar:0.1.0\n  kubectl pitr inject -f mysql.yaml -n shop --secret pitr-s3 \\\n    --archive s3://backups/shop/mysql --image REGISTRY/pitr-sidecar:0.1.0 \\\n    | kubectl apply -f -\n  kubectl pitr inject mysql -n shop --secret pitr-s3 -o helm-values=bitnami-mysql \\\n    --archive s3://backups/shop/mysql --image REGISTRY/pitr-sidecar:0.1.0\n\n-o yaml (default), patch, kustomize, helm-values=bitnami-mysql; json is the report, with the objects in it\n\nNeeds: nothing for files; with a WORKLOAD statefulsets get, configmaps get, \
pods list and, unless --run-as-user says who owns the data, pods/exec get,create; with --live also statefulsets patch, configmaps \
create,patch, pods get,list and pods/log get; with --live --dry-run=client none of these."
)]
pub struct InjectArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD", required_unless_present = "filename", conflicts_with = "filename")]
    pub workload: Option<String>,
    /// Manifests: a file, a directory, or - for stdin
    #[arg(short = 'f', long, value_name = "FILE|DIR|-")]
    pub filename: Option<PathBuf>,
    /// Archive to write to: s3://bucket/prefix. It is named, not read
    #[arg(long, value_name = "URL")]
    pub archive: Option<String>,
    /// Region of the store
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Endpoint of a store that is not AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Secret with the store's credentials (keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    /// Secret whose key "my.cnf" is a client option file with a MySQL account
    #[arg(long, value_name = "NAME")]
    pub mysql_secret: Option<String>,
    /// How long every instant stays restorable
    #[arg(long, default_value = "14d", value_name = "DURATION")]
    pub retention: String,
    /// Any other key of the sidecar's configuration, repeatable: schedule.tail_interval=5s
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// native: a sidecar that Kubernetes >= 1.29 starts first and stops last; plain: an ordinary container; auto asks the cluster, and with -f,
    /// where there is none to ask, means native: on an older Kubernetes mysqld would then never start
    #[arg(long, value_enum, default_value = "auto")]
    pub mode: InjectMode,
    /// The server's container [default: the only one that mounts the data]
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Volume that holds the binlogs
    #[arg(long, value_name = "NAME[:SUBPATH]", requires = "binlog_dir")]
    pub binlog_volume: Option<String>,
    /// Directory of the binlogs in the server's container
    #[arg(long, value_name = "DIR")]
    pub binlog_dir: Option<String>,
    /// User and group that own the binlogs
    #[arg(long, value_name = "UID[:GID]")]
    pub run_as_user: Option<String>,
    /// Image of pitr-sidecar, where every node can pull it [default: the one that runs there; --live needs one]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Change the StatefulSet in the cluster (restarts its pods) instead of printing it
    #[arg(long, conflicts_with = "filename")]
    pub live: bool,
    /// How --live restarts the pods [default: partition above one replica]
    #[arg(long, value_enum, requires = "live")]
    pub rollout: Option<Rollout>,
    /// Change an object although Git or Helm owns it
    #[arg(long, requires = "live")]
    pub allow_drift: bool,
    /// Take over fields that another manager owns
    #[arg(long, requires = "live")]
    pub force_conflicts: bool,
    /// Print what --live applies, or have the API server check it, and change nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client", requires = "live", value_name = "WHERE")]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

/// Take the archiving sidecar out of a StatefulSet
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr uninject -f mysql.yaml\n  kubectl pitr uninject mysql -n shop --live\n\nNeeds: \
nothing for files; with a WORKLOAD statefulsets get; with --live also statefulsets patch, configmaps get,delete, pods get,list; --delete-wedged-pods: pods delete."
)]
pub struct UninjectArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD", required_unless_present = "filename", conflicts_with = "filename")]
    pub workload: Option<String>,
    /// Manifests: a file, a directory, or - for stdin
    #[arg(short = 'f', long, value_name = "FILE|DIR|-")]
    pub filename: Option<PathBuf>,
    /// Change the StatefulSet in the cluster (restarts its pods) instead of printing it
    #[arg(long, conflicts_with = "filename")]
    pub live: bool,
    /// Delete a pod whose sidecar cannot start: its StatefulSet waits for it and replaces it by nothing
    #[arg(long, requires = "live")]
    pub delete_wedged_pods: bool,
    /// Leave the ConfigMap
    #[arg(long)]
    pub keep_config: bool,
    /// Print what --live applies, or have the API server check it, and change nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client", requires = "live", value_name = "WHERE")]
    pub dry_run: DryRun,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

/// For commands that restart or delete something.
#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// The workload's name, to confirm without a terminal
    #[arg(long, value_name = "NAME", requires = "live", conflicts_with = "filename")]
    pub confirm: Option<String>,
    /// Stop waiting after this time
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION", requires = "live", conflicts_with = "filename")]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InjectMode {
    Auto,
    Native,
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rollout {
    Partition,
    Rolling,
}

/// What `inject` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InjectOutput {
    Yaml,
    Patch,
    Kustomize,
    /// The report as a document, with our own entries of the objects in it
    Json,
}
