//! From what was typed, or posted, to a plan: the target is checked, the archive is read, the timeline answers.

mod refusal;
mod target;

use pitr_archive::{Archive, InventoryReport};
use pitr_recovery::{BaseBackup, Inventory, PlanRequest, RestorePlan, Timeline};

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
    timeline: Timeline,
    request: &PlanRequest,
) -> anyhow::Result<RestorePlan> {
    let planned = archive.plan(timeline, request).await;
    let (timeline, plan) = planned.map_err(|error| of_archive(&error, &archive.describe()))?;
    plan.map_err(|answer| refusal(&answer, &timeline).into())
}

/// A timeline whose windows are exact, as far as the archive can be read.
pub(crate) async fn exact(archive: &Archive, timeline: Timeline) -> anyhow::Result<Timeline> {
    archive.exact(timeline).await.map_err(|error| of_archive(&error, &archive.describe()).into())
}
