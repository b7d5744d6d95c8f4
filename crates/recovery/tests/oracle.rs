//! Random small histories against a brute-force oracle: windows are sound (each instant plans, and the plan's bytes lead to
//! exactly the state at that instant) and tight (no instant outside a window could be restored); GTID and position targets
//! stop exactly or are refused with reason.
//!
//! `PITR_ORACLE_CASES` and `PITR_ORACLE_SEED` run more or other histories; a failure prints both and the shrunk history.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod clocks;
mod story;
mod truth;
mod world;

use std::cell::Cell;
use std::collections::BTreeSet;

use pitr_recovery::{ArchivedBinlog, BinlogId, Branch, Indices, PlanRequest, RecoveryTarget, SECOND_US, Timeline};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use story::{Script, Story, ids, scripts, tell};
use truth::Truth;
use world::{Tx, World, boundary, name};

const CASES: u32 = 3000;
const SEED: u64 = 0x7069_7472;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn windows_and_plans_agree_with_brute_force() {
    let cases = number("PITR_ORACLE_CASES", CASES.into()) as u32;
    let seed = number("PITR_ORACLE_SEED", SEED);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let seen = Seen::default();
    let result = TestRunner::new(config).run(&scripts(), |script| check(&script, &seen).map_err(TestCaseError::fail));
    if let Err(TestError::Fail(why, script)) = &result {
        panic!("PITR_ORACLE_SEED={seed} PITR_ORACLE_CASES={cases}\n{why}\n{}\n{script:?}", draw(&tell(script)));
    }
    result.unwrap();
    println!("PITR_ORACLE_SEED={seed} PITR_ORACLE_CASES={cases}: {seen:?}");
    // An oracle that looks at nothing finds nothing.
    let each = |count: &Cell<u32>, of_ten: u32| assert!(count.get() * 10 >= cases * of_ten, "{seen:?}");
    each(&seen.clear, 8);
    each(&seen.instants, 20);
    each(&seen.targets, 40);
    each(&seen.refused, 40);
}

/// What was looked at.
#[derive(Debug, Default)]
struct Seen {
    /// Histories that an archive can tell.
    clear: Cell<u32>,
    /// Instants in windows.
    instants: Cell<u32>,
    /// Plans replayed.
    targets: Cell<u32>,
    /// Targets refused.
    refused: Cell<u32>,
}

fn count(what: &Cell<u32>) {
    what.set(what.get() + 1);
}

/// The files and base backups of a story, for a human.
fn draw(story: &Story) -> String {
    let mut text = String::new();
    let tx = |tx: &Tx| {
        let gtid = tx.gtid.unwrap().to_string();
        let (uuid, number) = gtid.split_once(':').unwrap();
        format!("{}{number}#{}@{}", &uuid[..1], tx.id, tx.us - 1_000_000_000)
    };
    for (place, file) in story.world.files.iter().enumerate() {
        let before: Vec<String> = story.before[place].iter().map(tx).collect();
        let own: Vec<String> = file.txs.iter().map(tx).collect();
        let spans: Vec<String> = file.archived.iter().map(|s| format!("{}..{} {:?}", s.start, s.end, s.kind)).collect();
        text += &format!(
            "{}.{} {{{}}} {} kept {} next {:?} {:?}\n    {}\n",
            &file.id.source[..1],
            file.id.number,
            before.join(" "),
            own.join(" "),
            story.kept[place],
            story.next[place],
            file.closed,
            spans.join(", ")
        );
    }
    for (backup, base) in story.world.backups.iter().zip(&story.bases) {
        let all: Vec<String> = base.iter().map(tx).collect();
        text += &format!("{} {{{}}} at {}\n", backup.id, all.join(" "), backup.snapshot_us - 1_000_000_000);
    }
    text
}

fn check(script: &Script, seen: &Seen) -> Result<(), String> {
    let story = tell(script);
    let truth = Truth::of(&story);
    if truth.has_hidden_collision() {
        return Ok(());
    }
    count(&seen.clear);
    let timeline = story.world.timeline();
    let full = timeline.clone().with_indices(all_indices(&story.world));
    let case = Case { truth: &truth, timeline: &timeline, full, asked: Cell::new(0), seen };
    for branch in timeline.branches() {
        let Some(history) = case.history_of(branch)? else { continue };
        case.check_times(branch, &history)?;
        case.check_gtids(branch, &history)?;
        case.check_latest(branch, &history)?;
    }
    case.check_window_sets()?;
    case.check_positions()
}

