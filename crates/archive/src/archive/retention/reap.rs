//! Deleting what was marked a grace ago and may still go.

use std::time::Duration;

use jiff::Timestamp;
use pitr_recovery::ExpireItem;

use super::marks::MarksInWork;
use super::{Retained, is_past};
use crate::archive::pages::Begun;
use crate::archive::{Archive, ArchiveError};
use crate::layout::{ObjectKey, Place, backup_prefix};
use crate::store::ListedObject;

/// A mark goes when two looks so far apart found neither object nor line: a page or an object may have been on its way.
const LOOKS_APART: Duration = Duration::from_secs(2 * 60 * 60);

impl Archive {
    /// Deletes the objects of due marks, and notes in the marks what is left of them.
    pub(super) async fn reap(
        &self,
        marks: &mut MarksInWork,
        begun: Begun,
        (now, retained): (Timestamp, &mut Retained),
    ) -> Result<(), ArchiveError> {
        // Backwards: what is told by the bytes of others, whose servers come before its own, goes before them.
        for item in marks.due.clone().into_iter().rev() {
            // Another run may have found since that one of them is wanted.
            if self.is_late(begun) {
                break;
            }
            let is_named = matches!(&item, ExpireItem::Binlog(id) if marks.named.contains(id));
            let Some(mark) = marks.mark(&item) else { continue };
            if mark.emptied_at.is_some() && is_named {
                marks.empty(&item);
                continue;
            }
            let objects = self.objects_of(&item).await?;
            if !objects.is_empty() {
                if marks.is_needed(&item) {
                    continue;
                }
                let mut left = self.reap_objects(&objects, retained).await?;
                if left.is_empty() {
                    // A store may say that it has deleted what it keeps: only what is not listed any more is gone.
                    left = self.objects_of(&item).await?.into_iter().map(|object| object.key).collect();
                }
                if left.is_empty() {
                    marks.empty(&item);
                }
                let Some(mark) = marks.mark(&item) else { continue };
                mark.unseen_since = None;
                mark.emptied_at = left.is_empty().then_some(now);
                retained.undeletable.extend(left);
                continue;
            }
            marks.empty(&item);
            let Some(mark) = marks.mark(&item) else { continue };
            mark.emptied_at = mark.emptied_at.or(Some(now));
            match mark.unseen_since {
                _ if is_named => {}
                None => mark.unseen_since = Some(now),
                Some(since) if is_past(since, LOOKS_APART, now) => {
                    marks.forget(&item);
                    retained.finished.push(item);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Deletes objects, and gives those that the store does not let go.
    async fn reap_objects(
        &self,
        objects: &[ListedObject],
        retained: &mut Retained,
    ) -> Result<Vec<String>, ArchiveError> {
        // A manifest goes before what it names: nothing that is listed ever lacks its content.
        let is_manifest = |object: &&ListedObject| matches!(object.key.parse(), Ok(ObjectKey::Manifest { .. }));
        let (manifests, others): (Vec<&ListedObject>, Vec<&ListedObject>) = objects.iter().partition(is_manifest);
        let keys = |objects: &[&ListedObject]| objects.iter().map(|object| object.key.clone()).collect::<Vec<_>>();
        let mut left = self.delete_what_may_go(&keys(&manifests)).await?;
        if left.is_empty() {
            left = self.delete_what_may_go(&keys(&others)).await?;
        } else {
            left.extend(keys(&others));
        }
        let gone = objects.iter().filter(|object| !left.contains(&object.key));
        for object in gone {
            retained.deleted_objects += 1;
            retained.deleted_bytes += object.length;
        }
        Ok(left)
    }

    async fn objects_of(&self, item: &ExpireItem) -> Result<Vec<ListedObject>, ArchiveError> {
        match item {
            ExpireItem::Binlog(id) => {
                let mut objects = self.store.list(&Place::Binlogs.binlog_prefix(id)).await?;
                objects.extend(self.store.list(&Place::Tail.binlog_prefix(id)).await?);
                Ok(objects)
            }
            ExpireItem::Backup(id) => Ok(self.store.list(&backup_prefix(id)).await?),
        }
    }
}
