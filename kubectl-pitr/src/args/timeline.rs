use std::time::Duration;

use clap::{Args, ValueEnum};

use super::client::duration;
use super::{ArchiveArgs, ListArgs, StateArgs};

/// What happened, and when: find the moment before an accident
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr timeline mysql -n shop --grep 'DROP TABLE'\n  kubectl pitr timeline mysql -n shop --around 2026-11-21T07:14:03Z\n  kubectl pitr timeline mysql -n shop -o html > timeline.html\n\n\
                  Without --around, --grep, --ddl, --since and --until it shows the newest transactions. With --around a line says where a restore \
                  --to that time would stop.\n\nNeeds: statefulsets get,list; pods get,list; pods/log get; pods/portforward \
                  get,create. With --archive: nothing in the cluster."
)]
pub struct TimelineArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Transactions on either side of this time (RFC 3339 with offset, or latest) or before this GTID
    #[arg(long, value_name = "TIME|GTID", conflicts_with_all = ["grep", "ddl", "until"])]
    pub around: Option<String>,
    /// Transactions that say this, whatever the case: 'DROP TABLE', 'delete shop.orders', 'orders'
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Only statements that commit by themselves: CREATE, ALTER, DROP, TRUNCATE, GRANT (fast over long times)
    #[arg(long)]
    pub ddl: bool,
    /// How far back: a duration, or a time (RFC 3339 with offset) [default: 7d]
    #[arg(long, value_name = "DURATION|TIME")]
    pub since: Option<String>,
    /// Search no further than this time (RFC 3339 with offset)
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many transactions: on either side with --around (default 5), in all otherwise (default 20)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub transactions: Option<u64>,
    /// The branch to look at: without it the live one
    #[arg(long, value_name = "ID")]
    pub branch: Option<String>,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// The archived binlogs
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kubectl pitr binlogs mysql -n shop --from 2026-11-21T06:30:00Z\n\nNeeds: statefulsets get,list; pods \
                  get,list; pods/log get; pods/portforward get,create. With --archive: nothing in the cluster."
)]
pub struct BinlogsArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD", conflicts_with_all = ["all_namespaces", "selector", "field_selector"])]
    pub workload: Option<String>,
    /// With a transaction committed at this time (RFC 3339 with offset) or later
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// With a transaction committed at this time (RFC 3339 with offset) or earlier
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// With any of these transactions
    #[arg(long, value_name = "SET")]
    pub gtid: Option<String>,
    /// Of the server whose UUID begins so
    #[arg(long, value_name = "ID")]
    pub source: Option<String>,
    /// A row for each stored object instead of each binlog
    #[arg(long)]
    pub segments: bool,
    #[command(flatten)]
    pub list: ListArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// The shapes of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimelineFormat {
    Text,
    Wide,
    /// One file with a picture, for any browser
    Html,
    Json,
    Yaml,
}

/// How far back: `7d` before now, or a time of its own.
pub fn is_duration(text: &str) -> Option<Duration> {
    duration(text).ok()
}
