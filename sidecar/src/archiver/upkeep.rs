//! What keeps an archive handy: few pages, no redundant objects, a fresh look at what others stored.

use std::time::Duration;

use pitr_archive::{ArchiveError, MergeEffort};
use tokio::time::Instant;

use super::{Archiver, Pipeline};
use crate::archive_failure::of_archive;
use crate::status::Area;

/// Between two looks at what is due.
const EVERY: Duration = Duration::from_secs(5);
/// Base backups come from elsewhere.
const BACKUPS_EVERY: Duration = Duration::from_secs(15);
/// Everything else that is archived comes from here, or from other pods.
const LISTING_EVERY: Duration = Duration::from_secs(600);
/// Pages grow with what is archived.
const MERGE_EVERY: Duration = Duration::from_secs(120);
/// Whose archive it is.
const CLAIM_EVERY: Duration = Duration::from_secs(3600);

/// When something was last done.
struct Turn {
    every: Duration,
    last: Instant,
}

impl Turn {
    fn new(every: Duration) -> Self {
        Self { every, last: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.elapsed() >= self.every;
        if due {
            self.last = Instant::now();
        }
        due
    }
}

impl Archiver {
    /// Does what is due until told to stop.
    pub(super) async fn upkeep_loop(&self, pipeline: &Pipeline, source: &str) {
        let mut backups = Turn::new(BACKUPS_EVERY);
        let mut listing = Turn::new(LISTING_EVERY);
        let mut merge = Turn::new(MERGE_EVERY);
        let mut claim = Turn::new(CLAIM_EVERY);
        loop {
            self.rest(EVERY).await;
            if self.shutdown.is_cancelled() {
                return;
            }
            if let Err(error) = pipeline.archive.settle().await {
                tracing::debug!(event = "settle", "{error}");
            }
            if claim.is_due() {
                self.check_claim(pipeline).await;
            }
            if merge.is_due() {
                self.merge_pages(pipeline, source).await;
            }
            if listing.is_due() {
                match self.list(pipeline).await {
                    Ok(()) => self.board.heal(Area::Listing),
                    Err(failure) => self.board.fail(Area::Listing, failure),
                }
            } else if backups.is_due() {
                self.list_backups(pipeline).await;
            }
        }
    }

    /// Looks for base backups: what a window begins with.
    pub(crate) async fn list_backups(&self, pipeline: &Pipeline) {
        match pipeline.archive.list_backup_manifests().await {
            Ok((backups, _)) => {
                pipeline.ledger().list_backups(backups);
                self.board.heal(Area::Listing);
            }
            Err(error) => self.board.fail(Area::Listing, of_archive(&error, &pipeline.archive.describe())),
        }
    }

    async fn merge_pages(&self, pipeline: &Pipeline, source: &str) {
        let busy = self.board.read().backlog.is_some_and(|backlog| backlog.binlogs > 0);
        let effort = if busy { MergeEffort::Busy } else { MergeEffort::Idle };
        if self.board.read().store.keeps_all(Instant::now()) {
            return;
        }
        match pipeline.archive.merge_pages(source, effort).await {
            Ok(0) => {}
            Ok(merges) => tracing::debug!(event = "merged", merges),
            Err(error) => tracing::warn!(event = "merge-failed", "{error}"),
        }
    }

    async fn check_claim(&self, pipeline: &Pipeline) {
        match pipeline.archive.check_claim(&self.config.workload).await {
            Err(error @ (ArchiveError::ForeignWorkload { .. } | ArchiveError::NewerFormat { .. })) => {
                self.end(of_archive(&error, &pipeline.archive.describe()));
            }
            Err(error) => self.board.fail(Area::Archive, of_archive(&error, &pipeline.archive.describe())),
            Ok(()) => self.board.heal(Area::Archive),
        }
    }
}
