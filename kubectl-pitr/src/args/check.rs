use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::StateArgs;
use super::client::duration;

/// Everything that archiving and restoring depend on, looked at once
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr check mysql -n shop\n  kubectl pitr check mysql -n shop --pre --secret pitr-s3\n\nIt looks at what the sidecars say of server and archive, at the objects in \
                  the cluster, and at what you may do. It lets a sidecar write, read, list and delete one small object in the archive, \
                  and archive what there is now, unless --read-only is given. Exit 3 when something is not well.\n\nNeeds: statefulsets \
                  get,list; pods list; pods/log get; pods/portforward get,create. --pre: statefulsets get; pods list; configmaps get; secrets get, if \
                  they are to be looked for: by their names, never what is in them."
)]
pub struct CheckArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Before an injection: whether the workload's server, volumes and owner are found, who else changes it, and what you may do
    #[arg(long, requires = "workload", conflicts_with_all = ["wait", "read_only"])]
    pub pre: bool,
    /// With --pre: the Secret that the injection will name for the store, whether it is there
    #[arg(long, requires = "pre", value_name = "NAME")]
    pub secret: Option<String>,
    /// With --pre: the Secret of the account for base backups, whether it is there
    #[arg(long, requires = "pre", value_name = "NAME")]
    pub mysql_secret: Option<String>,
    /// Look again for so long while something reaches the mark of --failure-threshold
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub wait: Option<Duration>,
    /// From which mark on the exit code is 3
    #[arg(long, value_enum, default_value = "error", value_name = "MARK")]
    pub failure_threshold: Threshold,
    /// Do not let the sidecar write to the archive: no trial of the store, no cycle out of turn
    #[arg(long)]
    pub read_only: bool,
    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Threshold {
    Warning,
    Error,
}

/// What is needed to find out what went wrong, in one file without secrets
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr support-bundle mysql -n shop\n\nNo Secret is read. Passwords, keys and tokens in environments and \
                  settings, names and passwords in addresses, and quoted values in messages are taken out; of environment variables of other programs only the \
                  names are left. Logs of other containers than ours, which may hold statements, come only with --server-logs, without \
                  their quoted values and numbers of statements. Look through it all the same before you send it.\n\nNeeds: what \"check\" needs; configmaps get; jobs, persistentvolumeclaims list. What you may not read is left \
                  out, and it is said."
)]
pub struct BundleArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// The file to write [default: pitr-WORKLOAD-YYYYMMDD-HHMMSS.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// The logs of the pods' other containers too: the server's own
    #[arg(long)]
    pub server_logs: bool,
    /// Leave everything as it is: for your own eyes, not to be sent
    #[arg(long)]
    pub no_redact: bool,
    #[command(flatten)]
    pub state: StateArgs,
}
