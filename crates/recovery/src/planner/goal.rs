//! From a target to a point in the log.

use std::collections::BTreeSet;

use pitr_binlog::{BinlogName, Gtid};

use super::{Course, Goal, Planner};
use crate::entry::{Entry, Standing, entries, place_of, standing};
use crate::gap::{Gap, GapCause};
use crate::inventory::{ArchivedBinlog, BaseBackup, IndexEntry, Inventory};
use crate::log::{Cut, Log};
use crate::plan::RestorePlan;
use crate::section::{Item, Place, Section, note_times};
use crate::standing::settle_disputes;
use crate::target::{PlanRequest, RecoveryTarget};
use crate::unrecoverable::Unrecoverable;
use crate::ways::Way;
use crate::window::end_us;

impl<'a> Planner<'a> {
    pub(super) fn goal(&self, course: &Course<'_>, request: &PlanRequest) -> Result<Goal, Unrecoverable> {
        match &request.target {
            RecoveryTarget::Time(us) => self.by_time(course, *us, request),
            RecoveryTarget::Latest => self.latest(course),
            RecoveryTarget::BeforeGtid(gtid) => self.by_gtid(course, gtid, false),
            RecoveryTarget::ThroughGtid(gtid) => self.by_gtid(course, gtid, true),
            RecoveryTarget::Position { name, .. } => Err(Unrecoverable::NoSuchBinlog { name: name.clone() }),
        }
    }

    /// The transactions of an item, or the refusal that says that its index was not read.
    pub(super) fn read(&self, section: &Section, item: &Item) -> Result<Vec<(usize, &'a IndexEntry)>, Unrecoverable> {
        section.entries_of(item, &self.logs).ok_or_else(|| Unrecoverable::IndexNotRead {
            range: self.logs.reader.range_ref(section.piece_of(item, self.logs.logs)),
        })
    }

    /// Before the first transaction in log order that was committed later.
    fn by_time(&self, course: &Course<'_>, us: i64, request: &PlanRequest) -> Result<Goal, Unrecoverable> {
        for (number, section) in course.sections.iter().enumerate().rev() {
            // Something before this section is later already, so the stop lies below it.
            if us < section.max_before_us {
                continue;
            }
            let place = section.place_at(us, &self.logs);
            if place == section.end_place() && !self.is_known_at_end(course, number, us, request) {
                let passed = |entry: &Entry| entry.section == number && entry.from_us <= us;
                if course.entries.iter().any(passed) || !section.items.is_empty() {
                    break;
                }
                continue;
            }
            let goal = Goal { section: number, place, time_us: Some(us) };
            if course.leading_to(goal).next().is_some() {
                return Ok(goal);
            }
        }
        Err(self.why_no_instant(course, us, request))
    }

    /// Whether all that was committed up to an instant behind the last transaction of a section is known.
    fn is_known_at_end(&self, course: &Course<'_>, number: usize, us: i64, request: &PlanRequest) -> bool {
        let own: Vec<_> = course.entries.iter().filter(|entry| entry.section == number).cloned().collect();
        let live = self.timeline.live_known && course.way == Some(0);
        let newest = live && number + 1 == course.sections.len();
        end_us(&course.sections[number], &own).is_some_and(|end| us <= end)
            || (newest && request.proven_to_us.is_some_and(|proven| us <= proven))
    }

    fn latest(&self, course: &Course<'_>) -> Result<Goal, Unrecoverable> {
        let number = course.sections.len().saturating_sub(1);
        let place = course.sections.last().map_or(Place::before(0), Section::end_place);
        let goal = Goal { section: number, place, time_us: None };
        if course.leading_to(goal).next().is_some() {
            return Ok(goal);
        }
        Err(self.why_not_in(course, number, RecoveryTarget::Latest))
    }

