use clap::{Args, ValueEnum};

use super::{JobArgs, StateArgs};

/// Take a base backup now
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr backup mysql -n shop --mysql-secret pitr-mysql\n  kubectl pitr backup mysql -n shop --schedule '0 2 * * *'\n\nThe Secret holds a client \
option file under the key \"my.cnf\":\n  [client]\n  user=pitr\n  password=...\n\nNeeds: statefulsets get,list; pods \
list; pods/log get; jobs create,get; configmaps get. --schedule: cronjobs create,get,patch instead of jobs."
)]
pub struct BackupArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// How to copy: clone for a server with the CLONE plugin, dump for others; auto decides and says why
    #[arg(long, value_enum, default_value = "auto")]
    pub method: BackupMethod,
    /// The pod or Service to copy from [default: a replica that keeps up, else the primary, where the sidecars know the roles (source.mysql); else the last pod that is ready]
    #[arg(long, value_name = "POD|SERVICE")]
    pub from: Option<String>,
    /// Secret whose key "my.cnf" is a client option file with user and password [default: the one named at inject]
    #[arg(long, value_name = "NAME")]
    pub mysql_secret: Option<String>,
    /// Port of the server
    #[arg(long, value_name = "PORT")]
    pub mysql_port: Option<u16>,
    /// Room for the copy before it is uploaded, such as 60Gi [default: 1.4 times the data volume in use]
    #[arg(long, value_name = "SIZE")]
    pub scratch_size: Option<String>,
    /// StorageClass of that room; "emptydir" takes it from the node's disk
    #[arg(long, value_name = "CLASS")]
    pub scratch_class: Option<String>,
    /// Not now but again and again: five fields of cron, in UTC, such as "0 2 * * *"; makes a CronJob, or changes it
    #[arg(long, value_name = "CRON", conflicts_with_all = ["wait", "timeout"])]
    pub schedule: Option<String>,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackupMethod {
    Auto,
    Clone,
    Dump,
}

impl BackupMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Clone => "clone",
            Self::Dump => "dump",
        }
    }
}
