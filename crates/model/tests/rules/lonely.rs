//! A repeat that no page names, because a run of dedupe died or a page was lost: whoever sweeps, starts or makes the catalog again names
//! it only while no whole segment of its range is listed. Beside a server that stores the whole segment again, two runs of retention that
//! do not agree, and a sweep that takes the whole segment for the copy too many.
//!
//! Time goes in steps of an hour. A request that was signed arrives within one step or never.

use stateright::{Model, Property};

use super::check::needed;

/// So old is a mark before objects go, and an object before a sweep takes it (at least 2 h in the archive, whose runs are late after
/// 40 minutes).
const GRACE: u8 = 4;
/// A run that takes longer ends.
const LATE: u8 = 1;

#[derive(Clone)]
struct World {
    /// It is named only where no whole segment is listed.
    only_alone: bool,
    /// It is named soon after that was looked, or not at all.
    names_soon: bool,
    /// A whole segment is there for a grace before a sweep takes it.
    waits: bool,
}

const RULES: World = World { only_alone: true, names_soon: true, waits: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    /// What the named repeat refers to has no mark.
    Listed,
    /// It has read the repeat.
    Read,
    /// The whole segment went on account of the repeat.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Retention {
    age: u8,
    /// Its plan has seen the line.
    seen: bool,
    /// The mark was old enough when it looked.
    due: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The whole segment, and since when it is there.
    whole: Option<u8>,
    /// Whoever names: since it looked for whole segments.
    namer: Option<u8>,
    sent: Option<u8>,
    line: bool,
    /// What the repeat refers to, and its mark.
    base: bool,
    mark: Option<u8>,
    retentions: [Option<Retention>; 2],
    sweep: Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Hour,
    StoreWhole,
    LookForWhole,
    Name,
    Crash,
    PageArrives,
    Look(usize),
    Mark(usize),
    Rescue(usize),
    DeleteBase(usize),
    EndRetention(usize),
    ListForSweep,
    ReadRepeat,
    DeleteWhole,
}

impl World {
    fn of_namer(&self, state: &State, actions: &mut Vec<Action>) {
        match state.namer {
            // It is read before it is named.
            None if state.line || !state.base => {}
            None if state.whole.is_some() && self.only_alone => {}
            None => actions.push(Action::LookForWhole),
            Some(age) => {
                if age <= LATE || !self.names_soon {
                    actions.push(Action::Name);
                }
                actions.push(Action::Crash);
            }
        }
        if state.sent.is_some() {
            actions.push(Action::PageArrives);
        }
    }

    fn of_sweep(&self, state: &State, actions: &mut Vec<Action>) {
        let is_old = state.whole.is_some_and(|age| age == GRACE || !self.waits);
        match state.sweep {
            Sweep::Idle if state.line && is_old && state.mark.is_none() => actions.push(Action::ListForSweep),
            Sweep::Listed if state.base => actions.push(Action::ReadRepeat),
            Sweep::Read => actions.push(Action::DeleteWhole),
            Sweep::Idle | Sweep::Listed | Sweep::Done => {}
        }
    }
}

fn of_retention(state: &State, run: usize, actions: &mut Vec<Action>) {
    let Some(Retention { age, seen, due }) = state.retentions[run] else {
        actions.push(Action::Look(run));
        return;
    };
    let lets_go = !seen && age <= LATE;
    let may = [
        (Action::Mark(run), lets_go && state.mark.is_none()),
        (Action::DeleteBase(run), lets_go && due && state.base),
        // Whether for the repeat's sake or because another policy keeps it.
        (Action::Rescue(run), state.mark.is_some()),
        (Action::EndRetention(run), true),
    ];
    actions.extend(may.into_iter().filter(|(_, may)| *may).map(|(action, _)| action));
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = State {
            whole: None,
            namer: None,
            sent: None,
            line: false,
            base: true,
            mark: None,
            retentions: [None; 2],
            sweep: Sweep::Idle,
        };
        vec![State { mark: Some(GRACE), ..state.clone() }, state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Hour);
        // Its server has the file still, and nothing says that it is archived.
        if state.whole.is_none() && !state.line && state.sweep == Sweep::Idle {
            actions.push(Action::StoreWhole);
        }
        self.of_namer(state, actions);
        (0..2).for_each(|run| of_retention(state, run, actions));
        self.of_sweep(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Hour => {
                let older = |age: Option<u8>, most: u8| age.map(|age| (age + 1).min(most));
                state.whole = older(state.whole, GRACE);
                state.mark = older(state.mark, GRACE);
                state.namer = older(state.namer, GRACE + 1);
                state.sent = state.sent.map(|age| age + 1).filter(|age| *age <= LATE);
                for run in state.retentions.iter_mut().flatten() {
                    run.age = (run.age + 1).min(LATE + 1);
                }
            }
            Action::StoreWhole => state.whole = Some(0),
            Action::LookForWhole => state.namer = Some(0),
            Action::Name => (state.namer, state.sent) = (None, Some(0)),
            Action::Crash => state.namer = None,
            Action::PageArrives => (state.sent, state.line) = (None, true),
            Action::Look(run) => {
                state.retentions[run] = Some(Retention { age: 0, seen: state.line, due: state.mark == Some(GRACE) });
            }
            // A mark counts from the beginning of the run that puts it.
            Action::Mark(run) => state.mark = Some(state.retentions[run]?.age),
            Action::Rescue(_) => state.mark = None,
            Action::DeleteBase(_) => state.base = false,
            Action::EndRetention(run) => state.retentions[run] = None,
            Action::ListForSweep => state.sweep = Sweep::Listed,
            Action::ReadRepeat => state.sweep = Sweep::Read,
            Action::DeleteWhole => (state.sweep, state.whole) = (Sweep::Done, None),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BYTES_STAY, |_, state: &State| state.sweep != Sweep::Done || state.base),
            Property::sometimes("a whole segment goes", |_, state: &State| state.sweep == Sweep::Done),
            Property::sometimes("what nothing refers to goes", |_, state: &State| !state.base),
        ]
    }
}

const BYTES_STAY: &str = "what is left when the whole segment goes can be read";

#[test]
fn a_repeat_that_was_left_behind_is_named_only_where_it_is_alone() {
    needed("a repeat is named late only where it is alone", BYTES_STAY, RULES, World { only_alone: false, ..RULES });
}

#[test]
fn it_is_named_soon_after_that_was_looked() {
    needed("it is named soon after that was looked", BYTES_STAY, RULES, World { names_soon: false, ..RULES });
}

#[test]
fn a_whole_segment_is_there_for_a_grace_before_it_is_the_copy_too_many() {
    needed("a whole segment stays for a grace", BYTES_STAY, RULES, World { waits: false, ..RULES });
}
