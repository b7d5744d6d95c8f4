//! An archiver's life over a memory store, with each single store call going wrong in each way, a restart after it, and a
//! reader that reads while the archiver writes. Nothing acknowledged is lost, and nothing false stands in the inventory.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod archiver;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pitr_archive::testing::{Fault, Faulty};
use pitr_archive::{Archive, ListedObject, MemoryStore, ObjectClass, ObjectInfo, Store, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use archiver::{Acknowledged, clock, histories, live, verify, verify_end};

const FAULTS: [Fault; 4] = [Fault::Fails, Fault::LosesReply, Fault::Dies, Fault::DiesAfter];

/// Lives once, with what goes wrong; then lives on with a store that works, and looks at what is there. Gives how many
/// calls the first life made.
async fn life_with(at: u64, fault: Fault) -> u64 {
    let memory = Arc::new(MemoryStore::new());
    let acknowledged = Acknowledged::default();
    let faulty = Arc::new(Faulty::new(Arc::clone(&memory), at, fault));
    let archive = Archive::open(Arc::clone(&faulty) as Arc<dyn Store>, clock());
    let first = live(&archive, &acknowledged).await;
    let calls = faulty.calls();
    verify(&memory, &acknowledged).await;
    match fault {
        // The same process begins again, with what it remembers.
        Fault::Fails | Fault::LosesReply => live(&archive, &acknowledged).await.unwrap(),
        Fault::Dies | Fault::DiesAfter => {
            assert!(first.is_err() || at + 1 >= calls, "call {at} of {calls} was the process's last");
            live(&Archive::open(Arc::clone(&memory) as Arc<dyn Store>, clock()), &acknowledged).await.unwrap();
        }
    }
    verify(&memory, &acknowledged).await;
    verify_end(&memory, &acknowledged).await;
    calls
}

#[tokio::test]
async fn each_call_may_go_wrong_in_each_way() {
    let calls = life_with(u64::MAX, Fault::Fails).await;
    assert!(calls > 100, "{calls}");
    for at in 0..calls {
        for fault in FAULTS {
            life_with(at, fault).await;
        }
    }
}

/// A process dies, its successor dies while it cleans up, and so on.
#[tokio::test]
async fn successors_may_die_too() {
    let calls = life_with(u64::MAX, Fault::Fails).await;
    let mut place = 1_u64;
    for _ in 0..120 {
        let memory = Arc::new(MemoryStore::new());
        let acknowledged = Acknowledged::default();
        for generation in 0..4 {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let fault = if (place >> 40).is_multiple_of(2) { Fault::Dies } else { Fault::DiesAfter };
            // Successors mostly die early, where they adopt and sweep.
            let at = (place >> 33) % if generation == 0 { calls } else { 25 };
            let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::clone(&memory), at, fault));
            let _died = live(&Archive::open(faulty, clock()), &acknowledged).await;
            verify(&memory, &acknowledged).await;
        }
        live(&Archive::open(Arc::clone(&memory) as Arc<dyn Store>, clock()), &acknowledged).await.unwrap();
        verify_end(&memory, &acknowledged).await;
    }
}

/// Two archivers of one source, as after a forced deletion of a pod: they duplicate work, nothing else.
#[tokio::test]
async fn two_archivers_at_once_harm_nothing() {
    for seed in 0..40_u64 {
        let memory = Arc::new(MemoryStore::new());
        let gate = Arc::new(Gate::new());
        let acknowledged = Acknowledged::default();
        let mut second = JoinSet::new();
        let gated: Arc<dyn Store> = Arc::new(Gated { inner: Arc::clone(&memory), gate: Arc::clone(&gate) });
        let (shared, finished) = (acknowledged.clone(), Arc::clone(&gate));
        second.spawn(async move {
            let _one_may_take_the_others_objects = live(&Archive::open(gated, clock()), &shared).await;
            finished.end();
        });
        let stepping: Arc<dyn Store> =
            Arc::new(Stepping { inner: Arc::clone(&memory), gate, steps: steps(seed).into() });
        let _one_may_take_the_others_objects = live(&Archive::open(stepping, clock()), &acknowledged).await;
        second.abort_all();
        while second.join_next().await.is_some() {}
        verify(&memory, &acknowledged).await;
        live(&Archive::open(Arc::clone(&memory) as Arc<dyn Store>, clock()), &acknowledged).await.unwrap();
        verify_end(&memory, &acknowledged).await;
    }
}

