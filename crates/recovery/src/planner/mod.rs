//! Makes plans: finds the branch, the stop on it, the base backup, and the bytes between.

mod boundary;
mod clock;
mod cost;
mod detour;
mod files;
mod goal;
mod refusal;

use pitr_binlog::{Flavour, Gtid, GtidSet, GtidSource};

use crate::entry::Entry;
use crate::inventory::BaseBackup;
use crate::log::IndexReader;
use crate::path::Logs;
use crate::plan::{PlanParts, PlanWarning, RestorePlan};
use crate::section::{Place, Section};
use crate::target::{PlanRequest, RecoveryTarget};
use crate::time::SECOND_US;
use crate::timeline::Timeline;
use crate::unrecoverable::Unrecoverable;
use files::Replay;

/// Makes plans from a timeline. Indices that it lacks are noted by the reader.
pub(crate) struct Planner<'a> {
    timeline: &'a Timeline,
    logs: Logs<'a>,
}

/// A way with the base backups that enter it.
struct Course<'a> {
    /// The way's place among the ways; none for one that was made for a position in a stream.
    way: Option<usize>,
    branch: String,
    sections: &'a [Section],
    entries: &'a [Entry],
}

/// A point on a course at which to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Goal {
    section: usize,
    place: Place,
    /// Only base backups that serve this instant may lead there.
    time_us: Option<i64>,
}

impl Course<'_> {
    /// The base backups that lead to a goal.
    fn leading_to(&self, goal: Goal) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            entry.section == goal.section
                && entry.place <= goal.place
                && goal.time_us.is_none_or(|us| entry.from_us <= us)
        })
    }
}

impl<'a> Planner<'a> {
    pub(crate) fn new(timeline: &'a Timeline, reader: &'a IndexReader<'a>) -> Self {
        let logs = Logs { logs: &timeline.logs, collisions: &timeline.collisions, reader };
        Self { timeline, logs }
    }

    pub(crate) fn plan(&self, request: &PlanRequest) -> Result<RestorePlan, Unrecoverable> {
        let backups = &self.timeline.inventory.backups;
        if backups.is_empty() {
            return Err(Unrecoverable::NoBaseBackup);
        }
        self.check_flavour(request)?;
        let named = request.from_backup.as_deref().map(|id| self.backup_named(id)).transpose()?;
        if let RecoveryTarget::Position { source, name, pos } = &request.target {
            return self.plan_position(request, named, (source.as_deref(), name, *pos));
        }
        let ways = match &request.branch {
            Some(id) => vec![self.branch_named(id)?],
            None => self.default_ways(),
        };
        let mut answers = ways.iter().map(|way| self.plan_or_detour(*way, request, named));
        if ways.len() == 1 {
            return answers.next().unwrap_or(Err(Unrecoverable::NoBaseBackup));
        }
        self.agree(request, &ways, answers.collect())
    }

    /// The live way. While none is known to be live, all that end in a log, and without any log those of base backups.
    fn default_ways(&self) -> Vec<usize> {
        let branches = self.timeline.branches();
        if self.timeline.live_known {
            return vec![0];
        }
        let logged = || (0..branches.len()).filter(|way| branches[*way].source.is_some());
        let sound: Vec<usize> = logged().filter(|way| !branches[*way].ahead).collect();
        match (sound.is_empty(), branches.len()) {
            (false, _) => sound,
            (true, count) => (0..count).collect(),
        }
    }

