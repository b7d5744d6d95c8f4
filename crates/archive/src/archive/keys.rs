//! The keys that an archive is written and read with, and what can be told without them.

use std::collections::BTreeMap;

use pitr_recovery::RestorePlan;

use super::tail::TailCoverage;
use super::{Archive, ArchiveError, locked};
use crate::backup::BackupReader;
use crate::layout::{ObjectKey, SegmentKey};
use crate::seal::{self, HashKey, HashKeyId, Identities, RawDigest, SealError, Sealer};
use crate::segment::{SegmentError, SegmentRecord};

/// Keys of hashes that are remembered: they change when somebody changes them.
const LEARNED_MAX: usize = 64;

/// Segments that are looked at although nothing says to whom they are encrypted.
const STRAYS_MAX: usize = 16;

impl Archive {
    /// The same archive, whose payloads are encrypted from now on.
    #[must_use]
    pub fn sealed_by(mut self, sealer: Sealer) -> Self {
        self.learn(sealer.hash_key().clone());
        self.sealer = Some(sealer);
        self
    }

    /// The same archive, whose encrypted payloads these identities open.
    #[must_use]
    pub fn opened_by(mut self, identities: Identities) -> Self {
        self.identities = identities;
        self
    }

    /// What encrypts payloads, if anything does.
    #[must_use]
    pub fn sealer(&self) -> Option<&Sealer> {
        self.sealer.as_ref()
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// How this archive's writers hash raw bytes now.
    pub(crate) fn raw_digest(&self) -> RawDigest<'_> {
        RawDigest(self.sealer.as_ref().map(Sealer::hash_key))
    }

    pub(crate) fn learn(&self, key: HashKey) {
        let mut keys = locked(&self.hash_keys);
        if keys.len() < LEARNED_MAX && !keys.iter().any(|known| known.id() == key.id()) {
            keys.push(key);
        }
    }

    pub(crate) fn knows_hash_keys(&self) -> bool {
        !locked(&self.hash_keys).is_empty()
    }

    pub(crate) fn hash_key(&self, id: HashKeyId) -> Option<HashKey> {
        locked(&self.hash_keys).iter().find(|known| known.id() == id).cloned()
    }

    /// Whether bytes have this hash, in clear or with any key that is known.
    pub(crate) fn has_digest(&self, bytes: &[u8], digest: &crate::Digest) -> bool {
        let keys = locked(&self.hash_keys).clone();
        RawDigest(None).of(bytes) == *digest || keys.iter().any(|key| RawDigest(Some(key)).of(bytes) == *digest)
    }

    /// Compares tail objects with the bytes that go into the catalog.
    #[must_use]
    pub fn coverage(&self, tail: impl IntoIterator<Item = SegmentRecord>) -> TailCoverage {
        TailCoverage::with_keys(tail, |id| self.hash_key(id))
    }

    /// To whom the newest segment is encrypted; empty: to nobody. For whoever is about to store something in clear.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn newest_recipients(&self) -> Result<Vec<String>, ArchiveError> {
        let found = self.discover(None).await?;
        let newest = found.records().max_by_key(|record| record.header.written_at);
        Ok(newest.map(|record| record.header.recipients.clone()).unwrap_or_default())
    }

    /// Whether the identities at hand open everything that a plan needs, asked of one object for each set of recipients. Nothing
    /// is decoded. Without encryption nothing is asked.
    ///
    /// # Errors
    /// [`SegmentError::Encrypted`] or [`SegmentError::WrongIdentity`], or what the store answers.
    pub async fn check_identities(&self, plan: &RestorePlan, base: Option<&BackupReader>) -> Result<(), ArchiveError> {
        if let Some(base) = base {
            base.check_identities().await?;
        }
        let files = plan.files().iter();
        let objects = files.flat_map(|file| file.ranges.iter().chain([&file.head])).flat_map(|range| &range.objects);
        let keys: Vec<SegmentKey> = objects
            .filter_map(|object| match object.key.parse() {
                Ok(ObjectKey::Segment(key)) if key.encrypted => Some(key),
                _ => None,
            })
            .collect();
        if keys.is_empty() { Ok(()) } else { self.check_segments(&keys).await }
    }

    async fn check_segments(&self, keys: &[SegmentKey]) -> Result<(), ArchiveError> {
        let found = self.discover(None).await?;
        let recipients_of =
            |key: &SegmentKey| found.catalogued.get(key).or_else(|| found.tail.get(key)).map(|r| &r.header.recipients);
        let mut samples: BTreeMap<Option<&Vec<String>>, Vec<&SegmentKey>> = BTreeMap::new();
        for key in keys {
            let recipients = recipients_of(key);
            let known = samples.entry(recipients).or_default();
            // Of those that moved since the plan was made, several: each may be encrypted to somebody else.
            if known.is_empty() || recipients.is_none() && known.len() < STRAYS_MAX {
                known.push(key);
            }
        }
        for key in samples.into_values().flatten() {
            match self.check_segment(key).await {
                // It has moved: what took its place has the same bytes, and is checked when it is read.
                Err(ArchiveError::Store(error)) if error.is_not_found() => {}
                checked => checked?,
            }
        }
        Ok(())
    }

    async fn check_segment(&self, key: &SegmentKey) -> Result<(), ArchiveError> {
        let text = key.to_string();
        let in_segment = |source| ArchiveError::Segment { key: text.clone(), source };
        let (header, _) = self.read_header(key).await?.map_err(in_segment)?;
        let from = header.parts.payload_at;
        let first = self.store.get_range(&text, from..from + seal::HEADER_BYTES_MAX as u64).await?;
        self.check_opens(&first, &header.recipients).map_err(in_segment)
    }

    /// Whether the identities open a payload that begins with these bytes.
    pub(crate) fn check_opens(&self, first: &[u8], recipients: &[String]) -> Result<(), SegmentError> {
        let recipients = || recipients.to_vec();
        if self.identities.is_empty() {
            return Err(SegmentError::Encrypted { recipients: recipients() });
        }
        match seal::check(&self.identities, first) {
            Ok(()) => Ok(()),
            Err(SealError::WrongIdentity) => Err(SegmentError::WrongIdentity { recipients: recipients() }),
            Err(error) => Err(SegmentError::Damaged(error.to_string())),
        }
    }
}
