//! Expiry in time: mark, after the grace the object, then lines, the mark last; beside it a merge, a page that is sent late,
//! and a reader that plans.
//!
//! One segment and the lines that name it. Time goes in steps of an hour; the grace is shortened to what still tells it from
//! the two hours between the looks. A request that was signed arrives within one step or never.

use stateright::{Model, Property};

use super::check::needed;

/// A plan holds so long, and so long a mark stands before objects go (24 h in the archive).
const GRACE: u8 = 5;
/// Two looks are further apart than a merge or a page with its late arrival can take (more than 2 h in the archive).
const LOOKS_APART: u8 = 3;
/// A merge is sent this soon after its listing.
const MERGE_MAX: u8 = 1;
/// A page names what was known to be in the store so lately.
const FRESH: u8 = 1;
/// A signed request arrives so soon.
const LATE: u8 = 1;

#[derive(Clone)]
struct World {
    /// Objects go only when the mark is older than the grace.
    grace: bool,
    /// A mark goes after the lines that it hides.
    marks_outlive_lines: bool,
    /// A mark goes only when two looks found nothing.
    two_looks: bool,
    /// A merge is sent within the hour of its listing, or starts over.
    merges_soon: bool,
    /// A merge drops a line only when its objects are gone.
    dead_lines_only: bool,
    /// Readers list the marks first.
    marks_first: bool,
    /// A page names only what was stored or seen within the hour.
    fresh_pages: bool,
}

