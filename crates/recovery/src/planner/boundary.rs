//! What stands next to the stop, and what a time target leaves out.

use super::{Course, Goal, Planner};
use crate::inventory::{IndexEntry, TransactionPoint};
use crate::plan::{BoundaryTransaction, LaterBeforeTarget};
use crate::section::{Item, Place, Section};
use crate::time::SECOND_US;
use crate::unrecoverable::Unrecoverable;

/// The transactions on both sides of the stop.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    pub last_applied: Option<BoundaryTransaction>,
    pub first_excluded: Option<BoundaryTransaction>,
    pub same_second: u64,
}

/// What follows the stop without being later than the target.
#[derive(Debug, Default)]
pub(super) struct Later {
    pub what: LaterBeforeTarget,
    /// How far it reaches back before the target.
    pub by_us: i64,
}

impl Planner<'_> {
    pub(super) fn boundary(&self, course: &Course<'_>, goal: Goal) -> Result<Boundary, Unrecoverable> {
        let section = &course.sections[goal.section];
        let last_applied = self.last_before(section, goal.place)?;
        let first_excluded = self.first_from(section, goal.place)?;
        let next_to = first_excluded.as_ref().or(last_applied.as_ref());
        let same_second = match next_to {
            Some(next) => self.in_second(section, goal.place, next.us(section.clock).div_euclid(SECOND_US))?,
            None => 0,
        };
        Ok(Boundary { last_applied, first_excluded, same_second })
    }

    fn describe(&self, section: &Section, item: &Item, entry: &IndexEntry) -> BoundaryTransaction {
        let piece = section.piece_of(item, self.logs.logs);
        let binlog = &self.timeline.inventory.binlogs[piece.binlog];
        BoundaryTransaction {
            binlog: binlog.id.clone(),
            name: binlog.name.clone(),
            at: TransactionPoint { gtid: entry.gtid, commit_us: entry.commit_us, start: entry.start, end: entry.end },
            logged_us: entry.immediate_us.filter(|us| *us != entry.commit_us),
            flags: entry.flags,
        }
    }

    fn last_before(&self, section: &Section, place: Place) -> Result<Option<BoundaryTransaction>, Unrecoverable> {
        if let Some(item) = section.items.get(place.item).filter(|_| place.count > 0) {
            let entries = self.read(section, item)?;
            if let Some((_, entry)) = entries.iter().rev().find(|(number, _)| *number < place.count) {
                return Ok(Some(self.describe(section, item, entry)));
            }
        }
        let Some(item) = place.item.checked_sub(1).and_then(|before| section.items.get(before)) else {
            return Ok(None);
        };
        let entries = self.read(section, item)?;
        Ok(entries.last().map(|(_, entry)| self.describe(section, item, entry)))
    }

    pub(super) fn first_from(
        &self,
        section: &Section,
        place: Place,
    ) -> Result<Option<BoundaryTransaction>, Unrecoverable> {
        let Some(item) = section.items.get(place.item) else { return Ok(None) };
        let entries = self.read(section, item)?;
        let first = entries.iter().find(|(number, _)| *number >= place.count);
        Ok(first.map(|(_, entry)| self.describe(section, item, entry)))
    }

    /// How many transactions around a point were committed in a second, as far as they stand together.
    fn in_second(&self, section: &Section, place: Place, second: i64) -> Result<u64, Unrecoverable> {
        let (from, to) = (second.saturating_mul(SECOND_US), (second + 1).saturating_mul(SECOND_US));
        let meets = |item: &&Item| item.max_us >= from && item.min_us < to;
        let at = place.item.min(section.items.len());
        let earlier = section.items[..at].iter().rev().take_while(meets);
        let later = section.items[at..].iter().enumerate().take_while(|(n, item)| *n == 0 || meets(item));
        let mut count = 0;
        for item in earlier.chain(later.map(|(_, item)| item)) {
            if item.min_us >= from && item.max_us < to {
                count += item.transactions;
            } else {
                let entries = self.read(section, item)?;
                count += entries.iter().filter(|(_, e)| (from..to).contains(&e.us(section.clock))).count() as u64;
            }
        }
        Ok(count)
    }

    /// Transactions at or before a time target that stand behind the stop, in this section and in later ones.
    pub(super) fn later_before_target(&self, course: &Course<'_>, goal: Goal) -> Result<Later, Unrecoverable> {
        let mut later = Later::default();
        let Some(us) = goal.time_us else { return Ok(later) };
        for (number, section) in course.sections.iter().enumerate().skip(goal.section) {
            let from = if number == goal.section { goal.place } else { Place::before(0) };
            for (place, item) in section.items.iter().enumerate().skip(from.item).filter(|(_, item)| item.min_us <= us)
            {
                let cut = if place == from.item { from.count } else { 0 };
                if cut == 0 && item.max_us <= us && later.what.first.is_some() {
                    later.what.count += item.transactions;
                    later.by_us = later.by_us.max(us - item.min_us);
                    continue;
                }
                for (_, entry) in
                    self.read(section, item)?.iter().filter(|(n, e)| *n >= cut && e.us(section.clock) <= us)
                {
                    if later.what.first.is_none() {
                        later.what.first = Some(Box::new(self.describe(section, item, entry)));
                    }
                    later.what.count += 1;
                    later.by_us = later.by_us.max(us - entry.us(section.clock));
                }
            }
        }
        Ok(later)
    }
}
