//! A store in whose answers something happens.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{ListedObject, ObjectClass, ObjectInfo, Store, StoreError};

/// What happens between a store and its user; nothing, where a method is left as it is.
#[async_trait]
pub trait Listener: Debug + Send + Sync {
    /// Gives what the reader sees of the listing of `prefix`; may do anything else meanwhile.
    ///
    /// # Errors
    /// What the reader is to get instead.
    async fn listed(&self, _prefix: &str, listed: Vec<ListedObject>) -> Result<Vec<ListedObject>, StoreError> {
        Ok(listed)
    }

    /// Somebody is about to store an object.
    ///
    /// # Errors
    /// What the writer is to get instead.
    async fn storing(&self, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Somebody is about to delete objects.
    ///
    /// # Errors
    /// What they are to get instead.
    async fn deleting(&self, _keys: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Somebody is about to read an object.
    ///
    /// # Errors
    /// What the reader is to get instead.
    async fn asked(&self, _key: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store whose calls, HEAD apart, pass through a [`Listener`]; all that is done is done by the inner store.
#[derive(Debug)]
pub struct Overheard<S, L> {
    inner: Arc<S>,
    /// What happens in between.
    pub listener: L,
}

impl<S: Store, L: Listener> Overheard<S, L> {
    /// The store, with somebody in between.
    pub fn new(inner: &Arc<S>, listener: L) -> Self {
        Self { inner: Arc::clone(inner), listener }
    }
}

#[async_trait]
impl<S: Store, L: Listener> Store for Overheard<S, L> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        self.listener.storing(key).await?;
        self.inner.put(key, bytes, class).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.listener.asked(key).await?;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.listener.asked(key).await?;
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let listed = self.inner.list(prefix).await?;
        self.listener.listed(prefix, listed).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.listener.deleting(keys).await?;
        self.inner.delete(keys).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