    /// Several branches serve a target if all that cover it lead to the same state.
    fn agree(
        &self,
        request: &PlanRequest,
        ways: &[usize],
        answers: Vec<Result<RestorePlan, Unrecoverable>>,
    ) -> Result<RestorePlan, Unrecoverable> {
        let mut covering: Vec<(usize, RestorePlan)> = Vec::new();
        let mut refusal = None;
        for (way, answer) in ways.iter().zip(answers) {
            match answer {
                Ok(plan) => covering.push((*way, plan)),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        let Some(((first_way, first), others)) = covering.split_first() else {
            return Err(refusal.unwrap_or(Unrecoverable::NoBaseBackup));
        };
        for (way, plan) in others {
            let (a, b) = (first.expected(), plan.expected());
            let all_ways = &self.timeline.ways;
            // The same number can mean another transaction on the other branch.
            let disputed = all_ways[*first_way].disputed_with(&all_ways[*way], &self.logs).intersect(a).intersect(b);
            let differing = a.subtract(b).count() + b.subtract(a).count() + disputed.count();
            if differing > 0 {
                let branches = covering.iter().map(|(way, _)| self.timeline.branches()[*way].id.clone()).collect();
                return Err(Unrecoverable::SeveralBranches { target: request.target.clone(), branches, differing });
            }
        }
        Ok(first.clone())
    }

    fn plan_on(&self, way: usize, request: &PlanRequest, named: Option<usize>) -> Result<RestorePlan, Unrecoverable> {
        let course = Course {
            way: Some(way),
            branch: self.timeline.branches()[way].id.clone(),
            sections: &self.timeline.ways[way].sections,
            entries: &self.timeline.entries[way],
        };
        self.answer(&course, request, named)
    }

    fn assemble(
        &self,
        course: &Course<'_>,
        goal: Goal,
        request: &PlanRequest,
        named: Option<usize>,
    ) -> Result<RestorePlan, Unrecoverable> {
        let later = self.later_before_target(course, goal)?;
        let boundary = self.boundary(course, goal)?;
        if let (RecoveryTarget::Time(target_us), Some(culprit)) = (&request.target, &boundary.first_excluded)
            && later.by_us > request.max_regression_us
            && !request.accept_early_stop
        {
            return Err(Unrecoverable::TimesStepBack {
                target_us: *target_us,
                culprit: Box::new(culprit.clone()),
                count: later.what.count,
                by_us: later.by_us,
            });
        }
        let entry = self.choose_base(course, goal, request, named)?;
        let base = self.backup(entry).clone();
        let section = &course.sections[goal.section];
        let expected = section.state_at(goal.place, &self.logs);
        let replayed = expected.subtract(&base.executed);
        let skip: GtidSet = request.skip.iter().copied().collect();
        if let Some(gtid) = request.skip.iter().find(|gtid| !replayed.contains(gtid)) {
            return Err(Unrecoverable::SkipNotReplayed { gtid: *gtid });
        }
        let replay = self.replay(section, entry, goal.place, &base.executed)?;
        let mut warnings = replay.warnings();
        if later.what.count > 0 {
            warnings.push(PlanWarning::TimesStepBack { by_us: later.by_us });
        }
        if !skip.is_empty() {
            warnings.push(PlanWarning::Skipped(skip.clone()));
        }
        warnings.extend(self.time_warnings(course, goal, request));
        let stream = section.legs.last().map(|leg| self.logs.logs[leg.log].stream.id.clone());
        let Replay { files, transactions, bytes, stop, flags } = replay;
        Ok(RestorePlan::new(PlanParts {
            workload: self.timeline.inventory.workload.clone(),
            target: request.target.clone(),
            clock: request.clock,
            base,
            branch: course.branch.clone(),
            stream,
            files,
            stop,
            last_applied: boundary.last_applied,
            first_excluded: boundary.first_excluded,
            later_before_target: later.what,
            same_second: boundary.same_second,
            expected,
            skip,
            transactions,
            bytes,
            warnings,
            resolution_us: if flags.whole_seconds { SECOND_US } else { 1 },
        }))
    }

    fn time_warnings(&self, course: &Course<'_>, goal: Goal, request: &PlanRequest) -> Option<PlanWarning> {
        let section = &course.sections[goal.section];
        if section.alone.is_some() {
            return Some(PlanWarning::BaseAlone);
        }
        let target_us = goal.time_us.filter(|_| goal.place >= section.end_place())?;
        let own: Vec<Entry> = course.entries.iter().filter(|entry| entry.section == goal.section).cloned().collect();
        let end = crate::window::end_us(section, &own).unwrap_or(i64::MIN);
        request.proven_to_us.filter(|_| target_us > end).map(|to_us| PlanWarning::ProvenByServer { to_us })
    }

    /// The cheapest base backup that leads to the goal, or the one that was named.
    fn choose_base<'c>(
        &self,
        course: &'c Course<'_>,
        goal: Goal,
        request: &PlanRequest,
        named: Option<usize>,
    ) -> Result<&'c Entry, Unrecoverable> {
        let fits = |entry: &&Entry| match named {
            Some(named) => entry.backup == named,
            None => !request.sealed.contains(&self.backup(entry).id),
        };
        let cost = |entry: &&Entry| {
            let log = self.between(&course.sections[goal.section], entry.place, goal.place);
            cost::us(self.backup(entry), log, &request.pace)
        };
        let newest = |entry: &&Entry| (std::cmp::Reverse(entry.place), entry.backup);
        let best = course.leading_to(goal).filter(fits).min_by_key(|entry| (cost(entry), newest(entry)));
        best.ok_or_else(|| match named {
            Some(named) => Unrecoverable::BackupDoesNotReach {
                backup: self.timeline.inventory.backups[named].id.clone(),
                target: request.target.clone(),
                from_us: course.entries.iter().find(|entry| entry.backup == named).map(|entry| entry.from_us),
            },
            None => Unrecoverable::BeforeFirstBackup { target: request.target.clone(), first_us: None },
        })
    }

