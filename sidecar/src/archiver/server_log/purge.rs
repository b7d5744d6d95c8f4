//! Which binlogs a server need not keep any more: a contiguous part from the first one on, all of it in the archive for good.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use pitr_binlog::BinlogName;
use pitr_recovery::{BinlogId, code};

use crate::archiver::upkeep::LISTING_EVERY;
use crate::error::Failure;
use crate::mysql::ListedBinlog;

/// No more go at once: the store is asked for all objects of each right before, and what it lists is to be fresh.
const AT_ONCE: usize = 64;

/// So long after it might have gone, one that stays is told of: what has just been closed is still on its way into the catalog, and that
/// is read anew after this time at the latest.
const OVERDUE_US: i64 = 2 * LISTING_EVERY.as_micros() as i64;

/// A closed binlog of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedBinlog {
    pub(super) name: BinlogName,
    /// Its length.
    pub(super) bytes: u64,
    /// When the server wrote to it last; 0 for one that cannot be read.
    pub(super) closed_us: i64,
    /// Which binlog it is, if the archive has it for good; else what keeps it.
    pub(super) archived: Result<BinlogId, Reason>,
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purgeable {
    /// Which of the closed ones go.
    pub(super) going: Range<usize>,
    /// The first behind them, which stays.
    pub(super) kept: BinlogName,
    /// What keeps the next closed one, if there is one.
    pub(super) held: Option<Held>,
}

/// The first closed binlog that stays, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) binlog: String,
    pub(super) reason: Reason,
    /// When it was old enough to go.
    pub(super) due_us: i64,
}

/// Why a closed binlog stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The archive does not have it whole.
    NotArchived,
    /// The store did not say what it has of it.
    NotListed,
    /// A replica that is away may still want it.
    Young,
    /// The server lists another one in its place.
    Unlike,
    /// The server was asked, and keeps it.
    InUse,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotArchived => "it is not in the archive as a whole",
            Self::NotListed => "the store did not say in time what it has of it",
            Self::Young => "it was closed less than purge_after ago",
            Self::Unlike => "the server lists another one in its place",
            Self::InUse => "a replica reads it",
        })
    }
}

impl Held {
    /// What it is to be told of it: where nothing changes, the server's volume fills.
    pub(super) fn failure(&self, now_us: i64) -> Option<Failure> {
        let is_usual = matches!(self.reason, Reason::Young | Reason::InUse);
        if is_usual || now_us.saturating_sub(self.due_us) < OVERDUE_US {
            return None;
        }
        let Self { binlog, reason, .. } = self;
        let message = format!("the server keeps {binlog} and all binlogs after it: {reason}");
        Some(
            Failure::new(&code::SERVER_LOG_REFUSED, message)
                .hint("purge_archived lets it delete nothing behind the first that may not go")
                .fix("where nobody needs that one any more, once and by hand: PURGE BINARY LOGS TO the one after it"),
        )
    }
}

/// How many of the closed binlogs, by name, count for what may go now: others are not worth a look.
pub(super) fn concerned(closed: &[BinlogName], listed: &[ListedBinlog]) -> usize {
    let first = listed.first().map_or("", |binlog| binlog.name.as_str());
    let left = closed.iter().take_while(|name| name.as_str() != first).count();
    closed.len().min(left + AT_ONCE + 1)
}

/// What may go of the binlogs that the server lists, given the files beside the archiver in its order and the binlog being written.
/// Files that the server has left under another name come first; they are not its to delete, but what follows them is no beginning
/// of the archive unless they are archived, too.
pub(super) fn purgeable(
    closed: &[ClosedBinlog],
    active: &BinlogName,
    listed: &[ListedBinlog],
    (now_us, after): (i64, Duration),
) -> Purgeable {
    let first = listed.first().map_or("", |binlog| binlog.name.as_str());
    let left = closed.iter().take_while(|binlog| binlog.name.as_str() != first).count();
    let after_us = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
    let stays = |(at, binlog): (usize, &ClosedBinlog)| {
        let own = at.checked_sub(left);
        let is_listed = own.is_none_or(|own| {
            listed.get(own).is_some_and(|l| l.name == binlog.name.as_str() && l.bytes == binlog.bytes)
        });
        let due_us = binlog.closed_us.saturating_add(after_us);
        let reason = if !is_listed {
            Some(Reason::Unlike)
        } else if own.is_some() && now_us < due_us {
            Some(Reason::Young)
        } else {
            binlog.archived.as_ref().err().copied()
        };
        reason.map(|reason| (at, Held { binlog: binlog.name.as_str().to_owned(), reason, due_us }))
    };
    let (end, held) =
        closed.iter().enumerate().find_map(stays).map_or((closed.len(), None), |(at, held)| (at, Some(held)));
    let going = left..end.clamp(left, left + AT_ONCE);
    let kept = closed.get(going.end).map_or(active, |binlog| &binlog.name);
    // The server must know the one up to which it is to delete, as the next one.
    let is_next = listed.get(going.len()).is_some_and(|next| next.name == kept.as_str());
    let going = if is_next { going } else { left..left };
    Purgeable { going, kept: kept.clone(), held }
}

