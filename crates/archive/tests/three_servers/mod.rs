//! A primary and two replicas that archive the same days, over a store whose clock is set by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use pitr_archive::testing::{History, TimedStore};
use pitr_archive::{
    Archive, Codec, Deduped, MergeEffort, ObjectClass, Place, RetentionRules, Store, TailCoverage, Verified,
    VerifyProgress, VerifyRules, Workspace,
};
use pitr_binlog::{GtidSource, Uuid};
use pitr_recovery::{BinlogId, RetentionPolicy, WithoutBase};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const DAY_US: i64 = 86_400_000_000;
pub(crate) const START: &str = "2026-11-01T00:00:00Z";
/// The primary's name comes between those of its replicas.
pub(crate) const PRIMARY: u8 = 4;
pub(crate) const SERVERS: [u8; 3] = [3, PRIMARY, 5];
pub(crate) const BOTH: VerifyRules = VerifyRules { percent: 100, deep: false };

/// Content that no codec makes smaller, the same for the same number.
pub(crate) fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What a server wrote on a day (from 1): the primary's four transactions, each with a few bytes of the server's own. `salt`: another
/// history with the same numbers.
pub(crate) fn binlog(server: u8, day: u64, salt: u64) -> History {
    let mut history = History::new(PRIMARY, day, 4);
    let start: Timestamp = START.parse().unwrap();
    let mut raw = history.raw[..126].to_vec();
    for (place, transaction) in history.transactions.iter_mut().enumerate() {
        transaction.commit_us = start.as_microsecond() + DAY_US * (day as i64 - 1) + place as i64 * 3_600_000_000;
        transaction.immediate_us = Some(transaction.commit_us + i64::from(server));
        transaction.start = raw.len() as u64;
        raw.extend([server; 8]);
        raw.extend(noise(day * 4 + place as u64 + salt, 20_000));
        transaction.end = raw.len() as u64;
    }
    history.id.source = Uuid([server; 16]).to_string();
    history.raw = raw.into();
    // More than a line of the catalog holds, as after years of failovers: then it only identifies the set.
    let old = GtidSource::MySql { uuid: Uuid([9; 16]), tag: None };
    (1..=1200).for_each(|n| history.previous.insert_range(&old, 3 * n..=3 * n));
    history
}

pub(crate) struct Life {
    pub(crate) store: Arc<TimedStore>,
    pub(crate) archive: Archive,
}

pub(crate) fn open(store: Arc<dyn Store>, time: &Arc<TimedStore>) -> Archive {
    Archive::open(store, time.clock())
}

impl Life {
    /// So many days of all three servers, archived as they go by, and then two days of nothing.
    pub(crate) async fn lived(days: u64) -> Self {
        let store = Arc::new(TimedStore::new(START.parse().unwrap()));
        let archive = Archive::claim(Arc::clone(&store) as Arc<dyn Store>, store.clock(), "shop/mysql").await.unwrap();
        let life = Self { store, archive };
        for day in 1..=days {
            life.store.pass(SignedDuration::from_hours(24));
            for server in SERVERS {
                life.store_binlog(&binlog(server, day, 0)).await;
            }
        }
        life.store.pass(SignedDuration::from_hours(48));
        life
    }

    pub(crate) async fn copy(&self) -> Self {
        Self::of(self.store.copy().await)
    }

    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// A bit of the payload is not what was stored; the object is as old as it was.
    pub(crate) async fn damage(&self, key: &str) {
        let mut bytes = self.store.get(key).await.unwrap().to_vec();
        let place = bytes.len() - 9;
        bytes[place] ^= 1;
        self.store.put(key, bytes.into(), ObjectClass::Content).await.unwrap();
        self.store.pass(SignedDuration::from_hours(48));
    }

