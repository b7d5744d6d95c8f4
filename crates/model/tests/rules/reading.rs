//! A reader's listings beside an archiver that ships, merges its tail and hands over to the catalog.
//!
//! A LIST is no snapshot: it visits one key after the other, in their order, and finds each as it is at that moment. Headers of
//! tail objects are remembered, so no 404 tells the reader that something moved. Two things make a hole where none is: an object
//! is stored behind the place that the LIST has reached and the next one before it, or two objects are merged, which moves the
//! second *backwards* in the order of keys. The first heals with the next listing. At most one merge falls into one reading,
//! which is the bound of this model and of the rule: the tail of one binlog is one request, and merges are minutes apart.

use stateright::{Model, Property};

use super::check::{breaks, needed};

const TRANSACTIONS: u8 = 4;
const MERGES: u8 = 1;

#[derive(Clone)]
struct World {
    /// The tail is listed before the catalog.
    tail_first: bool,
    /// A hole is reported when it looked the same so many times in a row.
    looks: u8,
    /// A merge leaves the newest object of the tail alone.
    newest_is_left: bool,
}

const RULES: World = World { tail_first: true, looks: 3, newest_is_left: true };

/// The ranges that a tail object can have, in the order of their keys.
const KEYS: [(u8, u8); 10] = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)];

fn key(from: u8, to: u8) -> u16 {
    1 << KEYS.iter().position(|range| *range == (from, to)).unwrap()
}

/// Transactions `from..to`, one bit each.
fn span(from: u8, to: u8) -> u8 {
    (1_u8 << to) - (1_u8 << from)
}

