//! Reading what a repeat is told by, and naming one that was left behind.

use futures::future::BoxFuture;
use pitr_recovery::RangeRef;

use super::read::in_segment;
use super::{Archive, ArchiveError, Workspace};
use crate::layout::{ObjectKey, SegmentKey};
use crate::segment::{RepeatOf, Repeated, SegmentError, SegmentHeader, SegmentRecord};

impl Archive {
    /// The bytes by which the segment at `key` is told; none if it is stored as a whole. Each of them may be a repeat itself, of
    /// servers whose names come before its own: so this ends.
    pub(super) fn read_repeated<'a>(
        &'a self,
        key: &'a SegmentKey,
        header: &'a SegmentHeader,
    ) -> BoxFuture<'a, Result<Option<Repeated>, ArchiveError>> {
        Box::pin(async move {
            let Some(repeat) = header.repeat() else { return Ok(None) };
            let mut repeated = Repeated::default();
            for of in &repeat.of {
                let damaged = |reason: String| {
                    in_segment(key)(SegmentError::Damaged(format!("{}, which it differs from: {reason}", of.key)))
                };
                let raw = match self.read_piece(of).await {
                    Ok(raw) => raw,
                    Err(
                        error @ (ArchiveError::RangeLost { .. }
                        | ArchiveError::RangeChanged { .. }
                        | ArchiveError::Segment { .. }),
                    ) => return Err(damaged(error.to_string())),
                    Err(error) => return Err(error),
                };
                repeated
                    .add(of, &raw, &header.checksum)
                    .ok_or_else(|| damaged("it has not all of these bytes".to_owned()))?;
            }
            Ok(Some(repeated))
        })
    }

    /// Names repeats that no page names, each only while no whole segment of its range is listed (T); gives those that are named now.
    /// Beside a whole segment nobody needs it; named so late, it would let that one go although a deletion of what it is told by may
    /// be under way. A whole segment that is stored from now on stays for a grace, and by then each plan has seen what the repeat needs.
    pub(super) async fn name_lonely(
        &self,
        repeats: &mut Vec<SegmentRecord>,
        space: &Workspace<'_>,
    ) -> Result<Vec<SegmentRecord>, ArchiveError> {
        let begun = self.begin();
        let mut lonely = Vec::new();
        for repeat in repeats.drain(..) {
            if !self.has_whole_beside(&repeat, space).await? {
                lonely.push(repeat);
            }
        }
        if self.is_late(begun) {
            return Ok(Vec::new());
        }
        self.write_page(&lonely).await?;
        Ok(lonely)
    }

    async fn has_whole_beside(&self, repeat: &SegmentRecord, space: &Workspace<'_>) -> Result<bool, ArchiveError> {
        for key in self.stored_objects(&repeat.key.binlog).await?.into_keys() {
            let Ok(ObjectKey::Segment(key)) = key.parse() else { continue };
            if key == repeat.key || (key.start, key.end) != (repeat.key.start, repeat.key.end) {
                continue;
            }
            let _room = (space.room)().await;
            match self.check_segment_at(&key).await {
                Ok(other) if other.header.repeat().is_some() => {}
                Ok(other) if other.header.raw_sha256 == repeat.header.raw_sha256 => return Ok(true),
                Ok(_) => {}
                Err(error) if error.is_not_found() || error.unusable().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// All bytes of the segment that a piece is of, from wherever they are now.
    async fn read_piece(&self, of: &RepeatOf) -> Result<bytes::Bytes, ArchiveError> {
        match self.fetch_segment(&of.key).await {
            Ok(fetched) if fetched.record.header.raw_sha256 == of.raw_sha256 => return Ok(fetched.raw),
            Ok(_) => {}
            Err(error) => super::read::pass_over(error)?,
        }
        let SegmentKey { binlog, start, end, .. } = &of.key;
        let range = RangeRef { binlog: binlog.clone(), start: *start, end: *end, raw_sha256: of.raw_sha256 };
        self.read_range(&range, &[]).await
    }
}
