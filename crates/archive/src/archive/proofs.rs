//! What others have proven of an archive: that its bytes are whole, and that a server comes up from them.

use jiff::Timestamp;

use super::{Archive, ArchiveError, Drills, LastVerified};
use crate::document::VerifyState;

/// The last verification and the last restore drills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs {
    /// When checksums were last verified.
    pub checksums_at: Option<Timestamp>,
    /// Objects that are damaged or missing since, as far as that found.
    pub damaged: u64,
    /// How the last restore drills ended.
    pub drills: Drills,
}

impl Archive {
    /// What lies in the archive of it.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn proofs(&self) -> Result<Proofs, ArchiveError> {
        let last = self.last_verified().await?;
        self.proofs_with(last.as_ref()).await
    }

    /// The same for whoever has asked for the last verification already.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn proofs_with(&self, last: Option<&LastVerified>) -> Result<Proofs, ArchiveError> {
        let damaged = last.map_or(0, |last| last.damaged);
        Ok(Proofs { checksums_at: last.map(|last| last.at), damaged, drills: self.last_drills().await? })
    }
}

impl Proofs {
    /// As documents have it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "seconds of a restore")]
    pub fn document(&self) -> VerifyState {
        let (verified, failed) = (self.drills.verified.as_ref(), self.drills.failed.as_ref());
        VerifyState {
            checksums_at: self.checksums_at.map(Into::into),
            damaged_objects: Some(self.damaged).filter(|damaged| *damaged > 0),
            drill_at: verified.map(|drill| drill.at.into()),
            drill_seconds: verified.map(|drill| drill.seconds as f64),
            drill_failed_at: failed.map(|drill| drill.at.into()),
            drill_failed_code: failed.and_then(|drill| drill.code.clone()),
        }
    }
}
