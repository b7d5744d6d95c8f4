//! The two clocks of a log: a time is looked up by one, and the plan says where the other one would stop.

use super::{Course, Planner};
use crate::entry::{Entry, from_us};
use crate::plan::{PlanWarning, RestorePlan};
use crate::section::{Section, note_times};
use crate::target::{Clock, PlanRequest, RecoveryTarget};
use crate::unrecoverable::Unrecoverable;

/// Indices that are read only to say where the other clock would stop.
const UNASKED_INDICES_MAX: usize = 256;

impl Course<'_> {
    /// Whose clock its times are of.
    pub(super) fn clock(&self) -> Clock {
        self.sections.first().map_or(Clock::Original, |section| section.clock)
    }
}

impl Planner<'_> {
    /// The plan on a course, by the clock that is asked for.
    pub(super) fn answer(
        &self,
        course: &Course<'_>,
        request: &PlanRequest,
        named: Option<usize>,
    ) -> Result<RestorePlan, Unrecoverable> {
        let us = match (&request.target, request.clock) {
            (RecoveryTarget::Time(us), _) => *us,
            _ => return self.assemble(course, self.goal(course, request)?, request, named),
        };
        if request.clock == Clock::Original {
            let plan = self.assemble(course, self.goal(course, request)?, request, named)?;
            // Only where the transactions next to the stop tell of a difference is it worth reading all indices.
            let parts = plan.parts();
            let late = parts.last_applied.as_ref().is_some_and(|last| last.us(Clock::Immediate) > us);
            let early = parts.first_excluded.as_ref().is_some_and(|first| first.us(Clock::Immediate) <= us);
            if !late && !early {
                return Ok(plan);
            }
            if course.sections.iter().map(|section| section.items.len()).sum::<usize>() > UNASKED_INDICES_MAX {
                return Ok(plan.warned(PlanWarning::OtherClock { clock: Clock::Immediate, more: None, before: None }));
            }
            let (sections, entries) = self.by_own_clock(course);
            let other =
                Course { way: course.way, branch: course.branch.clone(), sections: &sections, entries: &entries };
            return self.with_other_clock(plan, (course, &other), request);
        }
        let (sections, entries) = self.by_own_clock(course);
        let own = Course { way: course.way, branch: course.branch.clone(), sections: &sections, entries: &entries };
        let plan = self.assemble(&own, self.goal(&own, request)?, request, named)?;
        self.with_other_clock(plan, (&own, course), request)
    }

    /// The sections and entries of a course by the clocks of the servers that wrote its log.
    fn by_own_clock(&self, course: &Course<'_>) -> (Vec<Section>, Vec<Entry>) {
        let mut sections: Vec<Section> =
            course.sections.iter().map(|section| section.by_own_clock(&self.logs)).collect();
        note_times(&mut sections);
        let by_own = |entry: &Entry| {
            let of = &self.timeline.inventory.backups[entry.backup];
            Entry { from_us: from_us(of, &sections[entry.section], entry.place, &self.logs), ..entry.clone() }
        };
        let entries = course.entries.iter().map(by_own).collect();
        (sections, entries)
    }

    /// A plan with a word about the other clock, where that means another stop.
    fn with_other_clock(
        &self,
        plan: RestorePlan,
        (course, other): (&Course<'_>, &Course<'_>),
        request: &PlanRequest,
    ) -> Result<RestorePlan, Unrecoverable> {
        let clock = other.clock();
        let Ok(elsewhere) = self.goal(other, request) else {
            return Ok(plan.warned(PlanWarning::OtherClock { clock, more: None, before: None }));
        };
        if self.goal(course, request)? == elsewhere {
            return Ok(plan);
        }
        let section = &other.sections[elsewhere.section];
        let state = section.state_at(elsewhere.place, &self.logs);
        let count = |set: pitr_binlog::GtidSet| i64::try_from(set.count()).unwrap_or(i64::MAX);
        let more = count(state.subtract(plan.expected())) - count(plan.expected().subtract(&state));
        let before = self.first_from(section, elsewhere.place)?.and_then(|first| first.gtid());
        Ok(plan.warned(PlanWarning::OtherClock { clock, more: Some(more), before }))
    }
}
