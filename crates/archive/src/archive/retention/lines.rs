//! Taking lines out of the catalog whose objects are gone.

use std::collections::BTreeSet;

use bytes::Bytes;
use pitr_recovery::BinlogId;

use super::marks::MarksInWork;
use crate::archive::{Archive, ArchiveError, compute, unreadable};
use crate::catalog::{PageWriter, raw_lines};
use crate::digest::ShortHash;
use crate::layout::{LEVEL_MAX, ObjectKey, PageKey, catalog_prefix};
use crate::store::ListedObject;

/// A page is written anew when so much of it is dead, as one part of this many. A line is then rewritten a few times in its life,
/// and levels, which are two digits, last for ever.
const DEAD_PART: usize = 4;

impl Archive {
    /// Drops the lines of marked binlogs that have no object any more (T: before that, a page says what there is to delete).
    pub(super) async fn drop_lines(&self, marks: &MarksInWork) -> Result<(), ArchiveError> {
        let empty = marks.live.binlogs.iter().filter(|(_, mark)| mark.emptied_at.is_some()).map(|(id, _)| id);
        let dead: BTreeSet<BinlogId> = empty.filter(|id| marks.named.contains(*id)).cloned().collect();
        let sources: BTreeSet<&str> = dead.iter().map(|id| id.source.as_str()).collect();
        for source in sources {
            self.drop_lines_of(source, &dead).await?;
        }
        Ok(())
    }

    async fn drop_lines_of(&self, source: &str, dead: &BTreeSet<BinlogId>) -> Result<(), ArchiveError> {
        let begun = self.begin();
        let listed = self.store.list(&catalog_prefix(source)).await?;
        for object in &listed {
            let Ok(ObjectKey::Page(page)) = object.key.parse() else { continue };
            let bytes = match self.fetch_page(&page).await {
                Ok(bytes) => bytes,
                // A merge was faster; or it is damaged, and says nothing.
                Err(error) if error.is_not_found() || error.unusable().is_some() => continue,
                Err(error) => return Err(error),
            };
            let (key, dead) = (object.key.clone(), dead.clone());
            let without = compute(move || without(&key, &bytes, &dead)).await??;
            let done = match without {
                Without::Nothing => self.delete_page(&object.key).await,
                // It is a merge: what took too long is left to the next run.
                Without::Much(_) if self.is_late(begun) => return Ok(()),
                Without::Much(bytes) if page.level < LEVEL_MAX => self.replace_page(&page, bytes, &listed).await,
                Without::Much(_) | Without::Little => continue,
            };
            Self::tolerate_denied(done)?;
        }
        Ok(())
    }

    async fn replace_page(&self, page: &PageKey, bytes: Vec<u8>, listed: &[ListedObject]) -> Result<(), ArchiveError> {
        let level = page.level + 1;
        let key = PageKey { source: page.source.clone(), level, hash: ShortHash::of(&bytes) }.to_string();
        // An earlier run has stored it, and whoever sees directories late has seen it since.
        if listed.iter().any(|object| object.key == key && self.is_settled(object.modified)) {
            return self.delete_page(&page.to_string()).await;
        }
        self.store_page(&page.source, level, bytes).await?;
        self.discard(vec![page.to_string()]).await
    }

    async fn delete_page(&self, key: &str) -> Result<(), ArchiveError> {
        Ok(self.store.delete(&[key.to_owned()]).await?)
    }
}

/// A page without its dead lines.
enum Without {
    /// There is no other line.
    Nothing,
    /// It is worth while.
    Much(Vec<u8>),
    /// It is not, or there is no dead line.
    Little,
}

fn without(key: &str, page: &Bytes, dead: &BTreeSet<BinlogId>) -> Result<Without, ArchiveError> {
    let failed = |error: std::io::Error| unreadable(key, &error);
    let (mut lines, mut gone) = (0, 0);
    let mut writer = PageWriter::new().map_err(failed)?;
    let read = raw_lines(page, |segment, line| {
        lines += 1;
        if matches!(segment.parse(), Ok(ObjectKey::Segment(key)) if dead.contains(&key.binlog)) {
            gone += 1;
            return Ok(());
        }
        writer.push_raw(line)
    });
    if read.is_err() || gone == 0 {
        return Ok(Without::Little);
    }
    if writer.is_empty() {
        return Ok(Without::Nothing);
    }
    if gone * DEAD_PART < lines {
        return Ok(Without::Little);
    }
    writer.finish().map(Without::Much).map_err(failed)
}
