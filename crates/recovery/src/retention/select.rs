//! Which base backups stay, and which binlogs with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::mistaken::{Mistaken, mistaken};
use super::promise::{is_promised, lost};
use super::{Decision, ExpireItem, ExpirePlan, ExpireRule, Expiry, KeepReason, RetentionRequest, Verdict, WithoutBase};
use crate::entry::Entry;
use crate::inventory::{ArchivedBinlog, BaseBackup, BinlogId, Closed, Inventory};
use crate::timeline::Timeline;

/// The plan that keeps least and still serves what is promised.
pub(super) fn plan(timeline: &Timeline, request: &RetentionRequest) -> Expiry {
    let selection = Selection::new(timeline, request);
    if !selection.has_usable() {
        return Expiry::Plan(selection.without_base());
    }
    // What only a base backup without its content reaches was never promised, and nothing that is left counts on one.
    let without_content;
    let sound = if request.incomplete.is_empty() {
        timeline
    } else {
        without_content = timeline.of_part(selection.complete(&timeline.inventory));
        &without_content
    };
    let wanted = sound.ranges_for_windows();
    if !wanted.is_empty() {
        return Expiry::Reads(wanted);
    }
    // Nearly always the first attempt serves. Where clocks or logs are so that it does not, older base backups stay as well.
    let mut care = Care::default();
    while care.more <= timeline.inventory.backups.len() {
        let kept = selection.kept(&care);
        let after = timeline.of_part(kept.inventory(&sound.inventory));
        let wanted = after.ranges_for_windows();
        if !wanted.is_empty() {
            return Expiry::Reads(wanted);
        }
        if !lost(sound, &after, selection.from_us).is_empty() {
            care.more = (2 * care.more).max(1);
            continue;
        }
        let mistaken = mistaken(sound, &after);
        if mistaken.is_empty() {
            let promised_from = request.promised_us.map_or(selection.from_us, |us| request.now_us.saturating_sub(us));
            let shrinks = lost(sound, &after, promised_from.min(selection.from_us));
            return Expiry::Plan(ExpirePlan { shrinks, ..selection.decide(&kept, &care) });
        }
        if !care.learn(mistaken, &kept) {
            break;
        }
    }
    Expiry::Plan(selection.decide(&selection.everything(&KeepReason::Promised), &Care::default()))
}

/// What earlier attempts have taught.
#[derive(Default)]
struct Care {
    /// How many base backups more than one begin each window.
    more: usize,
    /// Base backups that would be taken for ones of another history: they do not count among the last ones.
    apart: BTreeSet<String>,
    /// Those of them that stay all the same: what tells them apart must stay as well.
    told: Vec<Mistaken>,
}

impl Care {
    /// Takes in what the last attempt would have mistaken. Says whether that changes anything.
    fn learn(&mut self, mistaken: Vec<Mistaken>, kept: &Kept) -> bool {
        let before = (self.apart.len(), self.told.len());
        for one in mistaken {
            let is_only_last = kept.backups.get(&one.backup).is_some_and(|reasons| *reasons == [KeepReason::Last]);
            let is_replaced = kept.usable.iter().any(|id| *id != one.backup && !self.apart.contains(id));
            if is_only_last && is_replaced {
                self.apart.insert(one.backup);
            } else if !self.told.contains(&one) {
                self.told.push(one);
            }
        }
        before != (self.apart.len(), self.told.len())
    }
}

/// What stays, with the reasons.
#[derive(Default)]
struct Kept {
    /// Base backups that a log leads on from, whether they stay or not.
    usable: BTreeSet<String>,
    backups: BTreeMap<String, Vec<KeepReason>>,
    binlogs: BTreeMap<BinlogId, Vec<KeepReason>>,
}

impl Kept {
    fn backup(&mut self, id: &str, reason: KeepReason) {
        let reasons = self.backups.entry(id.to_owned()).or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }

    fn inventory(&self, of: &Inventory) -> Inventory {
        Inventory {
            workload: of.workload.clone(),
            binlogs: of.binlogs.iter().filter(|binlog| self.binlogs.contains_key(&binlog.id)).cloned().collect(),
            backups: of.backups.iter().filter(|backup| self.backups.contains_key(&backup.id)).cloned().collect(),
            listed_us: of.listed_us,
            running: of.running.clone(),
        }
    }
}

