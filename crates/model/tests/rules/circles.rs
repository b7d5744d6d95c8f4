//! A server that keeps its binlogs for longer than we do: what has expired is not archived and expired in circles.

use stateright::{Model, Property};

use super::check::needed;

#[derive(Clone)]
struct World {
    /// A base backup contains the binlog's whole set; otherwise it was marked by hand, and the mark stays.
    base: bool,
    /// A marked binlog is not stored again.
    marked_rests: bool,
    /// Nor one whose whole set the oldest unmarked base backup contains.
    contained_rests: bool,
    /// The archiver takes the marks that its listing was made with, or later ones.
    marks_with_listing: bool,
    /// There is no base backup that could be used, and binlogs go by age: marks go, too, when nothing is left.
    by_age: bool,
    /// Then one older than the window and than every binlog that is archived is not stored again.
    aged_rests: bool,
}

const RULES: World = World {
    base: true,
    marked_rests: true,
    contained_rests: true,
    marks_with_listing: true,
    by_age: false,
    aged_rests: true,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Archiver {
    Down,
    /// It has read the marks that it will go by, and not listed yet.
    ReadMarks {
        marked: bool,
    },
    /// What it goes by: whether the binlog is in the inventory, and whether it is marked.
    Knows {
        archived: bool,
        marked: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    archived: bool,
    marked: bool,
    stored: u8,
    archiver: Archiver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    ReadMarks,
    List,
    Store,
    Crash,
    Mark,
    Delete,
    DropMark,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { archived: false, marked: false, stored: 0, archiver: Archiver::Down }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.archiver {
            Archiver::Down if self.marks_with_listing => actions.push(Action::List),
            Archiver::Down => actions.push(Action::ReadMarks),
            Archiver::ReadMarks { .. } => actions.push(Action::List),
            Archiver::Knows { archived, marked } => {
                // The base backup is taken when the binlog has expired, at the latest.
                let contained = self.base && self.contained_rests && state.stored > 0;
                // Later binlogs are archived when this one has grown old.
                let aged = self.by_age && self.aged_rests && state.stored > 0;
                let rests = contained || aged || marked && self.marked_rests;
                if !archived && !rests {
                    actions.push(Action::Store);
                }
                actions.push(Action::Crash);
            }
        }
        if state.archived && !state.marked {
            actions.push(Action::Mark);
        }
        if state.marked && state.archived {
            actions.push(Action::Delete);
        }
        if state.marked && !state.archived && (self.base || self.by_age) {
            actions.push(Action::DropMark);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::ReadMarks => state.archiver = Archiver::ReadMarks { marked: state.marked },
            Action::List => {
                let seen = state.archived && !state.marked;
                state.archiver = match state.archiver {
                    Archiver::ReadMarks { marked } => Archiver::Knows { archived: seen, marked },
                    _ => Archiver::Knows { archived: seen, marked: state.marked },
                };
            }
            Action::Store => {
                state.archived = true;
                state.stored += 1;
                let Archiver::Knows { marked, .. } = state.archiver else { return None };
                state.archiver = Archiver::Knows { archived: true, marked };
            }
            Action::Crash => state.archiver = Archiver::Down,
            Action::Mark => state.marked = true,
            Action::Delete => state.archived = false,
            Action::DropMark => state.marked = false,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_, state: &State| state.stored <= 1),
            Property::sometimes("it expires", |_, state: &State| state.stored == 1 && !state.archived),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.stored <= 2
    }
}

const ONCE: &str = "what has expired is not archived again";

#[test]
fn a_marked_binlog_is_not_stored_again() {
    let by_hand = World { base: false, ..RULES };
    needed("a marked binlog is not stored again", ONCE, by_hand.clone(), World { marked_rests: false, ..by_hand });
}

#[test]
fn what_the_oldest_backup_contains_is_not_stored_again() {
    needed(
        "nor one whose whole set the oldest unmarked base backup contains",
        ONCE,
        RULES,
        World { contained_rests: false, ..RULES },
    );
}

#[test]
fn what_has_gone_by_age_is_not_stored_again() {
    let by_age = World { base: false, by_age: true, ..RULES };
    needed(
        "where binlogs go by age, one older than the window and than every archived one is not stored again",
        ONCE,
        by_age.clone(),
        World { aged_rests: false, ..by_age },
    );
}

#[test]
fn an_archiver_goes_by_the_marks_of_its_listing() {
    let by_hand = World { base: false, ..RULES };
    needed(
        "an archiver goes by marks that are no older than its listing's",
        ONCE,
        by_hand.clone(),
        World { marks_with_listing: false, ..by_hand },
    );
}