impl Purgeable {
    /// How many of those that were to go are gone, and their bytes, by what the server listed before and lists now. The first that is not
    /// is what is held.
    pub(super) fn carried_out(&mut self, before: &[ListedBinlog], now: &[ListedBinlog]) -> (usize, u64) {
        let asked = before.get(..self.going.len()).unwrap_or_default();
        let is_left = |binlog: &&ListedBinlog| now.iter().any(|left| left.name == binlog.name);
        let gone = asked.iter().take_while(|binlog| !is_left(binlog));
        let (count, bytes) = gone.fold((0, 0), |(count, bytes), binlog| (count + 1, bytes + binlog.bytes));
        if let Some(first) = asked.get(count) {
            self.held = Some(Held { binlog: first.name.clone(), reason: Reason::InUse, due_us: 0 });
        }
        (count, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    const NOW_US: i64 = 1_800_000_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR_US: i64 = 3_600_000_000;

    fn name(number: u64) -> BinlogName {
        BinlogName::parse(&format!("binlog.{number:06}")).unwrap()
    }

    /// Binlogs 1 to 5, closed 50, 40, 30, 20 and 10 hours ago; 6 is being written.
    fn closed() -> Vec<ClosedBinlog> {
        let ago = |number: i64| NOW_US - (60 - 10 * number) * HOUR_US;
        (1..).zip(numbered(1..=5)).map(|(number, binlog)| ClosedBinlog { closed_us: ago(number), ..binlog }).collect()
    }

    /// Binlogs closed long ago.
    fn numbered(numbers: RangeInclusive<u64>) -> Vec<ClosedBinlog> {
        let id = |number| BinlogId { source: String::new(), number, head: [1; 8] };
        let binlog =
            |number| ClosedBinlog { name: name(number), bytes: 1000 + number, closed_us: 0, archived: Ok(id(number)) };
        numbers.map(binlog).collect()
    }

    fn listed(numbers: RangeInclusive<u64>) -> Vec<ListedBinlog> {
        numbers.map(|number| ListedBinlog { name: name(number).as_str().to_owned(), bytes: 1000 + number }).collect()
    }

    fn goes(closed: &[ClosedBinlog], listed: &[ListedBinlog], after: Duration) -> (u64, usize, Option<Reason>) {
        let found = purgeable(closed, &name(6), listed, (NOW_US, after));
        (found.kept.number(), found.going.len(), found.held.map(|held| held.reason))
    }

    #[test]
    fn all_that_is_archived_and_old_enough_goes_and_never_the_one_being_written() {
        assert_eq!(goes(&closed(), &listed(1..=6), DAY), (4, 3, Some(Reason::Young)));
        assert_eq!(goes(&closed(), &listed(1..=6), Duration::ZERO), (6, 5, None));
        assert_eq!(goes(&[], &listed(6..=6), Duration::ZERO), (6, 0, None));
    }

    #[test]
    fn many_go_by_and_by() {
        let closed = numbered(1..=200);
        let found = purgeable(&closed, &name(201), &listed(1..=201), (NOW_US, Duration::ZERO));
        assert_eq!((found.going, found.kept, found.held), (0..AT_ONCE, name(65), None));
        let found = purgeable(&closed[..3], &name(4), &listed(1..=4), (NOW_US, DAY));
        assert_eq!((found.going, found.kept), (0..3, name(4)));
    }

    #[test]
    fn nothing_behind_a_hole_goes() {
        for hole in 0..5 {
            let mut closed = closed();
            closed[hole].archived = Err(Reason::NotArchived);
            let expected = (hole as u64 + 1, hole, Some(Reason::NotArchived));
            assert_eq!(goes(&closed, &listed(1..=6), Duration::ZERO), expected);
            closed[hole].closed_us = NOW_US;
            assert_eq!(goes(&closed, &listed(1..=6), DAY).2, Some(Reason::Young), "it is on its way");
        }
    }

    #[test]
    fn what_the_server_lists_otherwise_stays() {
        let mut other = listed(1..=6);
        other[1].bytes += 1;
        assert_eq!(goes(&closed(), &other, Duration::ZERO), (2, 1, Some(Reason::Unlike)));
        let mut renamed = listed(1..=6);
        renamed[2].name = "mysql-bin.000003".to_owned();
        assert_eq!(goes(&closed(), &renamed, Duration::ZERO).1, 0, "the next one is not the one that is to stay");
        for strange in [listed(2..=6), Vec::new(), listed(7..=9)] {
            let kept = goes(&closed(), &strange, Duration::ZERO);
            assert!(kept.1 == 0 || kept == (6, 4, None), "{kept:?}");
        }
        assert_eq!(goes(&closed(), &listed(1..=5), Duration::ZERO).1, 0, "the server has not begun the active one");
    }

    #[test]
    fn what_was_left_under_another_name_is_not_the_servers_to_delete() {
        let left = ClosedBinlog { name: BinlogName::parse("old-bin.000009").unwrap(), ..closed()[0].clone() };
        let with_left = |is_archived: bool| {
            let archived = if is_archived { left.archived.clone() } else { Err(Reason::NotArchived) };
            let left = ClosedBinlog { archived, ..left.clone() };
            [vec![left], closed()].concat()
        };
        assert_eq!(goes(&with_left(true), &listed(1..=6), Duration::ZERO), (6, 5, None));
        assert_eq!(
            goes(&with_left(false), &listed(1..=6), Duration::ZERO).1,
            0,
            "there is a hole before the first one"
        );
        // Young ones of an older name hold nothing: no replica reads them from here.
        let young = ClosedBinlog { closed_us: NOW_US, ..left };
        let young = [vec![young], closed()].concat();
        assert_eq!(goes(&young, &listed(1..=6), DAY), (4, 3, Some(Reason::Young)));
    }

    #[test]
    fn only_what_counts_is_looked_at() {
        let names = |numbers: RangeInclusive<u64>| numbers.map(name).collect::<Vec<_>>();
        assert_eq!(concerned(&names(1..=5), &listed(1..=6)), 5);
        assert_eq!(concerned(&names(1..=900), &listed(1..=901)), AT_ONCE + 1);
        assert_eq!(concerned(&names(1..=900), &listed(11..=901)), 10 + AT_ONCE + 1);
        assert_eq!(concerned(&[], &listed(1..=1)), 0);
        // With no more of them than that, as many go as with all.
        let (all, listed) = (numbered(1..=200), listed(1..=201));
        let few = &all[..concerned(&names(1..=200), &listed)];
        let of = |closed| purgeable(closed, &name(201), &listed, (NOW_US, Duration::ZERO));
        assert_eq!(of(few), of(&all));
    }

    #[test]
    fn what_the_server_keeps_all_the_same_is_not_gone() {
        let mut plan = purgeable(&closed(), &name(6), &listed(1..=6), (NOW_US, Duration::ZERO));
        assert_eq!(plan.carried_out(&listed(1..=6), &listed(6..=6)), (5, 1001 + 1002 + 1003 + 1004 + 1005));
        assert_eq!(plan.held, None);
        assert_eq!(plan.carried_out(&listed(1..=6), &listed(3..=6)), (2, 1001 + 1002));
        let held = plan.held.clone().unwrap();
        assert_eq!((held.binlog.as_str(), held.reason), ("binlog.000003", Reason::InUse));
        assert_eq!(plan.carried_out(&listed(1..=6), &listed(1..=6)), (0, 0));
        assert!(held.failure(i64::MAX).is_none(), "it is the server's own affair");
    }

    #[test]
    fn what_stays_for_long_is_told() {
        let mut closed = closed();
        closed[1].archived = Err(Reason::NotArchived);
        let held = purgeable(&closed, &name(6), &listed(1..=6), (NOW_US, DAY)).held.unwrap();
        let due_us = closed[1].closed_us + 24 * HOUR_US;
        assert!(held.failure(due_us + OVERDUE_US - 1).is_none(), "it may be on its way");
        let failure = held.failure(due_us + OVERDUE_US).unwrap();
        assert_eq!(failure.code().number, 518);
        assert!(failure.to_string().contains("keeps binlog.000002 and all binlogs after it"), "{failure}");
        let young = purgeable(&closed, &name(6), &listed(1..=6), (NOW_US, DAY * 9)).held.unwrap();
        assert!(young.reason == Reason::Young && young.failure(NOW_US).is_none());
    }
}
