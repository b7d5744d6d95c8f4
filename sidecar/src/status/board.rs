//! Where the tasks of the archiver write down what they see, and where status, metrics and heartbeat read it.
//!
//! One small struct behind a lock that is held for copies only: nobody waits for the pipeline, and the pipeline waits for nobody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pitr_binlog::Flavour;
use pitr_recovery::code;
use tokio::sync::watch;
use tokio::time::Instant;

use super::segment_seconds::SegmentSeconds;
use super::watchdog::Watchdog;
use crate::amounts::count_of;
use crate::error::Failure;
use crate::mysql::SourceState;

/// Errors of the store are counted over this time.
const ERRORS_OVER: Duration = Duration::from_secs(3600);
/// Instants of errors that are remembered; more than that within an hour is shown as that many.
const ERRORS_MAX: usize = 10_000;

/// What the archiver is doing, taken as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// Reading the configuration.
    #[default]
    Starting,
    /// Asking the store whose archive it is.
    Connecting,
    /// Looking for the server's binlogs.
    Looking,
    /// Finding out what is archived already.
    Listing,
    /// At work.
    Archiving,
    /// Told to stop.
    Stopping,
}

impl Stage {
    /// As in messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::Looking => "looking",
            Self::Listing => "listing",
            Self::Archiving => "archiving",
            Self::Stopping => "stopping",
        }
    }
}

/// Where something can be wrong, independently of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    /// What the configuration says.
    Configuration,
    /// Whose archive it is, and whether it can be reached.
    Archive,
    /// Receiving binlogs from the server.
    Stream,
    /// Where the binlogs are.
    Discovery,
    /// Storing closed binlogs.
    Backlog,
    /// Storing the active one.
    Tail,
    /// Listing what is stored.
    Listing,
    /// Listing base backups, more often than the rest.
    Backups,
    /// Objects that a listing found and that cannot be read.
    Unreadable,
    /// Segments in no page of the catalog that cannot be put into it.
    Unusable,
    /// What the server says about itself.
    Server,
    /// Rotating and purging the server's binlogs, where that is wanted.
    ServerLog,
    /// Letting go what expires.
    Retention,
}

/// How long a store that refused to delete is not asked to again.
const DELETE_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The store's health.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreHealth {
    errors: VecDeque<Instant>,
    /// The last error, until a call succeeds.
    pub(crate) failing: Option<Failure>,
    /// Since when calls have been failing without one success, in microseconds.
    pub(crate) failing_since_us: Option<i64>,
    /// When the next try is due.
    pub(crate) retry_at: Option<Instant>,
    /// When it refused to delete what is redundant, until it deletes something.
    pub(crate) refused_delete: Option<Instant>,
}

impl StoreHealth {
    /// Whether redundant objects stay: as few as possible are made then. Now and again it is tried anew, for a right that was
    /// missing once may have come back.
    pub(crate) fn keeps_all(&self, now: Instant) -> bool {
        self.refused_delete.is_some_and(|at| now.duration_since(at) < DELETE_AGAIN_AFTER)
    }

    /// Failed calls within the last hour.
    pub(crate) fn errors_within_hour(&self, now: Instant) -> u64 {
        self.errors.iter().filter(|at| now.duration_since(**at) < ERRORS_OVER).count() as u64
    }
}

/// The server, as far as its files tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    /// The archive's name for it.
    pub(crate) source: String,
    /// Its family.
    pub(crate) flavour: Flavour,
    /// Its version.
    pub(crate) version: String,
}

/// The last closed binlog that is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosedFacts {
    /// Its name.
    pub(crate) binlog: String,
    /// Its number.
    pub(crate) number: u64,
    /// When the server closed it, by the file's last change.
    pub(crate) closed_us: Option<i64>,
    /// When its last byte was catalogued; none when an earlier process did it.
    pub(crate) archived_us: Option<i64>,
}

/// The binlog that the server is writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActiveFacts {
    /// Its name.
    pub(crate) binlog: String,
    /// Its length.
    pub(crate) position: u64,
    /// How much of it is archived.
    pub(crate) shipped: u64,
    /// Commit time of the first transaction that is not archived, or when it was first seen.
    pub(crate) unshipped_since_us: Option<i64>,
}

/// The server was seen to have committed nothing that is not archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Until then.
    pub(crate) at_us: i64,
    /// The binlog that it was writing.
    pub(crate) binlog: pitr_recovery::BinlogId,
    /// The length of that binlog, all of it archived.
    pub(crate) position: u64,
}

/// Closed binlogs that are not archived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BacklogFacts {
    /// How many.
    pub(crate) binlogs: u64,
    /// Their bytes that are not archived.
    pub(crate) bytes: u64,
    /// No transaction among them is older.
    pub(crate) since_us: Option<i64>,
    /// When the first of them was closed: from then on the server counts until it purges.
    pub(crate) closed_us: Option<i64>,
}

/// A binlog that cannot be archived, or not as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    /// Why, with its code.
    pub(crate) failure: Failure,
}

/// Sums since the start of the process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Raw bytes stored.
    pub(crate) raw_bytes: u64,
    /// Bytes of the objects that hold them.
    pub(crate) stored_bytes: u64,
    /// Closed binlogs archived.
    pub(crate) binlogs: u64,
    /// Tail objects that hold other bytes than the catalog for the same range.
    pub(crate) divergences: u64,
    /// Objects that retention deleted.
    pub(crate) expired_objects: u64,
    /// Their bytes, and those of what was swept.
    pub(crate) expired_bytes: u64,
    /// Segments of replicas that are stored as what differs from another server's log since.
    pub(crate) repeats: u64,
    /// The bytes that this saves once the whole segments are gone.
    pub(crate) repeats_saved_bytes: u64,
}

