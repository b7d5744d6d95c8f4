//! What a user may allow where a target cannot be reached: the latest instant before it, or the way across a named gap.

use super::{Course, Planner, named};
use crate::entry::Entry;
use crate::gap::{Gap, GapCause};
use crate::plan::{PlanWarning, RestorePlan};
use crate::section::Section;
use crate::target::{Clock, PlanRequest, RecoveryTarget};
use crate::unrecoverable::Unrecoverable;

impl Planner<'_> {
    /// The plan on a way and, if there is none, what the request allows instead. The first refusal stands if that fails too.
    pub(super) fn plan_or_detour(
        &self,
        way: usize,
        request: &PlanRequest,
        named: Option<usize>,
    ) -> Result<RestorePlan, Unrecoverable> {
        let gap = request.allow_gap.as_deref().map(|id| self.gap_named(way, id)).transpose()?;
        let why = match self.plan_on(way, request, named) {
            Ok(plan) => return Ok(plan),
            Err(why) => why,
        };
        if let Some((above, gap)) = gap
            && let Ok(plan) = self.across(way, (above, gap), request, named)
        {
            let warning = PlanWarning::AcrossGap { gap: gap.id.clone(), missing: gap.missing.clone() };
            return Ok(plan.warned(warning));
        }
        match self.nearest_us(way, request, (named, &why)) {
            Some(us) => {
                let target = RecoveryTarget::Time(us);
                let nearer = PlanRequest { target, nearest: false, allow_gap: None, ..request.clone() };
                let plan = self.plan_on(way, &nearer, named).map_err(|_| why)?;
                Ok(plan.warned(PlanWarning::Nearest { asked: request.target.clone() }))
            }
            None => Err(why),
        }
    }

    /// The latest instant of a way that can be reached and is not after the target.
    fn nearest_us(
        &self,
        way: usize,
        request: &PlanRequest,
        (named, why): (Option<usize>, &Unrecoverable),
    ) -> Option<i64> {
        let target_us = match request.target {
            // Windows are by the original clock.
            _ if !request.nearest || request.clock != Clock::Original => return None,
            RecoveryTarget::Time(us) => us,
            RecoveryTarget::Latest => i64::MAX,
            _ => return None,
        };
        let survey = &self.timeline.survey;
        let backup = named.map(|named| &self.timeline.inventory.backups[named].id);
        let windows = survey.windows.iter().zip(&survey.window_places).filter(|(_, (of_way, _))| *of_way == way);
        let serving = windows.filter(|(window, _)| backup.is_none_or(|id| window.backups.contains(id)));
        let ends = serving.filter(|(window, _)| window.from_us <= target_us).map(|(window, _)| window.to_us);
        // Where a server's word reaches further than the last transaction, the refusal says so.
        let proven = why.nearest_before_us().filter(|us| named.is_none() && *us <= target_us);
        ends.map(|end| end.min(target_us)).chain(proven).max()
    }

    /// The gap of a way that an id names, and the section above it.
    fn gap_named(&self, way: usize, id: &str) -> Result<(usize, &Gap), Unrecoverable> {
        let survey = &self.timeline.survey;
        let gaps: Vec<(usize, &Gap)> = survey
            .gap_below
            .iter()
            .filter(|((of_way, _), _)| *of_way == way)
            .map(|((_, above), gap)| (*above, &survey.gaps[*gap]))
            .collect();
        let found = named(id, gaps.iter().map(|(_, gap)| gap.id.as_str()));
        let branch = self.timeline.branches()[way].id.clone();
        found.map(|place| gaps[place]).map_err(|matches| Unrecoverable::NoSuchGap {
            id: id.to_owned(),
            branch,
            matches,
        })
    }

    /// A plan that leads from below a gap to above it.
    fn across(
        &self,
        way: usize,
        (above, gap): (usize, &Gap),
        request: &PlanRequest,
        named: Option<usize>,
    ) -> Result<RestorePlan, Unrecoverable> {
        let refused = || Unrecoverable::in_gap(request.target.clone(), gap.clone());
        let sections = &self.timeline.ways[way].sections;
        let below = (0..above).rev().find(|number| sections[*number].alone.is_none()).ok_or_else(refused)?;
        // No set accounts for transactions without GTID: what would be missing is not known.
        if matches!(gap.cause, GapCause::WithoutGtids { .. }) || sections[above].after_anonymous {
            return Err(refused());
        }
        let (sections, entries) = bridged(sections, &self.timeline.entries[way], (below, above));
        let branch = self.timeline.branches()[way].id.clone();
        let course = Course { way: Some(way), branch, sections: &sections, entries: &entries };
        self.answer(&course, request, named)
    }
}

/// The sections of a way with those on both sides of a gap as one, and the base backups that enter below it.
///
/// Base backups that enter above the gap hold what is missing in it: to them it is none.
fn bridged(sections: &[Section], entries: &[Entry], (below, above): (usize, usize)) -> (Vec<Section>, Vec<Entry>) {
    let mut bridged: Vec<Section> = sections[..below].to_vec();
    bridged.push(sections[below].clone().bridged_to(&sections[above]));
    bridged.extend_from_slice(&sections[above + 1..]);
    let entries = entries.iter().filter(|entry| entry.section <= below).cloned().collect();
    (bridged, entries)
}

impl Section {
    /// This section and a later one as if nothing had been between them.
    fn bridged_to(mut self, above: &Self) -> Self {
        let added = above.end.subtract(&above.start);
        let (legs, items) = (self.legs.len(), self.items.len());
        self.legs.extend_from_slice(&above.legs);
        self.items.extend_from_slice(&above.items);
        self.items[items..].iter_mut().for_each(|item| item.leg += legs);
        self.end.union_with(&added);
        self.min_after_us = above.min_after_us;
        self.next_us = above.next_us;
        self
    }
}
