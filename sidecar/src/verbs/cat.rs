//! `cat`: archived binlogs as one stream, for `mysqlbinlog` or any other tool. Every byte is verified before it is written, and a stream
//! that would have a hole is refused before its first byte.

use std::process::ExitCode;
use std::sync::Arc;

use pitr_archive::Archive;
use pitr_binlog::{Gtid, GtidSet, MAGIC};
use pitr_recovery::{
    ArchivedBinlog, ArchivedRange, Branch, Closed, Problem, RangeKind, TimeTarget, Timeline, code, parse_time,
};

use super::Context;
use crate::archive_failure::of_archive;
use crate::cli::CatArgs;
use crate::error::Failure;
use crate::progress::{Progress, Unit};
use crate::{output, planning};

/// A bound of what is wanted.
#[derive(Debug, Clone)]
enum Bound {
    Gtid(Gtid),
    Time(i64),
}

/// Bytes of one binlog that follow what was taken before.
#[derive(Debug)]
struct Part<'a> {
    binlog: &'a ArchivedBinlog,
    range: &'a ArchivedRange,
    /// Bytes before this offset of the file were written already, or are another file's magic.
    from: u64,
}

/// Writes what was asked for to standard output.
pub(super) async fn run(args: &CatArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let (from, to) = (bound(args.from.as_deref())?, bound(args.to.as_deref())?);
    let archive = super::open_for_long(&args.archive, context).await?;
    let timeline = planning::exact(&archive, Timeline::new(planning::inventory(&archive).await?)).await?;
    let chosen = match &args.binlog {
        Some(name) => vec![named(&timeline, name, args.source.as_deref())?],
        None => between(&timeline, branch(&timeline, args.branch.as_deref())?, (from.as_ref(), to.as_ref()))?,
    };
    let parts = parts(&timeline, &chosen)?;
    write(&archive, &parts, context).await
}

async fn write(archive: &Archive, parts: &[Part<'_>], context: &Context) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new(context.clock.clone(), context.json_log);
    let total = parts.iter().map(|part| part.range.end - part.from).sum();
    progress.begin("cat", Unit::Bytes, 0, total);
    let mut done = 0;
    for part in parts {
        if context.shutdown.is_cancelled() {
            return Ok(ExitCode::from(130));
        }
        let raw = archive.read_range(&part.binlog.range_ref(part.range), &part.range.objects).await;
        let raw = raw.map_err(|error| of_archive(&error, &archive.describe()))?;
        let skipped = usize::try_from(part.from - part.range.start).unwrap_or(usize::MAX);
        output::write_bytes(raw.get(skipped..).unwrap_or_default())?;
        done += part.range.end - part.from;
        progress.set(done);
    }
    progress.end();
    Ok(ExitCode::SUCCESS)
}

fn bound(text: Option<&str>) -> Result<Option<Bound>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(gtid) = text.parse() {
        return Ok(Some(Bound::Gtid(gtid)));
    }
    match parse_time(text) {
        Ok(TimeTarget::At(us)) => Ok(Some(Bound::Time(us))),
        Ok(TimeTarget::Latest) => Ok(None),
        Err(error) => {
            Err(Failure::new(&code::TIME_UNREADABLE, format!("\"{text}\" is neither a GTID nor a time: {error}"))
                .hint("times are RFC 3339 with an offset")
                .fix("--from 2026-11-21T07:14:00Z"))
        }
    }
}

