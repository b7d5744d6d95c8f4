use std::time::Duration;

use clap::Args;

use super::client::duration;

/// What the sidecars, or a Job of ours, write in their logs, made readable
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr logs mysql -n shop --since 1h\n  kubectl pitr logs -n shop -f --job mysql-pitr-20261121-071403\n\n\
                  Needs: statefulsets get; pods list; pods/log get (the stock role \"view\")."
)]
pub struct LogsArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; may be left out when the namespace has one archived workload
    #[arg(value_name = "WORKLOAD", conflicts_with = "job")]
    pub workload: Option<String>,
    /// Go on with what is written from now on
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Only lines as young as this
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub since: Option<Duration>,
    /// Only so many of the newest lines of each pod [default: all of --since, else 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub tail: Option<i64>,
    /// A Job of ours instead of the sidecars
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Show heartbeats too
    #[arg(long)]
    pub heartbeats: bool,
    /// The lines as they are
    #[arg(long)]
    pub raw: bool,
}
