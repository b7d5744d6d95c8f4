//! All that exists, marked or not, and the plan that a policy makes of it.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use pitr_recovery::{
    BinlogId, ExpireItem, ExpirePlan, Expiry, Indices, Inventory, RangeRef, RetentionRequest, StoredTimes, Timeline,
};

use super::content::Content;
use super::{Proposal, RetentionRules, is_past};
use crate::archive::adopt::MarksRead;
use crate::archive::{Archive, ArchiveError, READS_AT_ONCE};
use crate::expiry::Marks;
use crate::layout::{BACKUPS_PREFIX, ObjectKey, Place};
use crate::segment::SegmentRecord;
use crate::store::{ListedObject, StoreError};

/// More binlogs than this are looked up with one listing of their source.
const LISTED_SINGLY_MAX: usize = 200;

/// What a run begins with.
pub(super) struct Look {
    pub(super) marks: MarksRead,
    pub(super) proposal: Proposal,
    /// Catalogued segments of marked binlogs.
    pub(super) lines: BTreeMap<BinlogId, Vec<SegmentRecord>>,
    /// Binlogs and base backups that were found.
    pub(super) existing: BTreeSet<ExpireItem>,
    /// Binlogs by whose bytes others are told.
    pub(super) needs: BTreeMap<BinlogId, BTreeSet<BinlogId>>,
}

impl Archive {
    pub(super) async fn look_for_expiry(&self, rules: &RetentionRules, now: Timestamp) -> Result<Look, ArchiveError> {
        let marks = self.read_mark_objects().await?;
        // Of what is gone only lines of the catalog are left; to read more of it would find nothing.
        let mut everything = self.everything((&emptied(&marks.marks), marks.problems.clone()), None).await?;
        everything.inventory.running.clone_from(&rules.running);
        let mut hindrances = std::mem::take(&mut everything.report.unreadable);
        hindrances.retain(|(key, _)| is_hindrance(key));
        let is_due =
            |id: &BinlogId| marks.marks.binlogs.get(id).is_some_and(|mark| is_past(mark.since, rules.grace, now));
        for id in self.gone_unnoted(&mut hindrances, is_due).await? {
            everything.inventory.binlogs.retain(|binlog| binlog.id != id);
        }
        let is_known = |pin: &&String| everything.inventory.backups.iter().any(|backup| backup.id == **pin);
        let unknown_pins = rules.policy.pins.iter().filter(|pin| !is_known(pin)).cloned().collect();
        // Nothing goes in favour of what cannot be restored.
        let lost = self.last_verified().await?.map(|last| last.lost_backups).unwrap_or_default();
        let is_there = |id: &String| everything.inventory.backups.iter().any(|backup| backup.id == *id);
        let lost: BTreeMap<String, u64> = lost.into_iter().filter(|(id, _)| is_there(id)).collect();
        let incomplete = lost.keys().cloned().collect();
        let mut content = Content::lacking(lost);
        let mut request = RetentionRequest {
            policy: rules.policy.clone(),
            now_us: now.as_microsecond(),
            promised_us: marks.marks.promised_us,
            stored: StoredTimes { backups: self.backup_times().await?, binlogs: BTreeMap::new() },
            incomplete,
            needs: everything.found.told_by(),
        };
        let plan = loop {
            match self.plan_expiry(&everything.inventory, request.clone(), &is_due).await {
                // Its objects went before a run could note it.
                Err(ArchiveError::RangeLost { range } | ArchiveError::RangeChanged { range, .. })
                    if is_due(&range.binlog) =>
                {
                    everything.inventory.binlogs.retain(|binlog| binlog.id != range.binlog);
                }
                other => {
                    let plan = other?;
                    if !self.find_incomplete(&plan, &mut content).await? {
                        break plan;
                    }
                    request.incomplete = content.missing.keys().cloned().collect();
                }
            }
        };
        let mut lines: BTreeMap<BinlogId, Vec<SegmentRecord>> = BTreeMap::new();
        for record in everything.found.catalogued {
            if marks.marks.binlogs.contains_key(&record.key.binlog) {
                lines.entry(record.key.binlog.clone()).or_default().push(record);
            }
        }
        let binlogs = everything.inventory.binlogs.into_iter().map(|binlog| ExpireItem::Binlog(binlog.id.clone()));
        let backups = everything.inventory.backups.into_iter().map(|backup| ExpireItem::Backup(backup.id));
        let existing = binlogs.chain(backups).collect();
        let marked = marked_items(&marks.marks).collect();
        let proposal = Proposal { plan, hindrances, marked, unknown_pins, incomplete: content.missing };
        Ok(Look { marks, proposal, lines, existing, needs: request.needs })
    }

    /// Binlogs with a due mark whose objects went before a run could note it: that they cannot be read hinders nothing.
    async fn gone_unnoted(
        &self,
        hindrances: &mut Vec<(String, String)>,
        is_due: impl Fn(&BinlogId) -> bool,
    ) -> Result<BTreeSet<BinlogId>, ArchiveError> {
        let mut gone = BTreeSet::new();
        let mut left = Vec::new();
        for (key, reason) in hindrances.drain(..) {
            match key.parse() {
                Ok(ObjectKey::Segment(segment)) if is_due(&segment.binlog) => match self.store.head(&key).await {
                    Err(StoreError::NotFound { .. }) => drop(gone.insert(segment.binlog)),
                    Err(error) => return Err(error.into()),
                    Ok(_) => left.push((key, reason)),
                },
                _ => left.push((key, reason)),
            }
        }
        *hindrances = left;
        Ok(gone)
    }

