//! Seeded campaigns against the archive's real code: a store that fails as stores do in a bad hour, archivers that die at any
//! moment and in pairs, requests that arrive after their sender's death. Nothing acknowledged is lost, nothing is claimed that
//! cannot be restored, and once the faults stop everything is archived.
//!
//! `PITR_CAMPAIGN_SEEDS` (1000) says how many, `PITR_CAMPAIGN_FIRST` (0) where to begin: a seed that fails is printed and can be
//! run alone.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod archiver;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pitr_archive::{Archive, ListedObject, MemoryStore, ObjectClass, ObjectInfo, Operation, Store, StoreError};
use tokio::task::yield_now;

use archiver::{Acknowledged, check_claims, clock, live, verify, verify_end};

/// Of a hundred calls: how many fail, are throttled, are delayed. Every hundredth answer has a bit flipped.
const FAILED: u64 = 25;
const THROTTLED: u64 = 30;
const DELAYED: u64 = 15;

/// A small generator with a known sequence (splitmix64): a seed must mean the same for ever.
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn below(&self, limit: u64) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// A request that changes something.
#[derive(Debug, Clone)]
enum Change {
    Put(String, Bytes, ObjectClass),
    Delete(Vec<String>),
}

impl Change {
    async fn apply(self, store: &MemoryStore) -> Result<(), StoreError> {
        match self {
            Self::Put(key, bytes, class) => store.put(&key, bytes, class).await,
            Self::Delete(keys) => store.delete(&keys).await,
        }
    }
}

/// How one call goes.
enum Course {
    Works,
    Fails,
    LosesReply,
    /// It works after others had their turn.
    Waits,
    /// The caller gives up on it, and it arrives this many calls later.
    ArrivesLater(u64),
}

/// A store in a bad hour. Each call is repeated at once, as often as the archiver's patience allows.
#[derive(Debug)]
struct BadHour {
    inner: Arc<MemoryStore>,
    dice: Dice,
    patience: u64,
    calls: AtomicU64,
    late: Mutex<Vec<(u64, Change)>>,
    over: AtomicBool,
}

impl BadHour {
    fn new(inner: &Arc<MemoryStore>, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let patience = [8, 12, 30][seed as usize % 3];
        let (calls, late, over) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        Self { inner: Arc::clone(inner), dice, patience, calls, late, over }
    }

    async fn course(&self) -> Course {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let due: Vec<(u64, Change)> = self.late.lock().unwrap().extract_if(.., |(at, _)| *at <= number).collect();
        for (_, change) in due {
            change.apply(&self.inner).await.unwrap();
        }
        if self.over.load(Ordering::SeqCst) {
            return Course::Works;
        }
        match self.dice.below(100) {
            roll if roll < FAILED / 2 => Course::LosesReply,
            roll if roll < FAILED + THROTTLED => Course::Fails,
            roll if roll < FAILED + THROTTLED + DELAYED / 2 => Course::ArrivesLater(number + 1 + self.dice.below(60)),
            roll if roll < FAILED + THROTTLED + DELAYED => Course::Waits,
            _ => Course::Works,
        }
    }

    /// Makes the call until it works or patience ends.
    async fn repeat<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        operation: Operation,
        key: &str,
        change: Option<&Change>,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let (key, reason) = (key.to_owned(), "on purpose".to_owned());
        let failed = StoreError::Transient { operation, key, reason };
        for _ in 0..self.patience {
            match self.course().await {
                Course::Works => return call().await,
                Course::Waits => {
                    for _ in 0..self.dice.below(20) {
                        yield_now().await;
                    }
                    return call().await;
                }
                Course::Fails => {}
                // A call that would have failed for good says so when it is made again.
                Course::LosesReply => drop(call().await),
                Course::ArrivesLater(at) => self.late.lock().unwrap().extend(change.map(|change| (at, change.clone()))),
            }
            yield_now().await;
        }
        Err(failed)
    }

    /// Now and then an answer has a bit flipped. What carries no hash is the archive's name alone: it is read again.
    fn damaged(&self, bytes: Bytes) -> Bytes {
        if self.over.load(Ordering::SeqCst) || bytes.is_empty() || self.dice.below(100) > 0 {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        let at = self.dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.dice.below(8);
        bytes.into()
    }
}

#[async_trait]
impl Store for BadHour {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let change = Change::Put(key.to_owned(), bytes.clone(), class);
        self.repeat(Operation::Put, key, Some(&change), || self.inner.put(key, bytes.clone(), class)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let bytes = self.repeat(Operation::Get, key, None, || self.inner.get(key)).await?;
        Ok(self.damaged(bytes))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.repeat(Operation::Get, key, None, || self.inner.get_range(key, range.clone())).await?;
        Ok(self.damaged(bytes))
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.repeat(Operation::Head, key, None, || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.repeat(Operation::List, prefix, None, || self.inner.list(prefix)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let key = keys.first().map_or("", String::as_str);
        let change = Change::Delete(keys.to_vec());
        self.repeat(Operation::Delete, key, Some(&change), || self.inner.delete(keys)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Says which seed was being run when a check failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PITR_CAMPAIGN_FIRST={} PITR_CAMPAIGN_SEEDS=1 runs this one again", self.0);
        }
    }
}

/// Runs until the work is done, or dies where the dice say.
async fn until_death(work: impl Future<Output = ()>, calls: u64, hour: &BadHour) {
    let end = hour.calls.load(Ordering::SeqCst) + calls;
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        if hour.calls.load(Ordering::SeqCst) >= end {
            return std::task::Poll::Ready(());
        }
        work.as_mut().poll(context)
    })
    .await;
}

