//! The manifest: what a base backup is, and the commit point of making one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitr_binlog::{BinlogName, Flavour, GtidSet};
use pitr_recovery::BaseBackup;
use serde::{Deserialize, Serialize};

use futures::{StreamExt as _, stream};

use crate::archive::{Archive, ArchiveError, parse_json, unreadable};
use crate::digest::{Digest, ShortHash, parse_digest};
use crate::layout::{BACKUPS_PREFIX, ObjectKey};
use crate::segment::FORMAT;
use crate::store::StoreError;

/// Manifests that are read at once.
const READS_AT_ONCE: usize = 8;

/// What the maker of a base backup knows about it.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupFacts {
    /// `clone`, `dump`, ...
    pub method: String,
    /// The family of the server.
    pub flavour: Flavour,
    /// The server's version text.
    pub server_version: String,
    /// The server that it was taken from.
    pub source: String,
    /// All that had been executed, purged transactions included.
    pub executed: GtidSet,
    /// The same as a position in that server's log.
    pub position: Option<(BinlogName, u64)>,
    /// When it was consistent.
    pub snapshot_at: Timestamp,
    /// Settings that a restoring server must match.
    pub settings: BTreeMap<String, String>,
}

/// A manifest, and the list of files that it names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) backup: BaseBackup,
    pub(super) files: ShortHash,
    pub(super) files_sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct ManifestWire {
    format: u32,
    id: String,
    method: String,
    flavour: String,
    server_version: String,
    source: String,
    gtid_executed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binlog_position: Option<PositionWire>,
    snapshot_at: Timestamp,
    started_at: Timestamp,
    finished_at: Timestamp,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    raw_bytes: u64,
    stored_bytes: u64,
    files: FilesWire,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<EncryptionWire>,
}

#[derive(Serialize, Deserialize)]
struct EncryptionWire {
    recipients: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct PositionWire {
    file: String,
    pos: u64,
}

#[derive(Serialize, Deserialize)]
struct FilesWire {
    name: String,
    sha256: String,
}

impl Manifest {
    pub(super) fn to_json(&self) -> Result<Vec<u8>, ArchiveError> {
        let backup = &self.backup;
        let key = ObjectKey::Manifest { backup: backup.id.clone() }.to_string();
        let at = |us: i64| Timestamp::from_microsecond(us).map_err(|error| unreadable(&key, &error));
        let files = ObjectKey::Files { backup: backup.id.clone(), hash: self.files }.to_string();
        let wire = ManifestWire {
            format: FORMAT,
            id: backup.id.clone(),
            method: backup.method.clone(),
            flavour: backup.flavour.to_string(),
            server_version: backup.server_version.clone(),
            source: backup.source.clone(),
            gtid_executed: backup.executed.to_string(),
            binlog_position: backup
                .position
                .as_ref()
                .map(|(file, pos)| PositionWire { file: file.to_string(), pos: *pos }),
            snapshot_at: at(backup.snapshot_us)?,
            started_at: at(backup.started_us)?,
            finished_at: at(backup.finished_us)?,
            settings: backup.settings.clone(),
            raw_bytes: backup.raw_bytes,
            stored_bytes: backup.stored_bytes,
            files: FilesWire {
                name: files.rsplit('/').next().unwrap_or_default().to_owned(),
                sha256: hex::encode(self.files_sha256),
            },
            encryption: (!backup.recipients.is_empty())
                .then(|| EncryptionWire { recipients: backup.recipients.clone() }),
        };
        serde_json::to_vec_pretty(&wire).map_err(|error| unreadable(&key, &error))
    }

