//! An encrypted archive: what works with public keys only, and what needs the identity.

use super::*;
use crate::archive::ArchiveError;
use crate::digest::sha256;
use crate::layout::ObjectKey;
use crate::seal::{HashKey, Identities, Identity, Sealer};
use crate::segment::SegmentError;
use pitr_recovery::RangeRef;

struct Scene {
    memory: Arc<MemoryStore>,
    identity: Identity,
    history: History,
}

impl Scene {
    fn new() -> Self {
        let identity = Identity::generate().unwrap();
        Self { memory: Arc::new(MemoryStore::new()), identity, history: History::new(1, 1, 100) }
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(vec![self.identity.recipient()], HashKey::from([5; 32])).unwrap()
    }

    /// As a sidecar opens it: public keys, the key of hashes, and no identity.
    fn writer(&self) -> Archive {
        reader(&self.memory).sealed_by(self.sealer())
    }

    fn opened(&self, identity: &Identity) -> Archive {
        reader(&self.memory).opened_by(Identities::from(vec![identity.clone()]))
    }

    async fn claim(&self) {
        Archive::claim(Arc::clone(&self.memory) as Arc<dyn Store>, clock(), "shop/mysql").await.unwrap();
    }

    /// Tail segments of ten transactions each, the first beginning with the file.
    async fn tail(&self, archive: &Archive, count: usize) -> Vec<SegmentRecord> {
        let mut records = Vec::new();
        for at in 0..count {
            let from = if at == 0 { 0 } else { self.history.boundary(at * 10 - 1) };
            let range = (from, self.history.boundary(at * 10 + 9));
            records.push(store(archive, &self.history, Place::Tail, range).await);
        }
        records
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        self.memory.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }
}

fn range_of(record: &SegmentRecord) -> RangeRef {
    let header = &record.header;
    RangeRef { binlog: header.binlog.clone(), start: header.start, end: header.end, raw_sha256: header.raw_sha256 }
}

#[tokio::test]
async fn windows_and_stops_need_no_identity_and_bytes_do() {
    let scene = Scene::new();
    scene.claim().await;
    let record = catalogued(&scene.writer(), &scene.history).await;
    assert!(record.key.to_string().ends_with(".zst.age"), "{}", record.key);
    assert_eq!(record.header.recipients, [scene.identity.recipient().to_string()]);

    let stranger = reader(&scene.memory);
    let (inventory, report) = stranger.inventory().await.unwrap();
    assert!(report.unreadable.is_empty(), "{report:?}");
    assert_eq!(inventory.binlogs[0].ranges[0].gtids, scene.history.gtids());
    let (range, objects) = (range_of(&record), [record.stored_object()]);
    assert_eq!(stranger.read_index(&range, &objects).await.unwrap().entries.len(), 100);
    // What the range moved into since it was seen is not opened either: its place and its index must do.
    assert_eq!(stranger.read_index(&range, &[]).await.unwrap().entries.len(), 100);
    let refused = stranger.read_range(&range, &objects).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Segment { source: SegmentError::Encrypted { .. }, .. }), "{refused:?}");
    let refused = scene.opened(&Identity::generate().unwrap()).read_range(&range, &objects).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Segment { source: SegmentError::WrongIdentity { .. }, .. }), "{refused:?}");

    let owner = scene.opened(&scene.identity);
    assert_eq!(owner.read_range(&range, &objects).await.unwrap(), scene.history.raw);
    // What covers a range now, cut to it: its hash needs the key that is inside.
    let owner = scene.opened(&scene.identity);
    assert_eq!(owner.read_range(&range, &[]).await.unwrap(), scene.history.raw);
    assert_eq!(stranger.newest_recipients().await.unwrap(), record.header.recipients);
}

