//! What is wrong, as codes: one list for the heartbeat, from what the archiver's tasks say and from what the archive itself shows.

use std::collections::BTreeSet;

use pitr_recovery::code::{self, Code};
use pitr_recovery::{BinlogId, Branch, GapCause, Problem, Stream, Timeline};

use super::board::{Facts, Stage};
use crate::error::Failure;

/// What one look at everything came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// What the tasks say.
    pub(super) facts: &'a Facts,
    /// What is archived, once that is known.
    pub(super) timeline: Option<&'a Timeline>,
    /// Whether the archive's end is later than it should be.
    pub(super) is_late: bool,
    /// Whether the server will soon purge something that is not archived.
    pub(super) purge_is_near: bool,
    /// Whether one of the tasks does not move.
    pub(super) is_stuck: bool,
    /// Whether the last restore drill failed.
    pub(super) drill_failed: bool,
    /// Whether the last verification found damage.
    pub(super) is_damaged: bool,
}

/// `ok`, `degraded` or `starting`.
pub(super) fn state(facts: &Facts, codes: &[&'static Code]) -> &'static str {
    match facts.stage {
        _ if codes.iter().any(|code| code.exit != 0) => "degraded",
        Stage::Starting | Stage::Connecting | Stage::Looking | Stage::Listing => "starting",
        Stage::Archiving | Stage::Stopping => "ok",
    }
}

/// Findings, without doubles.
pub(super) fn codes(look: Look<'_>) -> Vec<&'static Code> {
    let facts = look.facts;
    let mut codes: Vec<&'static Code> = facts.problems.values().map(Failure::code).collect();
    codes.extend(facts.store.failing.as_ref().map(Failure::code));
    codes.extend(facts.store.refused_delete.is_some().then_some(&code::STORE_DENIES));
    codes.extend(facts.refused.values().map(|refused| refused.failure.code()));
    codes.extend(look.is_late.then_some(&code::END_TOO_OLD));
    codes.extend(look.purge_is_near.then_some(&code::PURGE_IS_NEAR));
    codes.extend(look.is_stuck.then_some(&code::NO_ARCHIVER));
    codes.extend(look.drill_failed.then_some(&code::DRILL_FAILED));
    codes.extend(look.is_damaged.then_some(&code::CHECKSUM_MISMATCH));
    if let Some(timeline) = look.timeline {
        codes.extend(of_archive(timeline));
    }
    codes.sort_unstable_by_key(|code| code.number);
    codes.dedup_by_key(|code| code.number);
    codes
}

/// What the archive alone shows.
pub(super) fn of_archive(timeline: &Timeline) -> Vec<&'static Code> {
    let inventory = timeline.inventory();
    let mut codes = Vec::new();
    if inventory.binlogs.is_empty() && inventory.backups.is_empty() {
        codes.push(&code::NEVER_ARCHIVED);
    } else if !has_window(timeline) {
        codes.push(&code::BASE_BACKUP_MISSING);
    }
    if timeline.gaps().iter().any(|gap| gap.is_open() && !inventory.backups.is_empty()) {
        codes.push(&code::OPEN_GAP);
    }
    if !timeline.branches().is_empty() && live_branch(timeline).is_none() {
        codes.push(&code::SEVERAL_BRANCHES);
    }
    codes.extend(timeline.problems().iter().filter_map(|problem| of_problem(problem, timeline)));
    codes.sort_unstable_by_key(|code| code.number);
    codes.dedup_by_key(|code| code.number);
    codes
}

/// Whether anything can be restored of the branch that the server is on, or, where nobody knows which that is, of any.
///
/// Another branch's window is no comfort: after RESET, or where a restored or cloned server has no base backup of its own, the
/// old history can be restored, and nothing of what is written now.
fn has_window(timeline: &Timeline) -> bool {
    let live = live_branch(timeline);
    timeline.windows().iter().any(|window| live.is_none_or(|live| window.branch == live.id))
}

fn of_problem(problem: &Problem, timeline: &Timeline) -> Option<&'static Code> {
    match problem {
        Problem::Divergence { .. } => Some(&code::TWO_CONTENTS),
        Problem::Ahead { .. } => Some(&code::SERVER_LOST_TRANSACTIONS),
        Problem::Collision { streams: (one, other), .. } => {
            let stream = |id: &String| timeline.streams().iter().find(|stream| stream.id == *id);
            let followed = stream(one).zip(stream(other)).is_some_and(|(one, other)| follow_each_other(one, other));
            Some(if followed { &code::NUMBERS_RETURNED } else { &code::TWO_CONTENTS })
        }
        Problem::Lost { .. } => Some(&code::CHECKSUM_MISMATCH),
        // A base backup after the damage bridges it: nothing is left to do.
        Problem::Damaged { binlog, .. } => (!is_bridged(binlog, timeline)).then_some(&code::DAMAGED_BELOW_TARGET),
    }
}

/// Whether one server's log began anew after the other had ended (RESET), rather than two servers writing side by side.
fn follow_each_other(one: &Stream, other: &Stream) -> bool {
    let after = |late: &Stream, early: &Stream| {
        late.first_us.zip(early.last_us).is_some_and(|(first_us, last_us)| first_us > last_us)
    };
    one.source == other.source && (after(one, other) || after(other, one))
}

fn is_bridged(damaged: &BinlogId, timeline: &Timeline) -> bool {
    let is_of = |cause: &GapCause| matches!(cause, GapCause::Damaged { binlog, .. } if binlog == damaged);
    let mut gaps = timeline.gaps().iter().filter(|gap| is_of(&gap.cause)).peekable();
    gaps.peek().is_some() && gaps.all(|gap| !gap.is_open())
}

/// The branch that the server is on. With several of which none is known to be live nobody can say, and nothing is claimed.
pub(super) fn live_branch(timeline: &Timeline) -> Option<&Branch> {
    match timeline.branches() {
        [only] => Some(only),
        branches => branches.iter().find(|branch| branch.live),
    }
}

/// Binlogs that cannot be read to their end: those that the archive knows, and those that never got there.
pub(super) fn damaged_binlogs(facts: &Facts, timeline: &Timeline) -> u64 {
    let ids = timeline.problems().iter().filter_map(|problem| match problem {
        Problem::Damaged { binlog, .. } => Some(binlog),
        Problem::Collision { .. } | Problem::Divergence { .. } | Problem::Ahead { .. } | Problem::Lost { .. } => None,
    });
    let ids: BTreeSet<&BinlogId> = ids.collect();
    let binlogs = &timeline.inventory().binlogs;
    let names: BTreeSet<&str> =
        binlogs.iter().filter(|binlog| ids.contains(&binlog.id)).map(|binlog| binlog.name.as_str()).collect();
    let refused = facts.refused.keys().filter(|name| !names.contains(name.as_str())).count();
    (ids.len() + refused) as u64
}

#[cfg(test)]
mod tests;
