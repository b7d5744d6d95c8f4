//! Two sweeps at once, with a LIST that takes its time: neither takes away the copy that the other counts on.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::testing::{History, Listener, Overheard, TimedStore};
use pitr_archive::{Archive, Codec, ListedObject, Place, SegmentRecord, Store, StoreError, Workspace};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn open(store: Arc<dyn Store>, time: &Arc<TimedStore>) -> Archive {
    Archive::open(store, time.clock())
}

/// Right after the first listing of the catalog somebody catalogues one copy, and another sweep, which saw only that page, takes
/// the other copy away.
#[derive(Debug)]
struct Meanwhile {
    store: Arc<TimedStore>,
    other: Archive,
    copies: Mutex<Option<(SegmentRecord, SegmentRecord)>>,
}

#[async_trait]
impl Listener for Meanwhile {
    async fn listed(&self, prefix: &str, listed: Vec<ListedObject>) -> Result<Vec<ListedObject>, StoreError> {
        if prefix.starts_with("catalog/") {
            let copies = self.copies.lock().unwrap().take();
            if let Some((orphan, catalogued)) = copies {
                self.other.write_page(&[orphan]).await.unwrap();
                self.store.delete(&[catalogued.key.to_string()]).await?;
            }
        }
        Ok(listed)
    }
}

#[tokio::test]
async fn a_sweep_looks_at_the_catalog_again_before_it_deletes() {
    let time = Arc::new(TimedStore::new("2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap()));
    let archive = Archive::claim(Arc::clone(&time) as Arc<dyn Store>, time.clock(), "shop/mysql").await.unwrap();
    let history = History::new(7, 1, 6);
    let mut copies = Vec::new();
    for _ in 0..2 {
        let draft = history.draft(Place::Binlogs, 0, history.length());
        copies.push(archive.write_segment(draft, Codec::default()).await.unwrap());
    }
    let (catalogued, orphan) = (copies.pop().unwrap(), copies.pop().unwrap());
    archive.write_page(std::slice::from_ref(&catalogued)).await.unwrap();
    time.pass(SignedDuration::from_hours(48));
    let other = open(Arc::clone(&time) as Arc<dyn Store>, &time);
    let copies = Mutex::new(Some((orphan, catalogued)));
    let meanwhile = Overheard::new(&time, Meanwhile { store: Arc::clone(&time), other, copies });
    let swept = open(Arc::new(meanwhile), &time).sweep(DAY, &Workspace::ENOUGH).await.unwrap();
    assert_eq!(swept.duplicates, 0, "{swept:?}");
    let reader = open(Arc::clone(&time) as Arc<dyn Store>, &time);
    let (inventory, _) = reader.inventory().await.unwrap();
    let range = &inventory.binlogs[0].ranges[0];
    let raw = reader.read_range(&inventory.binlogs[0].range_ref(range), &range.objects).await.unwrap();
    assert_eq!(raw, history.raw);
}
