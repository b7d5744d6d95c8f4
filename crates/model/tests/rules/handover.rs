//! Tail, handover and adoption: what was acknowledged can be read at every instant, whatever dies.
//!
//! One binlog of two transactions, two archivers of it (a pod that was deleted by force, and its successor), crashes between
//! any two requests, PUTs that arrive after their sender's death, a server that purges the file, and, where the rule is about
//! it, a twin: a cloned volume whose server goes on under the same identity with other bytes.

use stateright::{Model, Property};

use super::check::needed;

const ARCHIVERS: usize = 2;

/// Which rules are followed.
#[derive(Clone)]
struct World {
    /// Two servers go on from one copy of the file: the second transaction differs.
    twin: bool,
    /// The in-use bit of the file's head is cleared before any hash.
    clean_head: bool,
    /// A tail object goes only when catalogued segments hold the same bytes.
    same_bytes: bool,
    /// A start catalogues what no page names.
    adoption: bool,
    /// The segment is stored before the page that names it.
    segment_first: bool,
    /// The page is stored before the tail objects that it covers go.
    page_before_delete: bool,
    crashes: u8,
}

const RULES: World = World {
    twin: false,
    clean_head: true,
    same_bytes: true,
    adoption: true,
    segment_first: true,
    page_before_delete: true,
    crashes: 2,
};

/// A set of segments, one bit each: `[0,1)` with either content, `[1,2)` with either, `[0,2)` with each pair.
type Segments = u8;
/// A set of facts: transaction 0 or 1 with content 0 or 1, one bit each.
type Facts = u8;

fn segment(from: u8, to: u8, content: [u8; 2]) -> Segments {
    1 << match (from, to) {
        (0, 1) => content[0],
        (1, 2) => 2 + content[1],
        _ => 4 + 2 * content[0] + content[1],
    }
}

fn facts(segments: Segments) -> Facts {
    const OF: [Facts; 8] = [0b0001, 0b0010, 0b0100, 0b1000, 0b0101, 0b1001, 0b0110, 0b1010];
    (0..8).filter(|at| segments & 1 << at != 0).fold(0, |all, at| all | OF[at])
}

/// Which transactions are there, with whatever content.
fn ranges(facts: Facts) -> u8 {
    u8::from(facts & 0b0011 != 0) | u8::from(facts & 0b1100 != 0) << 1
}

