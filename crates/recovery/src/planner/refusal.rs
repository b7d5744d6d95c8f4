//! Why a target cannot be reached, with what can be.

use std::sync::Arc;

use pitr_binlog::Gtid;

use super::goal::target;
use super::{Course, Planner};
use crate::coverage::{Break, Lost};
use crate::entry::Entry;
use crate::gap::GapCause;
use crate::section::Section;
use crate::target::{Clock, PlanRequest, RecoveryTarget};
use crate::unrecoverable::Unrecoverable;
use crate::window::{Interval, Window, intervals};

impl Planner<'_> {
    /// Why no plan leads to an instant.
    pub(super) fn why_no_instant(&self, course: &Course<'_>, us: i64, request: &PlanRequest) -> Unrecoverable {
        let target = RecoveryTarget::Time(us);
        let windows = self.windows_of(course);
        let before = windows.iter().rev().find(|(window, _)| window.to_us < us);
        let after = windows.iter().find(|(window, _)| window.from_us > us);
        match (before, after) {
            (None, None) => self.without_gtids(target.clone()).unwrap_or_else(|| match windows.last() {
                // A base backup that was named ends the search although there is a window.
                Some((window, _)) => Unrecoverable::BeforeFirstBackup { target, first_us: Some(window.from_us) },
                None => self.why_not_in(course, course.sections.len().saturating_sub(1), target),
            }),
            (None, Some((window, _))) => Unrecoverable::BeforeFirstBackup { target, first_us: Some(window.from_us) },
            (Some((window, section)), _) => match self.gap_above(course, *section) {
                Some(refusal) => refusal(target),
                // A base backup without log may stand further on: what was committed before it is not archived.
                None if let Some(cause) = self.lost_behind(course, *section) => {
                    Unrecoverable::lost(target, Some(window.to_us), cause)
                }
                None => {
                    let proven_us = request
                        .proven_to_us
                        .filter(|_| after.is_none() && self.timeline.live_known && course.way == Some(0));
                    let end_us = proven_us.map_or(window.to_us, |proven| proven.max(window.to_us));
                    Unrecoverable::AfterLastArchived { target_us: us, end_us }
                }
            },
        }
    }

    /// What was archived right behind the log of a section and cannot be read any more.
    fn lost_behind(&self, course: &Course<'_>, section: usize) -> Option<GapCause> {
        let leg = course.sections.get(section)?.legs.last()?;
        let log = self.logs.logs.get(leg.log)?;
        let binlog = &self.timeline.inventory.binlogs[log.pieces.last()?.binlog];
        match log.broken {
            Some(Break::Lost(Lost { start, end, .. })) if leg.to == log.end() => {
                Some(GapCause::Lost { binlog: binlog.id.clone(), name: binlog.name.clone(), start, end })
            }
            _ => None,
        }
    }

    /// What can be reached on a course, with the places of its sections, by the clock of its sections.
    fn windows_of(&self, course: &Course<'_>) -> Vec<(Interval, usize)> {
        let survey = &self.timeline.survey;
        if course.clock() == Clock::Original {
            let places = survey.windows.iter().zip(&survey.window_places);
            let own = places.filter(|(_, (way, _))| Some(*way) == course.way);
            let interval = |window: &Window| Interval { from_us: window.from_us, to_us: window.to_us, stepped: false };
            return own.map(|(window, (_, section))| (interval(window), *section)).collect();
        }
        let of_section = |(number, section): (usize, &Section)| {
            let own: Vec<Entry> = course.entries.iter().filter(|entry| entry.section == number).cloned().collect();
            intervals(section, &own, &self.logs).into_iter().map(move |interval| (interval, number))
        };
        course.sections.iter().enumerate().flat_map(of_section).collect()
    }

    /// The refusal for a target in the first gap above a section.
    fn gap_above(&self, course: &Course<'_>, section: usize) -> Option<impl FnOnce(RecoveryTarget) -> Unrecoverable> {
        let survey = &self.timeline.survey;
        let way = course.way?;
        let gap = (section + 1..course.sections.len()).find_map(|above| survey.gap_below.get(&(way, above)))?;
        let gap = survey.gaps[*gap].clone();
        Some(move |target| Unrecoverable::in_gap(target, gap))
    }

    /// The refusal for a position in a stream that begins behind a gap which no base backup closes.
    pub(super) fn gap_below(&self, stream: usize, target: &RecoveryTarget) -> Option<Unrecoverable> {
        let survey = &self.timeline.survey;
        let holds = |(way, section): &(usize, usize)| {
            self.timeline.ways[*way].sections[*section].legs.iter().any(|leg| leg.log == stream)
        };
        let (_, gap) = survey.gap_below.iter().find(|(place, _)| holds(place))?;
        let gap = &survey.gaps[*gap];
        gap.reachable_to_us.is_some().then(|| Unrecoverable::in_gap(target.clone(), gap.clone()))
    }

    /// Why no base backup leads into a section.
    pub(super) fn why_not_in(&self, course: &Course<'_>, section: usize, target: RecoveryTarget) -> Unrecoverable {
        if let Some(refusal) = section.checked_sub(1).and_then(|below| self.gap_above(course, below)) {
            return refusal(target);
        }
        if let Some(refusal) = self.without_gtids(target.clone()) {
            return refusal;
        }
        let first_us = course.entries.iter().map(|entry| entry.from_us).min();
        Unrecoverable::BeforeFirstBackup { target, first_us }
    }

    /// The refusal for an archive whose logs have no GTIDs.
    fn without_gtids(&self, target: RecoveryTarget) -> Option<Unrecoverable> {
        let inventory = &self.timeline.inventory;
        let anonymous = |binlog: &&Arc<crate::ArchivedBinlog>| binlog.ranges.iter().any(|range| range.flags.anonymous);
        let newest = inventory.binlogs.iter().filter(anonymous).max_by_key(|binlog| binlog.id.number)?;
        let in_a_log =
            self.logs.logs.iter().any(|log| {
                log.stream.transactions > 0 && log.broken != Some(Break::WithoutGtids) && !log.after_anonymous
            });
        (!in_a_log).then(|| Unrecoverable::WithoutGtids { target, name: newest.name.clone() })
    }

    /// Why there is no plan for a transaction that the branch's log does not hold.
    pub(super) fn why_no_gtid(&self, course: &Course<'_>, gtid: &Gtid, through: bool) -> Unrecoverable {
        let gaps = self.timeline.gaps().iter().filter(|gap| gap.branch == course.branch);
        if let Some(gap) = gaps
            .filter(|gap| !matches!(gap.cause, GapCause::NeverArchived { .. }))
            .find(|gap| gap.missing.contains(gtid))
        {
            return Unrecoverable::in_gap(target(gtid, through), gap.clone());
        }
        let holds = |way: &usize| {
            Some(*way) != course.way
                && self.timeline.ways[*way].sections.iter().any(|s| s.find(gtid, self.logs.logs).is_some())
        };
        let branches = self.timeline.branches();
        let others: Vec<String> = (0..branches.len()).filter(holds).map(|way| branches[way].id.clone()).collect();
        if !others.is_empty() {
            return Unrecoverable::GtidOnOtherBranch { gtid: *gtid, branch: course.branch.clone(), others };
        }
        let lost = self.timeline.inventory.binlogs.iter().find_map(|binlog| {
            let range = binlog.ranges.iter().find(|range| !range.is_held() && range.gtids.contains(gtid))?;
            let (id, name) = (binlog.id.clone(), binlog.name.clone());
            Some(GapCause::Lost { binlog: id, name, start: range.start, end: range.end })
        });
        if let Some(cause) = lost {
            return Unrecoverable::lost(target(gtid, through), None, cause);
        }
        let backups = &self.timeline.inventory.backups;
        if backups.iter().all(|backup| backup.executed.contains(gtid)) {
            return Unrecoverable::GtidInsideEveryBase { gtid: *gtid };
        }
        let newest = self.logs.logs.iter().filter_map(|log| log.after().last(&gtid.source)).max();
        Unrecoverable::GtidNotArchived { gtid: *gtid, newest }
    }
}
