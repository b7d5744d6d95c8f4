//! The archive on a memory store: what damage does, and what things cost.

mod costs;
mod covers;
mod damage;
mod looks;
mod merges;
mod sealed;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Archive, Clock};
use crate::layout::Place;
use crate::segment::{Codec, SegmentRecord};
use crate::store::{MemoryStore, ObjectClass, Store};
use crate::testing::History;

fn clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// A new archive in memory.
async fn claimed() -> (Arc<MemoryStore>, Archive) {
    let memory = Arc::new(MemoryStore::new());
    let archive = Archive::claim(Arc::clone(&memory) as Arc<dyn Store>, clock(), "shop/mysql").await.unwrap();
    (memory, archive)
}

/// Another reader of the same store, which remembers nothing.
fn reader(memory: &Arc<MemoryStore>) -> Archive {
    Archive::open(Arc::clone(memory) as Arc<dyn Store>, clock())
}

async fn store(archive: &Archive, history: &History, place: Place, range: (u64, u64)) -> SegmentRecord {
    archive.write_segment(history.draft(place, range.0, range.1), Codec::default()).await.unwrap()
}

/// A whole binlog as one catalogued segment.
async fn catalogued(archive: &Archive, history: &History) -> SegmentRecord {
    let record = store(archive, history, Place::Binlogs, (0, history.length())).await;
    archive.write_page(std::slice::from_ref(&record)).await.unwrap();
    record
}

async fn overwrite(memory: &MemoryStore, key: &str, bytes: impl Into<Bytes>) {
    memory.put(key, bytes.into(), ObjectClass::Control).await.unwrap();
}

async fn the_only_key(memory: &MemoryStore, prefix: &str) -> String {
    let listed = memory.list(prefix).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0].key.clone()
}
