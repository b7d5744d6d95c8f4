//! The `kind: Prune` document.

use std::collections::BTreeMap;

use pitr_archive::{Retained, RetentionRules, Swept};
use pitr_recovery::{Decision, ExpireItem, Verdict, format_time};
use serde::Serialize;

use super::Pruned;

/// What retention decided, item by item, and what was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PruneDocument {
    api_version: &'static str,
    kind: &'static str,
    archive: String,
    now: String,
    /// From here on everything that could be restored stays restorable.
    keeps_from: String,
    window_seconds: i64,
    keep_last: u64,
    grace_seconds: u64,
    /// Instants that a longer window promised and that would be lost.
    shrinks: Vec<SpanDocument>,
    hindrances: Vec<ProblemDocument>,
    /// Pins that name no base backup.
    unknown_pins: Vec<String>,
    /// Base backups that lack chunks, and how many: no window relies on them.
    incomplete: BTreeMap<String, u64>,
    items: Vec<ItemDocument>,
    /// Absent when nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<DoneDocument>,
}

#[derive(Debug, Serialize)]
struct SpanDocument {
    branch: String,
    from: String,
    to: String,
}

#[derive(Debug, Serialize)]
struct ProblemDocument {
    key: String,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemDocument {
    kind: &'static str,
    id: String,
    verdict: &'static str,
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    stored_bytes: u64,
    marked: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneDocument {
    refused: bool,
    marked: Vec<String>,
    rescued: Vec<String>,
    broken: Vec<String>,
    finished: Vec<String>,
    deleted_objects: u64,
    deleted_bytes: u64,
    undeletable: Vec<String>,
    swept_duplicates: u64,
    swept_adopted: u64,
    swept_tail_objects: u64,
    swept_backup_runs: u64,
    swept_chunks: u64,
    swept_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks_kept: Option<String>,
    unusable: Vec<ProblemDocument>,
}

impl PruneDocument {
    pub(super) fn new(pruned: &Pruned, rules: &RetentionRules, archive: String) -> Self {
        let plan = &pruned.proposal.plan;
        let span = |span: &pitr_recovery::Span| SpanDocument {
            branch: span.branch.clone(),
            from: format_time(span.from_us),
            to: format_time(span.to_us),
        };
        Self {
            api_version: "kubectl-pitr/v1",
            kind: "Prune",
            archive,
            now: format_time(plan.now_us),
            keeps_from: format_time(plan.keeps_from_us),
            window_seconds: rules.policy.window_us / 1_000_000,
            keep_last: rules.policy.keep_last,
            grace_seconds: rules.grace.as_secs(),
            shrinks: plan.shrinks.iter().map(span).collect(),
            hindrances: problems(&pruned.proposal.hindrances),
            unknown_pins: pruned.proposal.unknown_pins.clone(),
            incomplete: pruned.proposal.incomplete.clone(),
            items: plan.decisions.iter().map(|decision| item(decision, &pruned.proposal.marked)).collect(),
            done: pruned.done.as_ref().map(done),
        }
    }
}

fn problems(problems: &[(String, String)]) -> Vec<ProblemDocument> {
    problems.iter().map(|(key, reason)| ProblemDocument { key: key.clone(), reason: reason.clone() }).collect()
}

fn item(decision: &Decision, marked: &[ExpireItem]) -> ItemDocument {
    let (verdict, reasons) = match &decision.verdict {
        Verdict::Keep(reasons) => ("keep", reasons.iter().map(ToString::to_string).collect()),
        Verdict::Expire(rule) => ("expire", vec![rule.to_string()]),
    };
    ItemDocument {
        kind: match decision.item {
            ExpireItem::Backup(_) => "BaseBackup",
            ExpireItem::Binlog(_) => "Binlog",
        },
        id: decision.item.to_string(),
        verdict,
        reasons,
        last: decision.last_us.map(format_time),
        stored_bytes: decision.stored_bytes,
        marked: marked.contains(&decision.item),
    }
}

fn done((retained, swept): &(Retained, Swept)) -> DoneDocument {
    let names = |items: &[ExpireItem]| items.iter().map(ToString::to_string).collect();
    let mut undeletable = retained.undeletable.clone();
    undeletable.extend(swept.undeletable.iter().cloned());
    DoneDocument {
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
