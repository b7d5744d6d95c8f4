//! What retention decided, item by item, and what was done: `pitr-sidecar prune -o json`, and what a prune Job prints.

use std::collections::BTreeMap;

use pitr_recovery::{Decision, ExpireItem, Span, Verdict, format_time};
use serde::{Deserialize, Serialize};

use super::API_VERSION;
use crate::layout::ObjectKey;
use crate::{Deduped, Proposal, Retained, RetentionRules, Swept};

/// A plan of retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `Prune`
    pub kind: String,
    /// The archive's URL.
    pub archive: String,
    /// The instant at which it was decided.
    pub now: String,
    /// From here on everything that could be restored stays restorable.
    pub keeps_from: String,
    /// How far back that is.
    pub window_seconds: i64,
    /// Usable base backups that are kept at least.
    pub keep_last: u64,
    /// Between the mark and the deletion of what expires.
    pub grace_seconds: u64,
    /// Whether there is no usable base backup: then nothing expires.
    #[serde(default)]
    pub lacks_base: bool,
    /// Instants that a longer window promised and that would be lost.
    pub shrinks: Vec<SpanItem>,
    /// Objects that cannot be read: until they can, nothing expires.
    pub hindrances: Vec<ProblemItem>,
    /// Pins that name no base backup.
    #[serde(default)]
    pub unknown_pins: Vec<String>,
    /// Base backups that lack chunks, and how many: no window relies on them.
    #[serde(default)]
    pub incomplete: BTreeMap<String, u64>,
    /// Base backups and binlogs.
    pub items: Vec<ExpiryItem>,
    /// Absent when nothing was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<DoneItem>,
    /// What `dedupe: gtid` did. Absent when nothing was to be done, or the policy does not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduped: Option<DedupedItem>,
}

/// What `dedupe: gtid` did in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DedupedItem {
    /// Segments that are stored as what differs from another server's log since this run.
    pub repeats: u64,
    /// Their bytes as they were.
    pub whole_bytes: u64,
    /// Their bytes now.
    pub stored_bytes: u64,
    /// Segments with the transactions of another server's log, but not nearly its bytes.
    pub unlike: u64,
    /// Whether there was time for all of them.
    pub finished: bool,
}

impl DedupedItem {
    /// What was done, in one line as both programs print it; `size` puts bytes into words.
    #[must_use]
    pub fn text(&self, size: impl Fn(u64) -> String) -> String {
        let Self { repeats, whole_bytes, stored_bytes, unlike, finished } = self;
        let segments = |count: u64| format!("{count} segment{}", if count == 1 { "" } else { "s" });
        let (amount, unlike) = (segments(*repeats), segments(*unlike));
        let (stored, whole) = (size(*stored_bytes), size(*whole_bytes));
        let rest = if *finished { "" } else { "; the next run goes on" };
        format!(
            "Repeats     {amount} stored as what differs from another server's log ({stored} instead of {whole} once the whole \
             ones are swept); {unlike} unlike it stay{rest}"
        )
    }
}

impl From<Deduped> for DedupedItem {
    fn from(deduped: Deduped) -> Self {
        let Deduped { repeats, whole_bytes, stored_bytes, unlike, finished } = deduped;
        Self { repeats, whole_bytes, stored_bytes, unlike, finished }
    }
}

/// Instants of one branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanItem {
    /// The branch.
    pub branch: String,
    /// The first instant.
    pub from: String,
    /// The last one.
    pub to: String,
}

/// An object, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemItem {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub reason: String,
}

/// A base backup or a binlog, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiryItem {
    /// `BaseBackup` or `Binlog`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// `keep` or `expire`.
    pub verdict: String,
    /// Why.
    pub reasons: Vec<String>,
    /// The latest instant that it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Its bytes in the archive.
    pub stored_bytes: u64,
    /// Whether it has a mark already.
    pub marked: bool,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoneItem {
    /// Nothing was done.
    pub refused: bool,
    /// Items that have a mark since this run.
    pub marked: Vec<String>,
    /// Items whose mark was taken away.
    pub rescued: Vec<String>,
    /// Items that would be kept now, but part of which is deleted.
    pub broken: Vec<String>,
    /// Items of which nothing is left.
    pub finished: Vec<String>,
    /// Objects that were deleted.
    pub deleted_objects: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Objects that the store does not let go.
    pub undeletable: Vec<String>,
    /// Segments that held what others hold.
    pub swept_duplicates: u64,
    /// Segments that were put into the catalog.
    pub swept_adopted: u64,
    /// Objects of the tail whose bytes the catalog has.
    pub swept_tail_objects: u64,
    /// Backup runs that never came to an end.
    pub swept_backup_runs: u64,
    /// Chunks that nothing names.
    pub swept_chunks: u64,
    /// Bytes of what was swept.
    pub swept_bytes: u64,
    /// Why chunks were not looked at, if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks_kept: Option<String>,
    /// Objects that cannot be used. They are left where they are.
    pub unusable: Vec<ProblemItem>,
}

