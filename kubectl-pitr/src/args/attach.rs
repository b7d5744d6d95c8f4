use std::time::Duration;

use clap::Args;

use super::DryRun;
use super::client::{duration, key_value};

/// Archive a server elsewhere, or one with encrypted binlogs, over a connection
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr attach orders -n shop --host orders.example.com \\\n    --archive s3://backups/shop/orders --secret pitr-s3 \\\n    --mysql-user pitr --mysql-secret orders-db \\\n    --image REGISTRY/pitr-sidecar:0.1.0 | kubectl apply -f -\n\nMakes a StatefulSet of the sidecar alone, which reads the \
server's binlogs as a replica does. Nothing on the server's side restarts or changes. Afterwards \"orders\" is a WORKLOAD for every other command.\n\nNeeds: nothing to \
print; with --live statefulsets get,create,patch and configmaps get,create,patch."
)]
pub struct AttachArgs {
    /// Name of the new StatefulSet, by which other commands know the server
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The server: one that stays the same one, not a Service over several
    #[arg(long, value_name = "HOST")]
    pub host: String,
    /// Its port
    #[arg(long, value_name = "PORT", default_value_t = 3306)]
    pub port: u16,
    /// Account with REPLICATION SLAVE and REPLICATION CLIENT
    #[arg(long, value_name = "NAME")]
    pub mysql_user: String,
    /// Secret with that account's password (key password); and for base backups a client option file (key my.cnf)
    #[arg(long, value_name = "NAME")]
    pub mysql_secret: String,
    /// Archive to write to: s3://bucket/prefix. It is named, not read
    #[arg(long, value_name = "URL")]
    pub archive: String,
    /// Region of the store
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Endpoint of a store that is not AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Secret with the store's credentials; without it the pod's ServiceAccount is the identity
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    /// ServiceAccount of the pod
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// How long every instant stays restorable
    #[arg(long, default_value = "14d", value_name = "DURATION")]
    pub retention: String,
    /// Any other key of the sidecar's configuration, repeatable: source.mysql.tls=verify-identity
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Volume where binlogs wait until they are archived: room for source.spool_limit and one more binlog
    #[arg(long, default_value = "5Gi", value_name = "SIZE")]
    pub spool_size: String,
    /// Its StorageClass [default: the cluster's]
    #[arg(long, value_name = "NAME")]
    pub spool_class: Option<String>,
    /// Image of pitr-sidecar, where every node can pull it [--live needs one]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Make the objects in the cluster, or change them, instead of printing them
    #[arg(long)]
    pub live: bool,
    /// Print what --live applies, or have the API server check it, and change nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client", requires = "live", value_name = "WHERE")]
    pub dry_run: DryRun,
}

/// Delete what attach made; the archive stays
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr detach orders -n shop --confirm orders\n\nWhat was not archived yet is archived by the next attach, as long as the server has \
                  it.\n\nNeeds: statefulsets get,delete; configmaps delete; pods get."
)]
pub struct DetachArgs {
    /// Name of the StatefulSet that attach made
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print what would be deleted, or have the API server check it, and delete nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client", value_name = "WHERE")]
    pub dry_run: DryRun,
    /// The name again, to confirm without a terminal
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Stop waiting for its pod to end after this time
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
}
