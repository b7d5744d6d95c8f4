//! Repeats: a segment that is wanted is stored once more as what differs from a binlog that nobody else wants, and its whole object goes.
//! Beside the run that does it, retention, a sweep, and one that takes the repeat for the copy too many.
//!
//! Time goes in steps of an hour. A request that was signed arrives within one step or never. What becomes of a repeat that no page
//! names is told in `lonely`.

use stateright::{Model, Property};

use super::check::needed;

/// So old is a mark before objects go (at least 2 h in the archive, whose runs are late after 40 minutes).
const GRACE: u8 = 4;
/// A run that takes longer ends.
const LATE: u8 = 1;

#[derive(Clone)]
struct World {
    /// Nothing is told by what has a mark.
    reads_marks: bool,
    /// A repeat is named soon after the marks were read, or not at all.
    names_soon: bool,
    /// What a repeat that is named refers to stays.
    keeps_what_is_needed: bool,
    /// A sweep never takes a repeat for the copy too many.
    spares_repeats: bool,
}

const RULES: World = World { reads_marks: true, names_soon: true, keeps_what_is_needed: true, spares_repeats: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    /// It has seen that a page names the repeat, whose whole segment is the copy too many.
    Listed,
    /// It has read the repeat.
    Read,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    whole: bool,
    repeat: bool,
    /// A page names the repeat.
    line: bool,
    /// What it refers to.
    base: bool,
    mark: Option<u8>,
    /// A run of dedupe: since it read the marks.
    run: Option<u8>,
    /// The page is on its way.
    sent: Option<u8>,
    /// A run of retention: since its look, whether it has seen the line, and whether the mark was old enough.
    retention: Option<(u8, bool, bool)>,
    sweep: Sweep,
    /// Another sweep is about to delete a repeat that no page named when it looked.
    takes_repeat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Hour,
    ReadMarks,
    StoreRepeat,
    NameRepeat,
    Crash,
    PageArrives,
    Look,
    Mark,
    Rescue,
    DeleteBase,
    EndRetention,
    ListForSweep,
    ReadRepeat,
    DeleteWhole,
    TakeRepeat,
    DeleteRepeat,
}

impl World {
    /// A plan that has seen the line keeps what the repeat refers to.
    fn lets_go(&self, seen: bool) -> bool {
        !seen || !self.keeps_what_is_needed
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            whole: true,
            repeat: false,
            line: false,
            base: true,
            mark: None,
            run: None,
            sent: None,
            retention: None,
            sweep: Sweep::Idle,
            takes_repeat: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Hour);
        match state.run {
            None if state.mark.is_none() || !self.reads_marks => actions.push(Action::ReadMarks),
            None => {}
            Some(age) => {
                // It is made of the base's bytes, and tried.
                if !state.repeat && state.base && state.whole {
                    actions.push(Action::StoreRepeat);
                }
                if state.repeat && !state.line && (age <= LATE || !self.names_soon) {
                    actions.push(Action::NameRepeat);
                }
                actions.push(Action::Crash);
            }
        }
        if state.sent.is_some() {
            actions.push(Action::PageArrives);
        }
        match state.retention {
            None => actions.push(Action::Look),
            Some((age, seen, due)) => {
                let lets_go = self.lets_go(seen) && age <= LATE;
                let marks = [(Action::Mark, lets_go && state.mark.is_none()), (Action::DeleteBase, lets_go && due)];
                actions.extend(marks.into_iter().filter(|(_, may)| *may).map(|(action, _)| action));
                if !self.lets_go(seen) && state.mark.is_some() {
                    actions.push(Action::Rescue);
                }
                actions.push(Action::EndRetention);
            }
        }
        match state.sweep {
            Sweep::Idle if state.line && state.whole => actions.push(Action::ListForSweep),
            Sweep::Listed if state.repeat && state.base => actions.push(Action::ReadRepeat),
            Sweep::Read => actions.push(Action::DeleteWhole),
            Sweep::Idle | Sweep::Listed => {}
        }
        if state.takes_repeat {
            actions.push(Action::DeleteRepeat);
        } else if state.repeat && !state.line && state.whole && !self.spares_repeats {
            actions.push(Action::TakeRepeat);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Hour => {
                state.mark = state.mark.map(|age| (age + 1).min(GRACE));
                state.run = state.run.map(|age| (age + 1).min(GRACE + 1));
                state.sent = state.sent.map(|age| age + 1).filter(|age| *age <= LATE);
                state.retention = state.retention.map(|(age, seen, due)| ((age + 1).min(LATE + 1), seen, due));
            }
            Action::ReadMarks => state.run = Some(0),
            Action::StoreRepeat => state.repeat = true,
            Action::NameRepeat => (state.run, state.sent) = (None, Some(0)),
            Action::Crash => state.run = None,
            Action::PageArrives => (state.sent, state.line) = (None, true),
            Action::Look => state.retention = Some((0, state.line, state.mark == Some(GRACE))),
            // A mark counts from the beginning of the run that puts it.
            Action::Mark => state.mark = Some(state.retention?.0),
            Action::Rescue => state.mark = None,
            Action::DeleteBase => state.base = false,
            Action::EndRetention => state.retention = None,
            Action::ListForSweep => state.sweep = Sweep::Listed,
            Action::ReadRepeat => state.sweep = Sweep::Read,
            Action::DeleteWhole => (state.sweep, state.whole) = (Sweep::Idle, false),
            Action::TakeRepeat => state.takes_repeat = true,
            Action::DeleteRepeat => (state.takes_repeat, state.repeat) = (false, false),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BYTES_STAY, |_, state: &State| state.whole || (state.repeat && state.base)),
            Property::sometimes("a whole segment goes", |_, state: &State| !state.whole),
            Property::sometimes("what nothing refers to goes", |_, state: &State| !state.base),
        ]
    }
}

const BYTES_STAY: &str = "the segment can be read";

#[test]
fn nothing_is_told_by_what_has_a_mark() {
    needed("nothing is told by what has a mark", BYTES_STAY, RULES, World { reads_marks: false, ..RULES });
}

#[test]
fn a_repeat_is_named_soon_after_the_marks_were_read() {
    needed("a repeat is named soon, or not at all", BYTES_STAY, RULES, World { names_soon: false, ..RULES });
}

#[test]
fn what_a_repeat_refers_to_stays() {
    needed("what a repeat refers to stays", BYTES_STAY, RULES, World { keeps_what_is_needed: false, ..RULES });
}

#[test]
fn a_repeat_is_never_the_copy_too_many() {
    needed("a sweep takes no repeat", BYTES_STAY, RULES, World { spares_repeats: false, ..RULES });
}