    /// Before or behind one transaction, by its place in the log; whatever follows is left out (T10, T11).
    fn by_gtid(&self, course: &Course<'_>, gtid: &Gtid, through: bool) -> Result<Goal, Unrecoverable> {
        let in_section = |section: &Section| section.find(gtid, self.logs.logs);
        let found = course.sections.iter().enumerate().find_map(|(number, s)| Some((number, in_section(s)?)));
        let Some((number, item)) = found else { return Err(self.why_no_gtid(course, gtid, through)) };
        let section = &course.sections[number];
        let entries = self.read(section, &section.items[item])?;
        let Some(at) = entries.iter().position(|(_, entry)| entry.gtid == Some(*gtid)) else {
            return Err(self.why_no_gtid(course, gtid, through));
        };
        let place = match (through, entries.get(at + 1)) {
            (false, _) => Place { item, count: entries[at].0 },
            (true, Some((next, _))) => Place { item, count: *next },
            (true, None) => Place::before(item + 1),
        };
        let goal = Goal { section: number, place, time_us: None };
        if course.leading_to(goal).next().is_some() {
            return Ok(goal);
        }
        let entered = |section: &dyn Fn(usize) -> bool| course.entries.iter().any(|entry| section(entry.section));
        if entered(&|section| section == number) && !entered(&|section| section < number) {
            return Err(Unrecoverable::GtidInsideEveryBase { gtid: *gtid });
        }
        Err(self.why_not_in(course, number, target(gtid, through)))
    }

    /// A position is a point in the log of one server, so the way is made for the stream that holds it.
    pub(super) fn plan_position(
        &self,
        request: &PlanRequest,
        named: Option<usize>,
        (source, name, pos): (Option<&str>, &BinlogName, u64),
    ) -> Result<RestorePlan, Unrecoverable> {
        let binlog = self.binlog_at(request, source, name)?;
        let (stream, cut) = self.cut_at(binlog, pos, &request.target)?;
        let mut way = Way::to(stream, &self.logs);
        note_times(&mut way.sections);
        let backups: Vec<(usize, &BaseBackup)> = self.timeline.inventory.backups.iter().enumerate().collect();
        let entries = self.entries_into(&way, &backups);
        let on_branch = self.timeline.ways.iter().position(|way| way.streams().contains(&stream)).unwrap_or(0);
        let branch = self.timeline.branches()[on_branch].id.clone();
        let course = Course { way: None, branch, sections: &way.sections, entries: &entries };

        let state = self.logs.logs[stream].state_at(cut, self.logs.reader);
        let Some(Standing::In(section)) = standing(&state, course.sections) else {
            return Err(Unrecoverable::PositionBeyond { name: name.clone(), pos, end: 0 });
        };
        let place = place_of(&state, &course.sections[section], &self.logs);
        let goal = Goal { section, place, time_us: None };
        // Another server's log may lead past the position before it has all that stands before it.
        let is_exact = course.sections[section].state_at(place, &self.logs) == state;
        if !is_exact || course.leading_to(goal).next().is_none() {
            if let Some(refusal) = self.gap_below(stream, &request.target) {
                return Err(refusal);
            }
            let entered = course.entries.iter().filter(|entry| entry.section == section);
            let first_us = entered.map(|entry| entry.from_us).min();
            return Err(Unrecoverable::BeforeFirstBackup { target: request.target.clone(), first_us });
        }
        self.assemble(&course, goal, request, named)
    }

    /// Where base backups enter a way of its own: those that no other way has a better claim to.
    fn entries_into(&self, way: &Way, backups: &[(usize, &BaseBackup)]) -> Vec<Entry> {
        let ways: Vec<&Way> = self.timeline.ways.iter().chain([way]).collect();
        let mut all: Vec<Vec<Entry>> = ways.iter().map(|way| entries(way, backups, &self.logs)).collect();
        settle_disputes(&mut all, &ways, &self.logs);
        all.pop().unwrap_or_default()
    }

