//! start-server: the restoring server, and what must be true of it before the first event.

use anyhow::Context as _;
use pitr_binlog::GtidSet;
use pitr_binlog::event::XaId;
use pitr_recovery::{PlanWarning, code};

use super::Engine;
use super::event_states::EventStates;
use super::events;
use super::journal::Phase;
use super::memory;
use super::phases::{Restore, unless_interrupted};
use super::preflight;
use super::rows;
use crate::error::Failure;
use crate::mysql::{Connection, LocalAccount};
use crate::progress::Unit;
use crate::server::{Mysqld, Purpose, ServerOptions};

/// What every server of this restore is started with.
pub(super) fn options(restore: &Restore<'_>) -> anyhow::Result<ServerOptions> {
    let (volume, machine) = (&restore.volume, &restore.machine);
    let free = volume.free_bytes().context("ask how much room the volume has")?;
    let data = preflight::data_bytes(restore.plan.base()).saturating_add(restore.plan.parts().bytes);
    Ok(ServerOptions {
        mysqld: machine.programs.mysqld.clone(),
        datadir: volume.datadir().to_owned(),
        pid_file: volume.pid_file(),
        log: volume.server_log(),
        run_as: machine.run_as,
        server_id: restore.journal.server_id,
        settings: machine.settings.clone(),
        buffer_pool: memory::buffer_pool(data),
        redo_capacity: preflight::redo_capacity(free),
    })
}

/// Starts the restoring server.
pub(super) async fn start(restore: &mut Restore<'_>) -> anyhow::Result<Mysqld> {
    let relay = restore.volume.relay();
    for place in [restore.volume.ours(), relay.clone()] {
        std::fs::create_dir_all(&place).context("make a place for relay logs")?;
        restore.machine.run_as.own(&place).context("give relay logs to the server's user")?;
    }
    let account = LocalAccount::named(restore.journal.account.clone());
    restore.progress.begin(Phase::StartServer.name(), Unit::Files, 0, 1);
    let rows_only = !restore.plan.parts().warnings.contains(&PlanWarning::Statements);
    let purpose = match restore.args.engine {
        Engine::Replication => Purpose::Replay { relay, rows_only },
        Engine::Pipe => Purpose::Pipe,
    };
    let options = options(restore)?;
    let started = Mysqld::start(&options, &purpose, &restore.machine.staging, account);
    let started = async { started.await.context("start the server on the restored base") };
    let server = unless_interrupted(&restore.context.shutdown, started).await?;
    restore.progress.set(1);
    restore.progress.end();
    Ok(server)
}

/// First statements on a started server. What it has executed must lie between the base's set and the plan's: anything else means
/// that somebody else wrote to it, and nothing is sent (N2). The first time, it must be the base's set exactly.
pub(super) async fn admit(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<GtidSet> {
    connection.forget_sources().await?;
    if connection.writes_a_binlog().await? {
        anyhow::bail!("the restoring server writes a binary log although it was told not to");
    }
    let executed = connection.executed().await?;
    let (base, expected) = (&restore.plan.base().executed, restore.plan.expected());
    restore.facts.missing = expected.subtract(&executed);
    restore.facts.unexpected = executed.subtract(expected);
    restore.facts.executed = Some(executed.clone());
    let begun = restore.journal.has_done(Phase::StartServer);
    let fits = base.is_subset_of(&executed) && executed.is_subset_of(expected) && (begun || executed == *base);
    if !fits {
        let message = format!(
            "the data does not hold what its base backup says: it has executed \"{executed}\", the base is \"{base}\""
        );
        return Err(Failure::new(&code::VOLUME_SPOILED, message)
            .hint("something else wrote to this volume; no event was sent")
            .fix("restore into another directory")
            .into());
    }
    if !begun {
        restore.journal.events_of_base = Some(events_of_base(connection).await?);
        let prepared = connection.prepared_xids().await?;
        restore.journal.xa_of_base = Some(prepared.iter().map(XaId::hash64).collect());
        rows::count_base(restore, connection).await?;
        restore.done(Phase::StartServer)?;
    }
    Ok(executed)
}

async fn events_of_base(connection: &mut Connection) -> anyhow::Result<EventStates> {
    let mut states = EventStates::default();
    for event in connection.scheduled_events().await? {
        states.insert(&event.schema, &event.name, events::state_of(event.status));
    }
    Ok(states)
}
