//! What the log says about events of the scheduler.
//!
//! Replay disables each event that it creates or alters, and keeps no note of what the source had. The log has it: the last CREATE,
//! ALTER or DROP EVENT of each name, beginning with the states found in the base.

mod statement;

use std::collections::{BTreeMap, BTreeSet};

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
#[serde(transparent)]
pub(crate) struct EventStates {
    states: BTreeMap<String, BTreeMap<String, IntendedState>>,
    /// Those whose state a statement has set.
    #[serde(skip)]
    told: BTreeSet<(String, String)>,
}

impl EventStates {
    /// Notes a state.
    pub(crate) fn insert(&mut self, schema: &str, name: &str, state: IntendedState) {
        self.states.entry(schema.to_owned()).or_default().insert(name.to_lowercase(), state);
    }

    /// Whether a statement of the log has set the state of an event.
    pub(crate) fn is_told(&self, schema: &str, name: &str) -> bool {
        self.told.contains(&(schema.to_owned(), name.to_lowercase()))
    }

    fn tell(&mut self, schema: &str, name: &str, state: IntendedState) {
        self.insert(schema, name, state);
        self.told.insert((schema.to_owned(), name.to_lowercase()));
    }

    /// The state of an event, if it is known.
    pub(crate) fn get(&self, schema: &str, name: &str) -> Option<IntendedState> {
        self.states.get(schema)?.get(&name.to_lowercase()).copied()
    }

    /// The state that it had, and whether a statement has set it.
    fn remove(&mut self, schema: &str, name: &str) -> Option<(IntendedState, bool)> {
        let was_told = self.told.remove(&(schema.to_owned(), name.to_lowercase()));
        Some((self.states.get_mut(schema)?.remove(&name.to_lowercase())?, was_told))
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
                    self.tell(&schema, &name, status.into());
                }
            }
            EventStatement::Alter { schema, name, renamed, status } => {
                let before = self.remove(&schema, &name);
                let (schema, name) = renamed.unwrap_or((schema, name));
                match status.map(|status| (status.into(), true)).or(before) {
                    Some((state, true)) => self.tell(&schema, &name, state),
                    Some((state, false)) => self.insert(&schema, &name, state),
                    None => {}
                }
            }
            EventStatement::Drop { schema, name } => drop(self.remove(&schema, &name)),
            EventStatement::DropSchema { schema } => {
                self.states.remove(&schema);
                self.told.retain(|(of, _)| *of != schema);
            }
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
    fn what_a_statement_has_set_is_told() {
        let made = "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO DO 1";
        let states = after(&["ALTER EVENT old RENAME TO `new`", made]);
        assert!(!states.is_told("shop", "new") && states.is_told("shop", "E"));
        let states = after(&["ALTER EVENT old ENABLE", "ALTER EVENT old RENAME TO `new`"]);
        assert!(states.is_told("shop", "new") && !states.is_told("shop", "old"));
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
