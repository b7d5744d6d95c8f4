use std::sync::Arc;

use bytes::Bytes;
use pitr_archive::{
    Archive, Closes, Codec, HashKey, Identity, IndexedTransaction, MemoryStore, Place, Sealer, SegmentDraft,
    SegmentOrigin, SegmentRecord,
};
use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSource, TransactionFlags, Uuid};
use pitr_recovery::{BinlogId, Inventory};

use super::{Ledger, Progress};

fn id() -> BinlogId {
    BinlogId { source: "3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(), number: 1, head: [1; 8] }
}

fn archive() -> Archive {
    Archive::open(Arc::new(MemoryStore::new()), Arc::new(jiff::Timestamp::now))
}

/// Bytes `start..end`, in which one transaction ends.
async fn record(archive: &Archive, place: Place, start: u64, end: u64) -> SegmentRecord {
    stored(archive, place, (start, end), None).await
}

async fn stored(archive: &Archive, place: Place, (start, end): (u64, u64), closes: Option<Closes>) -> SegmentRecord {
    let source = GtidSource::MySql { uuid: Uuid([7; 16]), tag: None };
    let draft = SegmentDraft {
        place,
        binlog: id(),
        name: BinlogName::parse("binlog.000001").unwrap(),
        origin: SegmentOrigin {
            flavour: Flavour::MySql,
            server_version: "9.7.4".into(),
            checksum: "CRC32".into(),
            previous: Arc::default(),
        },
        start,
        raw: Bytes::from(vec![0; usize::try_from(end - start).unwrap()]).into(),
        transactions: vec![IndexedTransaction {
            gtid: Some(Gtid { source, number: end }),
            commit_us: i64::try_from(end).unwrap(),
            immediate_us: None,
            start,
            end,
            flags: TransactionFlags::NONE,
            whole_second: false,
            xid: None,
        }],
        closes,
        damage: None,
        starts_in_transaction: false,
        ends_in_transaction: false,
    };
    archive.write_segment(draft, Codec::None).await.unwrap()
}

#[tokio::test]
async fn one_content_under_two_keys_is_one_range() {
    let identity = Identity::generate().unwrap();
    let sealer = Sealer::new(vec![identity.recipient()], HashKey::from([5; 32])).unwrap();
    let sealed = record(&archive().sealed_by(sealer), Place::Tail, 0, 100).await;
    let mut ledger = Ledger::default();
    ledger.add(&sealed, 1);
    // Encryption was turned off.
    ledger.add(&record(&archive(), Place::Binlogs, 0, 100).await, 2);
    let ranges = &ledger.binlog(&id()).unwrap().ranges;
    assert_eq!((ranges.len(), ranges[0].objects.len()), (1, 2));
    ledger.list(Inventory { listed_us: 1, ..Inventory::default() });
    assert_eq!(ledger.binlog(&id()).unwrap().ranges.len(), 1, "and so after a listing that began before");
    // Other bytes under the same key are another content.
    let mut other = sealed.clone();
    let mut header = (*other.header).clone();
    header.raw_sha256 = [9; 32];
    other.header = Arc::new(header);
    ledger.add(&other, 3);
    assert_eq!(ledger.binlog(&id()).unwrap().ranges.len(), 2);
}

fn progress(catalogued_to: u64, shipped_to: u64, closed: bool) -> Progress {
    let last_commit_us = Some(i64::try_from(shipped_to).unwrap());
    Progress { catalogued_to, boundary: catalogued_to, shipped_to, closed, last_commit_us }
}

#[tokio::test]
async fn progress_ends_at_the_first_hole() {
    let (archive, mut ledger) = (archive(), Ledger::default());
    assert_eq!(ledger.progress(&id()), Progress::default());
    ledger.add(&record(&archive, Place::Binlogs, 0, 100).await, 1);
    ledger.add(&record(&archive, Place::Tail, 100, 150).await, 2);
    ledger.add(&record(&archive, Place::Tail, 160, 170).await, 3);
    assert_eq!(ledger.progress(&id()), progress(100, 150, false));
    ledger.add(&record(&archive, Place::Tail, 150, 160).await, 4);
    assert_eq!(ledger.progress(&id()), progress(100, 170, false));
    let starts: Vec<u64> = ledger.tail(&id()).iter().map(|record| record.key.start).collect();
    assert_eq!(starts, [100, 150, 160]);
}

#[tokio::test]
async fn a_binlog_is_whole_when_every_byte_is_catalogued_can_be_read_and_none_is_wrong() {
    let (archive, mut ledger) = (archive(), Ledger::default());
    assert!(!ledger.is_whole(&id(), 0, |_| true), "nothing is known of it");
    ledger.add(&record(&archive, Place::Binlogs, 0, 100).await, 1);
    ledger.add(&record(&archive, Place::Tail, 100, 150).await, 2);
    assert!(!ledger.is_whole(&id(), 100, |_| true), "it is not closed");
    ledger.add(&stored(&archive, Place::Binlogs, (120, 150), Some(Closes::Stop)).await, 3);
    assert!(!ledger.is_whole(&id(), 150, |_| true), "there is a hole that only the tail fills");
    ledger.add(&record(&archive, Place::Binlogs, 100, 120).await, 4);
    assert!(
        ledger.is_whole(&id(), 150, |_| true) && !ledger.is_whole(&id(), 151, |_| true),
        "the server's file is longer"
    );
    assert!(!ledger.is_whole(&id(), 150, |_| false), "its objects are gone");
    let listed = |change: &dyn Fn(&mut pitr_recovery::ArchivedBinlog)| {
        let mut inventory = Inventory { listed_us: 10, ..ledger.inventory().clone() };
        change(std::sync::Arc::make_mut(&mut inventory.binlogs[0]));
        let mut listed = Ledger::default();
        listed.list(inventory);
        listed.is_whole(&id(), 150, |_| true)
    };
    assert!(listed(&|_| {}));
    assert!(!listed(&|binlog| binlog.ranges[0].objects.clear()), "a verification found that it is lost");
    assert!(!listed(&|binlog| binlog.previous_known = false), "nobody can read it without what was before");
    let damage = pitr_recovery::Damage { offset: 7, reason: "checksum".to_owned() };
    assert!(!listed(&|binlog| binlog.damage = Some(damage.clone())));
}

#[tokio::test]
async fn tail_objects_go_when_the_catalog_covers_them() {
    let (archive, mut ledger) = (archive(), Ledger::default());
    let tail = [record(&archive, Place::Tail, 0, 50).await, record(&archive, Place::Tail, 50, 90).await];
    tail.iter().for_each(|record| ledger.add(record, 1));
    let version = ledger.version();
    ledger.add(&stored(&archive, Place::Binlogs, (0, 120), Some(Closes::Stop)).await, 2);
    ledger.remove(&tail.each_ref().map(|record| record.key.to_string()), 3);
    assert_eq!(ledger.progress(&id()), progress(120, 120, true));
    assert!(ledger.tail(&id()).is_empty() && ledger.version() > version);
    assert_eq!(ledger.inventory().binlogs[0].ranges.len(), 1);
}

#[tokio::test]
async fn a_listing_does_not_forget_what_was_stored_since_it_began() {
    let (archive, mut ledger) = (archive(), Ledger::default());
    let old = record(&archive, Place::Tail, 0, 50).await;
    ledger.add(&old, 5);
    ledger.add(&record(&archive, Place::Binlogs, 0, 100).await, 20);
    // It began before the second was stored, and saw neither.
    ledger.list(Inventory { listed_us: 10, ..Inventory::default() });
    assert_eq!(ledger.progress(&id()), progress(100, 100, false));
    ledger.list(Inventory { listed_us: 30, ..Inventory::default() });
    assert_eq!(ledger.progress(&id()), Progress::default());
}

#[test]
fn who_runs_is_known_over_a_listing() {
    let mut ledger = Ledger::default();
    let before = ledger.version();
    ledger.see_running(Some("a"));
    let version = ledger.version();
    assert!(version > before, "what was computed without it is not what is known");
    ledger.see_running(Some("a"));
    assert_eq!(ledger.version(), version);
    ledger.list(Inventory { listed_us: 1, ..Inventory::default() });
    assert_eq!(ledger.inventory().running.as_deref(), Some("a"));
    ledger.see_running(None);
    assert_eq!(ledger.inventory().running, None);
}
