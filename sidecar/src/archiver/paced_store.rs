//! Holds what is sent within `pipeline.bandwidth_limit`. It stands before the retries: waiting for one's turn is no failure of the
//! store, and must not use up the time that a call has. So the first attempt waits; one that fails is charged afterwards
//! ([`WatchedStore`](super::watched_store::WatchedStore)), and what comes next waits for it.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pitr_archive::{ListedObject, ObjectClass, ObjectInfo, Store, StoreError};

use super::limits::Limits;
use super::rate::Urgency;

/// A store that is sent no more than the limits allow.
#[derive(Debug)]
pub(crate) struct PacedStore<S> {
    inner: S,
    limits: Limits,
}

impl<S: Store> PacedStore<S> {
    pub(crate) const fn new(inner: S, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

#[async_trait]
impl<S: Store> Store for PacedStore<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let urgency = if class == ObjectClass::Content { Urgency::Later } else { Urgency::First };
        self.limits.sends.spend(bytes.len() as u64, urgency).await;
        self.inner.put(key, bytes, class).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn redundant_for(&self) -> Duration {
        self.inner.redundant_for()
    }
}