/// When stages last succeeded, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Successes {
    /// A look for closed binlogs that left none behind.
    pub(crate) archive_us: Option<i64>,
    /// The active binlog was archived up to its end.
    pub(crate) tail_us: Option<i64>,
    /// A part of a binlog was stored.
    pub(crate) stored_us: Option<i64>,
    /// A page was stored.
    pub(crate) catalog_us: Option<i64>,
    /// Retention ran here.
    pub(crate) prune_us: Option<i64>,
}

/// Everything on the board.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// What is being done.
    pub(crate) stage: Stage,
    /// What is wrong, by area.
    pub(crate) problems: BTreeMap<Area, Failure>,
    /// The store.
    pub(crate) store: StoreHealth,
    /// The server.
    pub(crate) server: Option<ServerFacts>,
    /// The last closed binlog that is archived.
    pub(crate) closed: Option<ClosedFacts>,
    /// The active binlog.
    pub(crate) active: Option<ActiveFacts>,
    /// The last proof that the archive is complete.
    pub(crate) proof: Option<Proof>,
    /// Whether the server has relay logs; none while nobody has looked.
    pub(crate) replicates: Option<bool>,
    /// What the server says about itself; none where it is not asked or does not answer.
    pub(crate) said: Option<SourceState>,
    /// Closed binlogs that are not archived; none before the first look.
    pub(crate) backlog: Option<BacklogFacts>,
    /// Binlogs that cannot be archived, or not as a whole, by name.
    pub(crate) refused: BTreeMap<String, Refused>,
    /// When the archive was last listed.
    pub(crate) listed_us: Option<i64>,
    /// Pages of the catalog, of all sources, when it was last listed.
    pub(crate) catalog_pages: Option<u64>,
    /// Objects that cannot be read, by who found them: how many, and the key of one.
    pub(crate) unreadable: BTreeMap<Area, (u64, String)>,
    /// Bytes that no page named when the last sweep looked; none where nobody swept here.
    pub(crate) orphan_bytes: Option<u64>,
    /// Sums.
    pub(crate) totals: Totals,
    /// Last successes.
    pub(crate) successes: Successes,
}

/// The board. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    facts: Arc<Mutex<Facts>>,
    changed: watch::Sender<u64>,
    /// Whether the tasks that write here move.
    pub(crate) watchdog: Watchdog,
    /// What segments take.
    pub(crate) segments: SegmentSeconds,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            facts: Arc::default(),
            changed: watch::Sender::new(0),
            watchdog: Watchdog::default(),
            segments: SegmentSeconds::new(),
        }
    }

    /// A copy of everything.
    pub(crate) fn read(&self) -> Facts {
        self.lock().clone()
    }

    /// Changes something without telling anybody: it is read at the next occasion.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
    }

    /// Changes something that is worth a heartbeat.
    pub(crate) fn announce(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// Woken by announcements.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What is being done now.
    pub(crate) fn stage(&self, stage: Stage) {
        self.announce(|facts| facts.stage = stage);
    }

    /// Something is wrong; logged when it is news.
    pub(crate) fn fail(&self, area: Area, failure: Failure) {
        let is_news = self.lock().problems.get(&area).is_none_or(|known| known.to_string() != failure.to_string());
        if is_news {
            tracing::error!(event = "problem", code = %failure.code(), area = ?area, "{failure}");
            self.announce(|facts| drop(facts.problems.insert(area, failure)));
        }
    }

    /// It is not wrong, or not any more.
    pub(crate) fn heal(&self, area: Area) {
        if self.lock().problems.contains_key(&area) {
            tracing::info!(event = "healed", area = ?area);
            self.announce(|facts| drop(facts.problems.remove(&area)));
        }
    }

    /// What a look at the archive could not read, each with its reason; nothing: all is well again.
    pub(crate) fn unreadable(&self, area: Area, found: &[(String, String)]) {
        let Some((key, reason)) = found.first() else {
            self.note(|facts| drop(facts.unreadable.remove(&area)));
            return self.heal(area);
        };
        let count = found.len() as u64;
        let is_known = self.lock().unreadable.insert(area, (count, key.clone())).is_some_and(|known| known.0 == count);
        for (key, reason) in found.iter().filter(|_| !is_known) {
            tracing::error!(event = "unreadable", key, reason);
        }
        let message = format!("{} cannot be read, such as {key}: {reason}", count_of(count, "object"));
        let failure = Failure::new(&code::CHECKSUM_MISMATCH, message)
            .hint("what they hold is in no window; the log names each of them")
            .fix("put them back, or pitr-sidecar verify --archive URL --rebuild-catalog where pages of the catalog are damaged");
        self.fail(area, failure);
    }

    /// A call to the store failed.
    pub(crate) fn store_failed(&self, failure: Failure, now_us: i64) {
        let mut facts = self.lock();
        let store = &mut facts.store;
        if store.errors.len() == ERRORS_MAX {
            store.errors.pop_front();
        }
        store.errors.push_back(Instant::now());
        store.failing_since_us.get_or_insert(now_us);
        let is_news = store.failing.as_ref().is_none_or(|known| known.code() != failure.code());
        store.failing = Some(failure);
        drop(facts);
        if is_news {
            self.announce(|_| {});
        }
    }

    /// A call to the store succeeded.
    pub(crate) fn store_answered(&self) {
        let was_failing = self.lock().store.failing.is_some();
        if was_failing {
            self.announce(|facts| {
                facts.store.failing = None;
                facts.store.failing_since_us = None;
                facts.store.retry_at = None;
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
