use pitr_binlog::Uuid;

use crate::Secret;

/// Who the source says it is, and whom it lets in.
#[derive(Debug, Clone)]
pub struct SourceIdentity {
    /// Any UUID but the replica's own.
    pub server_uuid: Uuid,
    /// Any number but the replica's own `server_id`, and not 0.
    pub server_id: u32,
    /// The version text of the server whose log is replayed, e.g. "9.7.4".
    pub server_version: String,
    /// The user name with which the replica must log in.
    pub user: String,
    /// The one-time password with which the replica must log in; not empty.
    pub password: Secret,
}
