//! A store that fails or dies at a chosen call.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{Call, ListedObject, ObjectClass, ObjectInfo, Operation, Store, StoreError};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, without effect; later ones work.
    Fails,
    /// It has its effect, but the reply is lost; later ones work.
    LosesReply,
    /// The process is dead from there on: the call has no effect, and no later one has.
    Dies,
    /// The process is dead after it: the call has its effect, and no later one has.
    DiesAfter,
}

/// Wraps a store and lets the `at`-th call (from 0) go wrong.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    at: u64,
    fault: Fault,
    calls: AtomicU64,
}

/// How one call goes.
enum Course {
    Works,
    Fails,
    LosesReply,
}

impl<S: Store> Faulty<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, at: u64, fault: Fault) -> Self {
        Self { inner, at, fault, calls: AtomicU64::new(0) }
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn course(&self) -> Course {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let is_dead = matches!(self.fault, Fault::Dies | Fault::DiesAfter);
        let has_effect = matches!(self.fault, Fault::LosesReply | Fault::DiesAfter);
        if number == self.at && has_effect {
            Course::LosesReply
        } else if number == self.at || number > self.at && is_dead {
            Course::Fails
        } else {
            Course::Works
        }
    }

    fn error(&self, call: Call<'_>) -> StoreError {
        match self.fault {
            Fault::Fails | Fault::LosesReply => call.transient("on purpose"),
            Fault::Dies | Fault::DiesAfter => call.cancelled(),
        }
    }

    async fn run<T>(&self, call: Call<'_>, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.course() {
            Course::Works => work.await,
            Course::Fails => Err(self.error(call)),
            Course::LosesReply => {
                work.await?;
                Err(self.error(call))
            }
        }
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        self.run(Call::new(Operation::Put, key), self.inner.put(key, bytes, class)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.run(Call::new(Operation::Get, key), self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Call::new(Operation::Get, key), self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Call::new(Operation::Head, key), self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.run(Call::new(Operation::List, prefix), self.inner.list(prefix)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let key = keys.first().map_or("", String::as_str);
        self.run(Call::new(Operation::Delete, key), self.inner.delete(keys)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
