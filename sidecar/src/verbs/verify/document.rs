//! The `kind: Verify` document.

use jiff::Timestamp;
use pitr_archive::{Rebuilt, Verified};
use serde::Serialize;

/// What was read and what is wrong.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyDocument {
    api_version: &'static str,
    kind: &'static str,
    archive: String,
    at: Timestamp,
    segments: u64,
    segments_read: u64,
    chunks: u64,
    chunks_read: u64,
    bytes_read: u64,
    /// Parts of the archive, of which each run reads one.
    parts: u32,
    part: u32,
    parts_read: usize,
    /// Since when everything was read at least once.
    complete_since: Option<Timestamp>,
    ok: bool,
    /// Each object that is in trouble; the rest is not touched by it.
    quarantined: Vec<FindingDocument>,
    recorded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<RebuiltDocument>,
}

#[derive(Debug, Serialize)]
struct FindingDocument {
    kind: &'static str,
    what: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RebuiltDocument {
    segments: u64,
    pages: u64,
    replaced: u64,
    unusable: Vec<FindingDocument>,
}

impl VerifyDocument {
    pub(super) fn new(verified: &Verified, rebuilt: Option<&Rebuilt>, archive: String) -> Self {
        let finding = |finding: &pitr_archive::Finding| FindingDocument {
            kind: super::word(finding.kind),
            what: finding.what.clone(),
            reason: finding.reason.clone(),
        };
        let unusable = |(key, reason): &(String, String)| FindingDocument {
            kind: "Unusable",
            what: key.clone(),
            reason: reason.clone(),
        };
        Self {
            api_version: "kubectl-pitr/v1",
            kind: "Verify",
            archive,
            at: verified.at,
            segments: verified.segments,
            segments_read: verified.segments_read,
            chunks: verified.chunks,
            chunks_read: verified.chunks_read,
            bytes_read: verified.bytes_read,
            parts: verified.slices.count,
            part: verified.slices.current + 1,
            parts_read: verified.slices.read_at.len(),
            complete_since: verified.slices.complete_since(),
            ok: verified.findings.is_empty(),
            quarantined: verified.findings.iter().map(finding).collect(),
            recorded: verified.recorded,
            rebuilt: rebuilt.map(|rebuilt| RebuiltDocument {
                segments: rebuilt.segments,
                pages: rebuilt.pages,
                replaced: rebuilt.replaced,
                unusable: rebuilt.unusable.iter().map(unusable).collect(),
            }),
        }
    }
}
