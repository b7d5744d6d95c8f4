//! Recovery windows: intervals of time in which every instant can be restored.

use pitr_binlog::GtidSet;

/// A closed interval of time within one branch, every instant of which can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The branch.
    pub branch: String,
    /// The first instant.
    pub from_us: i64,
    /// The last instant.
    pub to_us: i64,
    /// The base backups that serve instants of this window, in the order in which they begin to.
    pub backups: Vec<String>,
    /// What is executed at the first instant.
    pub from_set: GtidSet,
    /// What is executed at the last instant.
    pub to_set: GtidSet,
    /// How many transactions lie between the two.
    pub transactions: u64,
    /// How many raw bytes lie between the two.
    pub bytes: u64,
    /// Why it ends.
    pub ends: WindowEnd,
}

/// Why a window ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowEnd {
    /// Nothing later is archived.
    LastArchived,
    /// Transactions are missing: the gap's id.
    Gap(String),
    /// Commit times step back further than a plan accepts in silence.
    TimesStepBack,
}

/// What a base backup is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReach {
    /// The base backup.
    pub backup: String,
    /// The branch on which it serves, the live one before others; none when no archived log continues it.
    pub branch: Option<String>,
    /// The first instant that it serves.
    pub from_us: i64,
    /// The last instant that it serves; equal to the first when it serves only itself.
    pub to_us: i64,
    /// Whether archived transactions follow it, or it stands exactly at the end of the log.
    pub connected: bool,
}
