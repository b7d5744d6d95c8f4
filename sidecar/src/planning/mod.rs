//! From what was typed, or posted, to a plan: the target is checked, the archive is read, the timeline answers.

mod refusal;
mod target;

use std::collections::BTreeSet;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use pitr_archive::{Archive, ArchiveError, InventoryReport};
use pitr_recovery::{
    BaseBackup, Indices, Inventory, PlanRequest, RangeRef, RestorePlan, StoredObject, Timeline, TransactionIndex,
    Unrecoverable,
};

pub(crate) use self::refusal::refusal;
pub(crate) use self::target::{posted, request};
use crate::archive_failure::of_archive;

/// The plan for a request, from what the archive holds now. `extra` is a base that lies elsewhere.
pub(crate) async fn plan(
    archive: &Archive,
    request: &PlanRequest,
    extra: Option<BaseBackup>,
) -> anyhow::Result<RestorePlan> {
    let mut inventory = inventory(archive).await?;
    inventory.backups.extend(extra);
    plan_from(archive, Timeline::new(inventory), request).await
}

/// Everything that is archived. What cannot be read of it is logged: what it holds is missing from every window and plan.
pub(crate) async fn inventory(archive: &Archive) -> anyhow::Result<Inventory> {
    Ok(reported_inventory(archive).await?.0)
}

/// The same with what was found beside it.
pub(crate) async fn reported_inventory(archive: &Archive) -> anyhow::Result<(Inventory, InventoryReport)> {
    let (inventory, report) = archive.inventory().await.map_err(|error| of_archive(&error, &archive.describe()))?;
    for (key, reason) in &report.unreadable {
        tracing::warn!(event = "unreadable", key, reason);
    }
    Ok((inventory, report))
}

/// The plan for a request, from a timeline that may lack indices.
pub(crate) async fn plan_from(
    archive: &Archive,
    mut timeline: Timeline,
    request: &PlanRequest,
) -> anyhow::Result<RestorePlan> {
    loop {
        let wanted = timeline.ranges_to_read(request).map_err(|answer| refused(&answer, &timeline))?;
        if wanted.is_empty() {
            break;
        }
        let indices = read_indices(archive, timeline.inventory(), &wanted).await?;
        timeline = timeline.with_indices(indices);
    }
    timeline.plan(request).map_err(|answer| refused(&answer, &timeline))
}

/// A timeline whose windows are exact. A range whose index cannot be had now is lost to it, and ends nothing else.
pub(crate) async fn exact(archive: &Archive, mut timeline: Timeline) -> anyhow::Result<Timeline> {
    loop {
        let wanted = timeline.ranges_for_windows();
        if wanted.is_empty() {
            return Ok(timeline);
        }
        let (mut indices, mut lost) = (Indices::new(), BTreeSet::new());
        let mut read = read_each(archive, timeline.inventory(), &wanted);
        while let Some((range, index)) = read.next().await {
            match index {
                Ok(index) => drop(indices.insert(range, index)),
                Err(error) if error.is_of_lost_range() => {
                    tracing::warn!(event = "unreadable", binlog = %range.binlog, start = range.start, reason = %error);
                    lost.insert(range);
                }
                Err(error) => return Err(of_archive(&error, &archive.describe()).into()),
            }
        }
        drop(read);
        if !lost.is_empty() {
            timeline = Timeline::new(without(timeline.inventory().clone(), &lost));
        }
        timeline = timeline.with_indices(indices);
    }
}

/// An inventory in which nothing holds these ranges.
fn without(mut inventory: Inventory, lost: &BTreeSet<RangeRef>) -> Inventory {
    for binlog in &mut inventory.binlogs {
        for range in &mut binlog.ranges {
            let is_lost = |of: &RangeRef| {
                of.binlog == binlog.id
                    && (of.start, of.end, of.raw_sha256) == (range.start, range.end, range.raw_sha256)
            };
            if lost.iter().any(is_lost) {
                range.objects.clear();
            }
        }
    }
    inventory
}

/// Indices that are read from the store at a time: each is a small ranged read.
const READS_AT_ONCE: usize = 16;

fn refused(answer: &Unrecoverable, timeline: &Timeline) -> anyhow::Error {
    refusal(answer, timeline).into()
}

async fn read_indices(archive: &Archive, inventory: &Inventory, wanted: &[RangeRef]) -> anyhow::Result<Indices> {
    let named = |error: ArchiveError| anyhow::Error::from(of_archive(&error, &archive.describe()));
    let read = read_each(archive, inventory, wanted);
    read.map(|(range, index)| index.map(|index| (range, index)).map_err(named)).try_collect().await
}

fn read_each<'a>(
    archive: &'a Archive,
    inventory: &'a Inventory,
    wanted: &'a [RangeRef],
) -> impl Stream<Item = (RangeRef, Result<TransactionIndex, ArchiveError>)> + Unpin + 'a {
    let read = wanted
        .iter()
        .map(move |range| async move { (range.clone(), archive.read_index(range, &objects(inventory, range)).await) });
    Box::pin(futures::stream::iter(read).buffered(READS_AT_ONCE))
}

/// The objects that are known to hold a range.
fn objects(inventory: &Inventory, wanted: &RangeRef) -> Vec<StoredObject> {
    let binlogs = inventory.binlogs.iter().filter(|binlog| binlog.id == wanted.binlog);
    let ranges = binlogs.flat_map(|binlog| binlog.ranges.iter());
    let same = ranges
        .filter(|range| (range.start, range.end, range.raw_sha256) == (wanted.start, wanted.end, wanted.raw_sha256));
    same.flat_map(|range| range.objects.iter().cloned()).collect()
}
