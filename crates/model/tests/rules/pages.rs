//! Pages of the catalog: merges by two archivers at once, in any order, with crashes, PUTs and DELETEs that arrive late.

use stateright::{Model, Property};

use super::check::needed;

const LEVELS: u32 = 3;
const CRASHES: u8 = 1;
const ARCHIVERS: usize = 2;

#[derive(Clone)]
struct World {
    /// A merge's level is above that of each page it replaces.
    above: bool,
    /// It deletes only pages that it has read and written again.
    only_what_was_read: bool,
    /// It never deletes a page because another of the same level has its lines.
    no_duplicates: bool,
    /// A reader that misses a listed page lists again.
    lists_again: bool,
    /// How many merges each archiver begins.
    merges: u8,
    /// Whether somebody reads meanwhile.
    reader: bool,
}

const RULES: World =
    World { above: true, only_what_was_read: true, no_duplicates: true, lists_again: true, merges: 2, reader: false };

/// A set of pages. A page is one bit: its level, its lines (a set of three, not empty), and which archiver encoded it. Equal
/// pages have equal keys, for the key is the hash of the content.
type Pages = u64;
/// A set of lines.
type Lines = u8;

const FIRST: Lines = 0b011;
const THIRD: Lines = 0b100;

fn page(level: u32, lines: Lines, writer: usize) -> Pages {
    1 << (level * 14 + (u32::from(lines) - 1) * 2 + u32::try_from(writer).unwrap())
}

fn each(pages: Pages) -> impl Iterator<Item = Pages> {
    (0..u64::BITS).map(|bit| 1 << bit).filter(move |one| pages & one != 0)
}

fn level(one: Pages) -> u32 {
    one.trailing_zeros() / 14
}

fn lines(pages: Pages) -> Lines {
    each(pages).fold(0, |all, one| all | u8::try_from(one.trailing_zeros() % 14 / 2 + 1).unwrap())
}