async fn bad_hour(seed: u64) {
    let _seed = Seed(seed);
    let memory = Arc::new(MemoryStore::new());
    let hour = Arc::new(BadHour::new(&memory, seed));
    let acknowledged = Acknowledged::default();
    let open = || Archive::open(Arc::clone(&hour) as Arc<dyn Store>, clock());
    for _ in 0..=hour.dice.below(4) {
        let (first, second) = (open(), open());
        let alone = !seed.is_multiple_of(3);
        let work = async {
            // An error ends a cycle; the next one begins with what is there.
            let (_, _) = tokio::join!(live(&first, &acknowledged), async {
                if !alone {
                    let _ = live(&second, &acknowledged).await;
                }
            });
        };
        until_death(work, 20 + hour.dice.below(900), &hour).await;
        verify(&memory, &acknowledged).await;
        // What a reader is told in the middle of it can be restored.
        if let Ok((inventory, _)) = open().inventory().await {
            check_claims(&memory, &inventory).await;
        }
    }
    hour.over.store(true, Ordering::SeqCst);
    let late = std::mem::take(&mut *hour.late.lock().unwrap());
    for (_, change) in late {
        change.apply(&memory).await.unwrap();
    }
    live(&open(), &acknowledged).await.unwrap();
    verify_end(&memory, &acknowledged).await;
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn a_bad_hour_loses_nothing_and_claims_nothing_false() {
    let (first, seeds) = (number("PITR_CAMPAIGN_FIRST", 0), number("PITR_CAMPAIGN_SEEDS", 1000));
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for seed in (first + worker..first + seeds).step_by(workers as usize) {
                    runtime.block_on(bad_hour(seed));
                }
            });
        }
    });
}

/// A process dies at one call, which arrives when its successor has made a few.
#[derive(Debug)]
struct Grave {
    inner: Arc<MemoryStore>,
    dies_at: u64,
    arrives_at: u64,
    calls: AtomicU64,
    left: Mutex<Option<Change>>,
}

impl Grave {
    async fn next<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        change: Option<Change>,
        call: impl FnOnce() -> F,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        if number == self.dies_at {
            *self.left.lock().unwrap() = change;
            return Err(StoreError::Cancelled { operation: Operation::Put, key: String::new() });
        }
        if number >= self.dies_at + self.arrives_at {
            let left = self.left.lock().unwrap().take();
            if let Some(change) = left {
                change.apply(&self.inner).await?;
            }
        }
        call().await
    }
}

#[async_trait]
impl Store for Grave {
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
        let change = Change::Put(key.to_owned(), bytes.clone(), class);
        self.next(Some(change), || self.inner.put(key, bytes, class)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.next(None, || self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.next(None, || self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.next(None, || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
        self.next(None, || self.inner.list(prefix)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.next(Some(Change::Delete(keys.to_vec())), || self.inner.delete(keys)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Lives, dies at a call, lives on while that call arrives, and once more when it has. Gives how many calls all of it took.
async fn haunted(dies_at: u64, arrives_at: u64) -> u64 {
    let memory = Arc::new(MemoryStore::new());
    let acknowledged = Acknowledged::default();
    let (calls, left) = (AtomicU64::new(0), Mutex::default());
    let grave = Arc::new(Grave { inner: Arc::clone(&memory), dies_at, arrives_at, calls, left });
    for _ in 0..3 {
        let _dies_once = live(&Archive::open(Arc::clone(&grave) as Arc<dyn Store>, clock()), &acknowledged).await;
        verify(&memory, &acknowledged).await;
    }
    // A tail object that arrives after the last sweep is redundant until the next start.
    live(&Archive::open(Arc::clone(&memory) as Arc<dyn Store>, clock()), &acknowledged).await.unwrap();
    verify_end(&memory, &acknowledged).await;
    grave.calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn each_call_may_arrive_after_its_sender_died() {
    let mut dies_at = 0;
    loop {
        let mut calls = 0;
        for arrives_at in [1, 9, 80] {
            calls = tokio::time::timeout(Duration::from_secs(60), haunted(dies_at, arrives_at)).await.unwrap();
        }
        dies_at += 1;
        // A whole life without a death, and two that find nothing to do.
        if dies_at >= calls {
            break;
        }
    }
    assert!(dies_at > 100, "{dies_at}");
}