/// A reader whose calls fall between those of a writer sees at least what was acknowledged before it began.
#[tokio::test]
async fn a_reader_misses_nothing_while_an_archiver_writes() {
    let calls = life_with(u64::MAX, Fault::Fails).await;
    for begins in (0..calls).step_by(2) {
        for seed in 0..4 {
            reader_while_writing(begins, seed).await;
        }
    }
}

async fn reader_while_writing(begins: u64, seed: u64) {
    let memory = Arc::new(MemoryStore::new());
    let gate = Arc::new(Gate::new());
    let acknowledged = Acknowledged::default();
    let mut writer = JoinSet::new();
    let gated: Arc<dyn Store> = Arc::new(Gated { inner: Arc::clone(&memory), gate: Arc::clone(&gate) });
    let (shared, finished) = (acknowledged.clone(), Arc::clone(&gate));
    writer.spawn(async move {
        live(&Archive::open(gated, clock()), &shared).await.unwrap();
        finished.end();
    });
    // `archive.json` is there from the first call on.
    gate.let_pass(begins.max(2)).await;
    let before = Acknowledged::of(acknowledged.snapshot());
    let stepping =
        Stepping { inner: Arc::clone(&memory), gate: Arc::clone(&gate), steps: steps(begins * 31 + seed).into() };
    let reader = Archive::open(Arc::new(stepping), clock());
    archiver::verify_with(&reader, &before).await;
    gate.let_pass(u64::from(u32::MAX)).await;
    while let Some(ended) = writer.join_next().await {
        ended.unwrap();
    }
}

/// How many calls the other side makes before each of ours: bursts and pauses.
fn steps(seed: u64) -> VecDeque<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..400)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            [0, 0, 1, 1, 2, 3, 8, 20][(state >> 20) as usize % 8]
        })
        .collect()
}

/// Lets one side make its calls only when the other says so.
#[derive(Debug)]
struct Gate {
    permits: Semaphore,
    done: watch::Sender<(u64, bool)>,
}

impl Gate {
    fn new() -> Self {
        Self { permits: Semaphore::new(0), done: watch::Sender::new((0, false)) }
    }

    /// Lets `count` calls pass and waits for them, or for the end.
    async fn let_pass(&self, count: u64) {
        let wanted = self.done.borrow().0 + count;
        self.permits.add_permits(usize::try_from(count).unwrap());
        self.done.subscribe().wait_for(|(calls, ended)| *calls >= wanted || *ended).await.unwrap();
        // What the call was for is now acknowledged, as far as it goes without another call.
        tokio::task::yield_now().await;
    }

    fn end(&self) {
        self.done.send_modify(|(_, ended)| *ended = true);
    }
}

/// The side that waits.
#[derive(Debug)]
struct Gated {
    inner: Arc<MemoryStore>,
    gate: Arc<Gate>,
}

impl Gated {
    async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        self.gate.permits.acquire().await.unwrap().forget();
        let result = call.await;
        self.gate.done.send_modify(|(calls, _)| *calls += 1);
        result
    }
}

/// The side that says when.
#[derive(Debug)]
struct Stepping {
    inner: Arc<MemoryStore>,
    gate: Arc<Gate>,
    steps: std::sync::Mutex<VecDeque<u64>>,
}

impl Stepping {
    async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let step = self.steps.lock().unwrap().pop_front().unwrap_or(1);
        if step > 0 {
            self.gate.let_pass(step).await;
        }
        call.await
    }
}

macro_rules! in_turn {
    ($($name:ident)*) => {
        $(
            #[async_trait]
            impl Store for $name {
                async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError> {
                    self.run(self.inner.put(key, bytes, class)).await
                }

                async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
                    self.run(self.inner.get(key)).await
                }

                async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
                    self.run(self.inner.get_range(key, range)).await
                }

                async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
                    self.run(self.inner.head(key)).await
                }

                async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError> {
                    self.run(self.inner.list(prefix)).await
                }

                async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
                    self.run(self.inner.delete(keys)).await
                }

                fn describe(&self) -> String {
                    self.inner.describe()
                }
            }
        )*
    };
}

in_turn! { Gated Stepping }

#[tokio::test]
async fn the_histories_are_what_they_seem() {
    let histories = histories();
    assert!(histories.windows(2).all(|pair| pair[0].previous.union(&pair[0].gtids()) == pair[1].previous));
}
