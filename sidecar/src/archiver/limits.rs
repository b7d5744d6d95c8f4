//! How much is done at once, and how fast: what the configuration allows, and what the store bears.

use std::sync::Arc;

use pitr_archive::memory::{PROGRAM_BYTES, piece_bytes, table_bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memory::Memory;
use super::pipeline::WorkError;
use super::rate::Rate;
use super::uploads::Uploads;
use crate::config;

/// More than that many cores are left to the server.
const CORES_MAX: usize = 4;

/// The limits. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Room for pieces.
    pub(crate) memory: Memory,
    /// Segments of the backlog that are sent at once.
    pub(crate) uploads: Uploads,
    /// Bytes a second to the store.
    pub(crate) sends: Arc<Rate>,
    /// Bytes a second from the disk.
    pub(crate) reads: Arc<Rate>,
    /// Segments of one binlog in work at once: those that are being sent take less memory than those that are made.
    pub(crate) segments_at_once: usize,
    workers: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new(config: &config::Pipeline) -> Self {
        let tables = table_bytes(config.codec, config.segment_bytes);
        let fits = |workers: &usize| {
            let each = piece_bytes(config.segment_bytes) + tables;
            tables == 0 || PROGRAM_BYTES + *workers as u64 * each <= config.memory_limit
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let configured = config.workers.and_then(|workers| usize::try_from(workers).ok());
        let workers = configured.or((1..=cores.clamp(1, CORES_MAX)).rev().find(fits)).unwrap_or(1);
        let memory = Memory::new(config.memory_limit.saturating_sub(workers as u64 * tables), config.segment_bytes);
        let pieces = memory.pieces(config.segment_bytes);
        let workers = configured.unwrap_or(workers.min(pieces));
        Self {
            memory,
            uploads: Uploads::new(2 * pieces),
            sends: Arc::new(Rate::new(config.bandwidth_limit)),
            reads: Arc::new(Rate::new(config.read_limit)),
            segments_at_once: 2 * pieces,
            workers: Arc::new(Semaphore::new(workers)),
        }
    }

    /// Waits for one of the workers: whoever hashes and compresses holds one.
    pub(crate) async fn worker(&self) -> Result<OwnedSemaphorePermit, WorkError> {
        Arc::clone(&self.workers).acquire_owned().await.map_err(|_| WorkError::Stopped)
    }
}
