//! What retention decided, and what was done, for people.

use std::collections::BTreeMap;

use pitr_archive::document::{DoneItem, ExpiryItem, PruneDocument};
use pitr_recovery::code;

use super::{binary_size, count_of, duration};
use crate::failure::Failure;

/// The plan: a line for each base backup, and one for the binlogs that share a fate and a reason.
pub fn prune_text(plan: &PruneDocument) -> String {
    let window = days(u64::try_from(plan.window_seconds).unwrap_or(0));
    let mut lines = vec![format!(
        "Window      {window}: everything from {} on stays restorable; grace {}",
        plan.keeps_from,
        days(plan.grace_seconds)
    )];
    if plan.lacks_base {
        lines.push("Warning     there is no usable base backup: nothing expires".to_owned());
    }
    for item in &plan.hindrances {
        lines.push(format!("Unreadable  {}: {}; nothing expires until it can be read", item.key, item.reason));
    }
    lines.extend(plan.unknown_pins.iter().map(|pin| format!("Unknown     pin {pin} names no base backup")));
    lines.extend(plan.incomplete.iter().map(|(id, missing)| {
        format!("Incomplete  base backup {id} lacks {}: no window relies on it", count_of(*missing, "chunk"))
    }));
    for item in plan.items.iter().filter(|item| item.kind == "BaseBackup") {
        let at = item.last.as_deref().unwrap_or("-");
        let (verdict, reason) = (verdict(item), item.reasons.join("; "));
        lines.push(format!("{verdict:<11} base backup {}   {at}   {reason}{}", item.id, mark(item)));
    }
    lines.extend(binlogs(plan));
    match &plan.done {
        Some(done) => lines.extend(done_lines(done)),
        None if plan.expired().next().is_none() => lines.push("Plan        nothing expires".to_owned()),
        None => lines.push(format!(
            "Plan        nothing was done; confirmed, it is marked, and deleted when its mark is {} old",
            days(plan.grace_seconds)
        )),
    }
    lines.extend(plan.deduped.as_ref().map(|deduped| deduped.text(binary_size)));
    lines.join("\n") + "\n"
}

/// Policies are whole days: `14d`, where durations say `14d00h`.
fn days(seconds: u64) -> String {
    let text = duration(seconds);
    text.strip_suffix("d00h").map_or(text.clone(), |days| format!("{days}d"))
}

fn verdict(item: &ExpiryItem) -> &'static str {
    if item.verdict == "expire" { "Expire" } else { "Keep" }
}

fn mark(item: &ExpiryItem) -> &'static str {
    if item.marked { " (marked)" } else { "" }
}

/// Binlogs of one source with one fate: how many, their first and last number, their bytes.
#[derive(Default)]
struct Group<'a> {
    count: u64,
    numbers: Option<(&'a str, &'a str)>,
    bytes: u64,
}

fn binlogs(plan: &PruneDocument) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &'static str, &str), Group<'_>> = BTreeMap::new();
    for item in plan.items.iter().filter(|item| item.kind == "Binlog") {
        // `SOURCE/0000000301-HEAD`
        let (source, rest) = item.id.rsplit_once('/').unwrap_or(("", &item.id));
        let number = rest.split('-').next().unwrap_or(rest).trim_start_matches("0000");
        let reason = item.reasons.first().map_or("", String::as_str);
        let reason = if reason.starts_with("younger") { "younger than the window" } else { reason };
        let group = groups.entry((source, verdict(item), reason)).or_default();
        let (first, last) = group.numbers.unwrap_or((number, number));
        group.numbers = Some((first.min(number), last.max(number)));
        group.count += 1;
        group.bytes += item.stored_bytes;
    }
    let line = |((source, verdict, reason), group): ((&str, &str, &str), Group<'_>)| {
        let (first, last) = group.numbers.unwrap_or_default();
        let numbers = if first == last { first.to_owned() } else { format!("{first} .. {last}") };
        let (amount, size) = (count_of(group.count, "binlog"), binary_size(group.bytes));
        format!("{verdict:<11} {amount} of {source}   {numbers}   {size}   {reason}")
    };
    groups.into_iter().map(line).collect()
}

fn done_lines(done: &DoneItem) -> Vec<String> {
    if done.refused {
        return vec!["Done        nothing".to_owned()];
    }
    let mut lines = vec![format!(
        "Done        {} marked, {} deleted ({}), {} gone for good",
        count_of(done.marked.len() as u64, "item"),
        count_of(done.deleted_objects, "object"),
        binary_size(done.deleted_bytes),
        count_of(done.finished.len() as u64, "item"),
    )];
    lines.extend(done.rescued.iter().map(|item| format!("Rescued     {item} had a mark, and is kept now")));
    lines.extend(
        done.broken
            .iter()
            .map(|item| format!("Broken      {item} had a mark and would be kept now, but part of it is deleted")),
    );
    lines.push(format!(
        "Swept       {}, {}, {}, {} deleted ({}); {} put into the catalog",
        count_of(done.swept_chunks, "chunk"),
        count_of(done.swept_duplicates, "duplicate segment"),
        count_of(done.swept_tail_objects, "tail object"),
        count_of(done.swept_backup_runs, "dead backup run"),
        binary_size(done.swept_bytes),
        count_of(done.swept_adopted, "segment")
    ));
    lines.extend(done.chunks_kept.iter().map(|reason| format!("Warning     chunks were not swept: {reason}")));
    lines.extend(done.unusable.iter().map(|item| format!("Unusable    {}: {}", item.key, item.reason)));
    lines.extend(done.undeletable.iter().map(|key| format!("Kept        the store does not delete {key}")));
    lines
}

/// Why nothing is done about a plan, if nothing is; `place` is what follows the verb in a command about the same archive.
pub fn prune_refusal(plan: &PruneDocument, force: bool, place: &str) -> Option<Failure> {
    if let Some(first) = plan.hindrances.first() {
        let count = plan.hindrances.len();
        let message = format!("nothing expires: {count} cannot be read, such as {}: {}", first.key, first.reason);
        return Some(
            Failure::new(code::CHECKSUM_MISMATCH, message)
                .hint("what it says might forbid to delete something")
                .fix(first.way_past(&format!("kubectl pitr verify {place} --rebuild-catalog"))),
        );
    }
    if force {
        return None;
    }
    if !plan.unknown_pins.is_empty() {
        let pins = plan.unknown_pins.join(", ");
        return Some(
            Failure::new(code::UNKNOWN_PIN, format!("no base backup is called {pins}, which is pinned"))
                .hint("what the pin was meant to keep could expire; nothing was marked or deleted")
                .fix(format!("kubectl pitr backups {place} names them; --force goes on without")),
        );
    }
    let (first, last) = (plan.shrinks.first()?, plan.shrinks.last()?);
    let message = if first == last {
        format!("{} .. {} would become unreachable", first.from, first.to)
    } else {
        let count = plan.shrinks.len();
        format!("{count} spans between {} and {} would become unreachable", first.from, last.to)
    };
    Some(
        Failure::new(code::PRUNE_BREAKS_PROMISE, message)
            .hint("a longer window was promised before; nothing was marked or deleted")
            .fix("a longer --window, or --force once"),
    )
}