/// What really happened up to the end of a branch.
struct History {
    all: Vec<Tx>,
    /// The branch ends in a log, not in a base backup that no log leads to.
    logged: bool,
}

impl std::ops::Deref for History {
    type Target = [Tx];

    fn deref(&self) -> &[Tx] {
        &self.all
    }
}

/// All indices of an archive.
fn all_indices(world: &World) -> Indices {
    let inventory = world.inventory();
    let of = |binlog: &std::sync::Arc<ArchivedBinlog>| {
        binlog.ranges.iter().map(|range| binlog.range_ref(range)).collect::<Vec<_>>()
    };
    world.indices(&inventory.binlogs.iter().flat_map(of).collect::<Vec<_>>())
}

struct Case<'a> {
    truth: &'a Truth<'a>,
    timeline: &'a Timeline,
    /// The same with all indices read.
    full: Timeline,
    /// How many plans have been asked for.
    asked: Cell<u32>,
    seen: &'a Seen,
}

impl Case<'_> {
    fn story(&self) -> &Story {
        self.truth.story
    }

    /// What really happened up to the end of a branch; none where that can't be known.
    fn history_of(&self, branch: &Branch) -> Result<Option<History>, String> {
        let of_base = || {
            let base = self.story().bases.iter().find(|base| story::gtids(base) == branch.end).cloned();
            base.map(|all| History { all, logged: false })
        };
        let Some(stream) = branch.streams.last() else {
            if self.truth.has_collision() {
                return Ok(None);
            }
            return of_base().map(Some).ok_or_else(|| format!("branch of no base backup: {branch:?}"));
        };
        let stream = self.timeline.streams().iter().find(|s| s.id == *stream).expect("a stream");
        // An empty binlog does not tell whose it is when numbers have returned: the last one with transactions does.
        let file_of = |id: &BinlogId| self.story().world.files.iter().position(|file| file.id == *id).expect("a file");
        let files: Vec<usize> = stream.binlogs.iter().map(|binlog| file_of(&binlog.id)).collect();
        let written = files.iter().rfind(|file| self.truth.is_written(**file));
        if written.is_none() && self.truth.has_collision() {
            return Ok(None);
        }
        let file = *written.or(files.last()).expect("a binlog");
        let count = self.story().world.files[file].txs.len();
        let histories = (0..=count).rev().map(|count| self.truth.history(file, count));
        let mut ends = histories.filter(|all| story::gtids(all) == branch.end).map(|all| History { all, logged: true });
        // A base backup may stand beyond the end of the log.
        let end = ends.next().or_else(of_base);
        if end.as_ref().is_some_and(|end| !end.logged) && self.truth.has_collision() {
            return Ok(None);
        }
        // A server whose heads are silent about its beginning, and no base backup tells it.
        if end.is_none() && self.story().silent {
            return Ok(None);
        }
        end.map(Some).ok_or_else(|| format!("the end of {branch:?} is no state of its server"))
    }

    fn plan(&self, branch: &Branch, target: RecoveryTarget) -> Result<Option<BTreeSet<u32>>, String> {
        let request = PlanRequest { branch: Some(branch.id.clone()), ..PlanRequest::new(target) };
        self.execute(&request)
    }

    /// What is executed when a plan has been replayed; none when there is no plan.
    fn execute(&self, request: &PlanRequest) -> Result<Option<BTreeSet<u32>>, String> {
        // Reading indices as they are asked for gives the same as having all; that is slow, so now and then only.
        let answer = self.full.plan(request);
        count(&self.asked);
        if self.asked.get().is_multiple_of(16) && self.story().world.plan(self.timeline, request) != answer {
            return Err(format!("{request:?} depends on what else has been read"));
        }
        count(if answer.is_ok() { &self.seen.targets } else { &self.seen.refused });
        match answer {
            Ok(plan) => self.truth.replay(&plan).map(Some).map_err(|why| format!("{request:?}: {why}")),
            Err(_) => Ok(None),
        }
    }

    fn instants(&self) -> BTreeSet<i64> {
        let times = self.story().world.files.iter().flat_map(|file| file.txs.iter().map(|tx| tx.us));
        let snapshots = self.story().world.backups.iter().map(|backup| backup.snapshot_us);
        let edges = self.timeline.windows().iter().flat_map(|window| [window.from_us, window.to_us]);
        let around = |us: i64| [us - 1, us, us + 1, us + SECOND_US + 1];
        times.chain(snapshots).chain(edges).flat_map(around).collect()
    }

    fn check_times(&self, branch: &Branch, history: &History) -> Result<(), String> {
        for us in self.instants() {
            let in_window =
                self.timeline.windows().iter().any(|w| w.branch == branch.id && (w.from_us..=w.to_us).contains(&us));
            let shown = us - 1_000_000_000;
            match (self.plan(branch, RecoveryTarget::Time(us))?, in_window) {
                (Some(_), false) => return Err(format!("{shown} on {} plans outside of every window", branch.id)),
                (None, true) => return Err(format!("{shown} on {} is in a window and does not plan", branch.id)),
                (Some(state), true) => {
                    count(&self.seen.instants);
                    self.check_instant(us, history, &state)?;
                }
                (None, false) if self.could_restore(us, history) => {
                    let windows = self.timeline.windows();
                    return Err(format!(
                        "{shown} on {} could be restored and is in no window of {windows:?}",
                        branch.id
                    ));
                }
                (None, false) => {}
            }
        }
        Ok(())
    }

    /// Whether a state is the one of an instant.
    fn check_instant(&self, us: i64, history: &History, state: &BTreeSet<u32>) -> Result<(), String> {
        let stop = history.iter().position(|tx| tx.us > us).unwrap_or(history.len());
        let expected = ids(&history[..stop]);
        let shown = us - 1_000_000_000;
        if *state == expected {
            return Ok(());
        }
        // A base backup without log serves its own instant, by the clock of its server.
        let bases = self.story().world.backups.iter().zip(&self.story().bases);
        let seen = || bases.clone().filter(|(_, base)| ids(base) == *state).map(|(backup, _)| backup.snapshot_us);
        if seen().any(|seen_us| seen_us <= us) && seen().any(|seen_us| us <= seen_us) {
            return Ok(());
        }
        if !history.logged && self.truth.is_some_servers(us, state) {
            return Ok(());
        }
        // What is older than the archive is taken to be no later than what is in it.
        let known = |tx: &Tx| self.truth.is_kept(tx.id);
        let known_stop = history.iter().position(|tx| tx.us > us && known(tx)).unwrap_or(history.len());
        // What is archived nowhere and at that very instant or out of the order of time cannot be known.
        let stepped = history.windows(2).any(|pair| pair[1].us < pair[0].us);
        let differs_by_unknown = |expected: &BTreeSet<u32>| {
            let mut differing = expected.symmetric_difference(state).map(|id| self.tx(*id));
            differing.all(|tx| !known(tx) && (tx.us == us || stepped))
        };
        if differs_by_unknown(&expected) || differs_by_unknown(&ids(&history[..known_stop])) {
            return Ok(());
        }
        if self.truth.orderly {
            return Err(format!("{shown} leads to {state:?}, not to {expected:?}"));
        }
        // Another server's order may have decided, or two in turn.
        if self.truth.is_some_servers(us, state) {
            return Ok(());
        }
        if stepped || self.truth.stepped {
            return Ok(());
        }
        if let Some(late) = state.iter().map(|id| self.tx(*id)).find(|tx| tx.us > us && known(tx)) {
            return Err(format!("{shown} applies #{} of {}", late.id, late.us - 1_000_000_000));
        }
        let missing = |tx: &&Tx| !state.contains(&tx.id) && tx.us < us;
        match history.iter().find(missing) {
            Some(tx) if history.logged => Err(format!("{shown} leaves out #{} and leads to {state:?}", tx.id)),
            Some(_) | None => Ok(()),
        }
    }

    fn tx(&self, id: u32) -> &Tx {
        let all = self.story().world.files.iter().flat_map(|file| &file.txs);
        all.into_iter().find(|tx| tx.id == id).expect("a transaction")
    }

    /// Whether an instant of a history can be restored, and this can be known from the archive.
    fn could_restore(&self, us: i64, history: &History) -> bool {
        if !self.truth.decidable || !history.logged {
            return false;
        }
        let stop = history.iter().position(|tx| tx.us > us).unwrap_or(history.len());
        let is_known = |tx: &Tx| self.truth.is_known(tx.id);
        let stepped = history.windows(2).any(|pair| pair[1].us < pair[0].us);
        // Nothing is claimed where times that decide are not archived.
        let times_known = !stepped || history.iter().all(is_known);
        let regresses = history[stop..].iter().any(|tx| tx.us <= us - SECOND_US);
        let ends = match history.get(stop) {
            Some(culprit) => self.truth.can_apply(culprit, &ids(&history[..stop])),
            None => history.last().is_some_and(|last| us <= last.us && is_known(last)),
        };
        let serves = |place: &usize| {
            let base = &self.story().bases[*place];
            let tells = self.is_known_to_begin(base)
                && (base.last().is_some_and(is_known) || self.story().world.backups[*place].snapshot_us <= us);
            tells && self.truth.is_reachable(history, stop, base)
        };
        times_known && !regresses && ends && (0..self.story().bases.len()).any(|place| serves(&place))
    }

    fn is_reachable(&self, history: &[Tx], count: usize) -> bool {
        let mut bases = self.story().bases.iter().filter(|base| self.is_known_to_begin(base));
        bases.any(|base| self.truth.is_reachable(history, count, base))
    }

    /// Whether it can be known where a base backup leads: with nothing executed, only in the log of its own server.
    fn is_known_to_begin(&self, base: &[Tx]) -> bool {
        let files = &self.story().world.files;
        !base.is_empty() || files.windows(2).all(|pair| pair[0].id.source == pair[1].id.source)
    }

    fn check_gtids(&self, branch: &Branch, history: &History) -> Result<(), String> {
        for (place, tx) in history.iter().enumerate() {
            let gtid = tx.gtid.unwrap();
            for (target, count) in
                [(RecoveryTarget::BeforeGtid(gtid), place), (RecoveryTarget::ThroughGtid(gtid), place + 1)]
            {
                let through = count > place;
                match self.plan(branch, target)? {
                    Some(state) if self.truth.orderly && state != ids(&history[..count]) => {
                        let expected = ids(&history[..count]);
                        return Err(format!("{gtid} through={through}: {state:?}, not {expected:?}"));
                    }
                    Some(state) if state.contains(&tx.id) != through => {
                        return Err(format!("{gtid} through={through} leads to {state:?}"));
                    }
                    None if self.truth.decidable
                        && history.logged
                        && self.is_reachable(history, count)
                        && self.truth.can_apply(tx, &ids(&history[..place])) =>
                    {
                        return Err(format!("{gtid} through={through} on {} could be restored", branch.id));
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }

    fn check_latest(&self, branch: &Branch, history: &History) -> Result<(), String> {
        match self.plan(branch, RecoveryTarget::Latest)? {
            Some(state) if state != ids(history) => Err(format!("latest of {} leads to {state:?}", branch.id)),
            None if history.logged && self.truth.decidable && self.is_reachable(history, history.len()) => {
                Err(format!("latest of {} could be restored", branch.id))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The sets that windows show are those that plans for their ends lead to.
    fn check_window_sets(&self) -> Result<(), String> {
        for window in self.timeline.windows() {
            for (us, set) in [(window.from_us, &window.from_set), (window.to_us, &window.to_set)] {
                let request =
                    PlanRequest { branch: Some(window.branch.clone()), ..PlanRequest::new(RecoveryTarget::Time(us)) };
                let plan = self.full.plan(&request).map_err(|why| why.to_string())?;
                if plan.expected() != set {
                    return Err(format!("{window:?} shows {set}, the plan says {}", plan.expected()));
                }
            }
        }
        Ok(())
    }

    fn check_positions(&self) -> Result<(), String> {
        for (place, file) in self.story().world.files.iter().enumerate() {
            let same_name = self.story().world.files.iter().filter(|other| {
                (&other.id.source, other.id.number) == (&file.id.source, file.id.number) && !other.archived.is_empty()
            });
            let is_ambiguous = same_name.count() != 1 || (self.truth.has_collision() && !self.truth.is_written(place));
            if is_ambiguous || file.archived.is_empty() {
                continue;
            }
            for count in 0..=self.story().kept[place] {
                let target = RecoveryTarget::Position {
                    source: Some(file.id.source.clone()),
                    name: name(file.id.number),
                    pos: boundary(count),
                };
                let history = self.truth.history(place, count);
                let shown = format!("position {} of {}", boundary(count), file.id);
                match self.execute(&PlanRequest::new(target))? {
                    Some(state) if state != ids(&history) => {
                        return Err(format!("{shown} leads to {state:?}, not to {:?}", ids(&history)));
                    }
                    None if self.truth.decidable
                        && self.truth.is_known_to(place, count)
                        && self.is_reachable(&history, history.len()) =>
                    {
                        return Err(format!("{shown} could be restored"));
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }
}