#[tokio::test]
async fn an_index_that_cannot_be_proven_and_is_disputed_is_none() {
    let scene = Scene::new();
    scene.claim().await;
    let record = catalogued(&scene.writer(), &scene.history).await;
    let mut other = scene.history.clone();
    other.transactions.iter_mut().for_each(|transaction| transaction.commit_us += 1);
    let (from, to) = (other.boundary(29), other.boundary(39));
    scene.writer().write_segment(other.draft(Place::Tail, from, to), Codec::default()).await.unwrap();
    let read = reader(&scene.memory).read_index(&range_of(&record), &[]).await;
    assert!(matches!(read, Err(ArchiveError::RangeChanged { .. })), "{read:?}");
    let owner = scene.opened(&scene.identity).read_index(&range_of(&record), &[]).await.unwrap();
    assert_eq!(owner.entries.len(), 100, "who opens it knows which one it is");
}

#[tokio::test]
async fn nothing_in_the_store_confirms_a_guess() {
    let scene = Scene::new();
    scene.claim().await;
    let writer = scene.writer();
    catalogued(&writer, &scene.history).await;
    scene.tail(&writer, 2).await;
    let guess = &scene.history.raw[..];
    let tail = &guess[..scene.history.boundary(9) as usize];
    for key in scene.keys("").await {
        let object = scene.memory.get(&key).await.unwrap();
        let plain = zstd::decode_all(&object[..]).unwrap_or_default();
        let text = format!("{key} {} {}", String::from_utf8_lossy(&object), String::from_utf8_lossy(&plain));
        for digest in [sha256(guess), sha256(tail)] {
            assert!(!text.contains(&hex::encode(digest)), "{key}");
        }
        assert!(!text.contains("insert into t values"), "{key}");
        assert!(object.windows(32).all(|bytes| bytes != [5; 32]), "{key} gives the key of hashes away");
    }
}

#[tokio::test]
async fn a_writer_without_an_identity_adopts_what_a_predecessor_stored() {
    let scene = Scene::new();
    scene.claim().await;
    store(&scene.writer(), &scene.history, Place::Binlogs, (0, scene.history.length())).await;
    let damaged = store(&scene.writer(), &History::new(1, 2, 10), Place::Binlogs, (0, 500)).await;
    let mut bytes = scene.memory.get(&damaged.key.to_string()).await.unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    overwrite(&scene.memory, &damaged.key.to_string(), bytes).await;

    let adoption = scene.writer().adopt(&scene.history.id.source).await.unwrap();
    assert_eq!((adoption.adopted.len(), adoption.unusable.len()), (1, 1), "{adoption:?}");
    assert_eq!(reader(&scene.memory).discover(None).await.unwrap().catalogued.len(), 1);
}

#[tokio::test]
async fn tail_objects_go_when_the_catalog_has_their_bytes() {
    let scene = Scene::new();
    scene.claim().await;
    let writer = scene.writer();
    let tail = scene.tail(&writer, 3).await;
    let mut coverage = writer.coverage(tail);
    coverage.feed(&scene.history.id, 0, &scene.history.raw);
    let record = store(&writer, &scene.history, Place::Binlogs, (0, scene.history.length())).await;
    let published = writer.publish(&[record], coverage).await.unwrap();
    assert_eq!((published.covered.len(), published.differing.len()), (3, 0), "{published:?}");
    assert!(scene.keys("tail/").await.is_empty());
}

#[tokio::test]
async fn after_a_crash_the_indices_tell_what_the_catalog_covers() {
    let scene = Scene::new();
    scene.claim().await;
    let tail = scene.tail(&scene.writer(), 3).await;
    catalogued(&scene.writer(), &scene.history).await;
    // The same place in another history of this binlog: other transactions, later.
    let mut other = scene.history.clone();
    other.transactions.iter_mut().for_each(|transaction| transaction.commit_us += 1);
    let ahead = (other.boundary(29), other.boundary(39));
    let ahead =
        scene.writer().write_segment(other.draft(Place::Tail, ahead.0, ahead.1), Codec::default()).await.unwrap();

    // Nobody here can open anything, and nothing but the indices is read.
    let report = scene.writer().sweep_tail(&scene.history.id.source).await.unwrap();
    let covered: Vec<String> = tail.iter().map(|record| record.key.to_string()).collect();
    assert_eq!((report.covered, report.differing), (covered, vec![]));
    assert_eq!(report.kept.iter().map(|record| &record.key).collect::<Vec<_>>(), [&ahead.key]);
    assert_eq!(scene.keys("tail/").await, [ahead.key.to_string()]);
}

