use clap::{ArgGroup, Args};

/// Where a restore stops: exactly one of the first four.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recovery target")]
#[group(skip)]
#[command(group = ArgGroup::new("target").required(true).multiple(false)
    .args(["to", "before_gtid", "through_gtid", "to_position"]))]
pub struct TargetArgs {
    /// RFC 3339 with an offset, at most microseconds, or "latest": stop before the first transaction committed later
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Stop before this transaction, and before whatever follows it in the log
    #[arg(long, value_name = "GTID")]
    pub before_gtid: Option<String>,
    /// Stop after this transaction
    #[arg(long, value_name = "GTID")]
    pub through_gtid: Option<String>,
    /// Stop at the transaction boundary at or before this position
    #[arg(long, value_name = "FILE:POS")]
    pub to_position: Option<String>,
    /// Whose clock the time is of: "original", where a transaction came into being (the default), or "immediate", the server that
    /// wrote the log: what a replica of several sources showed then
    #[arg(long, value_name = "CLOCK", requires = "to", value_parser = ["original", "immediate"])]
    pub clock: Option<String>,
    /// The server that --to-position means, by its UUID or the beginning of it: needed where the archive knows several
    #[arg(long, value_name = "ID", requires = "to_position")]
    pub source: Option<String>,
    /// Start from this base backup
    #[arg(long, value_name = "ID")]
    pub from_backup: Option<String>,
    /// The branch to restore (default: the live one)
    #[arg(long, value_name = "ID")]
    pub branch: Option<String>,
    /// Leave this transaction out: its GTID is recorded, empty; repeatable
    #[arg(long, value_name = "GTID")]
    pub skip_gtid: Vec<String>,
    /// Where the time cannot be reached, take the latest instant before it that can, never a later one
    #[arg(long, requires = "to")]
    pub nearest: bool,
    /// Replay across this gap, without the transactions missing in it, if nothing else leads to the target
    #[arg(long, value_name = "GAP-ID", conflicts_with = "to_position")]
    pub allow_gap: Option<String>,
    /// Stop although transactions at or before the target follow in the log (a future-dated one hides them)
    #[arg(long)]
    pub accept_early_stop: bool,
}