/// How many transactions from the beginning are there.
fn reached(facts: Facts) -> u8 {
    [0, 1, 0, 2][ranges(facts) as usize]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Server {
    written: u8,
    closed: bool,
    purged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Archiver {
    Down,
    /// It has listed `binlogs/`.
    Listed {
        stored: Segments,
    },
    /// It catalogues what no page names.
    Adopts {
        left: Segments,
    },
    /// It has listed the tail, and takes away what is covered.
    Sweeps {
        tail: Segments,
    },
    Runs {
        shipped: u8,
        catalogued: u8,
    },
    /// The first of segment and page is stored.
    Half {
        whole: Segments,
        shipped: u8,
    },
    /// Both are stored; what the tail holds of it may go.
    Published {
        shipped: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    servers: [Server; 2],
    archivers: [Archiver; ARCHIVERS],
    tail: Segments,
    binlogs: Segments,
    pages: Segments,
    /// PUTs of the dead that may still arrive: tail, binlogs, pages.
    late: [Segments; 3],
    /// What an archiver was told to be stored.
    acknowledged: Facts,
    crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Tail,
    Binlogs,
    Pages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Write(usize),
    Close(usize),
    Purge(usize),
    Start(usize),
    ListCatalog(usize),
    Adopt(usize),
    Sweep(usize),
    Ship(usize),
    PutFirst(usize),
    PutSecond(usize),
    DeleteCovered(usize),
    Crash(usize),
    CrashAfterSending(usize),
    Arrive(Place),
}

impl World {
    fn server(&self, archiver: usize) -> usize {
        if self.twin { archiver } else { 0 }
    }

    /// What an archiver reads of the file now.
    fn content(&self, state: &State, server: usize) -> [u8; 2] {
        let in_use = !self.clean_head && !state.servers[server].closed;
        [u8::from(in_use), u8::from(server == 1)]
    }

    /// The next request that stores something, if that is what the archiver does next: where, what, and what it does then.
    fn put(&self, state: &State, at: usize) -> Option<(Place, Segments, Archiver)> {
        let from = self.server(at);
        let Server { written, purged, .. } = state.servers[from];
        let content = self.content(state, from);
        match state.archivers[at] {
            Archiver::Adopts { left } if left != 0 => {
                let next = left & left.wrapping_neg();
                Some((Place::Pages, next, Archiver::Adopts { left: left & !next }))
            }
            Archiver::Runs { shipped, catalogued } if !purged && shipped < written => {
                let sent = segment(shipped, written, content);
                Some((Place::Tail, sent, Archiver::Runs { shipped: written, catalogued }))
            }
            Archiver::Half { whole, shipped } => {
                let place = if self.segment_first { Place::Pages } else { Place::Binlogs };
                Some((place, whole, Archiver::Published { shipped }))
            }
            _ => None,
        }
    }

    /// Full segments go to `binlogs/` instead, at any time.
    fn put_full(&self, state: &State, at: usize) -> Option<(Place, Segments, Archiver)> {
        let from = self.server(at);
        let Server { written, purged, .. } = state.servers[from];
        match state.archivers[at] {
            Archiver::Runs { shipped, catalogued } if !purged && catalogued < written => {
                let whole = segment(catalogued, written, self.content(state, from));
                let place = if self.segment_first { Place::Binlogs } else { Place::Pages };
                Some((place, whole, Archiver::Half { whole, shipped }))
            }
            _ => None,
        }
    }

    fn covered(&self, state: &State, by: Facts) -> Segments {
        let tail = (0..8).map(|at| 1 << at).filter(|one| state.tail & one != 0);
        tail.filter(|one| match self.same_bytes {
            true => facts(*one) & !by == 0,
            false => ranges(facts(*one)) & !ranges(by) == 0,
        })
        .fold(0, |all, one| all | one)
    }
}

impl State {
    fn store(&mut self, place: Place, sent: Segments) {
        match place {
            Place::Tail => self.tail |= sent,
            Place::Binlogs => self.binlogs |= sent,
            Place::Pages => self.pages |= sent,
        }
    }

    fn catalogued(&self) -> Facts {
        facts(self.pages & self.binlogs)
    }

    /// What an archiver that begins finds to be done already.
    fn begin(&self) -> Archiver {
        let catalogued = reached(facts(self.pages));
        Archiver::Runs { shipped: reached(facts(self.pages | self.tail)), catalogued }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let server = Server { written: 0, closed: false, purged: false };
        let archivers = [Archiver::Down; ARCHIVERS];
        let (tail, binlogs, pages, late) = (0, 0, 0, [0; 3]);
        vec![State { servers: [server; 2], archivers, tail, binlogs, pages, late, acknowledged: 0, crashes: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for at in 0..=usize::from(self.twin) {
            let server = state.servers[at];
            if !server.closed && server.written < 2 {
                actions.push(Action::Write(at));
            }
            if !server.closed && server.written > 0 {
                actions.push(Action::Close(at));
            }
            if server.closed && !server.purged {
                actions.push(Action::Purge(at));
            }
        }
        for at in 0..ARCHIVERS {
            match state.archivers[at] {
                Archiver::Down => actions.push(Action::Start(at)),
                Archiver::Listed { .. } => actions.push(Action::ListCatalog(at)),
                Archiver::Adopts { .. } => actions.push(Action::Adopt(at)),
                Archiver::Sweeps { .. } => actions.push(Action::Sweep(at)),
                Archiver::Runs { .. } => {
                    if self.put(state, at).is_some() {
                        actions.push(Action::Ship(at));
                    }
                    if self.put_full(state, at).is_some() {
                        actions.push(Action::PutFirst(at));
                    }
                }
                Archiver::Half { .. } => actions.push(Action::PutSecond(at)),
                Archiver::Published { .. } => actions.push(Action::DeleteCovered(at)),
            }
            if state.archivers[at] != Archiver::Down && state.crashes < self.crashes {
                actions.push(Action::Crash(at));
                if self.put(state, at).or_else(|| self.put_full(state, at)).is_some() {
                    actions.push(Action::CrashAfterSending(at));
                }
            }
        }
        // What arrives under binlogs/ while nobody is about to start waits for the sweep: see `orphans`.
        let somebody_starts = state.archivers.contains(&Archiver::Down);
        for (at, place) in [Place::Tail, Place::Binlogs, Place::Pages].into_iter().enumerate() {
            if state.late[at] != 0 && (place != Place::Binlogs || somebody_starts) {
                actions.push(Action::Arrive(place));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(at) => {
                state.servers[at].written += 1;
                // The copy of the volume was made after the first transaction.
                if self.twin && state.servers[at].written == 1 {
                    state.servers[1 - at].written = state.servers[1 - at].written.max(1);
                }
            }
            Action::Close(at) => state.servers[at].closed = true,
            Action::Purge(at) => state.servers[at].purged = true,
            Action::Start(at) => state.archivers[at] = Archiver::Listed { stored: state.binlogs },
            Action::ListCatalog(at) => {
                let Archiver::Listed { stored } = state.archivers[at] else { return None };
                let left = if self.adoption { stored & !state.pages } else { 0 };
                state.archivers[at] = Archiver::Adopts { left };
            }
            Action::Adopt(at) => match self.put(&state, at) {
                Some((place, sent, then)) => {
                    state.store(place, sent);
                    state.archivers[at] = then;
                }
                None => state.archivers[at] = Archiver::Sweeps { tail: state.tail },
            },
            Action::Sweep(at) => {
                let Archiver::Sweeps { tail } = state.archivers[at] else { return None };
                state.tail &= !(self.covered(&state, state.catalogued()) & tail);
                state.archivers[at] = state.begin();
            }
            Action::PutFirst(at) => {
                let (place, sent, then) = self.put_full(&state, at)?;
                state.store(place, sent);
                state.archivers[at] = then;
                if !self.page_before_delete {
                    state.tail &= !self.covered(&state, facts(sent));
                }
            }
            Action::Ship(at) | Action::PutSecond(at) => {
                let (place, sent, then) = self.put(&state, at)?;
                state.store(place, sent);
                state.acknowledged |= facts(sent);
                state.archivers[at] = then;
            }
            Action::DeleteCovered(at) => {
                let Archiver::Published { shipped } = state.archivers[at] else { return None };
                state.tail &= !self.covered(&state, state.catalogued());
                let catalogued = reached(facts(state.pages));
                state.archivers[at] = Archiver::Runs { shipped: shipped.max(catalogued), catalogued };
            }
            Action::Crash(at) => {
                state.archivers[at] = Archiver::Down;
                state.crashes += 1;
            }
            Action::CrashAfterSending(at) => {
                let (place, sent, _) = self.put(&state, at).or_else(|| self.put_full(&state, at))?;
                state.late[place as usize] |= sent;
                state.archivers[at] = Archiver::Down;
                state.crashes += 1;
            }
            Action::Arrive(place) => {
                let sent = std::mem::take(&mut state.late[place as usize]);
                state.store(place, sent);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, |_, state: &State| {
                state.acknowledged & !(facts(state.tail) | state.catalogued()) == 0
            }),
            Property::always(NO_DANGLING_PAGE, |_, state: &State| state.pages & !state.binlogs == 0),
            Property::always(NOTHING_INVISIBLE, |_, state: &State| {
                let all_run = state.archivers.iter().all(|archiver| matches!(archiver, Archiver::Runs { .. }));
                let seen = facts(state.tail) | state.catalogued();
                !(all_run && state.servers[0].purged) || facts(state.binlogs) & !seen == 0
            }),
            Property::always(NO_FALSE_FORK, |world: &World, state: &State| {
                let all = facts(state.tail | state.binlogs);
                world.twin || (all & 0b0011 != 0b0011 && all & 0b1100 != 0b1100)
            }),
            Property::sometimes("a binlog is handed over whole", |_, state: &State| {
                state.tail == 0 && reached(state.catalogued()) == 2 && state.acknowledged != 0
            }),
            Property::sometimes("a start finds an orphan", |_, state: &State| {
                state.archivers.iter().any(|archiver| matches!(archiver, Archiver::Adopts { left } if *left != 0))
            }),
        ]
    }
}

const ACKNOWLEDGED: &str = "what was acknowledged can be read";
const NO_DANGLING_PAGE: &str = "a page names what is there";
const NOTHING_INVISIBLE: &str =
    "what is safe in the bucket is seen once an archiver runs, though the server has purged it";
const NO_FALSE_FORK: &str = "one history is never reported as two";

#[test]
fn the_in_use_bit_is_cleared_before_any_hash() {
    needed("the in-use bit is cleared before any hash", NO_FALSE_FORK, RULES, World { clean_head: false, ..RULES });
}

#[test]
fn tail_objects_go_only_for_the_same_bytes() {
    let twin = World { twin: true, crashes: 1, ..RULES };
    needed(
        "a tail object goes only when catalogued segments hold the same bytes",
        ACKNOWLEDGED,
        twin.clone(),
        World { same_bytes: false, ..twin },
    );
}

#[test]
fn a_start_adopts_what_no_page_names() {
    needed("a start catalogues what no page names", NOTHING_INVISIBLE, RULES, World { adoption: false, ..RULES });
}

#[test]
fn a_segment_is_stored_before_its_page() {
    needed("segment before page", NO_DANGLING_PAGE, RULES, World { segment_first: false, ..RULES });
}

#[test]
fn a_page_is_stored_before_the_tail_goes() {
    needed("page before tail", ACKNOWLEDGED, RULES, World { page_before_delete: false, ..RULES });
}
