//! Events of the event scheduler. Replay disables each event that it creates or alters; hand-over gives their states back.

use super::connection::{Connection, SqlError};
use super::quoting::identifier;

/// Whether the scheduler runs an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventStatus {
    /// It runs.
    Enabled,
    /// It does not.
    Disabled,
    /// It does not, because a replica made it so.
    ReplicaSideDisabled,
}

impl EventStatus {
    fn parse(text: &str) -> Self {
        match text {
            "ENABLED" => Self::Enabled,
            "DISABLED" => Self::Disabled,
            _ => Self::ReplicaSideDisabled,
        }
    }

    /// As a statement says it.
    pub(crate) fn clause(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLE",
            Self::Disabled => "DISABLE",
            Self::ReplicaSideDisabled => "DISABLE ON REPLICA",
        }
    }
}

/// One event as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct ScheduledEvent {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Its definer, `user@host`; kept when the state is changed.
    pub(crate) definer: String,
    /// Whether it runs.
    pub(crate) status: EventStatus,
}

impl Connection {
    /// All events.
    pub(crate) async fn scheduled_events(&mut self) -> Result<Vec<ScheduledEvent>, SqlError> {
        let sql = "SELECT event_schema, event_name, definer, status FROM information_schema.events ORDER BY 1, 2";
        let rows: Vec<(String, String, String, String)> = self.rows("list scheduled events", sql).await?;
        Ok(rows
            .into_iter()
            .map(|(schema, name, definer, status)| ScheduledEvent {
                schema,
                name,
                definer,
                status: EventStatus::parse(&status),
            })
            .collect())
    }

    /// Gives an event its state; definer, mode, time zone and schedule stay as they are.
    pub(crate) async fn set_event_status(
        &mut self,
        event: &ScheduledEvent,
        status: EventStatus,
    ) -> Result<(), SqlError> {
        // The host part of an account has no "@", a user name may have one.
        let (user, host) = event.definer.rsplit_once('@').unwrap_or((&event.definer, "%"));
        let sql = format!(
            "ALTER DEFINER = {}@{} EVENT {}.{} {}",
            identifier(user),
            identifier(host),
            identifier(&event.schema),
            identifier(&event.name),
            status.clause(),
        );
        self.run("set the state of a scheduled event", sql).await
    }
}
