//! Base backups as a document: `GET /v1/backups`.

use pitr_recovery::{BackupReach, BaseBackup, Timeline};
use serde::{Deserialize, Serialize};

use super::{API_VERSION, Instant, SCHEMA_VERSION};

/// All base backups of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupsDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `BackupList`
    pub kind: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Newest first.
    pub items: Vec<BackupItem>,
}

/// One base backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupItem {
    /// `bb-...`
    pub id: String,
    /// How it was made.
    pub method: String,
    /// `mysql` or `mariadb`.
    pub flavour: String,
    /// The server's version.
    pub server_version: String,
    /// The server.
    pub source: String,
    /// When it was consistent.
    pub consistent_at: Instant,
    /// When it was complete.
    pub finished_at: Instant,
    /// Its size when restored.
    pub raw_bytes: u64,
    /// Its size in the archive.
    pub stored_bytes: u64,
    /// All that had been executed.
    pub gtid_set: String,
    /// Whether archived transactions follow it.
    pub usable: bool,
    /// The first instant that it serves.
    pub reaches_from: Option<Instant>,
    /// The last instant that it serves.
    pub reaches_to: Option<Instant>,
    /// Why it is not usable.
    pub reason: Option<String>,
}

impl From<&Timeline> for BackupsDocument {
    fn from(timeline: &Timeline) -> Self {
        let mut backups: Vec<&BaseBackup> = timeline.inventory().backups.iter().collect();
        backups.sort_by(|a, b| (b.snapshot_us, &b.id).cmp(&(a.snapshot_us, &a.id)));
        let reach = |id: &str| timeline.backups().iter().find(|reach| reach.backup == id);
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "BackupList".to_owned(),
            schema_version: SCHEMA_VERSION,
            items: backups.into_iter().map(|backup| item(backup, reach(&backup.id))).collect(),
        }
    }
}

fn item(backup: &BaseBackup, reach: Option<&BackupReach>) -> BackupItem {
    let usable = reach.is_some_and(|reach| reach.connected);
    BackupItem {
        id: backup.id.clone(),
        method: backup.method.clone(),
        flavour: backup.flavour.to_string(),
        server_version: backup.server_version.clone(),
        source: backup.source.clone(),
        consistent_at: Instant(backup.snapshot_us),
        finished_at: Instant(backup.finished_us),
        raw_bytes: backup.raw_bytes,
        stored_bytes: backup.stored_bytes,
        gtid_set: backup.executed.to_string(),
        usable,
        reaches_from: reach.map(|reach| Instant(reach.from_us)),
        reaches_to: reach.map(|reach| Instant(reach.to_us)),
        reason: (!usable).then(|| "no archived binlog continues it".to_owned()),
    }
}