    /// Somebody has let this binlog go.
    pub(crate) async fn mark(&self, id: &BinlogId) {
        let head: String = id.head.iter().map(|byte| format!("{byte:02x}")).collect();
        let (source, seq, since) = (&id.source, id.number, self.store.now());
        let mark = format!(r#"{{"source":"{source}","seq":{seq},"head":"{head}","since":"{since}"}}"#);
        let marks = format!(r#"{{"format":1,"binlogs":[{mark}]}}"#);
        let hash = pitr_archive::ShortHash::of(marks.as_bytes());
        self.store.put(&format!("expired/0000000001-{hash}.json"), marks.into(), ObjectClass::Control).await.unwrap();
    }

    pub(crate) async fn verify(&self, percent: u32) -> Verified {
        let rules = VerifyRules { percent, deep: false };
        self.archive.verify(rules, &VerifyProgress::default()).await.unwrap()
    }

    pub(crate) fn of(store: TimedStore) -> Self {
        let store = Arc::new(store);
        let archive = open(Arc::clone(&store) as Arc<dyn Store>, &store);
        Self { store, archive }
    }

    /// In two segments: they do not begin where those of other servers do.
    pub(crate) async fn store_binlog(&self, history: &History) {
        let middle = history.boundary(if history.id.source.starts_with("05") { 2 } else { 1 });
        let mut records = Vec::new();
        for (from, to) in [(0, middle), (middle, history.length())] {
            let draft = history.draft(Place::Binlogs, from, to);
            records.push(self.archive.write_segment(draft, Codec::default()).await.unwrap());
        }
        self.archive.publish(&records, TailCoverage::default()).await.unwrap();
        self.archive.merge_pages(&history.id.source, MergeEffort::Idle).await.unwrap();
    }

    pub(crate) async fn dedupe(&self) -> Deduped {
        let done = self.archive.dedupe(DAY, &Workspace::ENOUGH).await.unwrap();
        assert!(done.finished, "{done:?}");
        done
    }

    /// The repeats take the place of the whole segments.
    pub(crate) async fn settle(&self) -> u64 {
        self.store.pass(SignedDuration::from_hours(25));
        self.archive.sweep(DAY, &Workspace::ENOUGH).await.unwrap().duplicates
    }

    pub(crate) async fn stored_bytes(&self) -> u64 {
        self.store.list("binlogs/").await.unwrap().iter().map(|object| object.length).sum()
    }

    /// All that is archived, binlog by binlog, byte by byte; nothing is reported as unreadable or missing.
    pub(crate) async fn read_all(&self) -> BTreeMap<BinlogId, Bytes> {
        let reader = open(Arc::clone(&self.store) as Arc<dyn Store>, &self.store);
        let (inventory, report) = reader.inventory().await.unwrap();
        assert!(report.unreadable.is_empty() && report.unknown_keys.is_empty(), "{report:?}");
        let mut all = BTreeMap::new();
        for binlog in &inventory.binlogs {
            let mut raw = Vec::new();
            for range in &binlog.ranges {
                let wanted = binlog.range_ref(range);
                assert_eq!(wanted.start, raw.len() as u64);
                raw.extend_from_slice(&reader.read_range(&wanted, &range.objects).await.unwrap());
                let index = reader.read_index(&wanted, &range.objects).await.unwrap();
                assert_eq!(index.entries.len() as u64, range.transactions);
            }
            all.insert(binlog.id.clone(), raw.into());
        }
        all
    }

    pub(crate) async fn sources(&self) -> BTreeMap<String, u64> {
        let mut sources = BTreeMap::new();
        for object in self.store.list("binlogs/").await.unwrap() {
            *sources.entry(object.key.split('/').nth(1).unwrap()[..2].to_owned()).or_default() += object.length;
        }
        sources
    }
}

pub(crate) fn expected(days: u64) -> BTreeMap<BinlogId, Bytes> {
    let all = (1..=days).flat_map(|day| SERVERS.map(|server| binlog(server, day, 0)));
    all.map(|history| (history.id, history.raw)).collect()
}

/// What is older than the window goes by age, for there is no base backup.
pub(crate) fn rules(window_days: i64) -> RetentionRules {
    let policy = RetentionPolicy {
        window_us: window_days * DAY_US,
        keep_last: 1,
        pins: BTreeSet::new(),
        without_base: WithoutBase::Age,
    };
    RetentionRules { policy, grace: DAY, force: true, running: None }
}
