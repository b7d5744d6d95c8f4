//! The archiver: finds the server's binlogs and keeps all of them in the archive, whatever fails.
//!
//! ```text
//! connect ─ look ─ catch up ─▶ tail loop    every tail_interval: what is whole of the active binlog
//!                              backlog loop every archive_interval and at each rotation: closed binlogs
//!                              upkeep       merges pages, lists again, asks whose archive it is
//! ```
//! The loops share a [`Pipeline`]; each owns its state, and none waits for another. The server's files are only ever read.

mod backlog;
mod closed;
mod continuation;
mod cutter;
mod draft;
mod failure;
mod head;
mod key_files;
mod ledger;
mod limits;
mod memory;
mod niceness;
mod notes;
mod once;
mod outlived;
mod paced_store;
mod pause;
mod pipeline;
mod rate;
mod retention;
mod server;
mod server_log;
mod start;
mod stream;
mod tail;
mod turns;
mod upkeep;
mod uploads;
mod watched_store;
mod window;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pitr_archive::{ArchiveError, RetryPolicy};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::backlog::Backlog;
pub(crate) use self::key_files::{KeyChange, KeyFiles};
pub(crate) use self::niceness::be_nice;
use self::pause::Pause;
use self::pipeline::WorkError;
pub(crate) use self::pipeline::{Pipeline, blocking};
pub(crate) use self::retention::{refusal as retention_refusal, shrinks as window_shrinks, unknown_pins};
use self::start::Started;
pub(crate) use self::stream::INDEX_BASE as SPOOL_INDEX;
use self::stream::Streaming;
use self::tail::Tail;
use self::turns::Turns;
use crate::clock::Clock;
use crate::config::Config;
use crate::discovery::{self, Found, Lookout};
use crate::error::Failure;
use crate::mysql::Role;
use crate::status::{self, Area, Board, Stage, Task};

/// After the signal to stop, whatever is still being stored is given up: Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(20);
/// A task that waits says so often.
const PULSE: Duration = Duration::from_secs(30);
/// How often the server's files are searched for relay logs.
const REPLICATES_EVERY: Duration = Duration::from_secs(15);

/// What the archiver and whoever watches it share. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Archiver {
    config: Arc<Config>,
    /// Where everybody writes down what happens.
    pub(crate) board: Board,
    clock: Clock,
    pipeline: Arc<OnceLock<Arc<Pipeline>>>,
    keys: Arc<OnceLock<KeyFiles>>,
    shutdown: CancellationToken,
    abort: CancellationToken,
    rotated: Arc<Notify>,
    tail_turns: Turns,
    backlog_turns: Turns,
    /// How long a call to the store is repeated.
    patience: RetryPolicy,
    /// What ended the work for good.
    fatal: Arc<Mutex<Option<Failure>>>,
}

impl Archiver {
    /// An archiver that does nothing yet.
    pub(crate) fn new(config: Config, clock: Clock, shutdown: CancellationToken) -> Self {
        Self {
            config: Arc::new(config),
            board: Board::new(),
            clock,
            pipeline: Arc::default(),
            keys: Arc::default(),
            shutdown,
            abort: CancellationToken::new(),
            rotated: Arc::default(),
            tail_turns: Turns::new(),
            backlog_turns: Turns::new(),
            patience: RetryPolicy::default(),
            fatal: Arc::default(),
        }
    }

    /// The same for somebody who waits: a store that never answers is told after half a minute.
    pub(crate) fn interactive(self) -> Self {
        Self { patience: RetryPolicy::persistent(), ..self }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the loops share, once the archive has answered.
    pub(crate) fn pipeline(&self) -> Option<&Arc<Pipeline>> {
        self.pipeline.get()
    }

    /// The keys in files with which the archive was opened, once it has answered.
    pub(crate) fn keys(&self) -> Option<&KeyFiles> {
        self.keys.get()
    }

    /// Archives everything that is there now, out of turn, and waits for it. What cannot be archived stands on the board.
    pub(crate) async fn cycle_now(&self) {
        // A binlog that the server has left is the tail's until its last bytes are shipped.
        self.tail_turns.one().await;
        self.backlog_turns.one().await;
    }

    /// Archives until told to stop. Nothing that can be put right later ends it.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        tokio::select! {
            () = self.work() => {}
            () = self.give_up() => {}
        }
        self.board.stage(Stage::Stopping);
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Ends the work: going on would harm.
    fn end(&self, failure: Failure) {
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        self.shutdown.cancel();
        self.abort.cancel();
    }

    async fn work(&self) {
        let watchdog = &self.board.watchdog;
        let Some(started) = watchdog.watch(Task::Start, self.start_until_done()).await else { return };
        self.board.stage(Stage::Archiving);
        let Started { pipeline, source, stream } = started;
        let stream = stream.as_ref();
        let shared = self.shutdown.clone();
        tokio::join!(
            watchdog.watch(Task::Stream, self.stream_loop(&pipeline, stream)),
            watchdog.watch(Task::Tail, self.tail_loop(&pipeline, stream)),
            watchdog.watch(Task::Backlog, self.backlog_loop(&pipeline)),
            watchdog.watch(Task::Upkeep, self.upkeep_loop(&pipeline, &source)),
            watchdog.watch(Task::Retention, self.retention_loop(&pipeline)),
            shared.run_until_cancelled(self.server_loop(&pipeline, &source)),
        );
    }

