//! The heartbeat: the state of one sidecar, as a log line and as `GET /v1/status`. Null means unknown, never zero.

use serde::{Deserialize, Serialize};

use super::Instant;

/// At most so many gaps are listed.
pub const GAPS_MAX: usize = 8;

/// The state of one sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// When it was written.
    pub ts: Instant,
    /// `INFO`
    pub level: String,
    /// `heartbeat`
    pub event: String,
    /// See [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The sidecar's version.
    pub version: String,
    /// What the archive belongs to.
    pub workload: String,
    /// The pod.
    pub pod: Option<String>,
    /// `ok`, `degraded` or `starting`.
    pub state: String,
    /// Findings, as codes.
    pub codes: Vec<String>,
    /// The server beside it.
    pub server: ServerState,
    /// The archive.
    pub archive: ArchiveState,
    /// The newest window of the live branch.
    pub window: Option<WindowSummary>,
    /// How many windows there are.
    pub windows_total: u64,
    /// The bound that lag is expected to stay below.
    pub expected_lag_seconds: f64,
    /// The newest gaps, at most [`GAPS_MAX`].
    pub gaps: Vec<GapSummary>,
    /// How many there are.
    pub gaps_total: u64,
    /// The newest binlog that is archived whole.
    pub closed: Option<ClosedBinlog>,
    /// The binlog that the server writes.
    pub active: Option<ActiveBinlog>,
    /// Age of the oldest transaction that is not archived, 0 when there is none.
    pub lag_seconds: Option<f64>,
    /// Binlogs not archived whole, the active one aside.
    pub unarchived_binlogs: Option<u64>,
    /// Bytes not archived.
    pub unarchived_bytes: Option<u64>,
    /// Until the server purges something that is not archived.
    pub seconds_until_purge: Option<f64>,
    /// Room on the volume with the binlogs.
    pub volume_free_bytes: Option<u64>,
    /// Base backups.
    pub base_backups: BackupSummary,
    /// How the store behaves.
    pub store: StoreState,
    /// The last proofs.
    pub verify: VerifyState,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
}

/// The server beside a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerState {
    /// `mysql` or `mariadb`.
    pub flavour: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its identity in the archive.
    pub id: Option<String>,
    /// `primary` or `replica`.
    pub role: Option<String>,
    /// `on`, `off` or a permissive mode.
    pub gtid_mode: Option<String>,
    /// After how long it purges a binlog.
    pub binlog_expire_seconds: Option<u64>,
}

/// The archive of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveState {
    /// Its address.
    pub url: String,
    /// Its format.
    pub format: u32,
    /// The stream that is being written.
    pub stream: Option<String>,
    /// The branch that it is on.
    pub branch: Option<String>,
    /// When the catalog was last read.
    pub catalog_at: Option<Instant>,
    /// Objects that were found and cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<UnreadableObjects>,
}

/// Objects that were found and cannot be read: what they hold is in no window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableObjects {
    /// How many.
    pub objects: u64,
    /// The key of one; the log has all.
    pub first: String,
}

/// A window in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowSummary {
    /// The first instant.
    pub from: Instant,
    /// The commit time of the last archived transaction.
    pub to: Instant,
    /// Until when the server was seen to have committed nothing newer.
    pub proven_to: Option<Instant>,
    /// The grain of commit times.
    pub resolution_seconds: f64,
    /// The last archived transaction.
    pub last_gtid: Option<String>,
}

/// A gap in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapSummary {
    /// `gap-...`
    pub id: String,
    /// `open` or `closed`.
    pub state: String,
    /// The last instant that can be reached before it.
    pub from: Option<Instant>,
    /// The first instant that can be reached again after it.
    pub to: Option<Instant>,
    /// How many transactions.
    pub transactions: u64,
    /// Why, as one word.
    pub reason: String,
}

impl From<&pitr_recovery::Gap> for GapSummary {
    fn from(gap: &pitr_recovery::Gap) -> Self {
        let super::GapItem { id, state, from, to, transactions, reason, .. } = gap.into();
        Self { id, state, from, to, transactions, reason }
    }
}

/// A binlog that is archived whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedBinlog {
    /// Its name.
    pub binlog: String,
    /// When the server closed it.
    pub closed_at: Option<Instant>,
    /// When it was in the catalog.
    pub archived_at: Option<Instant>,
}

/// The binlog that the server writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveBinlog {
    /// Its name.
    pub binlog: String,
    /// Its length.
    pub position_bytes: u64,
    /// How much of it is archived.
    pub shipped_bytes: u64,
}

/// Base backups in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// How many can be used.
    pub usable: u64,
    /// The newest of them.
    pub newest_id: Option<String>,
    /// When it was consistent.
    pub newest_at: Option<Instant>,
}

/// How the store behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreState {
    /// Failed requests within the last hour.
    #[serde(rename = "errors1h")]
    pub errors_1h: u64,
    /// The code of the last failure, while it lasts.
    pub last_error_code: Option<String>,
    /// When the next attempt is made.
    pub retry_in_seconds: Option<f64>,
    /// When this process last stored a part of a binlog; not there before it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Instant>,
}

/// The last proofs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyState {
    /// When checksums were last verified.
    pub checksums_at: Option<Instant>,
    /// Objects that it found damaged or missing; not there where it found none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_objects: Option<u64>,
    /// When a restore was last tried and verified.
    pub drill_at: Option<Instant>,
    /// How long it took.
    pub drill_seconds: Option<f64>,
    /// When a restore was last tried and failed, if none was verified since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_failed_at: Option<Instant>,
    /// The code of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_failed_code: Option<String>,
}
