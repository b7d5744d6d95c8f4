//! Reading what a repeat is told by.

use futures::future::BoxFuture;
use pitr_recovery::RangeRef;

use super::read::in_segment;
use super::{Archive, ArchiveError};
use crate::layout::SegmentKey;
use crate::segment::{RepeatOf, Repeated, SegmentError, SegmentHeader};

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
