//! Tells the board how each call to the store ended, so that trouble is visible from the first failure and not when retries end.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use pitr_archive::layout::{CATALOG_PREFIX, TAIL_PREFIX};
use pitr_archive::{ArchiveUrl, ListedObject, ObjectClass, ObjectInfo, Operation, Store, StoreError};

use tokio::time::Instant;

use super::limits::Limits;
use crate::archive_failure::of_store;
use crate::clock::Clock;
use crate::status::{self, Board};

/// A store whose calls are noted on the board.
#[derive(Debug)]
pub(crate) struct WatchedStore<S> {
    inner: S,
    url: ArchiveUrl,
    board: Board,
    clock: Clock,
    limits: Limits,
}

impl<S: Store> WatchedStore<S> {
    pub(crate) fn new(inner: S, url: ArchiveUrl, (board, limits): (Board, Limits), clock: Clock) -> Self {
        Self { inner, url, board, clock, limits }
    }

    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        status::tick();
        match &result {
            // That an object is not there is an answer.
            Ok(_) | Err(StoreError::NotFound { .. }) => self.board.store_answered(),
            Err(StoreError::Cancelled { .. }) => {}
            // An archiver may lack the right to delete: redundant objects then stay, which costs space and nothing else.
            // Content that is locked says nothing about what is redundant.
            Err(StoreError::Denied { operation: Operation::Delete, key, .. }) => {
                if is_redundant(key) {
                    self.board.note(|facts| facts.store.refused_delete = Some(Instant::now()));
                }
            }
            Err(error) => {
                if error.is_retryable() {
                    self.limits.uploads.congested(Instant::now());
                }
                tracing::warn!(event = "store-error", outcome = error.outcome(), "{error}");
                self.board.store_failed(of_store(error, &self.url.to_string()), self.clock.now_us());
            }
        }
        result
    }
}

/// Whether a key is of a kind that an archiver deletes because something else holds the same.
fn is_redundant(key: &str) -> bool {
    key.starts_with(TAIL_PREFIX) || key.starts_with(CATALOG_PREFIX)
}

#[async_trait]
impl<S: Store> Store for WatchedStore<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let stored = self.note(self.inner.put(key, bytes, class).await);
        if stored.is_ok() {
            self.limits.uploads.succeeded();
        }
        stored
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.note(self.inner.get(key).await)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.note(self.inner.get_range(key, range).await)
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.note(self.inner.head(key).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.note(self.inner.list(prefix).await)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let deleted = self.note(self.inner.delete(keys).await);
        if deleted.is_ok() && keys.iter().any(|key| is_redundant(key)) {
            self.board.note(|facts| facts.store.refused_delete = None);
        }
        deleted
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn redundant_for(&self) -> std::time::Duration {
        self.inner.redundant_for()
    }
}
