//! What the headers of segments tell of a range, in clear: enough to pass it over without its transactions or bytes.

use pitr_binlog::GtidSet;
use pitr_recovery::{RangeRef, StoredObject};

use super::read::{pass_over, segment_keys};
use super::{Archive, ArchiveError};
use crate::segment::{HeldSet, SegmentHeader};

/// Enough for most headers; a longer one takes a second request.
const HEADER_READ_BYTES: u64 = 4 << 10;

/// What ends in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeGtids {
    /// The GTIDs of the transactions that end in it: all have one.
    pub gtids: GtidSet,
    /// Another transaction begins in it or before it, and goes on after it.
    pub ends_in_transaction: bool,
}

impl Archive {
    /// The GTIDs before a file, as the header of an object with its beginning tells them; `None`: no such object is left
    /// where the range says, and its bytes must be read.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn read_previous(
        &self,
        beginning: &RangeRef,
        known: &[StoredObject],
    ) -> Result<Option<GtidSet>, ArchiveError> {
        self.first_told(beginning, known, |header| header.previous.and_then(whole)).await
    }

    /// What ends in a range, as the header of an object that holds it tells; `None`: no such object is left, or there are transactions
    /// without GTIDs, or too many GTIDs for a header.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn read_gtids(
        &self,
        range: &RangeRef,
        known: &[StoredObject],
    ) -> Result<Option<RangeGtids>, ArchiveError> {
        let told = |header: SegmentHeader| {
            let gtids = whole(header.transactions.gtids).filter(|_| header.transactions.without_gtid == 0)?;
            Some(RangeGtids { gtids, ends_in_transaction: header.ends_in_transaction })
        };
        self.first_told(range, known, told).await
    }

    /// What the first header of this very range tells, of those that tell it.
    async fn first_told<T>(
        &self,
        range: &RangeRef,
        known: &[StoredObject],
        told: impl Fn(SegmentHeader) -> Option<T>,
    ) -> Result<Option<T>, ArchiveError> {
        for key in segment_keys(range, known) {
            match self.read_header_within(&key, HEADER_READ_BYTES).await {
                Ok(Ok((header, _))) if header.raw_sha256 == range.raw_sha256 => {
                    if let Some(told) = told(header) {
                        return Ok(Some(told));
                    }
                }
                Ok(_) => {}
                Err(error) => pass_over(error)?,
            }
        }
        Ok(None)
    }
}

fn whole(held: HeldSet) -> Option<GtidSet> {
    match held {
        HeldSet::Whole(set) => Some(set),
        HeldSet::Digest { .. } => None,
    }
}
