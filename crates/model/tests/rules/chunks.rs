//! Chunks of base backups that a later backup shares, beside the sweep that deletes what nobody names.
//!
//! The first backup is done and may be marked; the second runs, may stall, and may reuse the first one's chunk. Time goes in
//! steps of an hour, the grace is shortened.

use stateright::{Model, Property};

use super::check::needed;

/// A mark, a claim and a chunk are left alone for so long (24 h in the archive).
const GRACE: u8 = 4;
/// A run that could not renew its claim for longer gives up.
const RENEWAL_MAX: u8 = 1;
/// A sweep is done so soon after its first listing.
const SWEEP_MAX: u8 = 1;

#[derive(Clone)]
struct World {
    /// A chunk's key belongs to the run that stored it.
    own_keys: bool,
    /// A chunk is reused only if a manifest that is unmarked when looked at names it.
    unmarked_only: bool,
    /// A run that failed to renew its claim gives up.
    gives_up: bool,
    /// The sweep lists claims before manifests.
    claims_first: bool,
    /// The sweep is done within the hour of its first listing, or starts over.
    sweeps_soon: bool,
}

const RULES: World =
    World { own_keys: true, unmarked_only: true, gives_up: true, claims_first: true, sweeps_soon: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Run {
    Idle,
    /// It uses this key; since it looked or renewed.
    Writes {
        key: usize,
        age: u8,
        claimed: bool,
        stored: bool,
    },
    Done {
        key: usize,
    },
    GaveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    /// It knows which chunks are claimed.
    Claims {
        claimed: [bool; 2],
        age: u8,
    },
    /// It knows which chunks manifests name.
    Manifests {
        named: [bool; 2],
        age: u8,
    },
    Deletes {
        doomed: [bool; 2],
        age: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// Chunks of the first and the second run: since they were stored.
    chunks: [Option<u8>; 2],
    first: bool,
    mark: Option<u8>,
    run: Run,
    /// The second run's claim, on this key: since it was renewed.
    claim: Option<(usize, u8)>,
    sweep: Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Hour,
    Mark,
    DeleteManifest,
    Reuse,
    UseOwn,
    Claim,
    StoreChunk,
    PutManifest,
    RemoveClaim,
    List,
    ListOn,
    Delete,
    StartOver,
}

fn older(age: u8, most: u8) -> u8 {
    (age + 1).min(most)
}

impl State {
    fn named(&self) -> [bool; 2] {
        let live = self.first && self.mark.is_none_or(|age| age < GRACE);
        let second = |key| self.run == Run::Done { key };
        [live || second(0), second(1)]
    }

    fn claimed(&self) -> [bool; 2] {
        [0, 1].map(|wanted| self.claim.is_some_and(|(key, age)| key == wanted && age < GRACE))
    }

    fn garbage(&self, claimed: [bool; 2], named: [bool; 2]) -> [bool; 2] {
        [0, 1].map(|at| self.chunks[at].is_some_and(|age| age >= GRACE) && !claimed[at] && !named[at])
    }

    fn pass_an_hour(&mut self) {
        self.chunks = self.chunks.map(|chunk| chunk.map(|age| older(age, GRACE)));
        self.mark = self.mark.map(|age| older(age, GRACE));
        self.claim = self.claim.map(|(key, age)| (key, older(age, GRACE)));
        if let Run::Writes { age, .. } = &mut self.run {
            *age = older(*age, RENEWAL_MAX + 1);
        }
        match &mut self.sweep {
            Sweep::Idle => {}
            Sweep::Claims { age, .. } | Sweep::Manifests { age, .. } | Sweep::Deletes { age, .. } => {
                *age = older(*age, SWEEP_MAX + 1);
            }
        }
    }
}

impl World {
    fn may_go_on(&self, age: u8) -> bool {
        age <= RENEWAL_MAX || !self.gives_up
    }

    fn run(&self, state: &State, actions: &mut Vec<Action>) {
        match state.run {
            Run::Idle => {
                if state.first && (state.mark.is_none() || !self.unmarked_only) {
                    actions.push(Action::Reuse);
                }
                actions.push(Action::UseOwn);
            }
            Run::Writes { age, claimed, stored, .. } if self.may_go_on(age) => {
                actions.push(Action::Claim);
                if claimed && !stored {
                    actions.push(Action::StoreChunk);
                }
                if claimed && stored {
                    actions.push(Action::PutManifest);
                }
            }
            Run::Done { .. } if state.claim.is_some() => actions.push(Action::RemoveClaim),
            Run::Writes { .. } | Run::Done { .. } | Run::GaveUp => {}
        }
    }

    fn sweep(&self, state: &State, actions: &mut Vec<Action>) {
        let soon = |age: u8| age <= SWEEP_MAX || !self.sweeps_soon;
        match state.sweep {
            Sweep::Idle => return actions.push(Action::List),
            Sweep::Claims { age, .. } | Sweep::Manifests { age, .. } if soon(age) => actions.push(Action::ListOn),
            Sweep::Deletes { age, .. } if soon(age) => actions.push(Action::Delete),
            _ => {}
        }
        actions.push(Action::StartOver);
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let chunks = [Some(GRACE), None];
        vec![State { chunks, first: true, mark: None, run: Run::Idle, claim: None, sweep: Sweep::Idle }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Hour);
        if state.mark.is_none() {
            actions.push(Action::Mark);
        }
        if state.first && state.mark == Some(GRACE) {
            actions.push(Action::DeleteManifest);
        }
        self.run(state, actions);
        self.sweep(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let own = usize::from(self.own_keys);
        match action {
            Action::Hour => {
                state.pass_an_hour();
                if matches!(state.run, Run::Writes { age, .. } if !self.may_go_on(age)) {
                    state.run = Run::GaveUp;
                }
            }
            Action::Mark => state.mark = Some(0),
            Action::DeleteManifest => state.first = false,
            Action::Reuse => state.run = Run::Writes { key: 0, age: 0, claimed: false, stored: true },
            Action::UseOwn => state.run = Run::Writes { key: own, age: 0, claimed: false, stored: false },
            Action::Claim => {
                let Run::Writes { key, stored, .. } = state.run else { return None };
                state.claim = Some((key, 0));
                state.run = Run::Writes { key, age: 0, claimed: true, stored };
            }
            Action::StoreChunk => {
                let Run::Writes { key, age, claimed, .. } = state.run else { return None };
                state.chunks[key] = Some(0);
                state.run = Run::Writes { key, age, claimed, stored: true };
            }
            Action::PutManifest => {
                let Run::Writes { key, .. } = state.run else { return None };
                state.run = Run::Done { key };
            }
            Action::RemoveClaim => state.claim = None,
            Action::List if self.claims_first => {
                state.sweep = Sweep::Claims { claimed: state.claimed(), age: 0 };
            }
            Action::List => state.sweep = Sweep::Manifests { named: state.named(), age: 0 },
            Action::ListOn => {
                state.sweep = match state.sweep {
                    Sweep::Claims { claimed, age } => {
                        Sweep::Deletes { doomed: state.garbage(claimed, state.named()), age }
                    }
                    Sweep::Manifests { named, age } => {
                        Sweep::Deletes { doomed: state.garbage(state.claimed(), named), age }
                    }
                    other => other,
                };
            }
            Action::Delete => {
                let Sweep::Deletes { doomed, .. } = state.sweep else { return None };
                state.chunks = [0, 1].map(|at| state.chunks[at].filter(|_| !doomed[at]));
                state.sweep = Sweep::Idle;
            }
            Action::StartOver => state.sweep = Sweep::Idle,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(MANIFESTS_HOLD, |_, state: &State| {
                let named = state.named();
                (0..2).all(|at| !named[at] || state.chunks[at].is_some())
            }),
            Property::sometimes("a chunk that nobody names goes", |_, state: &State| {
                state.chunks[0].is_none() && matches!(state.run, Run::Done { key: 1 })
            }),
            Property::sometimes("a chunk outlives its first backup", |_, state: &State| {
                !state.first && state.run == Run::Done { key: 0 }
            }),
        ]
    }
}

const MANIFESTS_HOLD: &str = "what an unmarked manifest names is there";

#[test]
fn a_chunk_belongs_to_one_run() {
    needed("a chunk's key belongs to one run", MANIFESTS_HOLD, RULES, World { own_keys: false, ..RULES });
}

#[test]
fn a_chunk_is_reused_only_from_an_unmarked_manifest() {
    needed("reuse from unmarked manifests only", MANIFESTS_HOLD, RULES, World { unmarked_only: false, ..RULES });
}

#[test]
fn a_backup_that_cannot_renew_its_claim_gives_up() {
    needed("a backup that cannot renew gives up", MANIFESTS_HOLD, RULES, World { gives_up: false, ..RULES });
}

#[test]
fn the_sweep_of_chunks_lists_claims_before_manifests() {
    needed("claims are listed before manifests", MANIFESTS_HOLD, RULES, World { claims_first: false, ..RULES });
}

#[test]
fn the_sweep_of_chunks_is_done_soon_after_its_listing() {
    needed("the sweep is done within 1 h of its listing", MANIFESTS_HOLD, RULES, World { sweeps_soon: false, ..RULES });
}
