//! Indices for a timeline: several at once, and those that cannot be had now aside.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use pitr_recovery::{
    BinlogId, Indices, Inventory, PlanRequest, RangeRef, RestorePlan, StoredObject, Timeline, Unrecoverable,
};

use super::{Archive, ArchiveError, READS_AT_ONCE};

impl Archive {
    /// The same timeline with all that makes its windows exact. A range whose index cannot be had now, for what holds it is gone, damaged
    /// or withheld, is lost to it, and ends nothing else.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn exact(&self, mut timeline: Timeline) -> Result<Timeline, ArchiveError> {
        loop {
            let wanted = timeline.ranges_for_windows();
            if wanted.is_empty() {
                return Ok(timeline);
            }
            let (indices, lost) = self.indices_there(timeline.inventory(), &wanted).await?;
            for (range, error) in &lost {
                tracing::warn!(event = "unreadable", binlog = %range.binlog, start = range.start, reason = %error);
            }
            timeline = timeline.without_ranges(lost.into_iter().map(|(range, _)| range)).with_indices(indices);
        }
    }

    /// The plan for a target, or why there is none, and the timeline with all that was read for it. What cannot be had now and only makes
    /// windows exact stands in the way of no plan that does without it. Where identities are at hand, a base backup that none of them
    /// opens is passed over for another one, unless it is named.
    ///
    /// # Errors
    /// What the store answers, what keeps an index that this plan needs from being read, or that no base backup which leads there is
    /// opened: [`ArchiveError::BackupSealed`] of the cheapest.
    pub async fn plan(
        &self,
        timeline: Timeline,
        request: &PlanRequest,
    ) -> Result<(Timeline, Result<RestorePlan, Unrecoverable>), ArchiveError> {
        let (mut timeline, mut request) = (self.exact(timeline).await?, request.clone());
        let mut cheapest = None;
        loop {
            let answer;
            (timeline, answer) = self.plan_from_any(timeline, &request).await?;
            let plan = match answer {
                Ok(plan) => plan,
                Err(why) => return cheapest.map_or(Ok((timeline, Err(why))), Err),
            };
            if self.identities().is_empty() || request.from_backup.is_some() {
                return Ok((timeline, Ok(plan)));
            }
            let id = plan.base().id.clone();
            match self.check_base(&id).await {
                Err(sealed @ ArchiveError::BackupSealed { .. }) => {
                    tracing::warn!(event = "base-passed-over", backup = id, reason = %sealed, "no identity at hand opens it");
                    request.sealed.insert(id);
                    cheapest.get_or_insert(sealed);
                }
                // What else is wrong with it is for whoever reads it to meet.
                Ok(()) | Err(_) => return Ok((timeline, Ok(plan))),
            }
        }
    }

    /// The same whoever the base backup is encrypted to.
    pub(super) async fn plan_from_any(
        &self,
        mut timeline: Timeline,
        request: &PlanRequest,
    ) -> Result<(Timeline, Result<RestorePlan, Unrecoverable>), ArchiveError> {
        loop {
            match timeline.ranges_to_read(request) {
                Err(answer) => return Ok((timeline, Err(answer))),
                Ok(wanted) if wanted.is_empty() => {
                    let plan = timeline.plan(request);
                    return Ok((timeline, plan));
                }
                Ok(wanted) => {
                    let indices = self.indices(timeline.inventory(), &wanted).await?;
                    timeline = timeline.with_indices(indices);
                }
            }
        }
    }

    /// The indices of these ranges, as [`Timeline::with_indices`] takes them.
    ///
    /// # Errors
    /// What the store answers, or what keeps the first of them from being read.
    async fn indices(&self, inventory: &Inventory, wanted: &[RangeRef]) -> Result<Indices, ArchiveError> {
        let (indices, lost) = self.indices_there(inventory, wanted).await?;
        match lost.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(indices),
        }
    }

    /// The indices of these ranges, and in order those that cannot be had now ([`ArchiveError::is_of_lost_range`]), and why.
    pub(super) async fn indices_there(
        &self,
        inventory: &Inventory,
        wanted: &[RangeRef],
    ) -> Result<(Indices, Vec<(RangeRef, ArchiveError)>), ArchiveError> {
        let known = objects_of(inventory, wanted);
        let reads = wanted.iter().cloned().map(|range| {
            let objects = known.get(&range).copied().unwrap_or_default();
            async move { (self.read_index(&range, objects).await, range) }
        });
        let mut read = stream::iter(reads).buffered(READS_AT_ONCE);
        let (mut indices, mut lost) = (Indices::new(), Vec::new());
        while let Some((index, range)) = read.next().await {
            match index {
                Ok(index) => drop(indices.insert(range, index)),
                Err(error) if error.is_of_lost_range() => lost.push((range, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((indices, lost))
    }
}

/// The objects that are known to hold ranges, at least these.
fn objects_of<'a>(inventory: &'a Inventory, wanted: &[RangeRef]) -> BTreeMap<RangeRef, &'a [StoredObject]> {
    let concerned: BTreeSet<&BinlogId> = wanted.iter().map(|range| &range.binlog).collect();
    let binlogs = inventory.binlogs.iter().filter(|binlog| concerned.contains(&binlog.id));
    let ranges = binlogs.flat_map(|binlog| binlog.ranges.iter().map(|range| (binlog.range_ref(range), range)));
    ranges.map(|(reference, range)| (reference, range.objects.as_slice())).collect()
}
