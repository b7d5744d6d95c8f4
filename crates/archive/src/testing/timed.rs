//! A store whose clock is set by hand: what it takes is as old as the test says.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::Clock;
use crate::store::{ListedObject, MemoryStore, ObjectClass, ObjectInfo, Store, StoreError};

/// A store with a clock of its own.
#[derive(Debug)]
pub struct TimedStore {
    inner: Arc<dyn Store>,
    times: Mutex<(Timestamp, BTreeMap<String, Timestamp>)>,
}

impl TimedStore {
    /// An empty store in memory at this time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::over(Arc::new(MemoryStore::new()), now)
    }

    /// Any empty store; what it says about times does not count.
    #[must_use]
    pub fn over(inner: Arc<dyn Store>, now: Timestamp) -> Self {
        Self { inner, times: Mutex::new((now, BTreeMap::new())) }
    }

    /// A memory store with the same content and time.
    pub async fn copy(&self) -> Self {
        let copy = Self::new(self.now());
        for object in self.list("").await.unwrap_or_default() {
            if let Ok(bytes) = self.get(&object.key).await {
                let _infallible = copy.inner.put(&object.key, bytes, ObjectClass::Control).await;
                copy.times.lock().unwrap_or_else(PoisonError::into_inner).1.insert(object.key, object.modified);
            }
        }
        copy
    }

    /// The store's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The same for whoever opens an archive on it.
    #[must_use]
    pub fn clock(self: &Arc<Self>) -> Clock {
        let store = Arc::clone(self);
        Arc::new(move || store.now())
    }

    /// Lets time pass.
    pub fn pass(&self, time: SignedDuration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.0 += time;
    }

    fn modified(&self, key: &str) -> Timestamp {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.1.get(key).copied().unwrap_or(times.0)
    }
}

#[async_trait]
impl Store for TimedStore {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        self.inner.put(key, bytes, class).await?;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let now = times.0;
        times.1.insert(key.to_owned(), now);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let info = self.inner.head(key).await?;
        Ok(ObjectInfo { modified: self.modified(key), ..info })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let mut listed = self.inner.list(prefix).await?;
        listed.iter_mut().for_each(|object| object.modified = self.modified(&object.key));
        Ok(listed)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
