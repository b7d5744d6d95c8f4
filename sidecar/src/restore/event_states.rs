//! What the log says about events of the scheduler.
//!
//! Replay disables each event that it creates or alters, and keeps no note of what the source had. The log has it: the last CREATE,
//! ALTER or DROP EVENT of each name, beginning with the states found in the base.

mod statement;

use std::collections::BTreeMap;

use pitr_binlog::event::{Event, EventType, Events, QueryEvent};
use serde::{Deserialize, Serialize};

use self::statement::{EventStatement, Status};

/// The state that an event is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IntendedState {
    /// It runs.
    Enabled,
    /// It does not run.
    Disabled,
    /// It runs on another server: the source was itself a replica.
    ReplicaSideDisabled,
}

/// States by schema and name. Event names are compared without regard to case, as the server does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventStates(BTreeMap<String, BTreeMap<String, IntendedState>>);

impl EventStates {
    /// Notes a state.
    pub(crate) fn insert(&mut self, schema: &str, name: &str, state: IntendedState) {
        self.0.entry(schema.to_owned()).or_default().insert(name.to_lowercase(), state);
    }

    /// The state of an event, if it is known.
    pub(crate) fn get(&self, schema: &str, name: &str) -> Option<IntendedState> {
        self.0.get(schema)?.get(&name.to_lowercase()).copied()
    }

    fn remove(&mut self, schema: &str, name: &str) -> Option<IntendedState> {
        self.0.get_mut(schema)?.remove(&name.to_lowercase())
    }

    /// Applies one transaction of the log, given its raw bytes.
    pub(crate) fn apply(&mut self, transaction: &[u8], checksum: pitr_binlog::event::ChecksumAlgorithm) {
        for event in Events::new(transaction, checksum).map_while(Result::ok) {
            if let Some(query) = query_of(&event) {
                let (schema, sql) = (String::from_utf8_lossy(query.schema), String::from_utf8_lossy(query.sql));
                if let Some(statement) = EventStatement::parse(&sql, &schema) {
                    self.follow(statement);
                }
            }
        }
    }

    fn follow(&mut self, statement: EventStatement) {
        match statement {
            EventStatement::Create { schema, name, status, if_not_exists } => {
                if !(if_not_exists && self.get(&schema, &name).is_some()) {
                    self.insert(&schema, &name, status.into());
                }
            }
            EventStatement::Alter { schema, name, renamed, status } => {
                let before = self.remove(&schema, &name);
                let (schema, name) = renamed.unwrap_or((schema, name));
                if let Some(state) = status.map(IntendedState::from).or(before) {
                    self.insert(&schema, &name, state);
                }
            }
            EventStatement::Drop { schema, name } => drop(self.remove(&schema, &name)),
            EventStatement::DropSchema { schema } => drop(self.0.remove(&schema)),
        }
    }
}

impl From<Status> for IntendedState {
    fn from(status: Status) -> Self {
        match status {
            Status::Enable => Self::Enabled,
            Status::Disable => Self::Disabled,
            Status::DisableOnReplica => Self::ReplicaSideDisabled,
        }
    }
}

fn query_of<'a>(event: &Event<'a>) -> Option<QueryEvent<'a>> {
    (event.event_type() == EventType::QUERY).then(|| QueryEvent::parse(event.body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{EventStatement, EventStates, IntendedState};

    fn after(statements: &[&str]) -> EventStates {
        let mut states = EventStates::default();
        states.insert("shop", "old", IntendedState::Enabled);
        for sql in statements {
            states.follow(EventStatement::parse(sql, "shop").unwrap());
        }
        states
    }

    #[test]
    fn the_last_word_counts() {
        let states = after(&[
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            "ALTER EVENT E DISABLE",
            "ALTER EVENT e COMMENT 'x'",
        ]);
        assert_eq!(states.get("shop", "e"), Some(IntendedState::Disabled));
        assert_eq!(states.get("shop", "OLD"), Some(IntendedState::Enabled));
    }

    #[test]
    fn names_move_and_go() {
        let states = after(&[
            "ALTER EVENT old RENAME TO other.`new`",
            "CREATE EVENT gone ON SCHEDULE EVERY 1 DAY DO DO 1",
            "DROP EVENT IF EXISTS gone",
        ]);
        assert_eq!(states.get("other", "new"), Some(IntendedState::Enabled));
        assert_eq!((states.get("shop", "old"), states.get("shop", "gone")), (None, None));
        assert_eq!(after(&["DROP DATABASE shop"]).get("shop", "old"), None);
    }

    #[test]
    fn creating_what_is_there_changes_nothing() {
        let states = after(&["CREATE EVENT IF NOT EXISTS old ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1"]);
        assert_eq!(states.get("shop", "old"), Some(IntendedState::Enabled));
    }
}
