//! Counts what is asked of a store and how it ends.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::{Operation, StoreError};
use super::{ListedObject, ObjectClass, ObjectInfo, Store};

/// How many calls of one operation ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallCount {
    /// Calls.
    pub calls: u64,
    /// Bytes sent (put) or received (get).
    pub bytes: u64,
}

/// Counts by operation and outcome (`ok` or [`StoreError::outcome`]). Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct StoreCounts {
    counts: Arc<Mutex<BTreeMap<(Operation, &'static str), CallCount>>>,
    retries: Arc<[AtomicU64; 5]>,
}

impl StoreCounts {
    /// The counts so far.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<(Operation, &'static str), CallCount> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All calls of one operation, however they ended.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.snapshot().iter().filter(|((counted, _), _)| *counted == operation).map(|(_, count)| count.calls).sum()
    }

    /// How many attempts at one operation were repetitions, where [`super::Retrying`] was told to count them here.
    #[must_use]
    pub fn retries(&self, operation: Operation) -> u64 {
        self.retries[operation.index()].load(Ordering::Relaxed)
    }

    pub(super) fn note_retry(&self, operation: Operation) {
        self.retries[operation.index()].fetch_add(1, Ordering::Relaxed);
    }

    fn note<T>(&self, operation: Operation, result: &Result<T, StoreError>, bytes: impl Fn(&T) -> usize) {
        let (outcome, bytes) = match result {
            Ok(value) => ("ok", bytes(value) as u64),
            Err(error) => (error.outcome(), 0),
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((operation, outcome)).or_default();
        count.calls += 1;
        count.bytes += bytes;
    }
}

/// Counts the calls to `inner`. Inside [`super::Retrying`] it counts attempts, outside operations.
#[derive(Debug)]
pub struct Counting<S> {
    inner: S,
    counts: StoreCounts,
}

impl<S: Store> Counting<S> {
    /// Wraps `inner`, with counts from zero.
    pub fn new(inner: S) -> Self {
        Self { inner, counts: StoreCounts::default() }
    }

    /// A handle on the counts.
    #[must_use]
    pub fn counts(&self) -> StoreCounts {
        self.counts.clone()
    }
}

#[async_trait]
impl<S: Store> Store for Counting<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let length = bytes.len();
        let result = self.inner.put(key, bytes, class).await;
        self.counts.note(Operation::Put, &result, |()| length);
        result
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let result = self.inner.get(key).await;
        self.counts.note(Operation::Get, &result, Bytes::len);
        result
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let result = self.inner.get_range(key, range).await;
        self.counts.note(Operation::Get, &result, Bytes::len);
        result
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let result = self.inner.head(key).await;
        self.counts.note(Operation::Head, &result, |_| 0);
        result
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let result = self.inner.list(prefix).await;
        self.counts.note(Operation::List, &result, |_| 0);
        result
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let result = self.inner.delete(keys).await;
        self.counts.note(Operation::Delete, &result, |()| 0);
        result
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn redundant_for(&self) -> Duration {
        self.inner.redundant_for()
    }
}
