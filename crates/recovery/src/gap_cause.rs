//! Why transactions between two sections of a branch are missing.

use std::sync::Arc;

use pitr_binlog::{BinlogName, GtidSet};

use crate::coverage::Break;
use crate::gap::GapCause;
use crate::inventory::{ArchivedBinlog, BinlogId, Inventory};
use crate::log::Log;
use crate::path::is_of;

/// Explains what is missing between the end of one stream and the beginning of another.
pub(crate) fn cause(lower: &Log, upper: &Log, missing: &GtidSet, logs: (&[Log], &Inventory)) -> GapCause {
    let (all, inventory) = logs;
    if upper.after_anonymous || missing.is_empty() {
        let binlog = anonymous_below(upper, inventory).unwrap_or_else(|| binlog_of(lower, false, inventory));
        return GapCause::WithoutGtids { binlog: binlog.id.clone(), name: binlog.name.clone() };
    }
    if !upper.stream.source.eq(&lower.stream.source) && missing.sources().all(|s| is_of(s, &upper.stream.source)) {
        return GapCause::NeverArchived { source: upper.stream.source.clone() };
    }
    // The hole is in the log of the server that the branch is on, even if another server supplied a part of what is in it.
    let own =
        all.iter().filter(|log| log.stream.source == upper.stream.source && log.after().is_subset_of(upper.before()));
    let own = own.filter(|log| !log.disowned && !std::ptr::eq(*log, upper)).max_by_key(|log| log.after().count());
    own.and_then(|own| hole(own, upper, missing, inventory)).unwrap_or_else(|| GapCause::BetweenServers {
        before: lower.stream.source.clone(),
        after: upper.stream.source.clone(),
    })
}

/// The hole between two streams of one server.
fn hole(lower: &Log, upper: &Log, missing: &GtidSet, inventory: &Inventory) -> Option<GapCause> {
    let last = binlog_of(lower, false, inventory);
    let first = binlog_of(upper, true, inventory);
    let (id, name) = (last.id.clone(), last.name.clone());
    let cause = match &lower.broken {
        Some(Break::Damaged) => {
            let damage = last.damage.as_ref()?;
            GapCause::Damaged { binlog: id, name, offset: damage.offset, reason: damage.reason.clone() }
        }
        Some(Break::Lost(lost)) => GapCause::Lost { binlog: id, name, start: lost.start, end: lost.end },
        Some(Break::Incident) => GapCause::Incident { binlog: id, name },
        Some(Break::WithoutGtids) => GapCause::WithoutGtids { binlog: id, name },
        Some(Break::Unlogged) => GapCause::NeverLogged { source: id.source },
        Some(Break::Missing { start, end }) => {
            GapCause::MissingRange { binlog: id, name, start: *start, end: Some(*end) }
        }
        None if lost_between(&last.id, &first.id, inventory).is_some() => {
            let lost = lost_between(&last.id, &first.id, inventory)?;
            let (start, end) = lost_bytes(lost);
            GapCause::Lost { binlog: lost.id.clone(), name: lost.name.clone(), start, end }
        }
        None if first.id.number > last.id.number + 1 => GapCause::MissingBinlogs {
            source: id.source,
            first: name.next(),
            last: before(&first.name).unwrap_or_else(|| name.next()),
        },
        None if is_in_no_log(missing, (lower, upper), inventory) => GapCause::NeverLogged { source: id.source },
        None => {
            let start = lower.pieces.last().map_or(0, |piece| piece.end);
            GapCause::MissingRange { binlog: id, name, start, end: None }
        }
    };
    Some(cause)
}

/// The first binlog between two of one server whose beginning was archived and can no longer be read: then none of it serves.
fn lost_between<'a>(last: &BinlogId, first: &BinlogId, inventory: &'a Inventory) -> Option<&'a ArchivedBinlog> {
    let between = |binlog: &&Arc<ArchivedBinlog>| {
        binlog.id.source == last.source && last.number < binlog.id.number && binlog.id.number < first.number
    };
    let lost = inventory.binlogs.iter().filter(between).filter(|b| b.ranges.iter().any(|range| !range.is_held()));
    lost.min_by_key(|binlog| binlog.id.number).map(Arc::as_ref)
}

fn lost_bytes(binlog: &ArchivedBinlog) -> (u64, u64) {
    let lost = || binlog.ranges.iter().filter(|range| !range.is_held());
    (lost().map(|range| range.start).min().unwrap_or(0), lost().map(|range| range.end).max().unwrap_or(0))
}

/// Whether a server's log goes on without a hole, and without a word about these transactions.
fn is_in_no_log(missing: &GtidSet, (lower, upper): (&Log, &Log), inventory: &Inventory) -> bool {
    let (Some(last), Some(first)) = (lower.pieces.last(), upper.pieces.first()) else { return false };
    let goes_on = last.binlog == first.binlog && last.end == first.start;
    let begins = first.start == 0 && inventory.binlogs[first.binlog].previous.is_disjoint(missing);
    goes_on || begins
}

/// The last binlog with transactions without GTID up to the beginning of a stream.
fn anonymous_below<'a>(upper: &Log, inventory: &'a Inventory) -> Option<&'a ArchivedBinlog> {
    let first = &binlog_of(upper, true, inventory).id;
    let below = inventory.binlogs.iter().filter(|b| b.id.source == first.source && b.id.number <= first.number);
    below.filter(|b| b.ranges.iter().any(|range| range.flags.anonymous)).max_by_key(|b| b.id.number).map(Arc::as_ref)
}

fn binlog_of<'a>(log: &Log, first: bool, inventory: &'a Inventory) -> &'a ArchivedBinlog {
    let piece = if first { log.pieces.first() } else { log.pieces.last() };
    &inventory.binlogs[piece.map_or(0, |piece| piece.binlog)]
}

/// The name of the binlog before another one.
fn before(name: &BinlogName) -> Option<BinlogName> {
    BinlogName::parse(&format!("{}.{:06}", name.base(), name.number().checked_sub(1)?)).ok()
}
