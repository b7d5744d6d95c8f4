//! stop-server and hand-over: nothing of ours stays in the data, and a report stays beside it.

use std::fs;
use std::io;

use anyhow::Context as _;
use jiff::Timestamp;
use pitr_binlog::GtidSet;
use pitr_recovery::code;
use serde::Deserialize;

use super::journal::{Phase, write_durably};
use super::phases::Restore;
use super::rows::RowsSummary;
use super::verdict::{DumpSummary, EventReport, Outcome, RestoredReport, Verdict};
use super::{events, existing, in_place, xa};
use crate::error::Failure;
use crate::progress::Unit;
use crate::server::Mysqld;

/// Gives events their states, forgets our replication channel and our account, and shuts the server down in order.
pub(super) async fn settle(restore: &mut Restore<'_>, server: Mysqld) -> anyhow::Result<()> {
    restore.enter(Phase::StopServer);
    let cleared = clear(restore, &server).await;
    // In order, whatever happened: what is replayed need not be recovered, and the same command can go on.
    let stopped = server.stop().await.context("shut down the restored server");
    if stopped.is_ok() {
        restore.journal.replica_ran = false;
        restore.write_journal()?;
    }
    cleared?;
    stopped?;
    restore.progress.set(1);
    restore.progress.end();
    Ok(())
}

async fn clear(restore: &mut Restore<'_>, server: &Mysqld) -> anyhow::Result<()> {
    restore.not_interrupted()?;
    restore.progress.begin(Phase::StopServer.name(), Unit::Files, 0, 1);
    let mut connection = server.connect().await?;
    connection.set_read_only(false).await?;
    xa::settle(restore, &mut connection).await?;
    let of_base = restore.journal.events_of_base.clone().unwrap_or_default();
    let reports = events::give_back(&mut connection, &restore.archive, &restore.plan, &of_base).await;
    restore.journal.events = reports.context("give scheduled events their states")?;
    restore.journal.server_version = connection.server_version().await?;
    connection.forget_sources().await?;
    server.account().drop_from(&mut connection).await?;
    // The last word before the server ends: nothing that we did here has added to the set.
    let executed = connection.executed().await?;
    if executed != *restore.plan.expected() {
        let message = format!("the restored server's GTID set is \"{executed}\" at hand-over, which is not the plan's");
        return Err(Failure::new(&code::RESTORE_INCOMPLETE, message).hint("the volume is not handed over").into());
    }
    Ok(())
}

/// Leaves the report, and removes what only we needed. May be run again.
pub(super) fn finish(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    let events = &restore.journal.events;
    restore.facts.events_to_look_at = events.iter().filter(|event| !event.exact).count();
    restore.facts.prepared_xa = restore.journal.xa.iter().filter(|report| !report.rolled_back).count();
    restore.facts.rows = restore.journal.rows.as_ref().map(RowsSummary::of);
    restore.facts.dump = restore.journal.dump.as_ref().map(DumpSummary::of);
    restore.facts.transactions = restore.plan.expected().subtract(&restore.plan.base().executed).count();
    if restore.journal.has_done(Phase::HandOver) {
        return recall(restore);
    }
    restore.facts.executed = Some(restore.plan.expected().clone());
    let aside = in_place::aside(&restore.volume, &restore.journal);
    let mut notes = existing::give_back_persisted(&restore.volume, aside.as_deref())?;
    match &aside {
        Some(aside) => notes.push(in_place::note(aside)),
        None => notes.extend(existing::note_of_logs(&restore.volume)?),
    }
    let report = report(restore, notes);
    let text = serde_json::to_vec_pretty(&report).context("write the report")?;
    write_durably(&restore.volume.restored(), &text).context("write the report")?;
    for directory in [restore.volume.relay(), restore.volume.fetched(), restore.volume.ours().join("new")] {
        match fs::remove_dir_all(&directory) {
            Ok(()) => {}
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
            Err(reason) => return Err(reason).with_context(|| format!("remove \"{}\"", directory.display())),
        }
    }
    restore.done(Phase::HandOver)
}

/// The volume is the user's, who may have changed it since: what is known of it is what the report says.
fn recall(restore: &mut Restore<'_>) -> anyhow::Result<()> {
    let path = restore.volume.restored();
    let read = || -> anyhow::Result<EarlierReport> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
    let earlier = read().with_context(|| format!("read what was handed over in \"{}\"", path.display()))?;
    let executed: GtidSet = earlier.verdict.gtid_set.parse().context("read the GTID set that was handed over")?;
    restore.facts.handed_over_at = Some(earlier.restored_at);
    restore.facts.executed = Some(executed);
    Ok(())
}

/// What `RESTORED.json` says to a later run.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierReport {
    restored_at: Timestamp,
    verdict: EarlierVerdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EarlierVerdict {
    gtid_set: String,
}

fn report(restore: &Restore<'_>, mut notes: Vec<String>) -> RestoredReport {
    let parts = restore.plan.parts();
    let mut verdict = Verdict::new(Outcome::Verified, restore.volume.root());
    restore.facts.tell(&mut verdict);
    verdict.phase = None;
    notes.extend(time_zone_note(restore));
    notes.extend(event_note(&restore.journal.events));
    let of_base = restore.journal.xa_of_base.as_ref().is_some_and(|base| !base.is_empty());
    notes.extend(xa::note(&restore.journal.xa, of_base));
    if let Some(tables) = parts.base.settings.get("empty_tables") {
        notes.push(format!("tables outside InnoDB began empty, because the base is a clone: {tables}"));
    }
    RestoredReport {
        schema_version: 1,
        restored_at: restore.context.clock.now(),
        program: concat!("pitr-sidecar ", env!("CARGO_PKG_VERSION")),
        workload: parts.workload.clone(),
        target: super::planned::target_text(&parts.target),
        base: parts.base.id.clone(),
        server_version: restore.journal.server_version.clone(),
        events: restore.journal.events.clone(),
        xa: restore.journal.xa.clone(),
        rows: restore.journal.rows.clone(),
        tables: restore.journal.dump.clone(),
        notes,
        verdict,
    }
}

/// A replay runs in UTC. What a log says in the source's own local time may mean another instant then.
fn time_zone_note(restore: &Restore<'_>) -> Option<String> {
    let settings = &restore.plan.base().settings;
    let zone = settings
        .get("system_time_zone")
        .filter(|zone| !matches!(zone.as_str(), "UTC" | "GMT" | "" | "Universal" | "Zulu"))?;
    let follows = settings.get("time_zone").is_some_and(|zone| zone == "SYSTEM");
    let text = format!(
        "the source's time zone is SYSTEM ({zone}), replay ran in UTC: look at events and defaults made with literal local times"
    );
    follows.then_some(text)
}

fn event_note(events: &[EventReport]) -> Option<String> {
    let unknown: Vec<&str> = events.iter().filter(|event| !event.exact).map(|event| event.name.as_str()).collect();
    (!unknown.is_empty())
        .then(|| format!("scheduled events whose state on the source is not known: {}", unknown.join(", ")))
}