    /// The binlog of that name. Where the archive knows several servers one must be named: that it holds one binlog of that name
    /// proves nothing, another server's may have expired. What one server has twice, the branch tells apart.
    fn binlog_at(
        &self,
        request: &PlanRequest,
        source: Option<&str>,
        name: &BinlogName,
    ) -> Result<usize, Unrecoverable> {
        let Inventory { binlogs, backups, .. } = &self.timeline.inventory;
        let known = binlogs.iter().map(|binlog| &binlog.id.source).chain(backups.iter().map(|backup| &backup.source));
        let known: BTreeSet<&str> = known.map(String::as_str).filter(|source| !source.is_empty()).collect();
        let servers: Vec<&str> = match source {
            Some(source) if known.contains(source) => vec![source],
            part => known.into_iter().filter(|server| server.starts_with(part.unwrap_or_default())).collect(),
        };
        let fits =
            |place: &usize| binlogs[*place].name == *name && servers.contains(&binlogs[*place].id.source.as_str());
        let mut found: Vec<usize> = (0..binlogs.len()).filter(fits).collect();
        if found.is_empty() {
            return Err(Unrecoverable::NoSuchBinlog { name: name.clone() });
        }
        if servers.len() > 1 {
            let sources = servers.iter().map(|server| (*server).to_owned()).collect();
            return Err(Unrecoverable::AmbiguousPosition { name: name.clone(), sources });
        }
        if found.len() > 1 && (source.is_some() || request.branch.is_some()) {
            let way = request.branch.as_deref().map_or(Ok(0), |id| self.branch_named(id))?;
            let streams = self.timeline.ways[way].streams();
            let holds = |place: &usize| {
                streams.iter().any(|stream| self.logs.logs[*stream].pieces.iter().any(|piece| piece.binlog == *place))
            };
            found.retain(holds);
        }
        match found[..] {
            [only] => Ok(only),
            [] => Err(Unrecoverable::NoSuchBinlog { name: name.clone() }),
            _ => {
                let sources = found.iter().map(|place| binlogs[*place].id.source.clone()).collect();
                Err(Unrecoverable::AmbiguousPosition { name: name.clone(), sources })
            }
        }
    }

    /// The stream that holds a position, and the transaction boundary at or before it.
    fn cut_at(&self, binlog: usize, pos: u64, target: &RecoveryTarget) -> Result<(usize, Cut), Unrecoverable> {
        let is_sound = |log: &&Log| log.disputed.is_none() && !log.disowned;
        let mut end = 0;
        for (stream, log) in self.logs.logs.iter().enumerate().filter(|(_, log)| is_sound(log)) {
            for (place, piece) in log.pieces.iter().enumerate().filter(|(_, piece)| piece.binlog == binlog) {
                end = end.max(piece.end);
                if pos < piece.start || pos > piece.end {
                    continue;
                }
                if pos == piece.end {
                    return Ok((stream, Cut::before(place + 1)));
                }
                let entries = self
                    .logs
                    .reader
                    .entries(piece)
                    .ok_or_else(|| Unrecoverable::IndexNotRead { range: self.logs.reader.range_ref(piece) })?;
                let count = entries.partition_point(|entry| entry.end <= pos);
                let all = count as u64 == piece.transactions;
                return Ok((stream, if all { Cut::before(place + 1) } else { Cut { piece: place, count } }));
            }
        }
        let ArchivedBinlog { id, name, .. } = &*self.timeline.inventory.binlogs[binlog];
        let holds = |gap: &&Gap| match &gap.cause {
            GapCause::Lost { binlog, start, end, .. } => binlog == id && *start <= pos && pos < *end,
            GapCause::MissingRange { binlog, start, end, .. } => {
                binlog == id && *start <= pos && end.is_none_or(|e| pos < e)
            }
            GapCause::Damaged { binlog, offset, .. } => binlog == id && *offset <= pos,
            _ => false,
        };
        Err(match self.timeline.gaps().iter().find(holds) {
            Some(gap) => Unrecoverable::in_gap(target.clone(), gap.clone()),
            None => {
                let lost = lost_at(&self.timeline.inventory.binlogs[binlog], pos);
                let beyond = Unrecoverable::PositionBeyond { name: name.clone(), pos, end };
                lost.map_or(beyond, |cause| Unrecoverable::lost(target.clone(), None, cause))
            }
        })
    }
}

/// Why a position cannot be read, if it was archived.
fn lost_at(binlog: &ArchivedBinlog, pos: u64) -> Option<GapCause> {
    let range = binlog.ranges.iter().find(|range| !range.is_held() && range.start < pos && pos <= range.end)?;
    Some(GapCause::Lost { binlog: binlog.id.clone(), name: binlog.name.clone(), start: range.start, end: range.end })
}

pub(super) const fn target(gtid: &Gtid, through: bool) -> RecoveryTarget {
    if through { RecoveryTarget::ThroughGtid(*gtid) } else { RecoveryTarget::BeforeGtid(*gtid) }
}
