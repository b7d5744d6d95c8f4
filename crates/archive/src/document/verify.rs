//! What a verification looked at and found: `pitr-sidecar verify -o json`, and what a verify Job prints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::API_VERSION;
use crate::{Finding, FindingKind, Rebuilt, SLICES, Verified};

/// What was read and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `Verify`
    pub kind: String,
    /// The archive's URL.
    pub archive: String,
    /// When it was done.
    pub at: Timestamp,
    /// Segments that were looked for.
    pub segments: u64,
    /// Segments that were fetched and read.
    pub segments_read: u64,
    /// Chunks of base backups that were looked for.
    pub chunks: u64,
    /// Chunks that were fetched and read.
    pub chunks_read: u64,
    /// Bytes that were fetched.
    pub bytes_read: u64,
    /// Parts of the archive; a run reads as many as it was told, those that were read longest ago.
    pub parts: u32,
    /// Parts that this run has read.
    pub parts_of_run: usize,
    /// Parts that were read by this run or an earlier one.
    pub parts_read: usize,
    /// Since when everything was read at least once.
    pub complete_since: Option<Timestamp>,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Each object that is in trouble; the rest is not touched by it.
    pub quarantined: Vec<FindingItem>,
    /// Whether the result could be left in the archive.
    pub recorded: bool,
    /// What was done to the catalog before, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<RebuiltItem>,
}

/// Something that is in trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingItem {
    /// `Damaged`, `Missing`, `Withheld`, `Gap`, `Contradiction` or `Unusable`.
    pub kind: String,
    /// The object, or the gap or binlog concerned.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A catalog that was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuiltItem {
    /// Segments that it names now.
    pub segments: u64,
    /// Pages that were written.
    pub pages: u64,
    /// Pages that were there before.
    pub replaced: u64,
    /// Segments that cannot be read.
    pub unusable: Vec<FindingItem>,
}

impl VerifyDocument {
    /// Of a run, and of the rebuilding that may have gone before it.
    #[must_use]
    pub fn new(verified: &Verified, rebuilt: Option<&Rebuilt>, archive: String) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Verify".to_owned(),
            archive,
            at: verified.at,
            segments: verified.segments,
            segments_read: verified.segments_read,
            chunks: verified.chunks,
            chunks_read: verified.chunks_read,
            bytes_read: verified.bytes_read,
            parts: SLICES,
            parts_of_run: verified.slices.current.len(),
            parts_read: verified.slices.read_at.len(),
            complete_since: verified.slices.complete_since(),
            ok: verified.findings.is_empty(),
            quarantined: verified.findings.iter().map(FindingItem::from).collect(),
            recorded: verified.recorded,
            rebuilt: rebuilt.map(RebuiltItem::from),
        }
    }
}

impl From<&Finding> for FindingItem {
    fn from(finding: &Finding) -> Self {
        let kind = match finding.kind {
            FindingKind::Damaged => "Damaged",
            FindingKind::Missing | FindingKind::Unnamed => "Missing",
            FindingKind::Withheld => "Withheld",
            FindingKind::Gap => "Gap",
            FindingKind::Contradiction => "Contradiction",
        };
        Self { kind: kind.to_owned(), what: finding.what.clone(), reason: finding.reason.clone() }
    }
}

impl FindingItem {
    /// Whether the store has the object and does not give it: it lies in a storage class that it must be restored from first.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.kind == "Withheld"
    }

    /// Whether the segments themselves can put it right: `--rebuild-catalog` does.
    #[must_use]
    pub fn is_of_catalog(&self) -> bool {
        matches!(self.kind.as_str(), "Damaged" | "Missing")
            && (self.what.starts_with("catalog/") || self.reason.contains("no page"))
    }
}

impl From<&Rebuilt> for RebuiltItem {
    fn from(rebuilt: &Rebuilt) -> Self {
        let unusable = |(key, reason): &(String, String)| FindingItem {
            kind: "Unusable".to_owned(),
            what: key.clone(),
            reason: reason.clone(),
        };
        Self {
            segments: rebuilt.segments,
            pages: rebuilt.pages,
            replaced: rebuilt.replaced,
            unusable: rebuilt.unusable.iter().map(unusable).collect(),
        }
    }
}
