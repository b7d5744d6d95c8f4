//! Redundant objects: tail segments that the catalog covers, pages that were merged.
//!
//! They go at once, except where readers see directories late (`Store::redundant_for`) or the store fails: then they wait
//! in memory, and what a crash forgets is found again by the next sweep.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{Archive, ArchiveError, locked};
use crate::store::StoreError;

/// More are forgotten, and found again by the next sweep.
const DISCARDS_MAX: usize = 10_000;

/// A redundant object and when it may go.
#[derive(Debug)]
pub(super) struct Discard {
    key: String,
    pub(super) due: Instant,
}

impl Archive {
    /// Deletes redundant objects, now or when readers have had time to notice. What the store does not take now waits for
    /// the next call: that redundant objects are still there is no reason to do anything again.
    pub(super) async fn discard(&self, keys: Vec<String>) -> Result<(), ArchiveError> {
        if keys.is_empty() {
            return Ok(());
        }
        let due = Instant::now() + self.store.redundant_for();
        {
            let mut discards = locked(&self.discards);
            let room = DISCARDS_MAX.saturating_sub(discards.len());
            discards.extend(keys.into_iter().take(room).map(|key| Discard { key, due }));
        }
        match self.settle().await {
            Err(ArchiveError::Store(error)) if error.is_retryable() => {
                tracing::warn!(%error, "redundant objects stay for now");
                Ok(())
            }
            other => other,
        }
    }

    /// Deletes the redundant objects whose time has come. To be called now and then by whoever writes.
    ///
    /// # Errors
    /// What the store answers. The objects stay on the list, unless deleting is denied: then the next sweep finds them.
    pub async fn settle(&self) -> Result<(), ArchiveError> {
        let now = Instant::now();
        let due: Vec<String> = locked(&self.discards)
            .iter()
            .filter(|discard| discard.due <= now)
            .map(|discard| discard.key.clone())
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let deleted = self.store.delete(&due).await;
        if matches!(deleted, Ok(()) | Err(StoreError::Denied { .. })) {
            let done: HashSet<&String> = due.iter().collect();
            locked(&self.discards).retain(|discard| !done.contains(&discard.key));
        }
        Ok(deleted?)
    }

    /// Whether an object is waiting to be deleted.
    pub(super) fn is_discarded(&self, key: &str) -> bool {
        locked(&self.discards).iter().any(|discard| discard.key == key)
    }

    /// Whether objects of this age may be deleted at once.
    pub(super) fn is_settled(&self, modified: jiff::Timestamp) -> bool {
        let age = self.now().duration_since(modified);
        jiff::SignedDuration::try_from(self.store.redundant_for()).is_ok_and(|delay| age >= delay)
    }

    /// Deleting is a right that an archiver may not have: its objects then stay, which costs space and nothing else.
    pub(crate) fn tolerate_denied(result: Result<(), ArchiveError>) -> Result<(), ArchiveError> {
        match result {
            Err(ArchiveError::Store(StoreError::Denied { operation, key, reason })) => {
                tracing::warn!(%operation, key, reason, "redundant objects cannot be deleted");
                Ok(())
            }
            other => other,
        }
    }
}