    /// Ends waiting for a store that does not answer, some time after the signal to stop.
    async fn give_up(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
        tracing::warn!(event = "abandoned", "what was being stored is given up; the next start stores it");
        self.abort.cancel();
        std::future::pending::<()>().await;
    }

    /// Sleeps, or wakes because the archiver is to stop.
    async fn rest(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.shutdown.is_cancelled() {
            status::tick();
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + PULSE)) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        status::tick();
    }

    fn look(&self, lookout: &mut Lookout) -> Option<Arc<Found>> {
        match lookout.look() {
            Ok(found) => {
                self.board.heal(Area::Discovery);
                if let Some(pipeline) = self.pipeline() {
                    pipeline.ledger().see_running(self.is_writing().then_some(found.source.as_str()));
                }
                Some(found)
            }
            Err(error) => {
                self.board.fail(Area::Discovery, error.failure());
                None
            }
        }
    }

    /// Whether it is known if the server runs as a replica: one that can be asked has answered.
    fn knows_role(&self) -> bool {
        self.config.source.mysql.is_none() || self.board.read().said.is_some()
    }

    /// Whether the server runs, and not as a replica. Where it can be asked its own word counts: the files of one that crashed look the same.
    fn is_writing(&self) -> bool {
        let facts = self.board.read();
        match self.config.source.mysql {
            Some(_) => facts.said.is_some_and(|said| said.role == Some(Role::Primary)),
            None => facts.replicates == Some(false),
        }
    }

    async fn tail_loop(&self, pipeline: &Arc<Pipeline>, stream: Option<&Arc<Streaming>>) {
        let mut tail = Tail::new(Arc::clone(pipeline), stream.cloned());
        let mut lookout = Lookout::new(self.config.source.clone());
        let mut pause = Pause::none();
        let mut looked_for_relay_logs: Option<Instant> = None;
        while !self.shutdown.is_cancelled() {
            // A spool has none: there the server is asked.
            if stream.is_none() && looked_for_relay_logs.is_none_or(|at| at.elapsed() >= REPLICATES_EVERY) {
                let replicates = discovery::replicates(&self.config.source).ok();
                self.board.note(|facts| facts.replicates = replicates);
                looked_for_relay_logs = Some(Instant::now());
            }
            let begun = self.tail_turns.begin();
            self.tail_tick(&mut tail, &mut lookout, &mut pause).await;
            self.tail_turns.end(begun);
            let interval = self.tail_interval().max(pause.left(Instant::now()));
            tokio::select! {
                () = self.rest(interval) => {}
                // Whoever asks in a loop asks a store that fails no sooner again.
                () = self.tail_turns.wanted(begun) => self.rest(pause.left(Instant::now())).await,
            }
        }
        // The last bytes of the server, if the store still answers.
        self.tail_tick(&mut tail, &mut lookout, &mut pause).await;
    }

    /// A store that keeps everything would fill with tail objects: then they are made less often.
    fn tail_interval(&self) -> Duration {
        let schedule = self.config.schedule;
        match schedule.tail_interval {
            Some(interval) if !self.board.read().store.keeps_all(Instant::now()) => interval,
            Some(_) | None => schedule.archive_interval,
        }
    }

    async fn tail_tick(&self, tail: &mut Tail, lookout: &mut Lookout, pause: &mut Pause) {
        if self.config.schedule.tail_interval.is_none() {
            return;
        }
        let seen = tail.see();
        let Some(found) = self.look(lookout) else { return };
        match tail.tick(&found, seen).await {
            Ok(tick) => {
                *pause = Pause::none();
                self.board.heal(Area::Tail);
                if tick.rotated {
                    self.rotated.notify_one();
                }
            }
            Err(error) => {
                pause.fail();
                let again = Instant::now() + pause.left(Instant::now());
                let is_store = matches!(error, WorkError::Archive(ArchiveError::Store(_)));
                self.board.note(|facts| facts.store.retry_at = is_store.then_some(again));
                let name = found.entries.last().map_or("the active binlog", |entry| entry.name.as_str());
                self.fail(Area::Tail, &error, name);
            }
        }
    }

    async fn backlog_loop(&self, pipeline: &Arc<Pipeline>) {
        let mut backlog = Backlog::new(Arc::clone(pipeline), self.shutdown.clone());
        let mut lookout = Lookout::new(self.config.source.clone());
        loop {
            let mut pause = self.config.schedule.archive_interval;
            let begun = self.backlog_turns.begin();
            if let Some(found) = self.look(&mut lookout) {
                let report = backlog.cycle(&found).await;
                pause = pause.min(report.next_try.unwrap_or(pause).max(Duration::from_millis(200)));
            }
            self.backlog_turns.end(begun);
            if self.shutdown.is_cancelled() {
                return;
            }
            tokio::select! {
                () = self.rest(pause) => {}
                () = self.rotated.notified() => {}
                () = self.backlog_turns.wanted(begun) => self.rest(backlog.store_rests()).await,
            }
        }
    }

    fn fail(&self, area: Area, error: &WorkError, what: &str) {
        if matches!(error, WorkError::Stopped | WorkError::Archive(ArchiveError::Stopped)) {
            return;
        }
        let archive = self.pipeline().map_or_else(String::new, |pipeline| pipeline.archive.describe());
        self.board.fail(area, failure::of(error, what, &archive));
    }
}
