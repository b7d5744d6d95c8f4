//! An inventory that is kept up to date by whoever stores, without listing everything again.

use std::sync::Arc;

use pitr_binlog::GtidSet;
use pitr_recovery::{ArchivedBinlog, ArchivedRange, Closed, Damage, Inventory, RangeKind};

use super::{archived_range, closed};
use crate::layout::Place;
use crate::segment::{HeldSet, SegmentRecord};

/// Lays a stored segment over an inventory whose binlogs are in the order of their ids, as those of a listing, for whoever stored it and does
/// not want to list everything again.
///
/// A set of GTIDs that the record only identifies cannot be laid over: such a record is left to the next listing.
pub fn lay_over(inventory: &mut Inventory, record: &SegmentRecord) {
    let Some(gtids) = record.header.transactions.gtids.whole() else { return };
    let place = inventory.place_of(&record.key.binlog).unwrap_or_else(|place| {
        inventory.binlogs.insert(place, Arc::new(unknown_binlog(record)));
        place
    });
    let Some(binlog) = inventory.binlogs.get_mut(place).map(Arc::make_mut) else { return };
    if !binlog.previous_known
        && let Some(previous) = record.header.previous.as_ref().and_then(HeldSet::whole)
    {
        binlog.previous = previous.clone();
        binlog.previous_known = true;
    }
    if record.key.place == Place::Binlogs {
        let catalogued = binlog.ranges.iter().filter(|range| range.kind == RangeKind::Catalogued);
        let last_end = catalogued.map(|range| range.end).max().unwrap_or(0);
        if record.header.closes.is_some() && (binlog.closed == Closed::Open || record.header.end >= last_end) {
            binlog.closed = closed(&record.header);
        }
        if let Some(found) = &record.header.damage
            && binlog.damage.as_ref().is_none_or(|known| found.offset < known.offset)
        {
            binlog.damage = Some(Damage { offset: found.offset, reason: found.reason.clone() });
        }
    }
    add_range(binlog, archived_range(record, gtids.clone()));
}

fn unknown_binlog(record: &SegmentRecord) -> ArchivedBinlog {
    ArchivedBinlog {
        id: record.key.binlog.clone(),
        name: record.header.name.clone(),
        flavour: record.header.flavour,
        server_version: record.header.server_version.clone(),
        previous: GtidSet::new(),
        previous_known: false,
        ranges: Vec::new(),
        closed: Closed::Open,
        damage: None,
    }
}

/// Adds a range, or the object that holds it once more.
fn add_range(binlog: &mut ArchivedBinlog, range: ArchivedRange) {
    let same = |known: &&mut ArchivedRange| {
        (known.start, known.end, known.raw_sha256) == (range.start, range.end, range.raw_sha256)
    };
    let Some(known) = binlog.ranges.iter_mut().find(same) else {
        binlog.ranges.push(range);
        return;
    };
    if range.kind == RangeKind::Catalogued {
        known.kind = RangeKind::Catalogued;
    }
    for object in range.objects {
        if known.objects.iter().all(|other| other.key != object.key) {
            known.objects.push(object);
        }
    }
}

/// Takes objects out of a range. `false`: nothing holds it any more that did before.
pub fn remove_from(range: &mut ArchivedRange, is_gone: impl Fn(&str) -> bool) -> bool {
    let held = range.objects.len();
    range.objects.retain(|object| !is_gone(&object.key));
    range.is_held() || held == 0
}