fn branch<'a>(timeline: &'a Timeline, id: Option<&str>) -> Result<&'a Branch, Failure> {
    let branches = timeline.branches();
    let found = match id {
        Some(id) => branches.iter().find(|branch| branch.id == id),
        None if branches.len() == 1 => branches.first(),
        None => branches.iter().find(|branch| branch.live),
    };
    let ids = || branches.iter().map(|branch| branch.id.as_str()).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| match id {
        _ if branches.is_empty() => Failure::new(&code::NEVER_ARCHIVED, "no binlog is archived")
            .hint("there is nothing to write")
            .fix("pitr-sidecar status --archive URL"),
        Some(id) => {
            Failure::new(&code::SEVERAL_BRANCHES, format!("there is no branch \"{id}\"")).hint(ids()).fix("--branch ID")
        }
        None => Failure::new(
            &code::SEVERAL_BRANCHES,
            "several histories are archived, and none is known to be the live one",
        )
        .hint(ids())
        .fix("--branch ID, or --binlog NAME for one file"),
    })
}

/// The binlog of that name.
fn named<'a>(timeline: &'a Timeline, name: &str, source: Option<&str>) -> Result<&'a ArchivedBinlog, Failure> {
    let is_it = |binlog: &&ArchivedBinlog| {
        let id = binlog.id.to_string();
        (binlog.name.as_str() == name || id == name) && source.is_none_or(|source| binlog.id.source == source)
    };
    let found: Vec<&ArchivedBinlog> = timeline.inventory().binlogs.iter().map(AsRef::as_ref).filter(is_it).collect();
    match found[..] {
        [only] => Ok(only),
        [] => Err(Failure::new(&code::POSITION_AMBIGUOUS, format!("\"{name}\" is not archived"))
            .hint("nothing was written")
            .fix("pitr-sidecar status --archive URL")),
        _ => Err(Failure::new(&code::POSITION_AMBIGUOUS, format!("\"{name}\" is archived {} times", found.len()))
            .hint(found.iter().map(|binlog| binlog.id.to_string()).collect::<Vec<_>>().join(", "))
            .fix("--binlog ID, one of these")),
    }
}

/// The binlogs of a branch, in order, from the first to the last that holds something wanted.
fn between<'a>(
    timeline: &'a Timeline,
    branch: &Branch,
    (from, to): (Option<&Bound>, Option<&Bound>),
) -> Result<Vec<&'a ArchivedBinlog>, Failure> {
    let streams = branch.streams.iter().filter_map(|id| timeline.streams().iter().find(|stream| stream.id == *id));
    let all: Vec<&ArchivedBinlog> = streams.flat_map(|stream| stream.binlogs.iter().map(Arc::as_ref)).collect();
    let has = |binlog: &ArchivedBinlog, gtid: &Gtid| binlog.ranges.iter().any(|range| range.gtids.contains(gtid));
    let busy = |binlog: &ArchivedBinlog| binlog.ranges.iter().any(|range| range.transactions > 0);
    let last_us = |binlog: &ArchivedBinlog| binlog.ranges.iter().map(|range| range.max_commit_us).max().unwrap_or(0);
    let first_us = |binlog: &ArchivedBinlog| {
        binlog.ranges.iter().filter(|range| range.transactions > 0).map(|range| range.min_commit_us).min().unwrap_or(0)
    };
    let first = match from {
        None => Some(0),
        Some(Bound::Gtid(gtid)) => all.iter().position(|binlog| has(binlog, gtid)),
        Some(Bound::Time(us)) => all.iter().position(|binlog| busy(binlog) && last_us(binlog) >= *us),
    };
    let last = match to {
        None => all.len().checked_sub(1),
        Some(Bound::Gtid(gtid)) => all.iter().rposition(|binlog| has(binlog, gtid)),
        Some(Bound::Time(us)) => all.iter().rposition(|binlog| busy(binlog) && first_us(binlog) <= *us),
    };
    let chosen = first.zip(last).and_then(|(first, last)| all.get(first..=last)).filter(|chosen| !chosen.is_empty());
    chosen.map(<[_]>::to_vec).ok_or_else(|| {
        Failure::new(&code::GTID_NOT_REACHABLE, "no archived binlog of this history lies between these bounds")
            .hint("nothing was written")
            .fix("pitr-sidecar status --archive URL shows what is archived")
    })
}

