//! Objects that somebody, or a failing disk, has changed: flipped, cut, spliced, with lengths that lie. Nothing panics, nothing that
//! is read as whole differs from what the server wrote, and what keeps its key is found to be damaged every time.
//!
//! `PITR_HOSTILE_CASES` (1500) says how many changes are tried; a change is known by its number.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use pitr_archive::layout::{ObjectKey, PageKey, SegmentKey};
use pitr_archive::testing::History;
use pitr_archive::{Archive, Clock, Codec, MemoryStore, ObjectClass, Place, ShortHash, Store};

const LENGTHS: [u32; 6] = [0, 1, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// A small generator with a known sequence (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }

    /// The same bytes with one to three changes.
    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let length = changed.len().max(1);
            let at = self.below(length);
            match self.below(6) {
                0 | 1 if at < changed.len() => changed[at] ^= 1 << self.below(8),
                2 => changed.truncate(at),
                3 => {
                    let from = self.below(length).min(changed.len());
                    let piece = changed[from.min(at)..from.max(at).min(changed.len())].to_vec();
                    changed.splice(at.min(changed.len())..at.min(changed.len()), piece);
                }
                4 if at + 4 <= changed.len() => {
                    changed[at..at + 4].copy_from_slice(&LENGTHS[self.below(LENGTHS.len())].to_le_bytes());
                }
                _ => changed.extend(std::iter::repeat_n(self.below(256) as u8, self.below(64))),
            }
        }
        changed
    }
}

fn clock() -> Clock {
    Arc::new(Timestamp::now)
}

fn open(memory: &Arc<MemoryStore>) -> Archive {
    Archive::open(Arc::clone(memory) as Arc<dyn Store>, clock())
}

fn cases() -> u64 {
    std::env::var("PITR_HOSTILE_CASES").map_or(1500, |text| text.parse().unwrap())
}

/// An archive of one binlog: half of it catalogued, half in the tail.
async fn archived(history: &History) -> Arc<MemoryStore> {
    let memory = Arc::new(MemoryStore::new());
    let archive = Archive::claim(Arc::clone(&memory) as Arc<dyn Store>, clock(), "shop/mysql").await.unwrap();
    let middle = history.boundary(5);
    let first = archive.write_segment(history.draft(Place::Binlogs, 0, middle), Codec::default()).await.unwrap();
    archive.write_page(&[first]).await.unwrap();
    let rest = history.draft(Place::Tail, middle, history.length());
    archive.write_segment(rest, Codec::None).await.unwrap();
    memory
}

/// Everything that a reader takes for whole is what the server wrote. Gives how many bytes that is.
async fn whole_bytes(memory: &Arc<MemoryStore>, history: &History, number: u64) -> u64 {
    let archive = open(memory);
    // A later format is refused by name; anything else is told beside what can be read.
    let Ok((inventory, _)) = archive.inventory().await else { return 0 };
    let mut whole = 0;
    for binlog in inventory.binlogs.iter().filter(|binlog| binlog.id == history.id) {
        for range in &binlog.ranges {
            let reference = binlog.range_ref(range);
            if let Ok(raw) = archive.read_range(&reference, &range.objects).await {
                let truth = &history.raw[range.start as usize..range.end as usize];
                assert_eq!(raw, truth, "change {number}");
                whole += range.end - range.start;
            }
            if let Ok(index) = archive.read_index(&reference, &range.objects).await {
                let inside = history.transactions.iter().filter(|t| t.end > range.start && t.end <= range.end);
                let truth: Vec<_> = inside.map(|transaction| (transaction.gtid, transaction.end)).collect();
                let found: Vec<_> = index.entries.iter().map(|entry| (entry.gtid, entry.end)).collect();
                assert_eq!(found, truth, "change {number}");
            }
        }
    }
    whole
}

/// The key that the same object would have with this content.
fn key_of(key: &ObjectKey, bytes: &[u8]) -> String {
    let hash = ShortHash::of(bytes);
    match key.clone() {
        ObjectKey::Segment(key) => ObjectKey::Segment(SegmentKey { hash, ..key }).to_string(),
        ObjectKey::Page(key) => ObjectKey::Page(PageKey { hash, ..key }).to_string(),
        other => other.to_string(),
    }
}

/// Changes one object of the archive. Gives which, and whether it was really changed.
async fn change(memory: &MemoryStore, number: u64, forged: bool) -> Option<ObjectKey> {
    let mut dice = Dice(number);
    let objects = memory.list("").await.unwrap();
    let objects: Vec<_> = objects.into_iter().filter(|object| object.key != "archive.json").collect();
    let key = &objects[dice.below(objects.len())].key;
    let bytes = memory.get(key).await.unwrap();
    let parsed: ObjectKey = key.parse().unwrap();
    let changed: Bytes = match &parsed {
        // Behind the compression's own checksum.
        ObjectKey::Page(_) if forged => {
            let lines = zstd::decode_all(bytes.as_ref()).unwrap();
            zstd::encode_all(dice.changed(&lines).as_slice(), 1).unwrap().into()
        }
        _ => dice.changed(&bytes).into(),
    };
    let place = if forged { key_of(&parsed, &changed) } else { key.clone() };
    memory.delete(std::slice::from_ref(key)).await.unwrap();
    memory.put(&place, changed.clone(), ObjectClass::Control).await.unwrap();
    (changed != bytes).then_some(parsed)
}

#[tokio::test]
async fn changed_objects_that_keep_their_key_are_damaged() {
    let history = History::new(7, 1, 12);
    for number in 0..cases() {
        let memory = archived(&history).await;
        let Some(key) = change(&memory, number, false).await else { continue };
        let (_, report) = open(&memory).inventory().await.unwrap();
        let whole = whole_bytes(&memory, &history, number).await;
        let is_told = report.unreadable.iter().any(|(told, _)| *told == key.to_string());
        match key {
            // The catalog vouches for it: the damage shows when it is read.
            ObjectKey::Segment(segment) if segment.place == Place::Binlogs => {
                assert_eq!(whole, history.length() - history.boundary(5), "change {number}");
            }
            _ => assert!(is_told && whole < history.length(), "change {number}: {key} {report:?}"),
        }
    }
}

#[tokio::test]
async fn forged_objects_are_never_taken_for_what_the_server_wrote() {
    let history = History::new(7, 1, 12);
    for number in 0..cases() {
        let memory = archived(&history).await;
        change(&memory, number, true).await;
        whole_bytes(&memory, &history, number).await;
        // A start fetches and verifies what no page names. What it cannot use it leaves where it is.
        if let Ok(adoption) = open(&memory).adopt(&history.id.source).await {
            assert!(adoption.adopted.len() + adoption.unusable.len() <= 1, "change {number}: {adoption:?}");
        }
        whole_bytes(&memory, &history, number).await;
    }
}
