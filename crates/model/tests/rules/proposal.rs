//! A mark is a proposal: whoever put it, the policy has the last word before objects go.
//!
//! Three base backups, taken one after the other; the policy keeps the newest. Marks appear on any of them at any time: from a
//! plan of yesterday's policy, from one that did not see all, or forged by a stolen pod. Two runs of retention at once.

use stateright::{Model, Property};

use super::check::needed;

const BACKUPS: u8 = 3;
const RUNS: usize = 2;

#[derive(Clone)]
struct World {
    /// The policy is computed again, over all that exists, marked or not, before objects go.
    computed_again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    taken: u8,
    there: u8,
    marked: u8,
    /// What a run of retention is about to delete.
    runs: [u8; RUNS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Backup,
    Mark(u8),
    Look(usize),
    Delete { run: usize, backup: u8 },
    Crash(usize),
}

/// What the policy keeps of these: the newest.
fn kept(there: u8) -> u8 {
    there.checked_ilog2().map_or(0, |newest| 1 << newest)
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { taken: 1, there: 1, marked: 0, runs: [0; RUNS] }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.taken < BACKUPS {
            actions.push(Action::Backup);
        }
        let backups = || (0..BACKUPS).map(|at| 1 << at);
        actions.extend(backups().filter(|one| state.there & !state.marked & one != 0).map(Action::Mark));
        for run in 0..RUNS {
            if state.runs[run] == 0 {
                actions.push(Action::Look(run));
            } else {
                let doomed = backups().filter(|one| state.runs[run] & one != 0);
                actions.extend(doomed.map(|backup| Action::Delete { run, backup }));
                actions.push(Action::Crash(run));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Backup => {
                state.there |= 1 << state.taken;
                state.taken += 1;
            }
            Action::Mark(backup) => state.marked |= backup,
            Action::Look(run) => {
                let stays = if self.computed_again { kept(state.there) } else { 0 };
                state.runs[run] = state.there & state.marked & !stays;
            }
            Action::Delete { run, backup } => {
                state.runs[run] &= !backup;
                state.there &= !backup;
            }
            Action::Crash(run) => state.runs[run] = 0,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT_STAYS, |_, state: &State| state.there & 1 << (state.taken - 1) != 0),
            Property::sometimes("old backups go", |_, state: &State| state.there == 0b100),
        ]
    }
}

const KEPT_STAYS: &str = "what the policy keeps stays, whoever marks it";

#[test]
fn a_mark_is_a_proposal() {
    needed("a mark is a proposal", KEPT_STAYS, World { computed_again: true }, World { computed_again: false });
}
