//! The computed whole: streams, branches, gaps, windows, and the plans that follow from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::branch::{Branch, Problem};
use crate::collision::Collisions;
use crate::continuity::find_streams;
use crate::entry::Entry;
use crate::gap::Gap;
use crate::inventory::{BinlogId, Indices, Inventory, RangeRef};
use crate::log::{IndexReader, Log};
use crate::path::Logs;
use crate::plan::RestorePlan;
use crate::planner::Planner;
use crate::short_id::ShortIds;
use crate::stream::Stream;
use crate::survey::Survey;
use crate::target::PlanRequest;
use crate::unrecoverable::Unrecoverable;
use crate::ways::{Way, find_ways};
use crate::window::{BackupReach, Window};

/// What an inventory means. Made again whenever the inventory changes; nothing of it is stored.
#[derive(Clone, Debug)]
pub struct Timeline {
    pub(crate) inventory: Inventory,
    pub(crate) indices: Indices,
    pub(crate) logs: Vec<Log>,
    pub(crate) collisions: Collisions,
    pub(crate) ways: Vec<Way>,
    /// Whether the first way is known to be the live one.
    pub(crate) live_known: bool,
    /// For each way, where base backups enter it.
    pub(crate) entries: Vec<Vec<Entry>>,
    pub(crate) survey: Survey,
    streams: Vec<Stream>,
    problems: Vec<Problem>,
    wanted: BTreeSet<RangeRef>,
    /// Ranges whose indices nobody can read.
    unread: BTreeSet<RangeRef>,
}

impl Timeline {
    /// Computes streams, branches, gaps and windows from what ranges say about themselves.
    ///
    /// It is a first glance: where base backups stand, where branches part and which numbers have returned is known only with the
    /// indices that [`Self::ranges_for_windows`] names. Until those are read nothing should be promised.
    #[must_use]
    pub fn new(inventory: Inventory) -> Self {
        Self::compute(inventory, Indices::new(), BTreeSet::new())
    }

    /// The same with more indices read, which makes windows exact and plans possible.
    #[must_use]
    pub fn with_indices(mut self, indices: Indices) -> Self {
        let concerned = indices.keys().any(|range| self.wanted.contains(range));
        self.indices.extend(indices);
        if !concerned {
            return self;
        }
        let (inventory, indices, unread) = self.into_sources();
        Self::compute(inventory, indices, unread)
    }

    /// The same for whoever cannot read the indices of these ranges: windows no longer ask for them, and are what they are at a first
    /// glance there. A plan for a target that needs one still asks.
    #[must_use]
    pub fn without_indices(mut self, ranges: impl IntoIterator<Item = RangeRef>) -> Self {
        self.unread.extend(ranges);
        self
    }

    /// The same for whoever finds that nothing which is stored gives these ranges now: they are lost, and windows end before them.
    #[must_use]
    pub fn without_ranges(self, lost: impl IntoIterator<Item = RangeRef>) -> Self {
        let lost: BTreeSet<RangeRef> = lost.into_iter().collect();
        if lost.is_empty() {
            return self;
        }
        let (mut inventory, indices, mut unread) = self.into_sources();
        let concerned: BTreeSet<&BinlogId> = lost.iter().map(|range| &range.binlog).collect();
        for binlog in inventory.binlogs.iter_mut().filter(|binlog| concerned.contains(&binlog.id)) {
            let references: Vec<RangeRef> = binlog.ranges.iter().map(|range| binlog.range_ref(range)).collect();
            let ranges = Arc::make_mut(binlog).ranges.iter_mut().zip(&references);
            ranges.filter(|(_, reference)| lost.contains(reference)).for_each(|(range, _)| range.objects.clear());
        }
        unread.extend(lost);
        Self::compute(inventory, indices, unread)
    }

    /// The ranges that nobody could read, as [`Self::without_ranges`] and [`Self::without_indices`] were told.
    #[must_use]
    pub const fn unread(&self) -> &BTreeSet<RangeRef> {
        &self.unread
    }

