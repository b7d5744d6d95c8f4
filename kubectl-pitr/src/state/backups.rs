//! Base backups as documents tell them.

use jiff::Timestamp;
use serde::Deserialize;

use super::times::lenient;

/// `GET /v1/backups`: newest first.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backups {
    pub schema_version: Option<u64>,
    pub items: Vec<Backup>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backup {
    /// Whose it is, in a list of several workloads.
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub id: String,
    pub method: String,
    pub flavour: String,
    pub server_version: String,
    pub source: String,
    #[serde(deserialize_with = "lenient")]
    pub consistent_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub finished_at: Option<Timestamp>,
    pub raw_bytes: Option<u64>,
    pub stored_bytes: Option<u64>,
    pub gtid_set: String,
    pub usable: bool,
    #[serde(deserialize_with = "lenient")]
    pub reaches_from: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub reaches_to: Option<Timestamp>,
    pub reason: Option<String>,
    /// Public keys that it is encrypted to; empty: it is in clear, or its sidecar is too old to say.
    pub recipients: Vec<String>,
}