    async fn plan_expiry(
        &self,
        inventory: &Inventory,
        mut request: RetentionRequest,
        is_due: &impl Fn(&BinlogId) -> bool,
    ) -> Result<ExpirePlan, ArchiveError> {
        // Commit times decide first; then the store is asked about what would go.
        let unknown = inventory.binlogs.iter().map(|binlog| (binlog.id.clone(), i64::MIN));
        request.stored.binlogs = unknown.collect();
        let mut timeline = Timeline::new(inventory.clone());
        loop {
            let plan = match timeline.expire(&request) {
                Expiry::Plan(plan) => plan,
                Expiry::Reads(wanted) => {
                    let (indices, lost) = self.read_indices(inventory, &wanted, is_due).await?;
                    timeline = timeline.without_indices(lost).with_indices(indices);
                    continue;
                }
            };
            let is_unknown = |id: &&BinlogId| request.stored.binlogs.get(*id) == Some(&i64::MIN);
            let binlogs = plan.expired().filter_map(|item| match item {
                ExpireItem::Binlog(id) => Some(id),
                ExpireItem::Backup(_) => None,
            });
            let unknown: BTreeSet<BinlogId> = binlogs.filter(is_unknown).cloned().collect();
            if unknown.is_empty() {
                return Ok(plan);
            }
            let times = self.binlog_times(&unknown).await?;
            let known = |id: BinlogId| (times.get(&id).copied().unwrap_or(0), id);
            request.stored.binlogs.extend(unknown.into_iter().map(known).map(|(us, id)| (id, us)));
        }
    }

    /// The indices, and the ranges that have none that can be read: without it they are no reason to let anything go.
    async fn read_indices(
        &self,
        inventory: &Inventory,
        wanted: &[RangeRef],
        is_due: &impl Fn(&BinlogId) -> bool,
    ) -> Result<(Indices, Vec<RangeRef>), ArchiveError> {
        let (indices, missing) = self.indices_there(inventory, wanted).await?;
        let mut lost = Vec::new();
        for (range, error) in missing {
            let is_gone = matches!(error, ArchiveError::RangeLost { .. } | ArchiveError::RangeChanged { .. });
            if is_gone && is_due(&range.binlog) {
                return Err(error);
            }
            tracing::warn!(binlog = %range.binlog, start = range.start, %error, "retention goes on without it");
            lost.push(range);
        }
        Ok((indices, lost))
    }

    /// When the store took each manifest.
    async fn backup_times(&self) -> Result<BTreeMap<String, i64>, ArchiveError> {
        let listed = self.store.list(BACKUPS_PREFIX).await?.into_iter();
        Ok(listed
            .filter_map(|object| match object.key.parse() {
                Ok(ObjectKey::Manifest { backup }) => Some((backup, object.modified.as_microsecond())),
                _ => None,
            })
            .collect())
    }

    /// When the store took the newest object of each of these binlogs.
    async fn binlog_times(&self, binlogs: &BTreeSet<BinlogId>) -> Result<BTreeMap<BinlogId, i64>, ArchiveError> {
        let prefixes: BTreeSet<String> = if binlogs.len() > LISTED_SINGLY_MAX {
            let sources: BTreeSet<&str> = binlogs.iter().map(|id| id.source.as_str()).collect();
            let both = |source| [Place::Binlogs, Place::Tail].map(|place| place.source_prefix(source));
            sources.into_iter().flat_map(both).collect()
        } else {
            let both = |id| [Place::Binlogs, Place::Tail].map(|place| place.binlog_prefix(id));
            binlogs.iter().flat_map(both).collect()
        };
        let mut times = BTreeMap::new();
        let mut listed = stream::iter(prefixes).map(|prefix| self.listed(prefix)).buffer_unordered(READS_AT_ONCE);
        while let Some(objects) = listed.try_next().await? {
            for object in objects {
                if let Ok(ObjectKey::Segment(key)) = object.key.parse() {
                    let known = times.entry(key.binlog).or_insert(0);
                    *known = object.modified.as_microsecond().max(*known);
                }
            }
        }
        Ok(times)
    }

    async fn listed(&self, prefix: String) -> Result<Vec<ListedObject>, ArchiveError> {
        Ok(self.store.list(&prefix).await?)
    }
}

/// The marks of binlogs that have no object any more.
fn emptied(marks: &Marks) -> Marks {
    let binlogs = marks.binlogs.iter().filter(|(_, mark)| mark.emptied_at.is_some());
    Marks { binlogs: binlogs.map(|(id, mark)| (id.clone(), *mark)).collect(), ..Marks::default() }
}

/// All items with a mark.
pub(super) fn marked_items(marks: &Marks) -> impl Iterator<Item = ExpireItem> {
    let binlogs = marks.binlogs.keys().cloned().map(ExpireItem::Binlog);
    binlogs.chain(marks.backups.keys().cloned().map(ExpireItem::Backup))
}

/// Whether not being able to read an object forbids to expire anything. One of the tail hides what is young anyway.
fn is_hindrance(key: &str) -> bool {
    match key.parse() {
        Ok(ObjectKey::Page(_) | ObjectKey::Marks { .. } | ObjectKey::Manifest { .. }) => true,
        Ok(ObjectKey::Segment(key)) => key.place == Place::Binlogs,
        _ => false,
    }
}
