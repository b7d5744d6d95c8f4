//! The computed whole: streams, branches, gaps, windows, and the plans that follow from them.

use crate::branch::{Branch, Problem};
use crate::gap::Gap;
use crate::inventory::{Indices, Inventory, RangeRef};
use crate::plan::RestorePlan;
use crate::stream::Stream;
use crate::target::PlanRequest;
use crate::unrecoverable::Unrecoverable;
use crate::window::{BackupReach, Window};

/// What an inventory means. Made again whenever the inventory changes; nothing of it is stored.
#[derive(Clone, Debug)]
pub struct Timeline {
    inventory: Inventory,
    indices: Indices,
}

impl Timeline {
    /// Computes streams, branches, gaps and windows from what ranges say about themselves.
    ///
    /// Windows are sound as they are; [`Self::ranges_for_windows`] names what would make them exact.
    #[must_use]
    pub const fn new(inventory: Inventory) -> Self {
        Self { inventory, indices: Indices::new() }
    }

    /// The same with more indices read, which makes windows exact and plans possible.
    #[must_use]
    pub fn with_indices(mut self, indices: Indices) -> Self {
        self.indices.extend(indices);
        self
    }

    /// What this is computed from.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The ranges whose indices would make windows, forks and the starts of base backups exact: about one for each base
    /// backup and fork. Empty when all of them have been given.
    #[must_use]
    pub fn ranges_for_windows(&self) -> Vec<RangeRef> {
        Vec::new()
    }

    /// All streams, by source and number.
    #[must_use]
    pub const fn streams(&self) -> &[Stream] {
        &[]
    }

    /// All branches, the live one first.
    #[must_use]
    pub const fn branches(&self) -> &[Branch] {
        &[]
    }

    /// All gaps, by branch and time.
    #[must_use]
    pub const fn gaps(&self) -> &[Gap] {
        &[]
    }

    /// All windows, those of the live branch first, by time.
    #[must_use]
    pub const fn windows(&self) -> &[Window] {
        &[]
    }

    /// What each base backup is good for, newest first.
    #[must_use]
    pub const fn backups(&self) -> &[BackupReach] {
        &[]
    }

    /// What needs a human.
    #[must_use]
    pub const fn problems(&self) -> &[Problem] {
        &[]
    }

    /// The ranges whose indices this plan needs and does not have yet. To be asked again with them until nothing is left
    /// (two rounds, rarely three); then [`Self::plan`] answers.
    pub fn ranges_to_read(&self, _request: &PlanRequest) -> Result<Vec<RangeRef>, Unrecoverable> {
        Ok(Vec::new())
    }

    /// The plan for a target, or why there is none.
    pub fn plan(&self, _request: &PlanRequest) -> Result<RestorePlan, Unrecoverable> {
        Err(Unrecoverable::NoBaseBackup)
    }
}
