//! A timeline and the list of binlogs as documents tell them.

use jiff::Timestamp;
use serde::Deserialize;

use super::times::lenient;
use super::{Backup, Gap, WindowRow};

/// `GET /v1/timeline`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeline {
    pub branches: Vec<BranchRow>,
    pub streams: Vec<StreamRow>,
    pub windows: Vec<WindowRow>,
    pub gaps: Vec<Gap>,
    pub backups: Vec<Backup>,
    pub problems: Vec<String>,
    /// The branch that was searched.
    pub branch: Option<String>,
    pub transactions: Vec<TransactionRow>,
    /// How many transactions stand before the point that was asked for.
    pub before: usize,
    /// Transactions that nobody can describe.
    pub undescribed: u64,
    /// The search was not finished.
    pub next: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub searched_to: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BranchRow {
    pub id: String,
    pub live: bool,
    pub streams: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_at: Option<Timestamp>,
    pub forks_from: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub forks_at: Option<Timestamp>,
    pub own_transactions: Option<u64>,
    pub lost: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamRow {
    pub id: String,
    pub source: String,
    #[serde(deserialize_with = "lenient")]
    pub first_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub last_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransactionRow {
    #[serde(deserialize_with = "lenient")]
    pub committed_at: Option<Timestamp>,
    pub gtid: Option<String>,
    pub source: Option<String>,
    pub binlog: String,
    pub start: u64,
    pub end: u64,
    pub what: Option<String>,
}

/// `GET /v1/binlogs`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Binlogs {
    pub items: Vec<BinlogRow>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BinlogRow {
    /// Whose it is, in a list of several workloads.
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub binlog: String,
    pub source: String,
    pub stream: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub first_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub last_at: Option<Timestamp>,
    pub transactions: u64,
    pub archived_to: u64,
    pub stored_bytes: u64,
    pub state: String,
    pub damage: Option<String>,
    pub segments: Vec<SegmentRow>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SegmentRow {
    pub key: String,
    pub start: u64,
    pub end: u64,
    pub stored_bytes: u64,
    pub tail: bool,
}