struct Selection<'a> {
    timeline: &'a Timeline,
    request: &'a RetentionRequest,
    /// The beginning of the window.
    from_us: i64,
}

impl<'a> Selection<'a> {
    fn new(timeline: &'a Timeline, request: &'a RetentionRequest) -> Self {
        Self { timeline, request, from_us: request.now_us.saturating_sub(request.policy.window_us) }
    }

    fn backups(&self) -> &'a [BaseBackup] {
        &self.timeline.inventory.backups
    }

    fn binlogs(&self) -> &'a [Arc<ArchivedBinlog>] {
        &self.timeline.inventory.binlogs
    }

    /// Whether a log leads on from a base backup, or to its state.
    fn is_connected(&self, way: usize, entry: &Entry) -> bool {
        self.timeline.ways[way].sections[entry.section].alone.is_none()
    }

    fn has_usable(&self) -> bool {
        let mut entries = self.timeline.entries.iter().enumerate();
        entries.any(|(way, entries)| {
            entries.iter().any(|entry| self.is_connected(way, entry) && self.is_complete(entry.backup))
        })
    }

    /// Whether all content of a base backup is there, as far as anybody knows.
    fn is_complete(&self, backup: usize) -> bool {
        !self.request.incomplete.contains(&self.backups()[backup].id)
    }

    /// The same, without base backups that lack content.
    fn complete(&self, of: &Inventory) -> Inventory {
        let mut inventory = of.clone();
        inventory.backups.retain(|backup| !self.request.incomplete.contains(&backup.id));
        inventory
    }

    /// The latest instant that says how young a base backup is: commit times, its maker's clock, the store's.
    fn age_us(&self, backup: &BaseBackup, entry: Option<&Entry>) -> i64 {
        let stored = self.request.stored.backups.get(&backup.id).copied().unwrap_or(i64::MAX);
        entry.map_or(i64::MIN, |entry| entry.from_us).max(backup.snapshot_us).max(stored)
    }

    fn kept(&self, care: &Care) -> Kept {
        let mut kept = Kept::default();
        self.keep_backups(care, &mut kept);
        self.keep_needed(&mut kept);
        for told in &care.told {
            self.keep_telling(told, &mut kept);
        }
        for binlog in self.binlogs() {
            let mut reasons = Vec::new();
            if let Some(since_us) = Some(self.binlog_us(binlog)).filter(|us| *us > self.from_us) {
                reasons.push(KeepReason::Young { since_us });
            }
            if self.may_grow(binlog) {
                reasons.push(KeepReason::Open);
            }
            // At a first glance a base backup in the middle of it stands behind it.
            if self.timeline.lacks_index_of(&binlog.id) {
                reasons.push(KeepReason::Unread);
            }
            if !reasons.is_empty() {
                kept.binlogs.entry(binlog.id.clone()).or_default().extend(reasons);
            }
        }
        self.keep_repeated(&mut kept);
        kept
    }

    /// What binlogs that stay are told by, and what those are told by in turn.
    fn keep_repeated(&self, kept: &mut Kept) {
        let mut pending: Vec<BinlogId> = kept.binlogs.keys().cloned().collect();
        while let Some(by) = pending.pop() {
            for needed in self.request.needs.get(&by).into_iter().flatten() {
                if !kept.binlogs.contains_key(needed) {
                    kept.binlogs.insert(needed.clone(), vec![KeepReason::Repeated { by: by.clone() }]);
                    pending.push(needed.clone());
                }
            }
        }
    }

    /// What tells a base backup from the history that it would be taken for: all of that one's log, and of its own.
    fn keep_telling(&self, told: &Mistaken, kept: &mut Kept) {
        let ways = self.timeline.ways.iter().zip(&self.timeline.entries).zip(self.timeline.branches());
        for ((way, entries), branch) in ways {
            let is_own = entries.iter().any(|entry| self.backups()[entry.backup].id == told.backup);
            if !is_own && (&branch.end, branch.last_us) != (&told.end, told.last_us) {
                continue;
            }
            let logs = way.sections.iter().flat_map(|section| &section.legs).map(|leg| &self.timeline.logs[leg.log]);
            for binlog in logs.flat_map(|log| log.stream.binlogs.iter()) {
                let reasons = kept.binlogs.entry(binlog.id.clone()).or_default();
                let reason = KeepReason::Tells { backup: told.backup.clone() };
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
    }

    fn keep_backups(&self, care: &Care, kept: &mut Kept) {
        let (mut ages, mut usable) = (BTreeMap::<usize, i64>::new(), BTreeSet::new());
        for (number, branch) in self.timeline.branches().iter().enumerate() {
            let entries = &self.timeline.entries[number];
            let mut old: Vec<(i64, &Entry)> = Vec::new();
            for entry in entries {
                let us = self.age_us(&self.backups()[entry.backup], Some(entry));
                ages.entry(entry.backup).and_modify(|known| *known = us.max(*known)).or_insert(us);
                if !self.is_complete(entry.backup) {
                    continue;
                }
                if self.is_connected(number, entry) {
                    usable.insert(entry.backup);
                }
                if us <= self.from_us {
                    old.push((us, entry));
                }
            }
            if !is_promised(self.timeline, branch, self.from_us) {
                continue;
            }
            old.sort_by_key(|(us, entry)| (*us, entry.section, entry.place));
            let connected = old.iter().rev().filter(|(_, entry)| self.is_connected(number, entry)).take(1 + care.more);
            for (_, entry) in old.iter().rev().take(1 + care.more).chain(connected) {
                kept.backup(&self.backups()[entry.backup].id, KeepReason::Begins { branch: branch.id.clone() });
            }
        }
        kept.usable = usable.iter().map(|backup| self.backups()[*backup].id.clone()).collect();
        let counts = |backup: &&usize| !care.apart.contains(&self.backups()[**backup].id);
        let mut newest: Vec<(i64, usize)> =
            usable.iter().filter(counts).map(|backup| (ages[backup], *backup)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        for (_, backup) in newest.into_iter().take(usize::try_from(self.request.policy.keep_last).unwrap_or(usize::MAX))
        {
            kept.backup(&self.backups()[backup].id, KeepReason::Last);
        }
        for (number, backup) in self.backups().iter().enumerate() {
            if self.request.policy.pins.contains(&backup.id) {
                kept.backup(&backup.id, KeepReason::Pinned);
            }
            let since_us = ages.get(&number).copied().unwrap_or_else(|| self.age_us(backup, None));
            if since_us > self.from_us {
                kept.backup(&backup.id, KeepReason::Young { since_us });
            }
        }
    }

    /// Every binlog from the first that a kept base backup may need, to the end of its stream.
    fn keep_needed(&self, kept: &mut Kept) {
        let mut first: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (way, entries) in self.timeline.ways.iter().zip(&self.timeline.entries) {
            for entry in entries.iter().filter(|entry| kept.backups.contains_key(&self.backups()[entry.backup].id)) {
                let section = &way.sections[entry.section];
                for item in section.items.iter().skip(entry.place.item) {
                    let (log, piece) = (section.legs[item.leg].log, section.piece_of(item, &self.timeline.logs));
                    let binlog = &self.binlogs()[piece.binlog].id;
                    let in_stream = self.timeline.logs[log].stream.binlogs.iter().position(|own| own.id == *binlog);
                    let needed = (in_stream.unwrap_or(0), entry.backup);
                    let known = first.entry(log).or_insert(needed);
                    *known = needed.min(*known);
                }
            }
        }
        for (log, (from, backup)) in first {
            let backup = &self.backups()[backup].id;
            for binlog in self.timeline.logs[log].stream.binlogs.iter().skip(from) {
                let reason = KeepReason::Needed { backup: backup.clone() };
                let reasons = kept.binlogs.entry(binlog.id.clone()).or_default();
                if !reasons.iter().any(|known| matches!(known, KeepReason::Needed { .. })) {
                    reasons.push(reason);
                }
            }
        }
    }

    /// The latest instant that says how young a binlog is: its commit times, or the store's clock.
    fn binlog_us(&self, binlog: &ArchivedBinlog) -> i64 {
        let stored = self.request.stored.binlogs.get(&binlog.id).copied().unwrap_or(i64::MAX);
        last_commit_us(binlog).map_or(stored, |us| us.max(stored))
    }

    /// Whether the server may still write to a binlog: it is not closed, and nothing shows that its server has left it. What has a
    /// mark is not stored again, so such a binlog must never get one.
    fn may_grow(&self, binlog: &ArchivedBinlog) -> bool {
        let went_on = |other: &Arc<ArchivedBinlog>| {
            other.id.source == binlog.id.source
                && other.id.number > binlog.id.number
                && self.binlog_us(other) > self.binlog_us(binlog)
        };
        binlog.closed == Closed::Open && !self.binlogs().iter().any(went_on)
    }

    fn everything(&self, reason: &KeepReason) -> Kept {
        let mut kept = self.kept(&Care { more: self.backups().len(), ..Care::default() });
        for backup in self.backups() {
            kept.backups.entry(backup.id.clone()).or_insert_with(|| vec![reason.clone()]);
        }
        for binlog in self.binlogs() {
            kept.binlogs.entry(binlog.id.clone()).or_insert_with(|| vec![reason.clone()]);
        }
        kept
    }

    /// Without a base backup nothing goes, or binlogs go by age.
    fn without_base(&self) -> ExpirePlan {
        let mut kept = Kept::default();
        self.backups().iter().for_each(|backup| kept.backup(&backup.id, KeepReason::NoBaseBackup));
        for binlog in self.binlogs() {
            let since_us = self.binlog_us(binlog);
            let reason = match self.request.policy.without_base {
                WithoutBase::Keep => KeepReason::NoBaseBackup,
                // Where one stands may be what cannot be read.
                WithoutBase::Age if self.timeline.is_first_glance() => KeepReason::NoBaseBackup,
                WithoutBase::Age if since_us > self.from_us => KeepReason::Young { since_us },
                WithoutBase::Age if self.may_grow(binlog) => KeepReason::Open,
                WithoutBase::Age => continue,
            };
            kept.binlogs.insert(binlog.id.clone(), vec![reason]);
        }
        self.keep_repeated(&mut kept);
        self.decide(&kept, &Care::default())
    }

    fn decide(&self, kept: &Kept, care: &Care) -> ExpirePlan {
        let entered: BTreeSet<usize> = self.timeline.entries.iter().flatten().map(|entry| entry.backup).collect();
        let aged = !self.has_usable();
        let begins = |(_, reasons): &(&String, &Vec<KeepReason>)| {
            reasons.iter().any(|reason| matches!(reason, KeepReason::Begins { .. }))
        };
        let by = kept.backups.iter().find(begins).map(|(id, _)| id.clone());
        let mut backups: Vec<&BaseBackup> = self.backups().iter().collect();
        backups.sort_by_key(|backup| (backup.snapshot_us, &backup.id));
        let mut decisions = Vec::new();
        for backup in backups {
            let is_entered =
                self.backups().iter().position(|b| b.id == backup.id).is_some_and(|n| entered.contains(&n));
            let by = by.clone().filter(|_| is_entered);
            let is_incomplete = self.request.incomplete.contains(&backup.id);
            let rule = match () {
                () if is_incomplete => ExpireRule::Incomplete,
                () if care.apart.contains(&backup.id) => ExpireRule::Apart,
                () => ExpireRule::Superseded { by },
            };
            decisions.push(Decision {
                item: ExpireItem::Backup(backup.id.clone()),
                verdict: verdict(kept.backups.get(&backup.id), rule),
                last_us: Some(backup.snapshot_us),
                stored_bytes: backup.stored_bytes,
            });
        }
        let mut binlogs: Vec<&Arc<ArchivedBinlog>> = self.binlogs().iter().collect();
        binlogs.sort_by_key(|binlog| (last_commit_us(binlog), &binlog.id));
        for binlog in binlogs {
            let rule = if aged { ExpireRule::Aged } else { ExpireRule::NotNeeded };
            let objects = binlog.ranges.iter().flat_map(|range| &range.objects);
            decisions.push(Decision {
                item: ExpireItem::Binlog(binlog.id.clone()),
                verdict: verdict(kept.binlogs.get(&binlog.id), rule),
                last_us: last_commit_us(binlog),
                stored_bytes: objects.map(|object| object.length).sum(),
            });
        }
        ExpirePlan { now_us: self.request.now_us, keeps_from_us: self.from_us, decisions, shrinks: Vec::new() }
    }
}

fn verdict(reasons: Option<&Vec<KeepReason>>, rule: ExpireRule) -> Verdict {
    reasons.map_or(Verdict::Expire(rule), |reasons| Verdict::Keep(reasons.clone()))
}

fn last_commit_us(binlog: &ArchivedBinlog) -> Option<i64> {
    binlog.ranges.iter().filter(|range| range.transactions > 0).map(|range| range.max_commit_us).max()
}
