//! Tells the board how each call to the store ended, so that trouble is visible from the first failure and not when retries end.

use std::ops::Range;
use std::time::Duration;

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

/// A segment over the slowest line that counts as one, or a listing of millions of objects, takes so long at most. The store ends an
/// attempt by itself where nothing moves.
const ATTEMPT_MAX: Duration = Duration::from_secs(30 * 60);

impl<S: Store> WatchedStore<S> {
    pub(crate) fn new(inner: S, url: ArchiveUrl, (board, limits): (Board, Limits), clock: Clock) -> Self {
        Self { inner, url, board, clock, limits }
    }

    /// One attempt. In a directory nothing ends an attempt but the file system: there it must not be silent for long.
    async fn attempt<T>(&self, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        match self.url {
            ArchiveUrl::S3 { .. } => self.note(status::patiently(ATTEMPT_MAX, call).await),
            ArchiveUrl::File { .. } | ArchiveUrl::Memory => self.note(call.await),
        }
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
        let length = bytes.len() as u64;
        let stored = self.attempt(self.inner.put(key, bytes, class)).await;
        match &stored {
            Ok(()) => self.limits.uploads.succeeded(),
            // It is sent again; the first time alone was waited for.
            Err(error) if error.is_retryable() => self.limits.sends.charge(length),
            Err(_) => {}
        }
        stored
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.attempt(self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.attempt(self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.attempt(self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.attempt(self.inner.list(prefix)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let deleted = self.attempt(self.inner.delete(keys)).await;
        if deleted.is_ok() && keys.iter().any(|key| is_redundant(key)) {
            self.board.note(|facts| facts.store.refused_delete = None);
        }
        deleted
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn redundant_for(&self) -> Duration {
        self.inner.redundant_for()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use pitr_archive::testing::{Listener, Overheard};
    use pitr_archive::{MemoryStore, RetryPolicy, Retrying};

    use super::super::paced_store::PacedStore;
    use super::*;
    use crate::clock;

    /// Refuses so many times.
    #[derive(Debug)]
    struct Refusing(AtomicU32);

    #[async_trait]
    impl Listener for Refusing {
        async fn storing(&self, key: &str) -> Result<(), StoreError> {
            let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let (operation, key, reason) = (Operation::Put, key.to_owned(), "not now".to_owned());
            left.map_or(Ok(()), |_| Err(StoreError::Transient { operation, key, reason }))
        }
    }

    #[tokio::test]
    async fn what_is_sent_again_counts_for_the_bandwidth() {
        let text = "workload: test/mysql\narchive: file:///none\npipeline: {bandwidth_limit: 1MiB}\n";
        let config = crate::config::parse(text, &std::collections::BTreeMap::new()).unwrap();
        let after = async |refusals| {
            let limits = Limits::new(&config.pipeline);
            let store = Overheard::new(&Arc::new(MemoryStore::new()), Refusing(AtomicU32::new(refusals)));
            let noted = (Board::new(), limits.clone());
            let store = WatchedStore::new(store, "file:///none".parse().unwrap(), noted, clock::system());
            let quick = Duration::from_millis(1);
            let policy = RetryPolicy { first_pause: quick, longest_pause: quick, ..RetryPolicy::default() };
            let store = PacedStore::new(Retrying::new(store, policy), limits.clone());
            store.put("binlogs/x", Bytes::from_static(&[7; 64 << 10]), ObjectClass::Content).await.unwrap();
            limits.sends.owed()
        };
        // 64 KiB take a sixteenth of a second, sent once; 64 times, 4 s.
        assert!(after(0).await <= Duration::from_millis(63));
        assert!(after(63).await >= Duration::from_secs(2));
    }
}
