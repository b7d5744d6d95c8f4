//! Adoption (T): what a predecessor stored and did not catalogue is verified and catalogued.

use super::{Archive, ArchiveError, Workspace, unreadable};
use crate::digest::ShortHash;
use crate::expiry::Marks;
use crate::layout::{EXPIRED_PREFIX, ObjectKey, Place, SegmentKey};
use crate::segment::SegmentRecord;
use crate::store::StoreError;

/// Pages are written after so many adopted segments: a crash then repeats little.
const PAGE_SEGMENTS: usize = 64;

/// What adoption did.
#[derive(Debug, Default)]
pub struct Adoption {
    /// Segments that are in the catalog now.
    pub adopted: Vec<SegmentRecord>,
    /// Objects that cannot be used, and why. They are left where they are.
    pub unusable: Vec<(String, String)>,
    /// Keys that are none of an archive's.
    pub unknown_keys: Vec<String>,
}

/// All live marks and where they stand.
#[derive(Debug, Default)]
pub(super) struct MarksRead {
    pub(super) marks: Marks,
    /// Objects that were read, by generation.
    pub(super) objects: Vec<(u64, String)>,
    /// The highest generation that is listed.
    pub(super) generation: u64,
    /// Objects that cannot be read, and why.
    pub(super) problems: Vec<(String, String)>,
}

impl Archive {
    /// Catalogues what lies under `binlogs/` of this source and stands in no page. Each object is fetched and verified
    /// first: bytes that are safe in the bucket are never lost to a missing page. For the start of an archiver.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn adopt(&self, source: &str) -> Result<Adoption, ArchiveError> {
        let (marks, _) = self.read_marks().await?;
        let mut adoption = Adoption::default();
        let mut candidates: Vec<SegmentKey> = Vec::new();
        for object in self.store.list(&Place::Binlogs.source_prefix(source)).await? {
            match object.key.parse() {
                Ok(ObjectKey::Segment(key)) => candidates.push(key),
                _ => adoption.unknown_keys.push(object.key),
            }
        }
        let known = self.discover_catalogued(Some(source)).await?;
        candidates.retain(|key| !known.names(key) && !marks.binlogs.contains_key(&key.binlog));
        let (mut unpublished, mut repeats) = (Vec::new(), Vec::new());
        for key in candidates {
            match self.check_segment_at(&key).await {
                Ok(record) => {
                    self.remember(&record);
                    if record.header.repeat().is_some() { &mut repeats } else { &mut unpublished }.push(record);
                }
                // Retention may have been there.
                Err(error) if error.is_not_found() => {}
                Err(error) => match error.unusable() {
                    Some(reason) => adoption.unusable.push((key.to_string(), reason)),
                    None => return Err(error),
                },
            }
            if unpublished.len() == PAGE_SEGMENTS {
                self.write_page(&unpublished).await?;
                adoption.adopted.append(&mut unpublished);
            }
            if repeats.len() == PAGE_SEGMENTS {
                adoption.adopted.append(&mut self.name_lonely(&mut repeats, &Workspace::ENOUGH).await?);
            }
        }
        self.write_page(&unpublished).await?;
        adoption.adopted.append(&mut unpublished);
        adoption.adopted.append(&mut self.name_lonely(&mut repeats, &Workspace::ENOUGH).await?);
        Ok(adoption)
    }

    /// All expiry marks, and the objects with marks that cannot be read.
    pub(crate) async fn read_marks(&self) -> Result<(Marks, Vec<(String, String)>), ArchiveError> {
        let read = self.read_mark_objects().await?;
        Ok((read.marks, read.problems))
    }

    /// The same with the objects that hold them.
    pub(super) async fn read_mark_objects(&self) -> Result<MarksRead, ArchiveError> {
        const LISTINGS_MAX: usize = 8;
        let mut last = None;
        'listing: for _ in 0..LISTINGS_MAX {
            let mut read = MarksRead::default();
            for object in self.store.list(EXPIRED_PREFIX).await? {
                let Ok(ObjectKey::Marks { generation, hash }) = object.key.parse() else {
                    read.problems.push((object.key, "not an expiry mark".to_owned()));
                    continue;
                };
                read.generation = read.generation.max(generation);
                match self.fetch_matching(&object.key, |bytes| ShortHash::of(bytes) == hash).await {
                    Ok(bytes) => match read.marks.add(&bytes) {
                        Ok(()) => read.objects.push((generation, object.key)),
                        Err(reason) => read.problems.push((object.key, reason)),
                    },
                    Err(ArchiveError::Store(
                        StoreError::Corrupt { reason, .. } | StoreError::Withheld { reason, .. },
                    )) => {
                        read.problems.push((object.key, reason));
                    }
                    // A run of retention replaced it by a higher generation.
                    Err(ArchiveError::Store(error @ StoreError::NotFound { .. })) => {
                        last = Some(error);
                        continue 'listing;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(read);
        }
        Err(last.map_or_else(|| unreadable(EXPIRED_PREFIX, &"the marks do not rest"), ArchiveError::Store))
    }
}
