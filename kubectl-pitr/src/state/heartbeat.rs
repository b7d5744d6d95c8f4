//! A heartbeat as the plugin reads it: unknown fields are ignored, missing ones are unknown.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::times::lenient;

/// The state that one sidecar told.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    #[serde(deserialize_with = "lenient")]
    pub ts: Option<Timestamp>,
    pub schema_version: Option<u64>,
    pub version: Option<String>,
    pub workload: Option<String>,
    pub state: Option<String>,
    pub codes: Vec<String>,
    pub server: Server,
    pub archive: Archive,
    pub window: Option<Window>,
    pub windows_total: Option<u64>,
    pub expected_lag_seconds: Option<f64>,
    pub gaps: Vec<super::Gap>,
    pub gaps_total: Option<u64>,
    pub closed: Option<Closed>,
    pub active: Option<Active>,
    pub lag_seconds: Option<f64>,
    pub unarchived_binlogs: Option<u64>,
    pub unarchived_bytes: Option<u64>,
    pub seconds_until_purge: Option<f64>,
    pub volume_free_bytes: Option<u64>,
    pub base_backups: BaseBackups,
    pub store: Store,
    pub verify: Verify,
    pub rss_bytes: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    pub flavour: Option<String>,
    pub version: Option<String>,
    pub id: Option<String>,
    pub role: Option<String>,
    pub gtid_mode: Option<String>,
    pub binlog_expire_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnreadableObjects {
    pub objects: u64,
    pub first: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Archive {
    pub url: Option<String>,
    pub stream: Option<String>,
    pub branch: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub catalog_at: Option<Timestamp>,
    pub unreadable: Option<UnreadableObjects>,
}

/// The newest window of the live branch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Window {
    #[serde(deserialize_with = "lenient")]
    pub from: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub to: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub proven_to: Option<Timestamp>,
    pub resolution_seconds: Option<f64>,
    pub last_gtid: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Closed {
    pub binlog: String,
    #[serde(deserialize_with = "lenient")]
    pub closed_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub archived_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Active {
    pub binlog: String,
    pub position_bytes: u64,
    pub shipped_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BaseBackups {
    pub usable: Option<u64>,
    pub newest_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub newest_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Store {
    #[serde(rename = "errors1h")]
    pub errors_1h: Option<u64>,
    pub last_error_code: Option<String>,
    pub retry_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verify {
    #[serde(deserialize_with = "lenient")]
    pub checksums_at: Option<Timestamp>,
    pub damaged_objects: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub drill_at: Option<Timestamp>,
    pub drill_seconds: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub drill_failed_at: Option<Timestamp>,
    pub drill_failed_code: Option<String>,
}

impl Heartbeat {
    /// What a sidecar told, as far as it is understood.
    pub fn read(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }

    /// Whether anything has reached the archive from here.
    pub fn archives(&self) -> bool {
        self.closed.as_ref().is_some_and(|c| c.archived_at.is_some() || !c.binlog.is_empty())
            || self.active.as_ref().is_some_and(|a| a.shipped_bytes > 0)
    }
}

impl Window {
    /// The later of what is archived and what the server was seen to have committed nothing after.
    pub fn end(&self) -> Option<Timestamp> {
        self.to.max(self.proven_to)
    }
}
