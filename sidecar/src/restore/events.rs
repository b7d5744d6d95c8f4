//! Events of the scheduler at hand-over: each gets the state that the source had at the stop, where the log says it.

use anyhow::Context as _;
use pitr_archive::Archive;
use pitr_binlog::event::ChecksumAlgorithm;
use pitr_binlog::{GtidSet, TransactionFlags};
use pitr_recovery::RestorePlan;

use super::event_states::{EventStates, IntendedState};
use super::stretch::{Stretch, stretches_of};
use super::verdict::EventReport;
use crate::mysql::{Connection, EventStatus, ScheduledEvent};

/// Gives every event its state, and says which ones could not be told. Writing must be possible.
pub(super) async fn give_back(
    connection: &mut Connection,
    archive: &Archive,
    plan: &RestorePlan,
    base: &EventStates,
) -> anyhow::Result<Vec<EventReport>> {
    let found = connection.scheduled_events().await?;
    let suspicious = |event: &ScheduledEvent| event.status == EventStatus::ReplicaSideDisabled;
    // Replay disables what it touches, and a replica holds all of them so: if none is, the log is not read again.
    let states =
        if found.iter().any(suspicious) { in_the_log(archive, plan, base.clone()).await? } else { base.clone() };
    let mut reports = Vec::with_capacity(found.len());
    for event in found {
        // Of an event that the base has from a replica only the log can tell what it was on the server that ran it.
        let told = states
            .get(&event.schema, &event.name)
            .filter(|state| *state != IntendedState::ReplicaSideDisabled || states.is_told(&event.schema, &event.name));
        let state = match told {
            Some(state) if suspicious(&event) => {
                connection.set_event_status(&event, status(state)).await.with_context(|| name(&event))?;
                state
            }
            Some(_) | None => state_of(event.status),
        };
        reports.push(EventReport { name: name(&event), state, exact: told == Some(state) });
    }
    Ok(reports)
}

fn name(event: &ScheduledEvent) -> String {
    format!("{}.{}", event.schema, event.name)
}

fn status(state: IntendedState) -> EventStatus {
    match state {
        IntendedState::Enabled => EventStatus::Enabled,
        IntendedState::Disabled => EventStatus::Disabled,
        IntendedState::ReplicaSideDisabled => EventStatus::ReplicaSideDisabled,
    }
}

pub(super) fn state_of(status: EventStatus) -> IntendedState {
    match status {
        EventStatus::Enabled => IntendedState::Enabled,
        EventStatus::Disabled => IntendedState::Disabled,
        EventStatus::ReplicaSideDisabled => IntendedState::ReplicaSideDisabled,
    }
}

/// The states after the plan's log. Indices say which ranges have DDL; only these are fetched again.
async fn in_the_log(archive: &Archive, plan: &RestorePlan, mut states: EventStates) -> anyhow::Result<EventStates> {
    // What the log of a second server repeats has had its effect.
    let mut done = plan.base().executed.union(plan.skip());
    for stretch in plan.files().iter().flat_map(stretches_of) {
        apply(archive, stretch, &mut done, &mut states).await?;
    }
    Ok(states)
}

async fn apply(
    archive: &Archive,
    stretch: Stretch<'_>,
    done: &mut GtidSet,
    states: &mut EventStates,
) -> anyhow::Result<()> {
    let (reference, objects) = (stretch.reference(), &stretch.range.objects);
    let index = archive.read_index(&reference, objects).await.context("read which transactions are DDL")?;
    let wanted: Vec<_> = index
        .entries
        .iter()
        .filter(|entry| entry.flags.contains(TransactionFlags::DDL))
        // An entry that begins before its range is larger than any DDL statement about events.
        .filter(|entry| entry.start >= stretch.from && entry.end <= stretch.to)
        .filter(|entry| !entry.gtid.is_some_and(|gtid| done.contains(&gtid)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let bytes = archive.read_range(&reference, objects).await.context("read DDL of the log")?;
    for entry in wanted {
        entry.gtid.iter().for_each(|gtid| done.insert(gtid));
        let place = stretch.place(entry.start).zip(stretch.place(entry.end));
        let transaction = place.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
        states.apply(transaction, checksum(transaction));
    }
    Ok(())
}

/// Whether a transaction's events end in checksums: its own bytes prove it.
fn checksum(transaction: &[u8]) -> ChecksumAlgorithm {
    let checked = pitr_binlog::event::Events::new(transaction, ChecksumAlgorithm::Crc32).all(|event| event.is_ok());
    if checked { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None }
}
