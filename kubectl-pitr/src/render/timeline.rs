//! A timeline as text: branches on one axis, gaps, and the transactions among which the accident is.

use jiff::Timestamp;
use pitr_archive::{Point, Sought};
use pitr_recovery::Rfc3339;

use super::bar::Axis;
use super::{BarSpan, Table, Zone, binary_size, count_of, to_micros};
use crate::question::Question;
use crate::state::{BranchRow, Timeline, TransactionRow, micros};

/// What was asked, and how it is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct TimelineShown<'a> {
    pub question: &'a Question,
    /// The picture begins here at the earliest, in microseconds since 1970.
    pub since: i64,
    /// What follows a verb in a command: `mysql -n shop`.
    pub place: &'a str,
    pub wide: bool,
}

/// The picture, what is missing in it, the transactions, and the command that restores.
pub fn timeline_text(timeline: &Timeline, shown: &TimelineShown<'_>, zone: &Zone) -> String {
    let mut lines = picture(timeline, shown);
    lines.extend(timeline.gaps.iter().map(|gap| {
        let state = if gap.is_open() { "open" } else { "closed" };
        let count = count_of(gap.transactions, "transaction");
        format!("Gap      {} on {}, {state}: {count}, {}", gap.id, gap.branch.as_deref().unwrap_or("-"), gap.why())
    }));
    lines.extend(timeline.problems.iter().map(|problem| format!("Problem  {problem}")));
    if timeline.branches.is_empty() {
        lines.push("nothing is archived yet".to_owned());
    }
    if let Some(branch) = timeline.branches.iter().find(|b| Some(&b.id) == timeline.branch.as_ref()) {
        lines.push(String::new());
        transactions(timeline, shown, zone, &mut lines);
        lines.extend(what_next(timeline, shown, branch));
    }
    lines.join("\n") + "\n"
}

/// Width of the column with the ids of branches.
const ID_WIDTH: usize = 9;

fn picture(timeline: &Timeline, shown: &TimelineShown<'_>) -> Vec<String> {
    let extents: Vec<_> = timeline.branches.iter().map(|branch| extent(timeline, branch)).collect();
    let since = micros(shown.since);
    let first = extents.iter().flatten().map(|(from, _)| (*from).max(since)).min();
    let end = extents.iter().flatten().map(|(_, to)| *to).max().map(|end| end.max(since));
    let Some((first, end)) = first.zip(end) else { return Vec::new() };
    let axis = Axis::over(first, end);
    let mut lines = vec![format!("{:ID_WIDTH$}{}", "", axis.labels())];
    for (branch, extent) in timeline.branches.iter().zip(&extents) {
        let row =
            extent.filter(|(_, to)| *to >= since).map(|(from, to)| row(timeline, branch, &axis, (from.max(since), to)));
        let id = branch.id.chars().take(ID_WIDTH - 1).collect::<String>();
        lines.push(format!("{id:ID_WIDTH$}{}   {}", row.unwrap_or_default(), about(timeline, branch)));
    }
    lines
}

/// From the first to the last instant of which a branch tells.
pub(super) fn extent(timeline: &Timeline, branch: &BranchRow) -> Option<(Timestamp, Timestamp)> {
    let windows = || timeline.windows.iter().filter(|w| w.branch.as_ref() == Some(&branch.id));
    let streams = timeline.streams.iter().filter(|stream| branch.streams.contains(&stream.id));
    let from = match branch.forks_at {
        Some(at) => Some(at),
        None => windows().filter_map(|w| w.from).chain(streams.filter_map(|s| s.first_at)).min(),
    };
    let to = windows().filter_map(|w| w.to).chain(branch.last_at).max();
    from.zip(to).map(|(from, to)| (from, to.max(from)))
}

fn row(timeline: &Timeline, branch: &BranchRow, axis: &Axis, (from, to): (Timestamp, Timestamp)) -> String {
    let windows = timeline.windows.iter().filter(|w| w.branch.as_ref() == Some(&branch.id));
    let spans: Vec<BarSpan> = windows.filter_map(|w| w.span().map(|(from, to)| BarSpan { from, to })).collect();
    let usable = timeline.backups.iter().filter(|b| b.usable && branch.forks_from.is_none());
    let backups: Vec<Timestamp> = usable.filter_map(|b| b.reaches_from.or(b.consistent_at)).collect();
    let bar = axis.row(&spans, &backups, (from, to));
    if branch.forks_at.is_none() {
        return if branch.live { format!("{bar}▶") } else { format!("{bar}┤") };
    }
    let blank = bar.chars().take_while(|c| *c == ' ').count();
    let signs: String = bar.chars().skip(blank + 1).collect();
    format!("{}╰{signs}┤", " ".repeat(blank))
}

pub(super) fn about(timeline: &Timeline, branch: &BranchRow) -> String {
    let last_of = |id: &String| timeline.streams.iter().find(|stream| stream.id == *id).and_then(|s| s.last_at);
    let mut parts = Vec::new();
    if branch.live {
        parts.push("live".to_owned());
    }
    if branch.lost {
        parts.push("lost by its server in a crash".to_owned());
    }
    match (&branch.forks_from, branch.own_transactions) {
        (Some(from), Some(own)) => {
            let at = branch.forks_at.map_or_else(String::new, |at| format!(" at {}", to_micros(at)));
            parts.push(format!("{} only here; left {from}{at}", count_of(own, "transaction")));
        }
        _ => {
            let streams: Vec<_> = branch.streams.iter().collect();
            let Some((last, earlier)) = streams.split_last() else { return parts.join("; ") };
            let path = earlier.iter().map(|id| {
                let to = last_of(id).map_or_else(String::new, |at| format!(" to {}", to_micros(at)));
                format!("{id}{to}, then ")
            });
            parts.push(format!("{}{last}", path.collect::<String>()));
        }
    }
    parts.join("; ")
}

