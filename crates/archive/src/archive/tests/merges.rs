//! A merge of pages is sent soon after its listing, by whichever clock went further.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::{Archive, Store, catalogued, claimed};
use crate::catalog::MergeEffort;
use crate::layout::CATALOG_PREFIX;
use crate::testing::History;

#[tokio::test]
async fn a_merge_that_slept_starts_over() {
    let (memory, archive) = claimed().await;
    let histories: Vec<History> = (1..=5).map(|number| History::new(7, number, 3)).collect();
    for history in &histories {
        catalogued(&archive, history).await;
    }
    let source = &histories[0].id.source;
    let pages = memory.list(CATALOG_PREFIX).await.unwrap();
    // The host sleeps between any two looks at the clock: only the wall clock knows.
    let hours = AtomicI64::new(0);
    let wall = move || Timestamp::now() + SignedDuration::from_hours(hours.fetch_add(1, Ordering::SeqCst));
    let sleepy = Archive::open(Arc::clone(&memory) as Arc<dyn Store>, Arc::new(wall));
    assert_eq!(sleepy.merge_pages(source, MergeEffort::Idle).await.unwrap(), 0);
    assert_eq!(memory.list(CATALOG_PREFIX).await.unwrap(), pages);
    assert_eq!(archive.merge_pages(source, MergeEffort::Idle).await.unwrap(), 1);
}
