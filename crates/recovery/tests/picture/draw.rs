//! From a timeline to text. Ids are replaced by names that can be read: `br1`, `gap1`, in the order in which they are listed.

use std::fmt::Write;

use pitr_binlog::{GtidSet, GtidSource};
use pitr_recovery::{BinlogId, Problem, SECOND_US, Timeline, WindowEnd};

/// Everything that users see of a timeline.
pub(crate) fn draw(timeline: &Timeline) -> String {
    let mut text = String::new();
    for branch in timeline.branches() {
        let live = if branch.live { " live" } else { "" };
        let ahead = if branch.ahead { " ahead" } else { "" };
        let source = branch.source.as_deref().map_or("-".to_owned(), letter);
        write!(text, "branch {}{live}{ahead}: {source} {}", branch.id, set(&branch.end)).unwrap();
        if let Some(fork) = &branch.fork {
            let at = fork.at_us.map_or("the beginning".to_owned(), seconds);
            write!(text, ", left {} at {at} {} with {}", fork.from, set(&fork.shared), set(&fork.own)).unwrap();
        }
        text.push('\n');
        for stream in timeline.streams().iter().filter(|stream| branch.streams.contains(&stream.id)) {
            let binlogs: Vec<String> = stream.binlogs.iter().map(|own| binlog(&own.id)).collect();
            let (before, after) = (set(&stream.before), set(&stream.after));
            writeln!(text, "  stream {} {before} to {after}", binlogs.join(" ")).unwrap();
        }
        for window in timeline.windows().iter().filter(|window| window.branch == branch.id) {
            let (from, to) = (seconds(window.from_us), seconds(window.to_us));
            let (from_set, to_set) = (set(&window.from_set), set(&window.to_set));
            let ends = match &window.ends {
                WindowEnd::LastArchived => "end".to_owned(),
                WindowEnd::Gap(gap) => gap.clone(),
                WindowEnd::TimesStepBack => "times step back".to_owned(),
            };
            let backups = window.backups.join(" ");
            let count = format!("{} transactions, {} bytes", window.transactions, window.bytes);
            writeln!(text, "  window {from} .. {to} {from_set} .. {to_set} from {backups}, {count}, {ends}").unwrap();
        }
        for gap in timeline.gaps().iter().filter(|gap| gap.branch == branch.id) {
            let reach = |us: Option<i64>| us.map_or("-".to_owned(), seconds);
            let (to, from) = (reach(gap.reachable_to_us), reach(gap.reachable_from_us));
            let closed = gap.closed_by.as_ref().map_or("open".to_owned(), |backup| format!("closed by {backup}"));
            let missing = set(&gap.missing);
            writeln!(text, "  {} {missing} {closed}, {to} to {from}: {}", gap.id, gap.cause).unwrap();
        }
    }
    for reach in timeline.backups() {
        let (from, to) = (seconds(reach.from_us), seconds(reach.to_us));
        let on = reach.branch.as_deref().map_or("on no branch".to_owned(), |branch| format!("on {branch}"));
        let connected = if reach.connected { "" } else { ", alone" };
        writeln!(text, "backup {} serves {from} .. {to} {on}{connected}", reach.backup).unwrap();
    }
    for problem in timeline.problems() {
        let line = match problem {
            Problem::Collision { gtids, .. } => format!("collision of {}", set(gtids)),
            Problem::Divergence { binlog: id, offset } => format!("divergence in {} at {offset}", binlog(id)),
            Problem::Ahead { binlog: id, offset, gtids } => {
                format!("{} of {} at {offset} lost", set(gtids), binlog(id))
            }
            Problem::Lost { binlog: id, start, end } => format!("bytes {start} to {end} of {} are lost", binlog(id)),
            Problem::Damaged { binlog: id, offset, reason } => format!("{} damaged at {offset}: {reason}", binlog(id)),
        };
        writeln!(text, "problem: {line}").unwrap();
    }
    readable(timeline, &text)
}

/// Puts readable names for ids and letters for servers.
pub(crate) fn readable(timeline: &Timeline, text: &str) -> String {
    let mut text = text.to_owned();
    let mut branches: Vec<_> = timeline.branches().iter().enumerate().collect();
    branches.sort_by_key(|(_, branch)| std::cmp::Reverse(branch.id.len()));
    for (place, branch) in branches {
        text = text.replace(&branch.id, &format!("br{}", place + 1));
    }
    for (place, gap) in timeline.gaps().iter().enumerate() {
        text = text.replace(&gap.id, &format!("gap{}", place + 1));
    }
    for name in "abcdefm".chars() {
        let source = super::read::source_of(&name.to_string());
        text =
            text.replace(&format!("{source}:"), &name.to_string()).replace(&source, &name.to_uppercase().to_string());
    }
    text.replace("binlog.00000", "binlog.")
}

pub(crate) fn binlog(id: &BinlogId) -> String {
    format!("{}.{}", letter(&id.source), id.number)
}

fn letter(source: &str) -> String {
    source[..1].to_uppercase()
}

/// Seconds with as many digits as there are.
pub(crate) fn seconds(us: i64) -> String {
    let (sign, us) = if us < 0 { ("-", -us) } else { ("", us) };
    let fraction = format!("{:06}", us % SECOND_US);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", us / SECOND_US)
}

pub(crate) fn set(of: &GtidSet) -> String {
    let range = |(source, numbers): (GtidSource, std::ops::RangeInclusive<u64>)| {
        let (first, last) = (*numbers.start(), *numbers.end());
        let (name, many) = match source {
            GtidSource::MySql { uuid, tag } => {
                let tag = tag.map_or(String::new(), |tag| format!("/{}", tag.as_str()));
                (format!("{}{tag}", &uuid.to_string()[..1]), format!("{first}-{last}"))
            }
            GtidSource::MariaDb { domain, server_id } => (format!("{domain}-{server_id}-"), format!("{first}..{last}")),
        };
        if first == last { format!("{name}{first}") } else { format!("{name}{many}") }
    };
    let ranges: Vec<String> = of.iter().map(range).collect();
    format!("{{{}}}", ranges.join(" "))
}