fn transactions(timeline: &Timeline, shown: &TimelineShown<'_>, zone: &Zone, lines: &mut Vec<String>) {
    if timeline.transactions.is_empty() {
        lines.push(match &shown.question.sought {
            Sought::Around(..) => "no transaction there".to_owned(),
            Sought::Matching(matching) => {
                let since = to_micros(micros(matching.since_us));
                format!("no such transaction since {since}: --since looks further back")
            }
        });
    } else {
        let mut rows: Vec<String> = table(timeline, shown, zone).lines().map(str::to_owned).collect();
        if let Some(stop) = stop_line(shown.question) {
            rows.insert((timeline.before + 1).min(rows.len()), stop);
        }
        lines.extend(rows);
    }
    if timeline.undescribed > 0 {
        let count = count_of(timeline.undescribed, "transaction");
        lines.push(format!(
            "{count} could not be read (a damaged or missing segment): the search says nothing about them"
        ));
    }
    if let (Some(_), Some(to)) = (&timeline.next, timeline.searched_to) {
        lines.push(format!(
            "Only the newest are shown, back to {}: --transactions N, or --until, for more",
            to_micros(to)
        ));
    }
}

/// Where a restore to the point would stop; nothing where there is no such point.
pub(super) fn stop_line(question: &Question) -> Option<String> {
    match &question.sought {
        Sought::Around(Point::Time(us), _) if *us != i64::MAX => {
            Some(format!("------ a restore --to {} stops here ------", Rfc3339(*us)))
        }
        Sought::Around(Point::Before(_), _) => {
            Some("------ a restore --before-gtid with it stops here ------".to_owned())
        }
        Sought::Around(..) | Sought::Matching(_) => None,
    }
}

fn table(timeline: &Timeline, shown: &TimelineShown<'_>, zone: &Zone) -> String {
    let mut header = vec!["COMMITTED"];
    let local = zone.named_zone().map(|(name, _)| name.to_uppercase());
    header.extend(local.as_deref());
    header.extend(["GTID", "WHAT", "SIZE"]);
    if shown.wide {
        header.extend(["BINLOG", "POSITION"]);
    }
    let mut table = Table::new(&header);
    for transaction in &timeline.transactions {
        let at = transaction.committed_at;
        let mut cells = vec![at.map_or_else(String::new, full_micros)];
        if local.is_some() {
            cells.push(at.and_then(|at| zone.beside(at)).map_or_else(String::new, |text| first_word(&text)));
        }
        // Whole, however long: it is what --around and --before-gtid take.
        cells.push(transaction.gtid.clone().unwrap_or_default());
        cells.push(transaction.what.as_deref().map_or_else(|| "unknown".to_owned(), harmless));
        cells.push(binary_size(transaction.end.saturating_sub(transaction.start)));
        if shown.wide {
            cells.extend([transaction.binlog.clone(), transaction.start.to_string()]);
        }
        table.row(cells);
    }
    table.text(true)
}

/// All six digits: columns of times are compared by eye.
pub(super) fn full_micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Names come from clients: nothing in them may steer a terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The commands that restore to just before what was found.
pub(super) fn what_next(timeline: &Timeline, shown: &TimelineShown<'_>, branch: &BranchRow) -> Vec<String> {
    let found = &timeline.transactions;
    let place = shown.place;
    let (which, what) = match &shown.question.sought {
        Sought::Around(Point::Time(i64::MAX), _) => {
            return vec![
                format!("Around an instant:  kubectl pitr timeline {place} --around TIME"),
                format!("Find a statement:   kubectl pitr timeline {place} --grep 'DROP TABLE'"),
            ];
        }
        Sought::Around(..) => (found.get(timeline.before), "the first one below the line"),
        Sought::Matching(_) => (found.last(), "the last one"),
    };
    let on_branch =
        if branch.live || timeline.branches.len() == 1 { String::new() } else { format!(" --branch {}", branch.id) };
    let line = |what: &str, which: &TransactionRow| {
        format!("Restore to just before {what}:  kubectl pitr restore {place}{on_branch} {}", target_before(which))
    };
    let own =
        own_instant(timeline, shown.question).map(|(at, which)| line(&format!("what was committed at {at}"), which));
    own.into_iter().chain(which.map(|which| line(what, which))).collect()
}

/// The first transaction that was committed at the very instant of the question. A restore to a time includes what was committed at it, and
/// whoever looks for an accident often has its own time.
fn own_instant<'a>(timeline: &'a Timeline, question: &Question) -> Option<(Rfc3339, &'a TransactionRow)> {
    let Sought::Around(Point::Time(us), _) = question.sought else { return None };
    let mut above = timeline.transactions.iter().take(timeline.before);
    let own = above.find(|row| row.committed_at.is_some_and(|at| at.as_microsecond() == us))?;
    Some((Rfc3339(us), own))
}

/// The target that excludes a transaction.
fn target_before(transaction: &TransactionRow) -> String {
    match &transaction.gtid {
        Some(gtid) => format!("--before-gtid {gtid}"),
        None => {
            let server = transaction.source.as_ref().map_or_else(String::new, |source| format!(" --source {source}"));
            format!("--to-position {}:{}{server}", transaction.binlog, transaction.start)
        }
    }
}
