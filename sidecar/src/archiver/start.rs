//! The start: whose archive it is, where the binlogs are, and what a predecessor left.

use std::sync::Arc;

use pitr_archive::{Archive, ArchiveError, Counting, RetryPolicy, Retrying};

use tokio::time::Instant;

use super::key_files::KeyFiles;
use super::limits::Limits;
use super::outlived::Expired;
use super::paced_store::PacedStore;
use super::pause::Pause;
use super::stream::Streaming;
use super::watched_store::WatchedStore;
use super::{Archiver, Pipeline};
use crate::archive_failure::of_archive;
use crate::config::Config;
use crate::discovery::Lookout;
use crate::error::Failure;
use crate::status::{Area, ServerFacts, Stage};

/// What the loops begin with.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pipeline: Arc<Pipeline>,
    /// The archive's name for the server.
    pub(super) source: String,
    /// Where the binlogs come from, if they are not the server's own files.
    pub(super) stream: Option<Arc<Streaming>>,
}

impl Archiver {
    /// Starts, as often as it takes. `None`: told to stop.
    pub(super) async fn start_until_done(&self) -> Option<Started> {
        let mut pause = Pause::none();
        loop {
            match self.start().await {
                Ok(started) => return Some(started),
                Err((area, failure)) => self.board.fail(area, failure),
            }
            pause.fail();
            self.rest(pause.left(Instant::now())).await;
            if self.shutdown.is_cancelled() {
                return None;
            }
        }
    }

    /// One attempt.
    pub(super) async fn start(&self) -> Result<Started, (Area, Failure)> {
        self.board.stage(Stage::Connecting);
        let pipeline = self.connect().await.map_err(|failure| (Area::Archive, failure))?;
        self.board.heal(Area::Archive);
        self.board.stage(Stage::Looking);
        let stream = self.open_spool().await.map_err(|failure| (Area::Stream, failure))?;
        self.board.heal(Area::Stream);
        let found =
            Lookout::new(self.config.source.clone()).look().map_err(|error| (Area::Discovery, error.failure()))?;
        self.board.heal(Area::Discovery);
        self.board.stage(Stage::Listing);
        self.catch_up(&pipeline, &found.source).await.map_err(|failure| (Area::Listing, failure))?;
        self.board.heal(Area::Listing);
        Ok(Started { pipeline, source: found.source.clone(), stream })
    }

    /// Whether the store that another configuration names answers, and holds nobody else's archive, and its keys can be read. Nothing is
    /// written.
    pub(crate) async fn try_out(&self, config: &Config) -> Result<(), Failure> {
        let location = config.archive.location()?;
        let store = Retrying::new(location.bare_store().await?, RetryPolicy::interactive());
        let clock = self.clock.clone();
        let archive = Archive::open(Arc::new(store.cancelled_by(self.shutdown.clone())), Arc::new(move || clock.now()));
        match archive.check_claim(&config.workload).await {
            // The next start claims it.
            Ok(()) | Err(ArchiveError::NoArchive { .. }) => config.encryption.sealer().map(drop),
            Err(error) => Err(of_archive(&error, &location.url.to_string())),
        }
    }

    /// Opens the store and makes sure that the prefix is this workload's.
    async fn connect(&self) -> Result<Arc<Pipeline>, Failure> {
        if let Some(pipeline) = self.pipeline() {
            return Ok(Arc::clone(pipeline));
        }
        let location = self.config.archive.location()?;
        let keys = KeyFiles::read(&self.config);
        let store = Counting::new(location.bare_store().await?);
        let counts = store.counts();
        let limits = Limits::new(&self.config.pipeline);
        let noted = (self.board.clone(), limits.clone());
        let store = WatchedStore::new(store, location.url.clone(), noted, self.clock.clone());
        let store =
            Retrying::new(store, self.patience.clone()).cancelled_by(self.abort.clone()).counted_by(counts.clone());
        let store = PacedStore::new(store, limits.clone());
        let clock = self.clock.clone();
        let claimed = Archive::claim(Arc::new(store), Arc::new(move || clock.now()), &self.config.workload).await;
        let archive = claimed.map_err(|error| of_archive(&error, &location.url.to_string()))?;
        let archive = match self.config.encryption.sealer()? {
            Some(sealer) => archive.sealed_by(sealer),
            None => archive,
        };
        let _are_known = self.keys.set(keys?);
        let settings = (&self.config.pipeline, limits);
        let pipeline = Pipeline::new(Arc::new(archive), (self.board.clone(), counts), self.clock.clone(), settings);
        Ok(Arc::clone(self.pipeline.get_or_init(|| Arc::new(pipeline))))
    }

    /// Catalogues what a predecessor stored, takes away what is stored twice, and lists the rest.
    async fn catch_up(&self, pipeline: &Pipeline, source: &str) -> Result<(), Failure> {
        let archive = &pipeline.archive;
        let named = |error: ArchiveError| of_archive(&error, &archive.describe());
        let adoption = archive.adopt(source).await.map_err(named)?;
        if !adoption.adopted.is_empty() {
            tracing::info!(
                event = "adopted",
                segments = adoption.adopted.len(),
                "segments of a predecessor are in the catalog now"
            );
        }
        self.board.unreadable(Area::Unusable, &adoption.unusable);
        let tail = archive.sweep_tail(source).await.map_err(named)?;
        if !tail.differing.is_empty() {
            tracing::error!(event = "divergence", objects = tail.differing.len(), first = tail.differing.first());
            self.board.note(|facts| facts.totals.divergences += tail.differing.len() as u64);
        }
        pipeline.ledger().take_tail(tail.kept);
        self.list(pipeline).await
    }

    /// Reads everything that is archived.
    pub(super) async fn list(&self, pipeline: &Pipeline) -> Result<(), Failure> {
        let archive = &pipeline.archive;
        let named = |error: ArchiveError| of_archive(&error, &archive.describe());
        let (inventory, report) = archive.inventory().await.map_err(named)?;
        // The marks of this very reading: one that it hides must not pass for one that was never stored (T).
        pipeline.expire(Expired { marked: report.marked, promised_us: report.promised_us, by_age: report.by_age });
        self.board.unreadable(Area::Unreadable, &report.unreadable);
        let listed_us = inventory.listed_us;
        let newest = inventory.binlogs.iter().max_by_key(|binlog| (binlog.id.number, binlog.ranges.len()));
        let server = newest.map(|binlog| ServerFacts {
            source: binlog.id.source.clone(),
            flavour: binlog.flavour,
            version: binlog.server_version.clone(),
        });
        let mut ledger = pipeline.ledger();
        ledger.hide_backups(report.hidden_backups);
        if self.config.purge_after.is_some() {
            ledger.tell(report.told_by);
        }
        ledger.list(inventory);
        drop(ledger);
        self.board.note(|facts| {
            facts.server = facts.server.take().or(server);
            facts.listed_us = Some(listed_us);
            facts.catalog_pages = Some(report.pages as u64);
        });
        Ok(())
    }
}
