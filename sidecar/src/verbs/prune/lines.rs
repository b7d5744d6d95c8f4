//! The plan and what was done, for people.

use std::collections::BTreeMap;

use pitr_archive::document::DedupedItem;
use pitr_archive::{Retained, RetentionRules, Swept};
use pitr_recovery::{Decision, ExpireItem, Verdict, format_time};

use super::Pruned;
use crate::amounts::{binary_size, count_of, duration};

pub(super) fn of(pruned: &Pruned, rules: &RetentionRules) -> Vec<String> {
    let plan = &pruned.proposal.plan;
    let window = u64::try_from(rules.policy.window_us / 1_000_000).unwrap_or(0);
    let mut lines = vec![format!(
        "Window      {}: everything from {} on stays restorable; grace {}",
        duration(window),
        format_time(plan.keeps_from_us),
        duration(rules.grace.as_secs())
    )];
    if plan.lacks_base() {
        lines.push("Warning     there is no usable base backup: nothing expires".to_owned());
    }
    for (key, reason) in &pruned.proposal.hindrances {
        lines.push(format!("Unreadable  {key}: {reason}; nothing expires until it can be read"));
    }
    for pin in &pruned.proposal.unknown_pins {
        lines.push(format!("Unknown     pin {pin} names no base backup"));
    }
    for (id, missing) in &pruned.proposal.incomplete {
        let missing = count_of(*missing, "chunk");
        lines.push(format!("Incomplete  base backup {id} lacks {missing}: no window relies on it"));
    }
    let is_backup = |decision: &&Decision| matches!(decision.item, ExpireItem::Backup(_));
    for decision in plan.decisions.iter().filter(is_backup) {
        let (verdict, reason) = words(&decision.verdict);
        let at = decision.last_us.map(format_time).unwrap_or_default();
        lines.push(format!("{verdict:<11} base backup {}   {at}   {reason}", decision.item));
    }
    lines.extend(binlogs(&plan.decisions));
    match &pruned.done {
        None if plan.expired().next().is_none() => lines.push("Plan        nothing expires".to_owned()),
        None => lines.push(
            "Plan        nothing was done; --apply marks what expires and deletes what was marked a grace ago"
                .to_owned(),
        ),
        Some((retained, swept)) => lines.extend(done(retained, swept)),
    }
    lines.extend(pruned.deduped.map(|deduped| DedupedItem::from(deduped).text(binary_size)));
    lines
}

fn words(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Keep(reasons) => ("Keep", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        Verdict::Expire(rule) => ("Expire", rule.to_string()),
    }
}

/// Binlogs with one fate: how many, their first and last number, their bytes.
#[derive(Default)]
struct Group {
    count: u64,
    numbers: Option<(u64, u64)>,
    bytes: u64,
}

/// Binlogs by source, verdict and first reason.
fn binlogs(decisions: &[Decision]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &'static str, String), Group> = BTreeMap::new();
    for decision in decisions {
        let ExpireItem::Binlog(id) = &decision.item else { continue };
        let (verdict, reason) = words(&decision.verdict);
        let reason = reason.split(';').next().unwrap_or_default();
        let reason = if reason.starts_with("younger") { "younger than the window" } else { reason };
        let group = groups.entry((&id.source, verdict, reason.to_owned())).or_default();
        let (first, last) = group.numbers.unwrap_or((id.number, id.number));
        group.numbers = Some((first.min(id.number), last.max(id.number)));
        group.count += 1;
        group.bytes += decision.stored_bytes;
    }
    let mut lines = Vec::new();
    for ((source, verdict, reason), group) in groups {
        let (first, last) = group.numbers.unwrap_or_default();
        let numbers = if first == last { format!("{first:06}") } else { format!("{first:06} .. {last:06}") };
        let amount = count_of(group.count, "binlog");
        lines.push(format!("{verdict:<11} {amount} of {source}   {numbers}   {}   {reason}", binary_size(group.bytes)));
    }
    lines
}

fn done(retained: &Retained, swept: &Swept) -> Vec<String> {
    if retained.refused {
        return vec!["Done        nothing".to_owned()];
    }
    let mut lines = vec![format!(
        "Done        {} marked, {} deleted ({}), {} gone for good",
        count_of(retained.marked.len() as u64, "item"),
        count_of(retained.deleted_objects, "object"),
        binary_size(retained.deleted_bytes),
        count_of(retained.finished.len() as u64, "item"),
    )];
    for item in &retained.rescued {
        lines.push(format!("Rescued     {item} had a mark, and is kept now"));
    }
    for item in &retained.broken {
        lines.push(format!("Broken      {item} had a mark and would be kept now, but part of it is deleted"));
    }
    let Swept { duplicates, adopted, covered, runs, chunks, deleted_bytes, .. } = swept;
    lines.push(format!(
        "Swept       {}, {}, {}, {} deleted ({}); {} put into the catalog",
        count_of(*chunks, "chunk"),
        count_of(*duplicates, "duplicate segment"),
        count_of(*covered, "tail object"),
        count_of(*runs, "dead backup run"),
        binary_size(*deleted_bytes),
        count_of(*adopted, "segment")
    ));
    if let Some(reason) = &swept.chunks_kept {
        lines.push(format!("Warning     chunks were not swept: {reason}"));
    }
    for (key, reason) in &swept.unusable {
        lines.push(format!("Unusable    {key}: {reason}"));
    }
    for key in retained.undeletable.iter().chain(&swept.undeletable) {
        lines.push(format!("Kept        the store does not delete {key}"));
    }
    lines
}