impl PruneDocument {
    /// Of a proposal, and of what was done about it.
    #[must_use]
    pub fn new(proposal: &Proposal, done: Option<&(Retained, Swept)>, rules: &RetentionRules, archive: String) -> Self {
        let plan = &proposal.plan;
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Prune".to_owned(),
            archive,
            now: format_time(plan.now_us),
            keeps_from: format_time(plan.keeps_from_us),
            window_seconds: rules.policy.window_us / 1_000_000,
            keep_last: rules.policy.keep_last,
            grace_seconds: rules.grace.as_secs(),
            lacks_base: plan.lacks_base(),
            shrinks: plan.shrinks.iter().map(SpanItem::from).collect(),
            hindrances: problems(&proposal.hindrances),
            unknown_pins: proposal.unknown_pins.clone(),
            incomplete: proposal.incomplete.clone(),
            items: plan.decisions.iter().map(|decision| item(decision, &proposal.marked)).collect(),
            done: done.map(DoneItem::from),
            deduped: None,
        }
    }

    /// Items that expire.
    pub fn expired(&self) -> impl Iterator<Item = &ExpiryItem> {
        self.items.iter().filter(|item| item.verdict == "expire")
    }
}

impl From<&Span> for SpanItem {
    fn from(span: &Span) -> Self {
        Self { branch: span.branch.clone(), from: format_time(span.from_us), to: format_time(span.to_us) }
    }
}

impl ProblemItem {
    /// What lets retention go on although an object cannot be read; `rebuild` is the command that makes the catalog again.
    #[must_use]
    pub fn way_past(&self, rebuild: &str) -> String {
        let key = &self.key;
        match key.parse() {
            Ok(ObjectKey::Marks { .. }) => format!(
                "put {key} back, or delete it: what it marked is marked anew, and its grace begins again; a longer window that was promised is \
                 forgotten with it"
            ),
            Ok(ObjectKey::Manifest { backup }) => {
                format!(
                    "put {key} back, or delete it: {backup} cannot be restored without it, and a sweep takes the rest of it"
                )
            }
            Ok(ObjectKey::Segment(_)) => {
                format!("put {key} back; if it is lost, delete it, and two hours later: {rebuild}")
            }
            _ => rebuild.to_owned(),
        }
    }
}

fn problems(problems: &[(String, String)]) -> Vec<ProblemItem> {
    problems.iter().map(|(key, reason)| ProblemItem { key: key.clone(), reason: reason.clone() }).collect()
}

fn item(decision: &Decision, marked: &[ExpireItem]) -> ExpiryItem {
    let (verdict, reasons) = match &decision.verdict {
        Verdict::Keep(reasons) => ("keep", reasons.iter().map(ToString::to_string).collect()),
        Verdict::Expire(rule) => ("expire", vec![rule.to_string()]),
    };
    let kind = match decision.item {
        ExpireItem::Backup(_) => "BaseBackup",
        ExpireItem::Binlog(_) => "Binlog",
    };
    ExpiryItem {
        kind: kind.to_owned(),
        id: decision.item.to_string(),
        verdict: verdict.to_owned(),
        reasons,
        last: decision.last_us.map(format_time),
        stored_bytes: decision.stored_bytes,
        marked: marked.contains(&decision.item),
    }
}

impl From<&(Retained, Swept)> for DoneItem {
    fn from((retained, swept): &(Retained, Swept)) -> Self {
        let names = |items: &[ExpireItem]| items.iter().map(ToString::to_string).collect();
        let mut undeletable = retained.undeletable.clone();
        undeletable.extend(swept.undeletable.iter().cloned());
        Self {
            refused: retained.refused,
            marked: names(&retained.marked),
            rescued: names(&retained.rescued),
            broken: names(&retained.broken),
            finished: names(&retained.finished),
            deleted_objects: retained.deleted_objects,
            deleted_bytes: retained.deleted_bytes,
            undeletable,
            swept_duplicates: swept.duplicates,
            swept_adopted: swept.adopted,
            swept_tail_objects: swept.covered,
            swept_backup_runs: swept.runs,
            swept_chunks: swept.chunks,
            swept_bytes: swept.deleted_bytes,
            chunks_kept: swept.chunks_kept.clone(),
            unusable: problems(&swept.unusable),
        }
    }
}