    /// Whether nobody can read an index that is wanted of this binlog.
    pub(crate) fn lacks_index_of(&self, id: &BinlogId) -> bool {
        self.unread.iter().any(|range| range.binlog == *id)
    }

    /// Whether it lacks an index that nobody can read.
    pub(crate) fn is_first_glance(&self) -> bool {
        !self.unread.is_empty()
    }

    /// What it is computed from; the rest is dropped before another is computed: of a large archive two would be too much.
    fn into_sources(self) -> (Inventory, Indices, BTreeSet<RangeRef>) {
        (self.inventory, self.indices, self.unread)
    }

    /// The timeline of a part of this one's inventory, with the same indices.
    pub(crate) fn of_part(&self, inventory: Inventory) -> Self {
        Self::compute(inventory, self.indices.clone(), self.unread.clone())
    }

    fn compute(inventory: Inventory, indices: Indices, unread: BTreeSet<RangeRef>) -> Self {
        let mut ids = ShortIds::default();
        let reader = IndexReader::new(&inventory, &indices);
        let found = find_streams(&reader, &mut ids);
        let collisions = Collisions::find(&found.logs, found.disputes, &reader);
        let logs = Logs { logs: &found.logs, collisions: &collisions, reader: &reader };
        let (mut ways, live_known) = find_ways(&logs);
        let entries = crate::standing::place_backups(&mut ways, &logs);
        let survey = Survey::of(&ways, &entries, live_known, (&logs, &mut ids));
        let mut problems = found.problems;
        problems.extend(collisions.iter().map(|(a, b, gtids)| Problem::Collision {
            streams: (found.logs[a].stream.id.clone(), found.logs[b].stream.id.clone()),
            gtids: gtids.clone(),
        }));
        let wanted = reader.into_wanted();
        let streams = found.logs.iter().map(|log| log.stream.clone()).collect();
        let logs = found.logs;
        Self {
            inventory,
            indices,
            logs,
            collisions,
            ways,
            live_known,
            entries,
            survey,
            streams,
            problems,
            wanted,
            unread,
        }
    }

    /// What this is computed from.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The ranges whose indices would make windows, forks and the starts of base backups exact: about one for each base
    /// backup and fork. To be asked again with them until it is empty.
    #[must_use]
    pub fn ranges_for_windows(&self) -> Vec<RangeRef> {
        let is_open = |range: &&RangeRef| !self.indices.contains_key(range) && !self.unread.contains(range);
        self.wanted.iter().filter(is_open).cloned().collect()
    }

    /// All streams, by source and number.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// All branches, the live one first.
    #[must_use]
    pub fn branches(&self) -> &[Branch] {
        &self.survey.branches
    }

    /// All gaps, by branch and time.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.survey.gaps
    }

    /// All windows, those of the live branch first, by time.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.survey.windows
    }

    /// What each base backup is good for, newest first.
    #[must_use]
    pub fn backups(&self) -> &[BackupReach] {
        &self.survey.backups
    }

    /// What needs a human.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The ranges whose indices this plan needs and does not have yet. To be asked again with them until nothing is left
    /// (two or three rounds); then [`Self::plan`] answers.
    pub fn ranges_to_read(&self, request: &PlanRequest) -> Result<Vec<RangeRef>, Unrecoverable> {
        let first = self.ranges_for_windows();
        if !first.is_empty() {
            return Ok(first);
        }
        let reader = IndexReader::new(&self.inventory, &self.indices);
        let answer = Planner::new(self, &reader).plan(request);
        let wanted = reader.into_wanted();
        if wanted.is_empty() { answer.map(|_| Vec::new()) } else { Ok(wanted.into_iter().collect()) }
    }

    /// The plan for a target, or why there is none.
    pub fn plan(&self, request: &PlanRequest) -> Result<RestorePlan, Unrecoverable> {
        if let Some(range) = self.ranges_to_read(request)?.into_iter().next() {
            return Err(Unrecoverable::IndexNotRead { range });
        }
        let reader = IndexReader::new(&self.inventory, &self.indices);
        Planner::new(self, &reader).plan(request)
    }
}