/// All bytes of these binlogs in order, or why some are missing.
fn parts<'a>(timeline: &Timeline, binlogs: &[&'a ArchivedBinlog]) -> Result<Vec<Part<'a>>, Failure> {
    let mut parts = Vec::new();
    let mut executed: Option<GtidSet> = None;
    for binlog in binlogs {
        let is_torn =
            |problem: &&Problem| matches!(problem, Problem::Divergence { binlog: torn, .. } if *torn == binlog.id);
        if timeline.problems().iter().any(|problem| is_torn(&problem)) {
            return Err(Failure::new(&code::TWO_CONTENTS, format!("{} was archived with two contents", binlog.name))
                .hint("which of them is wanted, only you know; nothing was written")
                .fix("pitr-sidecar inspect of the segments in question"));
        }
        // Of what is written: the server lost the rest in a crash, and may have given its numbers to other transactions.
        let own = binlog.ranges.iter().filter(|range| counts(binlog, range));
        let own = own.fold(GtidSet::new(), |set, range| set.union(&range.gtids));
        if let Some(executed) = &executed {
            if binlog.previous_known && !binlog.previous.is_subset_of(executed) {
                return Err(hole(format!("transactions are missing before {}", binlog.name)));
            }
            // The log of a server that took over begins before the other's ends: what was written already is not written again.
            let has_anonymous = binlog.ranges.iter().any(|range| range.flags.anonymous);
            let is_of_another = parts.last().is_some_and(|part: &Part<'_>| part.binlog.id.source != binlog.id.source);
            if is_of_another && !own.is_empty() && !has_anonymous && own.is_subset_of(executed) {
                continue;
            }
        }
        let from = if parts.is_empty() { 0 } else { MAGIC.len() as u64 };
        follow(binlog, from, &mut parts)?;
        executed = Some(executed.unwrap_or_default().union(&binlog.previous).union(&own));
    }
    Ok(parts)
}

/// The ranges of one binlog from its beginning to its end, without a hole. What the server lost in a crash is no part of it.
fn follow<'a>(binlog: &'a ArchivedBinlog, from: u64, parts: &mut Vec<Part<'a>>) -> Result<(), Failure> {
    let counted = || binlog.ranges.iter().filter(|range| counts(binlog, range));
    let end = counted().map(|range| range.end).max().unwrap_or(0);
    let ranges: Vec<&ArchivedRange> = counted().filter(|range| range.is_held()).collect();
    let mut position = 0;
    while position < end {
        let next = ranges.iter().filter(|range| range.start <= position && range.end > position);
        let Some(range) = next.max_by_key(|range| (range.kind == RangeKind::Catalogued, range.end)) else {
            let is_lost = binlog.ranges.iter().any(|range| range.start <= position && range.end > position);
            let why = if is_lost { "is lost in the archive" } else { "is not archived" };
            return Err(hole(format!("{} {why} from byte {position} on", binlog.name)));
        };
        parts.push(Part { binlog, range, from: position.max(from) });
        position = range.end;
    }
    Ok(())
}

/// Whether a range is a part of the binlog as its server has it.
fn counts(binlog: &ArchivedBinlog, range: &ArchivedRange) -> bool {
    binlog.closed == Closed::Open || range.kind == RangeKind::Catalogued
}

fn hole(message: String) -> Failure {
    Failure::new(&code::TARGET_IN_GAP, message).hint("nothing was written").fix("--from and --to on one side of it")
}

#[cfg(test)]
mod tests {
    use pitr_binlog::{BinlogName, Flavour};
    use pitr_recovery::{BinlogId, Inventory, RangeFlags, StoredObject};

    use super::*;