    /// Transactions and raw bytes between two points, by whole ranges.
    fn between(&self, section: &Section, from: Place, to: Place) -> (u64, u64) {
        let items =
            &section.items[from.item.min(to.item)..section.items.len().min(to.item + usize::from(to.count > 0))];
        items.iter().fold((0, 0), |(transactions, bytes), item| {
            let piece = section.piece_of(item, self.logs.logs);
            (transactions + item.transactions, bytes + (piece.end - piece.start))
        })
    }

    fn backup(&self, entry: &Entry) -> &BaseBackup {
        &self.timeline.inventory.backups[entry.backup]
    }

    fn backup_named(&self, id: &str) -> Result<usize, Unrecoverable> {
        let backups = &self.timeline.inventory.backups;
        named(id, backups.iter().map(|backup| backup.id.as_str()))
            .map_err(|matches| Unrecoverable::NoSuchBackup { id: id.to_owned(), matches })
    }

    fn branch_named(&self, id: &str) -> Result<usize, Unrecoverable> {
        named(id, self.timeline.branches().iter().map(|branch| branch.id.as_str()))
            .map_err(|matches| Unrecoverable::NoSuchBranch { id: id.to_owned(), matches })
    }

    fn check_flavour(&self, request: &PlanRequest) -> Result<(), Unrecoverable> {
        let inventory = &self.timeline.inventory;
        let archived = inventory.backups.first().map(|backup| backup.flavour);
        let of = |gtid: &Gtid| match gtid.source {
            GtidSource::MySql { .. } => Flavour::MySql,
            GtidSource::MariaDb { .. } => Flavour::MariaDb,
        };
        let target = match &request.target {
            RecoveryTarget::BeforeGtid(gtid) | RecoveryTarget::ThroughGtid(gtid) => Some(gtid),
            RecoveryTarget::Time(_) | RecoveryTarget::Latest | RecoveryTarget::Position { .. } => None,
        };
        let mut gtids = request.skip.iter().chain(target);
        match (archived, gtids.find(|gtid| archived.is_some_and(|flavour| of(gtid) != flavour))) {
            (Some(flavour), Some(gtid)) => Err(Unrecoverable::WrongFlavour { gtid: *gtid, flavour }),
            _ => Ok(()),
        }
    }
}

/// The one id that is this text or, failing that, begins with it; else how many do.
fn named<'a>(text: &str, ids: impl Iterator<Item = &'a str> + Clone) -> Result<usize, usize> {
    if let Some(place) = ids.clone().position(|id| id == text) {
        return Ok(place);
    }
    let matches: Vec<usize> = ids.enumerate().filter(|(_, id)| id.starts_with(text)).map(|(place, _)| place).collect();
    match matches[..] {
        [only] => Ok(only),
        _ => Err(matches.len()),
    }
}