    pub(super) fn from_json(id: &str, json: &[u8]) -> Result<Self, ArchiveError> {
        let key = ObjectKey::Manifest { backup: id.to_owned() }.to_string();
        let wire: ManifestWire = parse_json(&key, json)?;
        let invalid = |field: &str| unreadable(&key, &format!("\"{field}\" is not valid"));
        if wire.id != id {
            return Err(invalid("id"));
        }
        let Ok(ObjectKey::Files { hash, .. }) = format!("{BACKUPS_PREFIX}{id}/{}", wire.files.name).parse() else {
            return Err(invalid("files.name"));
        };
        let position = match wire.binlog_position {
            Some(at) => Some((BinlogName::parse(&at.file).map_err(|_| invalid("binlog_position"))?, at.pos)),
            None => None,
        };
        Ok(Self {
            backup: BaseBackup {
                id: wire.id,
                method: wire.method,
                flavour: wire.flavour.parse().map_err(|_| invalid("flavour"))?,
                server_version: wire.server_version,
                source: wire.source,
                executed: wire.gtid_executed.parse().map_err(|_| invalid("gtid_executed"))?,
                position,
                snapshot_us: wire.snapshot_at.as_microsecond(),
                started_us: wire.started_at.as_microsecond(),
                finished_us: wire.finished_at.as_microsecond(),
                raw_bytes: wire.raw_bytes,
                stored_bytes: wire.stored_bytes,
                settings: wire.settings,
                recipients: wire.encryption.map(|encryption| encryption.recipients).unwrap_or_default(),
            },
            files: hash,
            files_sha256: parse_digest(&wire.files.sha256).ok_or_else(|| invalid("files.sha256"))?,
        })
    }
}

impl Archive {
    /// All complete base backups, the oldest first, and manifests that cannot be read.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn list_backup_manifests(&self) -> Result<(Vec<BaseBackup>, Vec<(String, String)>), ArchiveError> {
        let (manifests, problems) = self.read_manifests().await?;
        Ok((manifests.into_iter().map(|manifest| manifest.backup).collect(), problems))
    }

    pub(crate) async fn read_manifests(&self) -> Result<(Vec<Manifest>, Vec<(String, String)>), ArchiveError> {
        let mut problems = Vec::new();
        let mut ids = Vec::new();
        for object in self.store().list(BACKUPS_PREFIX).await? {
            match object.key.parse() {
                Ok(ObjectKey::Manifest { backup }) => ids.push(backup),
                Ok(_) => {}
                Err(_) => problems.push((object.key, "not a key of an archive".to_owned())),
            }
        }
        let read = stream::iter(ids).map(|id| self.read_named_manifest(id)).buffered(READS_AT_ONCE);
        let read: Vec<_> = read.collect().await;
        let (mut manifests, mut missing) = (Vec::new(), Vec::new());
        for (manifest, id) in read {
            match manifest {
                Ok(manifest) => manifests.push(manifest),
                Err(ArchiveError::NoSuchBackup { id }) => missing.push(ObjectKey::Manifest { backup: id }.to_string()),
                Err(
                    error @ (ArchiveError::Unreadable { .. }
                    | ArchiveError::NewerFormat { .. }
                    | ArchiveError::Store(StoreError::Withheld { .. })),
                ) => {
                    problems.push((ObjectKey::Manifest { backup: id }.to_string(), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        // Retention may have been there between listing and reading. A store that goes on naming what it does not give is another matter.
        if !missing.is_empty() {
            let listed = self.store().list(BACKUPS_PREFIX).await?.into_iter().map(|object| object.key);
            let named = listed.filter(|key| missing.contains(key));
            problems.extend(named.map(|key| (key, "the store lists it and does not give it".to_owned())));
        }
        manifests
            .sort_by(|a: &Manifest, b| (a.backup.snapshot_us, &a.backup.id).cmp(&(b.backup.snapshot_us, &b.backup.id)));
        Ok((manifests, problems))
    }

    async fn read_named_manifest(&self, id: String) -> (Result<Manifest, ArchiveError>, String) {
        (self.read_manifest(&id).await, id)
    }

    pub(super) async fn read_manifest(&self, id: &str) -> Result<Manifest, ArchiveError> {
        let key = ObjectKey::Manifest { backup: id.to_owned() }.to_string();
        match self.store().get(&key).await {
            Ok(json) => Manifest::from_json(id, &json),
            Err(StoreError::NotFound { .. }) => Err(ArchiveError::NoSuchBackup { id: id.to_owned() }),
            Err(error) => Err(error.into()),
        }
    }
}
