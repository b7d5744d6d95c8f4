//! Retention: what a policy lets go is marked, and leaves the store when its grace is over (archive-format.md "Expiry").
//!
//! ```text
//! look ─ all that exists, marked or not ─▶ ExpirePlan ─▶ objects of due marks go ─▶ their lines go ─▶ marks are written anew
//! sweep ─ segments that no page names, tail objects that the catalog covers, chunks that nobody names
//! ```
//! A mark is a proposal: an object goes only if its mark is older than the grace and a plan made now lets it go again (T). So
//! whatever a reader found unmarked stays for the grace at least.

mod chunks;
mod content;
mod lines;
mod look;
mod marks;
mod orphans;
mod reap;
mod repeats;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitr_recovery::{ExpireItem, ExpirePlan, RetentionPolicy};

use super::{Archive, ArchiveError};
use crate::store::StoreError;

pub use orphans::Swept;
pub use repeats::{Deduped, Workspace};

/// Objects that are deleted with one request.
const DELETE_BATCH: usize = 1000;

/// What retention is to do.
#[derive(Debug, Clone)]
pub struct RetentionRules {
    /// What is to be kept.
    pub policy: RetentionPolicy,
    /// Between a mark and the deletion of what it names. Restores and backups that take longer need a pin.
    pub grace: Duration,
    /// Whether a longer window that was promised before may shrink.
    pub force: bool,
    /// The server that whoever runs it sees running, and not as a replica ([`pitr_recovery::Inventory::running`]): what it has is not left for
    /// a later history. None where nobody looks at a server.
    pub running: Option<String>,
}

/// What retention would do now.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What goes and what stays, with reasons.
    pub plan: ExpirePlan,
    /// Objects that cannot be read. Until they can, nothing expires: what they say might forbid it.
    pub hindrances: Vec<(String, String)>,
    /// Items that have a mark already.
    pub marked: Vec<ExpireItem>,
    /// Pins that name no base backup: what they were meant to keep is not kept.
    pub unknown_pins: Vec<String>,
    /// Base backups that lack chunks, and how many: no window relies on them. Empty, too, where nothing is to go.
    pub incomplete: BTreeMap<String, u64>,
}

impl Proposal {
    /// Whether nothing is done about it as things are.
    #[must_use]
    pub fn is_refused(&self, force: bool) -> bool {
        !self.hindrances.is_empty() || (!force && (!self.plan.shrinks.is_empty() || !self.unknown_pins.is_empty()))
    }
}

/// What a run of retention did.
#[derive(Debug, Clone)]
pub struct Retained {
    /// What was decided.
    pub proposal: Proposal,
    /// The store's time of this run.
    pub at: Timestamp,
    /// Nothing was done.
    pub refused: bool,
    /// Items that have a mark since this run.
    pub marked: Vec<ExpireItem>,
    /// Items that had a mark, and that the policy keeps now: their marks are gone again.
    pub rescued: Vec<ExpireItem>,
    /// Items that the policy keeps now, but part of which was deleted already. What is left of them stays, hidden.
    pub broken: Vec<ExpireItem>,
    /// Objects that were deleted.
    pub deleted_objects: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Objects that the store does not let go (object lock, a right that is missing). The next run tries again.
    pub undeletable: Vec<String>,
    /// Items of which nothing is left.
    pub finished: Vec<ExpireItem>,
}

impl Archive {
    /// What retention would do now, at an instant that the caller vouches for. Nothing is written.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn propose_expiry(&self, rules: &RetentionRules, now: Timestamp) -> Result<Proposal, ArchiveError> {
        Ok(self.look_for_expiry(rules, now).await?.proposal)
    }

    /// One run: marks what expires, deletes what was marked a grace ago and still expires. To be repeated now and then; a run
    /// that dies at any point is made up for by the next.
    ///
    /// # Errors
    /// What the store answers. A deletion that is denied is no error.
    pub async fn retain(&self, rules: &RetentionRules) -> Result<Retained, ArchiveError> {
        let begun = self.begin();
        let now = self.store_time().await?;
        let look = self.look_for_expiry(rules, now).await?;
        let mut retained = Retained::of(look.proposal.clone(), now);
        if look.proposal.is_refused(rules.force) {
            retained.refused = true;
            return Ok(retained);
        }
        let mut marks = self.settle_marks(&look, rules, (now, &mut retained)).await?;
        self.reap(&mut marks, begun, (now, &mut retained)).await?;
        self.drop_lines(&marks).await?;
        // A mark counts from the run's begin: put much later, it would be due before every plan that its object is in has ended.
        if self.is_late(begun) {
            tracing::warn!("retention took more than an hour: what it did stays, the next run goes on");
            return Ok(retained);
        }
        let kept = look.proposal.plan.expired().filter(|item| !marks.holds(item)).cloned();
        retained.marked = kept.collect();
        marks.propose(&retained.marked, now);
        self.write_marks(marks.live, &look.marks).await?;
        Ok(retained)
    }

    /// Deletes as much as the store allows, and gives what is left.
    async fn delete_what_may_go(&self, keys: &[String]) -> Result<Vec<String>, ArchiveError> {
        let mut left = Vec::new();
        for batch in keys.chunks(DELETE_BATCH) {
            match self.store.delete(batch).await {
                Ok(()) => {}
                Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => {
                    for key in batch {
                        match self.store.delete(std::slice::from_ref(key)).await {
                            Ok(()) => {}
                            Err(StoreError::Denied { .. } | StoreError::Fatal { .. }) => left.push(key.clone()),
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left)
    }
}

impl Retained {
    fn of(proposal: Proposal, at: Timestamp) -> Self {
        Self {
            proposal,
            at,
            refused: false,
            marked: Vec::new(),
            rescued: Vec::new(),
            broken: Vec::new(),
            deleted_objects: 0,
            deleted_bytes: 0,
            undeletable: Vec::new(),
            finished: Vec::new(),
        }
    }
}

/// Whether so much time has passed between two instants.
fn is_past(since: Timestamp, wait: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(wait).is_ok_and(|wait| now.duration_since(since) >= wait)
}
