//! A store inside this process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::error::{Call, Operation, StoreError};
use super::{ListedObject, ObjectClass, ObjectInfo, Store};

/// Objects in memory, for tests and for trying things out. Clones of the `Arc` share it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, (Bytes, Timestamp)>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // A panic elsewhere cannot leave the map half changed: each change is one insert or remove.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, Timestamp)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: Operation, key: &str) -> Result<(Bytes, Timestamp), StoreError> {
        self.objects().get(key).cloned().ok_or_else(|| Call::new(operation, key).not_found())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, key: &str, bytes: Bytes, _class: ObjectClass) -> Result<(), StoreError> {
        self.objects().insert(key.to_owned(), (bytes, Timestamp::now()));
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        Ok(self.find(Operation::Get, key)?.0)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (bytes, _) = self.find(Operation::Get, key)?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let (start, end) = (at(range.start), at(range.end));
        Ok(bytes.slice(start..end.max(start)))
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let (bytes, modified) = self.find(Operation::Head, key)?;
        Ok(ObjectInfo { length: bytes.len() as u64, modified })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        let objects = self.objects();
        let listed = objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(listed
            .map(|(key, (bytes, modified))| ListedObject {
                key: key.clone(),
                length: bytes.len() as u64,
                modified: *modified,
            })
            .collect())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let mut objects = self.objects();
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}