fn of_level(pages: Pages, wanted: u32) -> Pages {
    pages & (0x3fff << (14 * wanted))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Archiver {
    Idle,
    Listed {
        pages: Pages,
    },
    /// All of these were read.
    Read {
        old: Pages,
        new: Pages,
    },
    /// The page that holds their lines is stored.
    Stored {
        old: Pages,
        new: Pages,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    /// Lists level by level, for that is the order of the keys.
    Lists {
        level: u32,
        pages: Pages,
        owed: Lines,
    },
    Done {
        seen: Lines,
        owed: Lines,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    pages: Pages,
    archivers: [Archiver; ARCHIVERS],
    merges: [u8; ARCHIVERS],
    crashes: u8,
    late_puts: Pages,
    late_deletes: Pages,
    /// The third line was catalogued.
    third: bool,
    reader: Reader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Catalogue,
    List(usize),
    Read { at: usize, old: Pages },
    DropDuplicate { at: usize, old: Pages },
    Put(usize),
    Delete(usize),
    CrashAfterSending(usize),
    PutArrives,
    DeleteArrives,
    Begin,
    ReadLevel,
}

impl World {
    fn deletes(&self, pages: Pages, old: Pages, new: Pages) -> Pages {
        let doomed = if self.only_what_was_read {
            old
        } else {
            (0..level(new)).fold(0, |all, lower| all | of_level(pages, lower))
        };
        doomed & !new
    }

    /// Every choice of two or more listed pages, and what they become.
    fn choices(&self, at: usize, listed: Pages) -> Vec<(Pages, Pages)> {
        let all: Vec<Pages> = each(listed).collect();
        let choices = (0..1_u32 << all.len()).filter(|choice| choice.count_ones() >= 2);
        let chosen = choices.map(|choice| {
            let taken = all.iter().enumerate().filter(|(bit, _)| choice & 1 << bit != 0);
            taken.fold(0, |set, (_, one)| set | one)
        });
        let merged = chosen.filter_map(|old| {
            let highest = each(old).map(level).max()?;
            let goal = if self.above { highest + 1 } else { highest };
            (goal < LEVELS).then(|| (old, page(goal, lines(old), at)))
        });
        merged.collect()
    }

    fn duplicates(&self, listed: Pages) -> Vec<Pages> {
        if self.no_duplicates {
            return Vec::new();
        }
        let doubled = |one: &Pages| {
            each(listed & !one).any(|other| level(other) == level(*one) && lines(*one) & !lines(other) == 0)
        };
        each(listed).filter(doubled).collect()
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = State {
            pages: page(0, 0b001, 0) | page(0, 0b010, 0),
            archivers: [Archiver::Idle; ARCHIVERS],
            merges: [0; ARCHIVERS],
            crashes: 0,
            late_puts: 0,
            late_deletes: 0,
            third: false,
            reader: Reader::Idle,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.third {
            actions.push(Action::Catalogue);
        }
        for at in 0..ARCHIVERS {
            match state.archivers[at] {
                Archiver::Idle if state.merges[at] < self.merges => actions.push(Action::List(at)),
                Archiver::Idle => {}
                Archiver::Listed { pages } => {
                    actions.extend(self.choices(at, pages).into_iter().map(|(old, _)| Action::Read { at, old }));
                    actions.extend(self.duplicates(pages).into_iter().map(|old| Action::DropDuplicate { at, old }));
                }
                Archiver::Read { .. } => actions.push(Action::Put(at)),
                Archiver::Stored { .. } => actions.push(Action::Delete(at)),
            }
            let sends = matches!(state.archivers[at], Archiver::Read { .. } | Archiver::Stored { .. });
            if sends && state.crashes < CRASHES {
                actions.push(Action::CrashAfterSending(at));
            }
        }
        if state.late_puts != 0 {
            actions.push(Action::PutArrives);
        }
        if state.late_deletes != 0 {
            actions.push(Action::DeleteArrives);
        }
        match state.reader {
            Reader::Idle if self.reader => actions.push(Action::Begin),
            Reader::Lists { .. } => actions.push(Action::ReadLevel),
            Reader::Idle | Reader::Done { .. } => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Catalogue => {
                state.pages |= page(0, THIRD, 0);
                state.third = true;
            }
            Action::List(at) => {
                state.merges[at] += 1;
                state.archivers[at] = Archiver::Listed { pages: state.pages };
            }
            Action::Read { at, old } => {
                let Archiver::Listed { pages } = state.archivers[at] else { return None };
                let (_, new) = self.choices(at, pages).into_iter().find(|(some, _)| *some == old)?;
                // A page that is gone: somebody else was faster.
                let whole = state.pages & old == old;
                state.archivers[at] = if whole { Archiver::Read { old, new } } else { Archiver::Idle };
            }
            Action::DropDuplicate { at, old } => state.archivers[at] = Archiver::Stored { old, new: 0 },
            Action::Put(at) => {
                let Archiver::Read { old, new } = state.archivers[at] else { return None };
                state.pages |= new;
                state.archivers[at] = Archiver::Stored { old, new };
            }
            Action::Delete(at) => {
                let Archiver::Stored { old, new } = state.archivers[at] else { return None };
                state.pages &= !self.deletes(state.pages, old, new);
                state.archivers[at] = Archiver::Idle;
            }
            Action::CrashAfterSending(at) => {
                match state.archivers[at] {
                    Archiver::Read { new, .. } => state.late_puts |= new,
                    Archiver::Stored { old, new } => state.late_deletes |= self.deletes(state.pages, old, new),
                    Archiver::Idle | Archiver::Listed { .. } => return None,
                }
                state.archivers[at] = Archiver::Idle;
                state.crashes += 1;
            }
            Action::PutArrives => state.pages |= std::mem::take(&mut state.late_puts),
            Action::DeleteArrives => state.pages &= !std::mem::take(&mut state.late_deletes),
            Action::Begin => {
                let owed = if state.third { FIRST | THIRD } else { FIRST };
                state.reader = Reader::Lists { level: 0, pages: 0, owed };
            }
            Action::ReadLevel => {
                let Reader::Lists { level, pages, owed } = state.reader else { return None };
                state.reader = if level < LEVELS {
                    Reader::Lists { level: level + 1, pages: pages | of_level(state.pages, level), owed }
                } else if self.lists_again && pages & !state.pages != 0 {
                    Reader::Lists { level: 0, pages: 0, owed }
                } else {
                    Reader::Done { seen: lines(pages & state.pages), owed }
                };
            }
        }
        Some(state)
    }

    fn format_action(&self, action: &Action) -> String {
        let names = |pages| {
            let name = |one| format!("level {} with lines {:03b}", level(one), lines(one));
            each(pages).map(name).collect::<Vec<_>>().join(", ")
        };
        match action {
            Action::Read { at, old } => format!("Read({at}): {}", names(*old)),
            Action::DropDuplicate { at, old } => format!("DropDuplicate({at}): {}", names(*old)),
            other => format!("{other:?}"),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_LINE_LOST, |_, state: &State| {
                let owed = if state.third { FIRST | THIRD } else { FIRST };
                owed & !lines(state.pages) == 0
            }),
            Property::always(ALL_LINES_SEEN, |_, state: &State| match state.reader {
                Reader::Done { seen, owed } => owed & !seen == 0,
                _ => true,
            }),
            Property::sometimes("all lines stand in one page", |_, state: &State| {
                state.pages.count_ones() == 1 && state.third
            }),
        ]
    }
}

const NO_LINE_LOST: &str = "what was catalogued stands in a page";
const ALL_LINES_SEEN: &str = "a reader sees all that was catalogued before it began";

#[test]
fn a_merge_is_above_all_that_it_replaces() {
    needed(
        "a merge's level is above that of each page it replaces",
        NO_LINE_LOST,
        RULES,
        World { above: false, ..RULES },
    );
}

#[test]
fn a_merge_deletes_only_what_it_read() {
    needed(
        "a merge deletes only pages whose every line it read and wrote",
        NO_LINE_LOST,
        RULES,
        World { only_what_was_read: false, ..RULES },
    );
}

#[test]
fn a_merge_never_deletes_a_duplicate_of_its_own_level() {
    needed(
        "no page is deleted as a duplicate of one on its own level",
        NO_LINE_LOST,
        RULES,
        World { no_duplicates: false, ..RULES },
    );
}

#[test]
fn a_reader_that_misses_a_page_lists_again() {
    let read = World { reader: true, merges: 1, ..RULES };
    needed(
        "a reader that misses a page lists again",
        ALL_LINES_SEEN,
        read.clone(),
        World { lists_again: false, ..read },
    );
}
