//! The marks of a run: which old ones live on, and where they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use pitr_recovery::{BinlogId, ExpireItem, WithoutBase};

use super::look::{Look, marked_items};
use super::{Retained, RetentionRules, is_past};
use crate::archive::adopt::MarksRead;
use crate::archive::{Archive, ArchiveError, unreadable};
use crate::digest::ShortHash;
use crate::expiry::{Mark, Marks};
use crate::layout::{EXPIRED_PREFIX, ObjectKey, Place};
use crate::store::{ObjectClass, StoreError};

/// Marks while a run is at them.
pub(super) struct MarksInWork {
    /// What will be written.
    pub(super) live: Marks,
    /// Marked items that may go now: their grace is over, and the plan of this run lets them go, too.
    pub(super) due: BTreeSet<ExpireItem>,
    /// Marked binlogs that pages still name.
    pub(super) named: BTreeSet<BinlogId>,
    /// Binlogs that have objects, and by whose bytes those are told.
    pub(super) needs: BTreeMap<BinlogId, BTreeSet<BinlogId>>,
}

impl MarksInWork {
    /// Whether something that is there is told by the bytes of this binlog: then it has to wait (T).
    pub(super) fn is_needed(&self, item: &ExpireItem) -> bool {
        match item {
            ExpireItem::Binlog(id) => self.needs.values().any(|needs| needs.contains(id)),
            ExpireItem::Backup(_) => false,
        }
    }

    /// Notes that a binlog has no object any more.
    pub(super) fn empty(&mut self, item: &ExpireItem) {
        if let ExpireItem::Binlog(id) = item {
            self.needs.remove(id);
        }
    }

    pub(super) fn holds(&self, item: &ExpireItem) -> bool {
        match item {
            ExpireItem::Binlog(id) => self.live.binlogs.contains_key(id),
            ExpireItem::Backup(id) => self.live.backups.contains_key(id),
        }
    }

    pub(super) fn mark(&mut self, item: &ExpireItem) -> Option<&mut Mark> {
        match item {
            ExpireItem::Binlog(id) => self.live.binlogs.get_mut(id),
            ExpireItem::Backup(id) => self.live.backups.get_mut(id),
        }
    }

    pub(super) fn forget(&mut self, item: &ExpireItem) {
        match item {
            ExpireItem::Binlog(id) => drop(self.live.binlogs.remove(id)),
            ExpireItem::Backup(id) => drop(self.live.backups.remove(id)),
        }
    }

    pub(super) fn propose(&mut self, items: &[ExpireItem], since: Timestamp) {
        for item in items {
            match item {
                ExpireItem::Binlog(id) => drop(self.live.binlogs.insert(id.clone(), Mark::new(since))),
                ExpireItem::Backup(id) => drop(self.live.backups.insert(id.clone(), Mark::new(since))),
            }
        }
    }
}

/// One wrong answer of a clock would make every grace be over.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(60 * 60);

impl Archive {
    /// The store's time: that of the marks, which are written once more as they are.
    pub(super) async fn store_time(&self) -> Result<Timestamp, ArchiveError> {
        let read = self.read_mark_objects().await?;
        let key = self.write_marks(read.marks.clone(), &read).await?;
        let (store, ours) = (self.store.head(&key).await?.modified, self.now());
        if store.duration_since(ours).unsigned_abs() > CLOCKS_DIFFER_MAX {
            return Err(ArchiveError::ClocksDiffer { store, ours });
        }
        Ok(store)
    }

    /// Writes all live marks as one object, and then deletes those of lower generations that were read.
    pub(super) async fn write_marks(&self, marks: Marks, read: &MarksRead) -> Result<String, ArchiveError> {
        let json = marks.to_json().map_err(|error| unreadable(EXPIRED_PREFIX, &error))?;
        let generation = read.generation + 1;
        let key = ObjectKey::Marks { generation, hash: ShortHash::of(&json) }.to_string();
        self.store.put(&key, json.into(), ObjectClass::Control).await?;
        let lower = read.objects.iter().filter(|(other, _)| *other < generation).map(|(_, key)| key.clone());
        let lower: Vec<String> = lower.collect();
        if !lower.is_empty() {
            // Marks that stay in the way are read together with the new ones: what they hide stays hidden.
            match self.store.delete(&lower).await {
                Err(error @ StoreError::Denied { .. }) => tracing::warn!(%error, "old marks stay"),
                other => other?,
            }
        }
        Ok(key)
    }

    /// What becomes of marks that are there already. A mark is a proposal (T): what the policy keeps now loses it, if it is whole.
    pub(super) async fn settle_marks(
        &self,
        look: &Look,
        rules: &RetentionRules,
        (now, retained): (Timestamp, &mut Retained),
    ) -> Result<MarksInWork, ArchiveError> {
        let mut live = look.marks.marks.clone();
        let window_us = rules.policy.window_us;
        live.promised_us = if rules.force { Some(window_us) } else { live.promised_us.max(Some(window_us)) };
        live.by_age = rules.policy.without_base == WithoutBase::Age;
        let named = look.lines.keys().cloned().collect();
        let mut marks = MarksInWork { live, due: BTreeSet::new(), named, needs: look.needs.clone() };
        for item in marked_items(&look.marks.marks) {
            let Some(mark) = marks.mark(&item).copied() else { continue };
            let is_due = is_past(mark.since, rules.grace, now);
            let is_wanted = look.existing.contains(&item) && !look.proposal.plan.expires(&item);
            if !is_wanted {
                if is_due {
                    marks.due.insert(item);
                }
            } else if self.is_whole(&item, look).await? {
                marks.forget(&item);
                retained.rescued.push(item);
            } else {
                retained.broken.push(item);
            }
        }
        Ok(marks)
    }

    /// Whether nothing of a marked item was deleted yet.
    async fn is_whole(&self, item: &ExpireItem, look: &Look) -> Result<bool, ArchiveError> {
        match item {
            ExpireItem::Binlog(id) => {
                let listed = self.store.list(&Place::Binlogs.binlog_prefix(id)).await?;
                let listed: BTreeSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
                let lines = look.lines.get(id).map_or(&[][..], Vec::as_slice);
                Ok(lines.iter().all(|record| listed.contains(record.key.to_string().as_str())))
            }
            // The manifest goes first, and it is there.
            ExpireItem::Backup(_) => Ok(true),
        }
    }
}
