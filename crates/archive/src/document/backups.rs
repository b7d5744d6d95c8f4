//! Base backups as a document: `GET /v1/backups`.

use pitr_recovery::{BaseBackup, Timeline};
use serde::{Deserialize, Serialize};

use super::page::{Page, cut};
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
    /// There are more: `cursor` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
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
    /// Public keys that it is encrypted to; left out where it is in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

impl From<&Timeline> for BackupsDocument {
    fn from(timeline: &Timeline) -> Self {
        Self::of(newest_first(timeline).into_iter().map(|backup| item(backup, timeline)).collect(), None)
    }
}

impl BackupsDocument {
    /// One page of them. `None`: its cursor is none of this list's.
    #[must_use]
    pub fn page(timeline: &Timeline, page: &Page) -> Option<Self> {
        let after = match &page.cursor {
            Some(text) => Some(place(text)?),
            None => None,
        };
        let mut rest = newest_first(timeline);
        rest.retain(|backup| after.is_none_or(|after| (backup.snapshot_us, backup.id.as_str()) < after));
        let (items, more) = cut(rest.iter().map(|backup| item(backup, timeline)), page.limit);
        let last = more.then(|| rest.get(items.len().checked_sub(1)?)).flatten();
        Some(Self::of(items, last.map(|backup| format!("{}/{}", backup.snapshot_us, backup.id))))
    }

    fn of(items: Vec<BackupItem>, next: Option<String>) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "BackupList".to_owned(),
            schema_version: SCHEMA_VERSION,
            items,
            next,
        }
    }
}

fn newest_first(timeline: &Timeline) -> Vec<&BaseBackup> {
    let mut backups: Vec<&BaseBackup> = timeline.inventory().backups.iter().collect();
    backups.sort_by(|a, b| (b.snapshot_us, &b.id).cmp(&(a.snapshot_us, &a.id)));
    backups
}

/// Where a cursor stands in the list, whether or not its base backup is still there.
fn place(cursor: &str) -> Option<(i64, &str)> {
    let (snapshot_us, id) = cursor.split_once('/')?;
    Some((snapshot_us.parse().ok()?, id))
}

fn item(backup: &BaseBackup, timeline: &Timeline) -> BackupItem {
    let reach = timeline.backups().iter().find(|reach| reach.backup == backup.id);
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
        recipients: backup.recipients.clone(),
    }
}
