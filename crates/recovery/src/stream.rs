//! Streams: unbroken runs of one server's binlogs.

use std::sync::Arc;

use pitr_binlog::GtidSet;

use crate::inventory::ArchivedBinlog;

/// An unbroken run of binlogs of one source: each file's previous set equals what came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// `st-...`, made from its first binlog.
    pub id: String,
    /// The server.
    pub source: String,
    /// Its binlogs, in order. The first may be used from a hole in it on, the last up to one.
    pub binlogs: Arc<[Arc<ArchivedBinlog>]>,
    /// What was executed before its first transaction.
    pub before: GtidSet,
    /// What is executed after its last one.
    pub after: GtidSet,
    /// The commit time of its first transaction.
    pub first_us: Option<i64>,
    /// The commit time of its last transaction.
    pub last_us: Option<i64>,
    /// How many transactions it has.
    pub transactions: u64,
    /// How many raw bytes it has.
    pub bytes: u64,
}
