//! Orphans: two copies of one range that no page names, two sweeps and a starting archiver that find them at the same time.
//!
//! The server has purged the file: the copies are all there is. A LIST of the catalog is no snapshot: it sees the place of the
//! first copy's page, then that of the second's.

use stateright::{Model, Property};

use super::check::needed;

const SWEEPS: usize = 2;

#[derive(Clone)]
struct World {
    /// Only catalogued segments count as cover for an orphan.
    catalogued_cover: bool,
    /// An orphan that nothing covers is catalogued, not deleted.
    catalogues: bool,
    /// The catalog is listed once more before an orphan is deleted.
    looks_again: bool,
}

const RULES: World = World { catalogued_cover: true, catalogues: true, looks_again: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    /// It has listed the objects, and the catalog as far as the first page's place.
    HalfListed {
        there: [bool; 2],
        first: bool,
    },
    Listed {
        there: [bool; 2],
        lines: [bool; 2],
    },
    /// It lists the catalog again, before it deletes this one.
    LooksAgain {
        orphan: usize,
        first: Option<bool>,
    },
    Deletes {
        orphan: usize,
    },
    Catalogues {
        orphan: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    objects: [bool; 2],
    lines: [bool; 2],
    sweeps: [Sweep; SWEEPS],
    /// An archiver that starts has fetched a copy and is about to catalogue it.
    adopts: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Store(usize),
    Adopt(usize),
    PutAdopted,
    List(usize),
    ListOn(usize),
    Turn { sweep: usize, orphan: usize },
    LookAgain(usize),
    Delete(usize),
    Catalogue(usize),
    Crash(usize),
}

impl World {
    fn turn(&self, there: [bool; 2], lines: [bool; 2], orphan: usize) -> Sweep {
        let other = 1 - orphan;
        let covered = if self.catalogued_cover { lines[other] } else { there[other] };
        if !covered && self.catalogues {
            Sweep::Catalogues { orphan }
        } else if self.looks_again {
            Sweep::LooksAgain { orphan, first: None }
        } else {
            Sweep::Deletes { orphan }
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { objects: [true, false], lines: [false; 2], sweeps: [Sweep::Idle; SWEEPS], adopts: None }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // The second archiver's copy arrives late, even after the first is gone.
        if !state.objects[1] && !state.lines[1] && state.objects[0] {
            actions.push(Action::Store(1));
        }
        match state.adopts {
            None => {
                let found = (0..2).filter(|at| state.objects[*at] && !state.lines[*at]);
                actions.extend(found.map(Action::Adopt));
            }
            Some(_) => actions.push(Action::PutAdopted),
        }
        for (at, sweep) in state.sweeps.iter().enumerate() {
            match *sweep {
                Sweep::Idle => actions.push(Action::List(at)),
                Sweep::HalfListed { .. } => actions.push(Action::ListOn(at)),
                Sweep::Listed { there, lines } => {
                    let orphans = (0..2).filter(|orphan| there[*orphan] && !lines[*orphan]);
                    actions.extend(orphans.map(|orphan| Action::Turn { sweep: at, orphan }));
                }
                Sweep::LooksAgain { .. } => actions.push(Action::LookAgain(at)),
                Sweep::Deletes { .. } => actions.push(Action::Delete(at)),
                Sweep::Catalogues { .. } => actions.push(Action::Catalogue(at)),
            }
            if *sweep != Sweep::Idle {
                actions.push(Action::Crash(at));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Store(at) => state.objects[at] = true,
            Action::Adopt(at) => state.adopts = Some(at),
            Action::PutAdopted => state.lines[state.adopts.take()?] = true,
            Action::List(at) => {
                state.sweeps[at] = Sweep::HalfListed { there: state.objects, first: state.lines[0] };
            }
            Action::ListOn(at) => {
                let Sweep::HalfListed { there, first } = state.sweeps[at] else { return None };
                state.sweeps[at] = Sweep::Listed { there, lines: [first, state.lines[1]] };
            }
            Action::Turn { sweep, orphan } => {
                let Sweep::Listed { there, lines } = state.sweeps[sweep] else { return None };
                state.sweeps[sweep] = self.turn(there, lines, orphan);
            }
            Action::LookAgain(at) => {
                let Sweep::LooksAgain { orphan, first } = state.sweeps[at] else { return None };
                state.sweeps[at] = match first {
                    None => Sweep::LooksAgain { orphan, first: Some(state.lines[0]) },
                    Some(first) if [first, state.lines[1]][orphan] => Sweep::Idle,
                    Some(_) => Sweep::Deletes { orphan },
                };
            }
            Action::Delete(at) => {
                let Sweep::Deletes { orphan } = state.sweeps[at] else { return None };
                state.objects[orphan] = false;
                state.sweeps[at] = Sweep::Idle;
            }
            Action::Catalogue(at) => {
                let Sweep::Catalogues { orphan } = state.sweeps[at] else { return None };
                // It is fetched and verified first.
                state.lines[orphan] |= state.objects[orphan];
                state.sweeps[at] = Sweep::Idle;
            }
            Action::Crash(at) => state.sweeps[at] = Sweep::Idle,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BYTES_STAY, |_, state: &State| state.objects[0] || state.objects[1]),
            Property::sometimes("a copy that is stored twice goes", |_, state: &State| {
                !state.objects[0] && state.objects[1] && state.lines[1]
            }),
        ]
    }
}

const BYTES_STAY: &str = "bytes that are safe in the bucket stay, though the server has purged them";

#[test]
fn orphans_go_only_for_catalogued_bytes() {
    needed(
        "an orphan goes only if catalogued segments hold the same bytes",
        BYTES_STAY,
        RULES,
        World { catalogued_cover: false, ..RULES },
    );
}

#[test]
fn orphans_that_nothing_covers_are_catalogued() {
    needed("an orphan that nothing covers is catalogued", BYTES_STAY, RULES, World { catalogues: false, ..RULES });
}

#[test]
fn a_sweep_looks_at_the_catalog_again_before_it_deletes() {
    needed(
        "the catalog is listed once more before an orphan is deleted",
        BYTES_STAY,
        RULES,
        World { looks_again: false, ..RULES },
    );
}