    /// Binlog `number` of a server: what was before it, and what is in it, of the one history `a`.
    fn binlog(server: &str, number: u64, (before, to): (u64, u64)) -> ArchivedBinlog {
        let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let set =
            |from: u64, to: u64| if to < from { GtidSet::new() } else { format!("{a}:{from}-{to}").parse().unwrap() };
        let range = ArchivedRange {
            start: 0,
            end: 100,
            raw_sha256: [number as u8; 32],
            kind: RangeKind::Catalogued,
            gtids: set(before + 1, to),
            transactions: to - before,
            first: None,
            last: None,
            min_commit_us: 0,
            max_commit_us: 0,
            step_back_us: 0,
            flags: RangeFlags::default(),
            objects: vec![StoredObject { key: String::new(), length: 9, sha256_begins: [0; 8] }],
        };
        ArchivedBinlog {
            id: BinlogId { source: server.to_owned(), number, head: [number as u8; 8] },
            name: BinlogName::parse(&format!("binlog.{number:06}")).unwrap(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            previous: set(1, before),
            previous_known: true,
            ranges: vec![range],
            closed: Closed::Stopped,
            damage: None,
        }
    }

    fn written(binlogs: &[ArchivedBinlog]) -> Result<Vec<(String, u64, u64)>, String> {
        let timeline = Timeline::new(Inventory::default());
        let parts = parts(&timeline, &binlogs.iter().collect::<Vec<_>>()).map_err(|failure| failure.to_string())?;
        Ok(parts.iter().map(|part| (part.binlog.id.source.clone(), part.binlog.id.number, part.from)).collect())
    }

    #[test]
    fn over_a_failover_nothing_is_missing_and_nothing_whole_is_written_twice() {
        // b replicated 1 to 20, took over, and wrote on.
        let (a1, a2) = (binlog("a", 1, (0, 10)), binlog("a", 2, (10, 20)));
        let (b1, b2, b3) = (binlog("b", 1, (0, 15)), binlog("b", 2, (15, 25)), binlog("b", 3, (25, 30)));
        let all = written(&[a1.clone(), a2, b1, b2.clone(), b3.clone()]).unwrap();
        let of = |server: &str, number, from| (server.to_owned(), number, from);
        assert_eq!(all, [of("a", 1, 0), of("a", 2, 4), of("b", 2, 4), of("b", 3, 4)]);
        let missing = written(&[a1.clone(), b2]).unwrap_err();
        assert!(missing.contains("transactions are missing before binlog.000002"), "{missing}");
        assert!(written(&[a1, b3]).is_err());
    }

    #[test]
    fn numbers_that_were_given_again_after_a_crash_are_written() {
        // The archive holds 11 and 12 of the first binlog, which the server lost; it gave the numbers again.
        let (mut crashed, mut again) = (binlog("a", 1, (0, 10)), binlog("a", 2, (10, 12)));
        let mut ahead = again.ranges[0].clone();
        (ahead.kind, ahead.start, ahead.end) = (RangeKind::Tail, 100, 150);
        crashed.ranges.push(ahead);
        again.closed = Closed::Open;
        let of = |number, from| ("a".to_owned(), number, from);
        assert_eq!(written(&[crashed, again]).unwrap(), [of(1, 0), of(2, 4)]);
    }

    #[test]
    fn what_is_lost_in_the_archive_is_a_hole() {
        let mut lost = binlog("a", 1, (0, 10));
        lost.ranges[0].objects.clear();
        assert!(written(&[lost]).unwrap_err().contains("is lost in the archive from byte 0 on"));
    }

    #[test]
    fn bounds_are_gtids_or_times_and_nothing_else() {
        let gtid = bound(Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:7")).unwrap();
        assert!(matches!(gtid, Some(Bound::Gtid(_))));
        assert!(matches!(bound(Some("2026-11-21T07:14:00Z")).unwrap(), Some(Bound::Time(1_795_245_240_000_000))));
        assert!(bound(Some("latest")).unwrap().is_none() && bound(None).unwrap().is_none());
        assert_eq!(bound(Some("yesterday")).unwrap_err().code().number, 101);
    }
}
