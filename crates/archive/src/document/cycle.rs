//! What one cycle of archiving came to: `POST /v1/archive`.

use serde::{Deserialize, Serialize};

use super::{ActiveBinlog, ClosedBinlog};

/// How far a server's binlogs are archived after a cycle that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CycleDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `ArchiveCycle`
    pub kind: String,
    /// See [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The archive's URL.
    pub archive: String,
    /// Whether everything that was whole when it was asked is archived: the cycle ended, and it left nothing behind.
    pub complete: bool,
    /// How long it took, in milliseconds.
    pub took_milliseconds: u64,
    /// The newest closed binlog that is archived.
    pub closed: Option<ClosedBinlog>,
    /// The binlog being written, and how far it is archived; none where that is left until it is closed.
    pub active: Option<ActiveBinlog>,
    /// Closed binlogs that are not archived.
    pub unarchived_binlogs: Option<u64>,
    /// Bytes that are not archived.
    pub unarchived_bytes: Option<u64>,
    /// What is wrong, as codes.
    pub codes: Vec<String>,
}
