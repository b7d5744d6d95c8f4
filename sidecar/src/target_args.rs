//! TARGET flags: to where a restore goes. Exactly one target, plus modifiers.

use clap::{ArgGroup, Args};

/// The recovery target as it was typed.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("target").args(["to", "before_gtid", "through_gtid", "to_position"]))]
pub(crate) struct TargetArgs {
    /// Stop before the first transaction committed later than TIME (RFC 3339 with offset, or "latest")
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Stop just before this transaction
    #[arg(long, value_name = "GTID")]
    pub(crate) before_gtid: Option<String>,
    /// Stop just after this transaction
    #[arg(long, value_name = "GTID")]
    pub(crate) through_gtid: Option<String>,
    /// Stop at the transaction boundary at or before this position
    #[arg(long, value_name = "FILE:POS")]
    pub(crate) to_position: Option<String>,
    /// Whose clock TIME is of: "original", where a transaction came into being, or "immediate", the server that wrote the log
    #[arg(long, value_name = "CLOCK", requires = "to", value_parser = ["original", "immediate"])]
    pub(crate) clock: Option<String>,
    /// The server that FILE belongs to, by its UUID or the beginning of it: needed where the archive knows several
    #[arg(long, value_name = "ID", requires = "to_position")]
    pub(crate) source: Option<String>,
    /// Leave this transaction out and record it as executed but empty (repeatable)
    #[arg(long, value_name = "GTID")]
    pub(crate) skip_gtid: Vec<String>,
    /// Start from this base backup instead of the best one
    #[arg(long, value_name = "ID")]
    pub(crate) from_backup: Option<String>,
    /// Follow this branch of the history
    #[arg(long, value_name = "ID")]
    pub(crate) branch: Option<String>,
    /// Where TIME cannot be reached, take the latest instant before it that can, never a later one
    #[arg(long, requires = "to")]
    pub(crate) nearest: bool,
    /// Replay across this gap, without the transactions that are missing in it, if nothing else leads to the target
    #[arg(long, value_name = "GAP-ID", conflicts_with = "to_position")]
    pub(crate) allow_gap: Option<String>,
    /// Accept that transactions committed before the target stand after the stop
    #[arg(long)]
    pub(crate) accept_early_stop: bool,
}
