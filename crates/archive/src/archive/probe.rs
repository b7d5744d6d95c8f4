//! A probe of the store: a small object is written, read, listed and deleted, so that a right that is missing is known at noon and not
//! at night. Nobody reads the object but the one who wrote it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::SignedDuration;

use super::Archive;
use crate::digest::ShortHash;
use crate::layout::ObjectKey;
use crate::store::{ObjectClass, Operation, StoreError};

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The object that was written.
    pub key: String,
    /// The calls, in the order in which they were made. What needs the object is left out when it could not be written.
    pub steps: Vec<ProbeStep>,
    /// How far the store's clock is ahead of ours.
    pub clock_ahead: Option<SignedDuration>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStep {
    /// What was asked.
    pub operation: Operation,
    /// How long the answer took.
    pub took: Duration,
    /// Why it is not well.
    pub failure: Option<StoreError>,
}

impl Archive {
    /// Writes, reads, lists and deletes one small object. `who` tells several probes of one archive apart: one that dies half way leaves
    /// its object to the next probe of the same name.
    pub async fn probe(&self, who: &str) -> Probe {
        let content = Bytes::from(format!("{{\"probe\":{}}}\n", serde_json::Value::from(who)));
        let key = ObjectKey::Probe { hash: ShortHash::of(&content) }.to_string();
        let mut probe = Probe { key: key.clone(), steps: Vec::new(), clock_ahead: None };
        let put = async { self.store.put(&key, content.clone(), ObjectClass::Control).await };
        if !probe.step(Operation::Put, put).await {
            return probe;
        }
        probe.step(Operation::Get, self.read_back(&key, &content)).await;
        let mut age = None;
        let head = async {
            let info = self.store.head(&key).await?;
            age = Some(info.modified.duration_since(self.now()));
            Ok(())
        };
        probe.step(Operation::Head, head).await;
        probe.clock_ahead = age;
        probe.step(Operation::List, self.is_listed(&key)).await;
        probe.step(Operation::Delete, self.is_gone(&key)).await;
        probe
    }

    async fn read_back(&self, key: &str, content: &Bytes) -> Result<(), StoreError> {
        if self.store.get(key).await? == *content {
            return Ok(());
        }
        let reason = "it does not hold what was written a moment ago".to_owned();
        Err(StoreError::Corrupt { operation: Operation::Get, key: key.to_owned(), reason })
    }

    async fn is_listed(&self, key: &str) -> Result<(), StoreError> {
        if self.store.list(key).await?.iter().any(|object| object.key == key) {
            return Ok(());
        }
        let reason = "what was written a moment ago is not listed".to_owned();
        Err(StoreError::Fatal { operation: Operation::List, key: key.to_owned(), reason })
    }

    async fn is_gone(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(&[key.to_owned()]).await?;
        match self.store.head(key).await {
            Err(error) if error.is_not_found() => Ok(()),
            Ok(_) => {
                let reason = "it is there although it was deleted".to_owned();
                Err(StoreError::Fatal { operation: Operation::Delete, key: key.to_owned(), reason })
            }
            Err(error) => Err(error),
        }
    }
}

impl Probe {
    /// Makes one call and notes how it went.
    async fn step(&mut self, operation: Operation, call: impl Future<Output = Result<(), StoreError>>) -> bool {
        let begun = Instant::now();
        let failure = call.await.err();
        let went = failure.is_none();
        self.steps.push(ProbeStep { operation, took: begun.elapsed(), failure });
        went
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::{MemoryStore, Store};

    #[tokio::test]
    async fn a_probe_makes_all_calls_and_leaves_nothing() {
        let store = Arc::new(MemoryStore::new());
        let archive = Archive::claim(store.clone(), Arc::new(Timestamp::now), "shop/mysql").await.unwrap();
        let before = store.list("").await.unwrap();
        let probe = archive.probe("mysql-0").await;
        let asked: Vec<_> = probe.steps.iter().map(|step| step.operation).collect();
        assert_eq!(asked, [Operation::Put, Operation::Get, Operation::Head, Operation::List, Operation::Delete]);
        assert!(probe.steps.iter().all(|step| step.failure.is_none()), "{probe:?}");
        assert!(probe.clock_ahead.unwrap().unsigned_abs() < Duration::from_secs(60), "{probe:?}");
        assert_eq!(store.list("").await.unwrap(), before);
        assert_ne!(archive.probe("mysql-1").await.key, probe.key, "two pods do not delete each other's object");
        // A leftover of one that died is no part of the archive.
        store.put(&probe.key, Bytes::from_static(b"{}"), ObjectClass::Control).await.unwrap();
        let (inventory, report) = archive.inventory().await.unwrap();
        assert!(inventory.binlogs.is_empty() && report.unreadable.is_empty(), "{report:?}");
    }
}