/// The transactions that are missing below others.
fn holes(seen: u8) -> u8 {
    span(0, seen.checked_ilog2().map_or(0, |last| last as u8 + 1)) & !seen
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Archiver {
    Idle,
    /// The merged object is stored.
    Merged {
        old: u16,
    },
    /// The catalog covers all before this.
    Catalogued {
        to: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Listing {
    Tail { next: u8 },
    Catalog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Lists { what: Listing, first: bool, known: Known },
    Done { known: Known },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    seen: u8,
    /// How much was acknowledged before it began.
    before: u8,
    /// The holes of the last looks, and how many looks in a row had them.
    holes: u8,
    looks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    shipped: u8,
    tail: u16,
    catalogued: u8,
    merges: u8,
    archiver: Archiver,
    reader: Reader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ship,
    Merge { from: u8, middle: u8, to: u8 },
    DeleteMerged,
    Catalogue,
    DeleteCovered,
    Begin,
    Read,
}

impl World {
    fn begin(&self, known: Known) -> Reader {
        let what = if self.tail_first { Listing::Tail { next: 0 } } else { Listing::Catalog };
        Reader::Lists { what, first: true, known }
    }

    fn read(&self, state: &State) -> Option<Reader> {
        let Reader::Lists { what, first, mut known } = state.reader else { return None };
        if let Listing::Tail { next } = what {
            let (from, to) = KEYS[usize::from(next)];
            if state.tail & 1 << next != 0 {
                known.seen |= span(from, to);
            }
            if usize::from(next) + 1 < KEYS.len() {
                return Some(Reader::Lists { what: Listing::Tail { next: next + 1 }, first, known });
            }
        } else {
            known.seen |= span(0, state.catalogued);
        }
        Some(match what {
            Listing::Tail { .. } if first => Reader::Lists { what: Listing::Catalog, first: false, known },
            Listing::Catalog if first => Reader::Lists { what: Listing::Tail { next: 0 }, first: false, known },
            _ => self.conclude(known),
        })
    }

    fn conclude(&self, mut known: Known) -> Reader {
        let holes = holes(known.seen);
        known.looks = if holes == known.holes { known.looks + 1 } else { 1 };
        known.holes = holes;
        if holes == 0 || known.looks >= self.looks { Reader::Done { known } } else { self.begin(known) }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { shipped: 0, tail: 0, catalogued: 0, merges: 0, archiver: Archiver::Idle, reader: Reader::Idle }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.archiver {
            Archiver::Merged { .. } => actions.push(Action::DeleteMerged),
            Archiver::Catalogued { .. } => actions.push(Action::DeleteCovered),
            Archiver::Idle => {
                if state.shipped < TRANSACTIONS {
                    actions.push(Action::Ship);
                }
                if state.catalogued < state.shipped {
                    actions.push(Action::Catalogue);
                }
                let there = |from, to| state.tail & key(from, to) != 0;
                for (from, middle) in KEYS.iter().copied().filter(|(from, to)| there(*from, *to)) {
                    for (_, to) in KEYS.iter().copied().filter(|(second, to)| *second == middle && there(middle, *to)) {
                        let is_newest = to == state.shipped;
                        if state.merges < MERGES && !(self.newest_is_left && is_newest) {
                            actions.push(Action::Merge { from, middle, to });
                        }
                    }
                }
            }
        }
        match state.reader {
            Reader::Idle => actions.push(Action::Begin),
            Reader::Lists { .. } => actions.push(Action::Read),
            Reader::Done { .. } => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Ship => {
                state.tail |= key(state.shipped, state.shipped + 1);
                state.shipped += 1;
            }
            Action::Merge { from, middle, to } => {
                state.tail |= key(from, to);
                state.merges += 1;
                state.archiver = Archiver::Merged { old: key(from, middle) | key(middle, to) };
            }
            Action::DeleteMerged => {
                let Archiver::Merged { old } = state.archiver else { return None };
                state.tail &= !old;
                state.archiver = Archiver::Idle;
            }
            Action::Catalogue => {
                state.catalogued = state.shipped;
                state.archiver = Archiver::Catalogued { to: state.shipped };
            }
            Action::DeleteCovered => {
                let Archiver::Catalogued { to } = state.archiver else { return None };
                let covered = KEYS.iter().filter(|(_, end)| *end <= to);
                state.tail &= !covered.fold(0, |all, (from, to)| all | key(*from, *to));
                state.archiver = Archiver::Idle;
            }
            Action::Begin => {
                let known = Known { seen: 0, before: state.shipped, holes: 0, looks: 0 };
                state.reader = self.begin(known);
            }
            Action::Read => state.reader = self.read(&state)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SEES_ACKNOWLEDGED, |_, state: &State| match state.reader {
                Reader::Done { known } => span(0, known.before) & !known.seen == 0,
                _ => true,
            }),
            Property::always(NO_FALSE_HOLE, |_, state: &State| match state.reader {
                Reader::Done { known } => known.holes == 0,
                _ => true,
            }),
            Property::sometimes("a merge and a handover fall into one reading", |_, state: &State| {
                matches!(state.reader, Reader::Done { .. }) && state.merges == 1 && state.catalogued > 0
            }),
        ]
    }
}

const SEES_ACKNOWLEDGED: &str = "a reader sees what was acknowledged before it began";
const NO_FALSE_HOLE: &str = "a reader reports no hole that is not there";

#[test]
fn readers_list_the_tail_before_the_catalog() {
    needed("readers list the tail before the catalog", SEES_ACKNOWLEDGED, RULES, World { tail_first: false, ..RULES });
}

#[test]
fn a_reader_lists_again_before_it_reports_a_hole() {
    let rule = "a reader lists again before it reports a hole";
    needed(rule, NO_FALSE_HOLE, RULES, World { looks: 1, ..RULES });
    // An object that was stored too late for the first look is merged during the second.
    breaks("a second look is not enough", NO_FALSE_HOLE, World { looks: 2, ..RULES });
}

#[test]
fn a_merge_of_the_tail_leaves_its_newest_object_alone() {
    needed(
        "a merge of the tail leaves its newest object alone",
        SEES_ACKNOWLEDGED,
        RULES,
        World { newest_is_left: false, ..RULES },
    );
}
