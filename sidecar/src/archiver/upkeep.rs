//! What keeps an archive handy: few pages, no redundant objects, a fresh look at what others stored.

use std::time::Duration;

use pitr_archive::{ArchiveError, MergeEffort};
use tokio::time::Instant;

use super::{Archiver, Pipeline};
use crate::archive_failure::of_archive;
use crate::status::Area;

/// Between two looks at what is due.
const EVERY: Duration = Duration::from_secs(5);
/// Base backups come from elsewhere. Without one there is no window: the first is looked for often, the next ones are in no hurry.
const FIRST_BACKUP_EVERY: Duration = Duration::from_secs(15);
const BACKUPS_EVERY: Duration = Duration::from_secs(120);
/// Everything else that is archived comes from here, or from other pods.
pub(super) const LISTING_EVERY: Duration = Duration::from_secs(600);
/// Pages grow with what is archived.
const MERGE_EVERY: Duration = Duration::from_secs(120);
/// Whose archive it is.
const CLAIM_EVERY: Duration = Duration::from_secs(3600);

/// What failed is not left to its next turn.
const AGAIN: Duration = Duration::from_secs(60);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Due {
    claim: bool,
    merge: bool,
    listing: bool,
    /// Not beside a whole listing, which sees them too.
    backups: bool,
}

/// When each of it was last done. Listing costs a store more than anything else that an idle archiver asks for.
struct Turns {
    backups: Instant,
    listing: Instant,
    merge: Instant,
    claim: Instant,
    /// When the newest page was stored, as of the last merge.
    merged_us: Option<i64>,
}

impl Turns {
    fn new(now: Instant) -> Self {
        Self { backups: now, listing: now, merge: now, claim: now, merged_us: None }
    }

    /// What is due, and from now on counts as done. Only this process stores pages of its source: without a new one there is
    /// nothing to merge.
    fn take(&mut self, now: Instant, has_backup: bool, stored_us: Option<i64>) -> Due {
        let passed = |last: &mut Instant, every: Duration| {
            let due = now.duration_since(*last) >= every;
            if due {
                *last = now;
            }
            due
        };
        let mut due = Due { claim: passed(&mut self.claim, CLAIM_EVERY), ..Due::default() };
        due.merge = passed(&mut self.merge, MERGE_EVERY) && stored_us != self.merged_us;
        if due.merge {
            self.merged_us = stored_us;
        }
        due.listing = passed(&mut self.listing, LISTING_EVERY);
        let backups_every = if has_backup { BACKUPS_EVERY } else { FIRST_BACKUP_EVERY };
        due.backups = passed(&mut self.backups, backups_every) && !due.listing;
        due
    }

    /// Nobody could say whose archive it is: that is asked again sooner.
    fn ask_again(&mut self, now: Instant) {
        self.claim = now.checked_sub(CLAIM_EVERY - AGAIN).unwrap_or(now);
    }

    /// A listing failed: the next one comes sooner.
    fn list_again(&mut self, now: Instant) {
        self.listing = now.checked_sub(LISTING_EVERY - AGAIN).unwrap_or(now);
    }
}

impl Archiver {
    /// Does what is due until told to stop.
    pub(super) async fn upkeep_loop(&self, pipeline: &Pipeline, source: &str) {
        let mut turns = Turns::new(Instant::now());
        loop {
            self.rest(EVERY).await;
            if self.shutdown.is_cancelled() {
                return;
            }
            if let Err(error) = pipeline.archive.settle().await {
                tracing::debug!(event = "settle", "{error}");
            }
            let has_backup = !pipeline.ledger().inventory().backups.is_empty();
            let due = turns.take(Instant::now(), has_backup, self.board.read().successes.catalog_us);
            if due.claim && !self.check_claim(pipeline).await {
                turns.ask_again(Instant::now());
            }
            if due.merge {
                self.merge_pages(pipeline, source).await;
            }
            if due.listing {
                match self.list(pipeline).await {
                    Ok(()) => self.board.heal(Area::Listing),
                    Err(failure) => {
                        self.board.fail(Area::Listing, failure);
                        turns.list_again(Instant::now());
                    }
                }
            } else if due.backups {
                self.list_backups(pipeline).await;
            }
        }
    }

    /// Looks for base backups: what a window begins with.
    pub(crate) async fn list_backups(&self, pipeline: &Pipeline) {
        match pipeline.archive.list_backup_manifests().await {
            Ok((backups, _)) => {
                pipeline.ledger().list_backups(backups);
                self.board.heal(Area::Backups);
            }
            Err(error) => self.board.fail(Area::Backups, of_archive(&error, &pipeline.archive.describe())),
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

    /// Whether it could be said whose archive it is.
    async fn check_claim(&self, pipeline: &Pipeline) -> bool {
        match pipeline.archive.check_claim(&self.config.workload).await {
            Err(error @ (ArchiveError::ForeignWorkload { .. } | ArchiveError::NewerFormat { .. })) => {
                self.end(of_archive(&error, &pipeline.archive.describe()));
                true
            }
            Err(error) => {
                self.board.fail(Area::Archive, of_archive(&error, &pipeline.archive.describe()));
                false
            }
            Ok(()) => {
                self.board.heal(Area::Archive);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{AGAIN, CLAIM_EVERY, EVERY, LISTING_EVERY, Turns};

    /// LISTs that a whole listing of an archive takes at least: results of verification, marks, catalog, tail, base backups.
    const PREFIXES: u32 = 5;

    /// Listings, looks for backups alone, and merges within a day.
    fn a_day(has_backup: bool, stored_us: impl Fn(u32) -> Option<i64>) -> (u32, u32, u32) {
        let begun = Instant::now();
        let mut turns = Turns::new(begun);
        let steps = 1..=86_400 / EVERY.as_secs() as u32;
        steps.fold((0, 0, 0), |(listings, backups, merges), step| {
            let due = turns.take(begun + EVERY * step, has_backup, stored_us(step));
            (listings + u32::from(due.listing), backups + u32::from(due.backups), merges + u32::from(due.merge))
        })
    }

    #[test]
    fn an_idle_archiver_lists_seldom() {
        let (listings, backups, merges) = a_day(true, |_| Some(1));
        assert_eq!((listings, merges), (144, 1));
        assert!(listings * PREFIXES + backups + merges <= 1300, "{backups}");
    }

    #[test]
    fn pages_are_merged_where_new_ones_were_stored() {
        assert_eq!(a_day(true, |step| Some(i64::from(step))).2, 720);
        assert_eq!(a_day(true, |_| None).2, 0);
    }

    #[test]
    fn the_first_base_backup_is_seen_soon() {
        let mut turns = Turns::new(Instant::now());
        assert!(turns.take(Instant::now() + Duration::from_secs(15), false, None).backups);
        let mut turns = Turns::new(Instant::now());
        assert!(!turns.take(Instant::now() + Duration::from_secs(15), true, None).backups);
    }

    #[test]
    fn what_failed_has_its_turn_again_after_a_minute() {
        let (second, begun) = (Duration::from_secs(1), Instant::now());
        let mut turns = Turns::new(begun);
        let now = begun + CLAIM_EVERY;
        let due = turns.take(now, true, None);
        assert!(due.claim && due.listing);
        turns.ask_again(now);
        turns.list_again(now);
        let due = turns.take(now + AGAIN - second, true, None);
        assert!(!due.claim && !due.listing);
        let due = turns.take(now + AGAIN, true, None);
        assert!(due.claim && due.listing);
        assert!(!turns.take(now + LISTING_EVERY, true, None).listing, "it has worked since");
    }
}