const RULES: World = World {
    grace: true,
    marks_outlive_lines: true,
    two_looks: true,
    merges_soon: true,
    dead_lines_only: true,
    marks_first: true,
    fresh_pages: true,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Marks {
        hidden: bool,
        age: u8,
    },
    Lines {
        seen: bool,
        age: u8,
    },
    /// It has a plan that reads the segment. Its age counts from the first listing.
    Plan {
        age: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    object: bool,
    /// Pages with the line: as the archiver wrote it, and a merged one.
    page: bool,
    merged: bool,
    mark: Option<u8>,
    /// Since the first look that found nothing.
    look: Option<u8>,
    /// An archiver merges: since its listing.
    merge: Option<u8>,
    /// An archiver is about to publish: since it knew the segment to be in the store.
    publish: Option<u8>,
    /// A page with the line is on its way.
    sent: Option<u8>,
    /// The next plan of retention keeps it after all.
    kept: bool,
    reader: Reader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Hour,
    Mark,
    KeepAfterAll,
    DeleteObject,
    DropLines,
    Look,
    ListForMerge,
    SendMerge,
    GiveUpMerge,
    DeleteMergedPage,
    SendPage,
    AskForObject,
    PageArrives,
    ReadMarks,
    ReadLines,
}

fn older(age: u8, most: u8) -> u8 {
    (age + 1).min(most)
}

impl State {
    fn has_line(&self) -> bool {
        self.page || self.merged
    }

    fn pass_an_hour(&mut self) {
        self.mark = self.mark.map(|age| older(age, GRACE));
        self.look = self.look.map(|age| older(age, LOOKS_APART));
        self.merge = self.merge.map(|age| older(age, MERGE_MAX + 1));
        self.publish = self.publish.map(|age| older(age, FRESH + 1));
        self.sent = self.sent.map(|age| age + 1).filter(|age| *age <= LATE);
        self.reader = match self.reader {
            Reader::Idle => Reader::Idle,
            Reader::Marks { hidden, age } => Reader::Marks { hidden, age: older(age, GRACE) },
            Reader::Lines { seen, age } => Reader::Lines { seen, age: older(age, GRACE) },
            // Nothing is promised to a plan of this age.
            Reader::Plan { age } if age + 1 >= GRACE => Reader::Idle,
            Reader::Plan { age } => Reader::Plan { age: age + 1 },
        };
    }
}

fn plan(age: u8) -> Reader {
    if age < GRACE { Reader::Plan { age } } else { Reader::Idle }
}

impl World {
    fn may_delete_object(&self, state: &State) -> bool {
        state.object && state.mark.is_some_and(|age| !self.grace || age >= GRACE)
    }

    fn look(&self, state: &mut State) {
        let empty = !state.has_line() || !self.marks_outlive_lines;
        let twice = state.look.is_some_and(|age| age >= LOOKS_APART);
        if !empty {
            state.look = None;
        } else if twice || !self.two_looks {
            (state.mark, state.look) = (None, None);
        } else {
            state.look = state.look.or(Some(0));
        }
    }

    fn maintenance(&self, state: &State, actions: &mut Vec<Action>) {
        if state.mark.is_none() && state.object && state.has_line() && !state.kept {
            actions.push(Action::Mark);
        }
        if state.mark.is_some() && state.object {
            actions.push(Action::KeepAfterAll);
        }
        if self.may_delete_object(state) {
            actions.push(Action::DeleteObject);
        }
        if state.mark.is_some() && state.has_line() && (!state.object || !self.dead_lines_only) {
            actions.push(Action::DropLines);
        }
        if state.mark.is_some() && !state.object {
            actions.push(Action::Look);
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = State {
            object: true,
            page: true,
            merged: false,
            mark: None,
            look: None,
            merge: None,
            publish: Some(0),
            sent: None,
            kept: false,
            reader: Reader::Idle,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Hour);
        self.maintenance(state, actions);
        match state.merge {
            None if state.has_line() => actions.push(Action::ListForMerge),
            None => {}
            Some(age) => {
                if (age <= MERGE_MAX || !self.merges_soon) && state.sent.is_none() {
                    actions.push(Action::SendMerge);
                }
                actions.push(Action::GiveUpMerge);
            }
        }
        if state.page && state.merged {
            actions.push(Action::DeleteMergedPage);
        }
        if let Some(age) = state.publish {
            if (age <= FRESH || !self.fresh_pages) && state.sent.is_none() {
                actions.push(Action::SendPage);
            }
            actions.push(Action::AskForObject);
        }
        if state.sent.is_some() {
            actions.push(Action::PageArrives);
        }
        match state.reader {
            Reader::Idle if self.marks_first => actions.push(Action::ReadMarks),
            Reader::Idle | Reader::Marks { .. } => actions.push(Action::ReadLines),
            Reader::Lines { .. } => actions.push(Action::ReadMarks),
            Reader::Plan { .. } => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Hour => state.pass_an_hour(),
            Action::Mark => (state.mark, state.look) = (Some(0), None),
            Action::KeepAfterAll => (state.mark, state.look, state.kept) = (None, None, true),
            Action::DeleteObject => state.object = false,
            Action::DropLines => (state.page, state.merged, state.look) = (false, false, None),
            Action::Look => self.look(&mut state),
            Action::ListForMerge => state.merge = Some(0),
            Action::SendMerge => (state.sent, state.merge) = (Some(0), None),
            Action::GiveUpMerge => state.merge = None,
            Action::DeleteMergedPage => state.page = false,
            Action::SendPage => (state.sent, state.publish) = (Some(0), None),
            Action::AskForObject => state.publish = state.object.then_some(0),
            Action::PageArrives => (state.merged, state.sent) = (true, None),
            Action::ReadMarks => {
                let hidden = state.mark.is_some();
                state.reader = match state.reader {
                    Reader::Lines { seen: true, age } if !hidden => plan(age),
                    Reader::Lines { .. } => Reader::Idle,
                    _ => Reader::Marks { hidden, age: 0 },
                };
            }
            Action::ReadLines => {
                let seen = state.has_line();
                state.reader = match state.reader {
                    Reader::Marks { hidden: false, age } if seen => plan(age),
                    Reader::Marks { .. } => Reader::Idle,
                    _ => Reader::Lines { seen, age: 0 },
                };
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_DANGLING_LINE, |_, state: &State| {
                state.object || state.mark.is_some() || !state.has_line()
            }),
            Property::always(PLANS_HOLD, |_, state: &State| {
                state.object || !matches!(state.reader, Reader::Plan { age } if age < GRACE)
            }),
            Property::always(KEPT_IS_SEEN, |_, state: &State| !state.kept || state.has_line()),
            Property::sometimes("all of it goes in the end", |_, state: &State| {
                !state.object && state.mark.is_none() && !state.has_line()
            }),
            Property::sometimes("a plan outlives a mark's beginning", |_, state: &State| {
                matches!(state.reader, Reader::Plan { age } if age + 1 == GRACE) && state.mark.is_some()
            }),
        ]
    }
}

const NO_DANGLING_LINE: &str = "a line that no mark hides names what is there";
const PLANS_HOLD: &str = "what a plan names is there until the plan is as old as the grace";
const KEPT_IS_SEEN: &str = "what the policy keeps after all is seen";

#[test]
fn objects_go_only_after_mark_and_grace() {
    needed("mark; after the grace objects", PLANS_HOLD, RULES, World { grace: false, ..RULES });
}

#[test]
fn marks_outlive_the_lines_that_they_hide() {
    needed("lines before marks", NO_DANGLING_LINE, RULES, World { marks_outlive_lines: false, ..RULES });
}

#[test]
fn a_mark_goes_after_two_looks() {
    needed("two looks before a mark goes", NO_DANGLING_LINE, RULES, World { two_looks: false, ..RULES });
}

#[test]
fn a_merge_is_sent_soon_after_its_listing() {
    needed("a merge is sent within 1 h of its listing", NO_DANGLING_LINE, RULES, World { merges_soon: false, ..RULES });
}

#[test]
fn a_merge_drops_only_lines_whose_objects_are_gone() {
    needed(
        "a merge drops a line only when its objects are gone",
        KEPT_IS_SEEN,
        RULES,
        World { dead_lines_only: false, ..RULES },
    );
}

#[test]
fn readers_list_the_marks_first() {
    needed("readers list the marks first", PLANS_HOLD, RULES, World { marks_first: false, ..RULES });
}

#[test]
fn a_page_names_what_was_seen_within_the_hour() {
    needed(
        "a page names what was stored or found less than 1 h before it is signed",
        NO_DANGLING_LINE,
        RULES,
        World { fresh_pages: false, ..RULES },
    );
}