#[tokio::test]
async fn transactions_without_gtid_are_not_taken_for_the_same() {
    let mut scene = Scene::new();
    scene.claim().await;
    scene.history.transactions.iter_mut().for_each(|transaction| transaction.gtid = None);
    scene.tail(&scene.writer(), 2).await;
    catalogued(&scene.writer(), &scene.history).await;
    let report = scene.writer().sweep_tail(&scene.history.id.source).await.unwrap();
    assert_eq!((report.covered.len(), report.kept.len()), (0, 2), "kept rather than lost");
}

#[tokio::test]
async fn the_tail_is_merged_from_bytes_at_hand_and_from_no_others() {
    let scene = Scene::new();
    scene.claim().await;
    let writer = scene.writer();
    let tail = scene.tail(&writer, 4).await;
    let end = scene.history.boundary(39) as usize;
    assert_eq!(writer.merge_tail(&tail, Codec::default(), None).await.unwrap(), None, "nobody here opens them");
    let mut wrong = scene.history.raw[..end].to_vec();
    wrong[end - 3] ^= 1;
    assert_eq!(writer.merge_tail(&tail, Codec::default(), Some(wrong.into())).await.unwrap(), None);
    assert_eq!(scene.keys("tail/").await.len(), 4);
    let raw = scene.history.raw.slice(..end);
    let merged = writer.merge_tail(&tail, Codec::default(), Some(raw.clone())).await.unwrap().unwrap();
    assert_eq!(scene.keys("tail/").await, [merged.key.to_string()]);
    let read = scene.opened(&scene.identity).read_range(&range_of(&merged), &[merged.stored_object()]).await.unwrap();
    assert_eq!(read, raw);
}

#[tokio::test]
async fn encryption_begins_and_ends_at_any_time() {
    let scene = Scene::new();
    scene.claim().await;
    let clear = reader(&scene.memory);
    // In clear first; then the same range once more, encrypted: one range, not two histories.
    catalogued(&clear, &scene.history).await;
    let sealed = catalogued(&scene.writer(), &scene.history).await;
    let (inventory, _) = reader(&scene.memory).inventory().await.unwrap();
    assert_eq!(inventory.binlogs[0].ranges.len(), 1, "{:?}", inventory.binlogs[0].ranges);
    // A tail in clear goes when what is encrypted now covers it, and the other way round.
    scene.tail(&clear, 2).await;
    scene.tail(&scene.writer(), 2).await;
    for archive in [scene.writer(), reader(&scene.memory)] {
        archive.sweep_tail(&scene.history.id.source).await.unwrap();
    }
    assert!(scene.keys("tail/").await.is_empty());
    assert!(sealed.key.encrypted);
}

#[tokio::test]
async fn a_key_that_says_other_than_its_header_is_damage() {
    let scene = Scene::new();
    let record = store(&scene.writer(), &scene.history, Place::Binlogs, (0, scene.history.length())).await;
    let object = scene.memory.get(&record.key.to_string()).await.unwrap();
    let text = record.key.to_string();
    for other in [text.trim_end_matches(".age").to_owned(), text.replace(".zst.age", ".gz.age")] {
        let Ok(ObjectKey::Segment(key)) = other.parse() else { panic!("{other}") };
        let refused = crate::segment::read_header(&object, &key).unwrap_err();
        assert!(matches!(refused, SegmentError::Damaged(_)), "{refused:?}");
    }
}
