//! A timeline as one HTML file: the picture as SVG, what is missing, and the transactions. It loads nothing from anywhere, follows the
//! reader's light or dark scheme, and says in words what the picture shows.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pitr_archive::{Point, Sought};

use super::timeline::{about, extent, full_micros, harmless, stop_line, what_next};
use super::{TimelineShown, Zone, binary_size, count_of, to_micros};
use crate::state::{BranchRow, Gap, Timeline, micros};

/// Sizes of the picture, in its own units.
const WIDTH: i64 = 1000;
const LEFT: i64 = 120;
const RIGHT: i64 = 980;
const TOP: i64 = 34;
const ROW: i64 = 40;
const BAR: i64 = 16;
/// No label of the axis is wider.
const LABEL: i64 = 90;

const DAY: i64 = 86_400;
/// Seconds between two ticks of the axis.
const STEPS: [i64; 16] = [
    1,
    10,
    60,
    300,
    900,
    3_600,
    10_800,
    21_600,
    43_200,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
    112 * DAY,
    448 * DAY,
    4_480 * DAY,
];
const TICKS_MAX: i64 = 8;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#60646c;--line:#d9d9e0;--paper:#fcfcfd;--yes:#2b9a66;--no:#e5484d;--mark:#3358d4}\
@media (prefers-color-scheme:dark){:root{--ink:#edeef0;--soft:#b0b4ba;--line:#363a3f;--paper:#111113;--yes:#3dd68c;--no:#ff9592;--mark:#9eb1ff}}\
body{margin:2rem auto;max-width:72rem;padding:0 1rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}figure{margin:1rem 0;overflow-x:auto}svg{width:100%;min-width:40rem;height:auto}\
figcaption,.soft{color:var(--soft)}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;\
border-bottom:1px solid var(--line)}td.what{overflow-wrap:anywhere}code,td.id{font-family:ui-monospace,monospace;font-size:.9em}\
pre{padding:.8rem;border:1px solid var(--line);border-radius:.4rem;overflow-x:auto}tr.stop td{color:var(--no);font-weight:600}\
.axis{fill:var(--soft);font-size:12px}.id{fill:var(--ink);font-size:13px}.grid{stroke:var(--line)}.yes{fill:var(--yes)}.no{fill:url(#hatch);stroke:var(--no)}\
.hatch{stroke:var(--no);stroke-width:2}.base{fill:var(--paper);stroke:var(--ink);stroke-width:1.5}.found{stroke:var(--mark);stroke-width:2}\
.fork{fill:none;stroke:var(--soft);stroke-dasharray:3 3}";

/// The file.
pub fn timeline_html(timeline: &Timeline, shown: &TimelineShown<'_>, zone: &Zone, made: Timestamp) -> String {
    let title = format!("Timeline of {}", text(shown.place));
    let mut body = format!("<h1>{title}</h1>\n<p class=\"soft\">Made {}. Times are UTC.</p>\n", to_micros(made));
    match Picture::of(timeline, shown) {
        Some(picture) => body.push_str(&picture.figure(timeline, shown, &title)),
        None => body.push_str("<p>Nothing is archived yet.</p>\n"),
    }
    body.push_str(&branches(timeline));
    body.push_str(&gaps(timeline));
    if let Some(branch) = timeline.branches.iter().find(|b| Some(&b.id) == timeline.branch.as_ref()) {
        body.push_str(&transactions(timeline, shown, zone));
        for line in what_next(timeline, shown, branch) {
            let (what, command) = line.split_once(":  ").unwrap_or(("", &line));
            body.push_str(&format!("<p>{}:</p>\n<pre><code>{}</code></pre>\n", text(what), text(command.trim())));
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Names come from clients: what is markup in them is text here.
fn text(words: &str) -> String {
    harmless(words).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The stretch of time that is drawn.
struct Picture {
    first: i64,
    end: i64,
    extents: Vec<Option<(Timestamp, Timestamp)>>,
}

impl Picture {
    fn of(timeline: &Timeline, shown: &TimelineShown<'_>) -> Option<Self> {
        let since = micros(shown.since);
        let cut = |(from, to): (Timestamp, Timestamp)| (to >= since).then(|| (from.max(since), to));
        let extents: Vec<_> = timeline.branches.iter().map(|branch| extent(timeline, branch).and_then(cut)).collect();
        let first = extents.iter().flatten().map(|(from, _)| from.as_microsecond()).min()?;
        let end = extents.iter().flatten().map(|(_, to)| to.as_microsecond()).max()?;
        // One instant is no stretch of time.
        Some(Self { first, end: end.max(first + 1_000_000), extents })
    }

    fn x(&self, at: Timestamp) -> i64 {
        let at = at.as_microsecond().clamp(self.first, self.end);
        let share = i128::from(at - self.first) * i128::from(RIGHT - LEFT) / i128::from(self.end - self.first);
        LEFT + i64::try_from(share).unwrap_or(0)
    }

    fn figure(&self, timeline: &Timeline, shown: &TimelineShown<'_>, title: &str) -> String {
        let rows = i64::try_from(timeline.branches.len()).unwrap_or(0);
        let height = TOP + rows * ROW + 10;
        let mut svg = self.axis(height);
        for (row, branch) in (0..).zip(&timeline.branches) {
            svg.push_str(&self.row(timeline, branch, row));
        }
        svg.push_str(&self.found(timeline, shown));
        let told = timeline.branches.iter().map(|branch| format!("{}: {}.", branch.id, about(timeline, branch)));
        let told = told.collect::<Vec<_>>().join(" ");
        format!(
            "<figure>\n<svg role=\"img\" aria-labelledby=\"picture-title picture-words\" viewBox=\"0 0 {WIDTH} {height}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"picture-title\">{title}</title>\n<desc id=\"picture-words\">{}</desc>\n\
             <defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n{svg}</svg>\n\
             <figcaption>Filled: every instant can be restored. Hatched: none can. Diamonds: base backups. Lines across: the \
             transactions below.</figcaption>\n</figure>\n",
            text(&told)
        )
    }

    fn axis(&self, height: i64) -> String {
        let seconds = (self.end - self.first) / 1_000_000;
        let step = STEPS.into_iter().find(|step| seconds / step <= TICKS_MAX).unwrap_or(4_480 * DAY);
        let format = if step >= DAY {
            "%m-%d"
        } else if step < 60 {
            "%H:%M:%S"
        } else {
            "%m-%d %H:%M"
        };
        let mut at = (self.first / 1_000_000).div_euclid(step) * step + step;
        let mut svg = String::new();
        while at * 1_000_000 <= self.end {
            let time = micros(at * 1_000_000);
            let (x, label) = (self.x(time), time.to_zoned(TimeZone::UTC).strftime(format));
            // Above a line near the edge it would be cut.
            let (place, anchor) = if x + LABEL / 2 > WIDTH { (WIDTH, "end") } else { (x, "middle") };
            svg.push_str(&format!(
                "<line class=\"grid\" x1=\"{x}\" y1=\"22\" x2=\"{x}\" y2=\"{height}\"/>\
                 <text class=\"axis\" x=\"{place}\" y=\"14\" text-anchor=\"{anchor}\">{label}</text>\n"
            ));
            at += step;
        }
        svg
    }

    fn row(&self, timeline: &Timeline, branch: &BranchRow, row: i64) -> String {
        let (top, middle) = (TOP + row * ROW, TOP + row * ROW + BAR / 2);
        let index = usize::try_from(row).unwrap_or(0);
        let mut svg = format!("<text class=\"id\" x=\"4\" y=\"{}\">{}</text>\n", top + 13, text(&branch.id));
        let Some((from, to)) = self.extents.get(index).copied().flatten() else { return svg };
        let parent = timeline.branches.iter().position(|other| Some(&other.id) == branch.forks_from.as_ref());
        if let (Some(at), Some(parent)) = (branch.forks_at, parent.and_then(|p| i64::try_from(p).ok())) {
            let (x, from) = (self.x(at), TOP + parent * ROW + BAR / 2);
            svg.push_str(&format!("<path class=\"fork\" d=\"M{x} {from}V{middle}\"/>\n"));
        }
        svg.push_str(&self.rect("no", (from, to), top, "cannot be restored"));
        for window in timeline.windows.iter().filter(|w| w.branch.as_ref() == Some(&branch.id)) {
            let Some((begin, end)) = window.span().filter(|(begin, end)| *end >= from && *begin <= to) else {
                continue;
            };
            svg.push_str(&self.rect("yes", (begin.max(from), end.min(to)), top, "every instant can be restored"));
        }
        for backup in timeline.backups.iter().filter(|b| b.usable && branch.forks_from.is_none()) {
            let Some(at) = backup.reaches_from.or(backup.consistent_at).filter(|at| *at >= from) else { continue };
            let (x, id) = (self.x(at), text(&backup.id));
            svg.push_str(&format!(
                "<path class=\"base\" d=\"M{x} {}l6 8l-6 8l-6 -8z\"><title>base backup {id}, {}</title></path>\n",
                top,
                to_micros(at)
            ));
        }
        svg
    }

    fn rect(&self, class: &str, (from, to): (Timestamp, Timestamp), top: i64, what: &str) -> String {
        let (x, width) = (self.x(from), (self.x(to) - self.x(from)).max(1));
        format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{BAR}\"><title>{} .. {}: {what}</title></rect>\n",
            to_micros(from),
            to_micros(to)
        )
    }

    /// A line across the branch that was asked about for each transaction, and for the instant.
    fn found(&self, timeline: &Timeline, shown: &TimelineShown<'_>) -> String {
        let Some(row) = timeline.branches.iter().position(|b| Some(&b.id) == timeline.branch.as_ref()) else {
            return String::new();
        };
        let top = TOP + i64::try_from(row).unwrap_or(0) * ROW;
        let asked = match &shown.question.sought {
            Sought::Around(Point::Time(us), _) if *us != i64::MAX => Some(micros(*us)),
            Sought::Around(..) | Sought::Matching(_) => None,
        };
        let times = timeline.transactions.iter().filter_map(|t| t.committed_at).chain(asked);
        let mut columns: Vec<i64> = times.filter(|at| at.as_microsecond() >= self.first).map(|at| self.x(at)).collect();
        columns.sort_unstable();
        columns.dedup();
        let line = |x: &i64| format!("<path class=\"found\" d=\"M{x} {}V{}\"/>\n", top - 5, top + BAR + 5);
        columns.iter().map(line).collect()
    }
}

fn table(headers: &[&str], rows: &[String]) -> String {
    let head: String = headers.iter().map(|header| format!("<th scope=\"col\">{header}</th>")).collect();
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n", rows.concat())
}

fn branches(timeline: &Timeline) -> String {
    if timeline.branches.is_empty() {
        return String::new();
    }
    let row = |branch: &BranchRow| {
        let about = text(&about(timeline, branch));
        format!("<tr><td class=\"id\">{}</td><td>{about}</td></tr>\n", text(&branch.id))
    };
    let rows: Vec<String> = timeline.branches.iter().map(row).collect();
    format!("<h2>Branches</h2>\n{}", table(&["Branch", "History"], &rows))
}

fn gaps(timeline: &Timeline) -> String {
    let row = |gap: &Gap| {
        let state = if gap.is_open() { "open" } else { "closed" };
        let count = count_of(gap.transactions, "transaction");
        let branch = text(gap.branch.as_deref().unwrap_or("-"));
        format!(
            "<tr><td class=\"id\">{}</td><td class=\"id\">{branch}</td><td>{state}</td><td>{count}</td><td>{}</td></tr>\n",
            text(&gap.id),
            text(&gap.why())
        )
    };
    let mut rows: Vec<String> = timeline.gaps.iter().map(row).collect();
    let headers = ["Gap", "Branch", "State", "Missing", "Why"];
    let problem = |problem: &String| format!("<tr><td colspan=\"5\">{}</td></tr>\n", text(problem));
    rows.extend(timeline.problems.iter().map(problem));
    if rows.is_empty() { String::new() } else { format!("<h2>What is missing</h2>\n{}", table(&headers, &rows)) }
}

fn transactions(timeline: &Timeline, shown: &TimelineShown<'_>, zone: &Zone) -> String {
    if timeline.transactions.is_empty() {
        return "<h2>Transactions</h2>\n<p>No such transaction.</p>\n".to_owned();
    }
    let stop = stop_line(shown.question).map(|line| line.trim_matches('-').trim().to_owned());
    let mut rows = Vec::new();
    for (index, transaction) in timeline.transactions.iter().enumerate() {
        if let Some(stop) = stop.as_ref().filter(|_| index == timeline.before) {
            rows.push(format!("<tr class=\"stop\"><td colspan=\"4\">{}</td></tr>\n", text(stop)));
        }
        let at = transaction.committed_at;
        let beside =
            at.and_then(|at| zone.beside(at)).map_or_else(String::new, |local| format!("<br/>{}", text(&local)));
        rows.push(format!(
            "<tr><td>{}{beside}</td><td class=\"id\">{}</td><td class=\"what\">{}</td><td>{}</td></tr>\n",
            at.map_or_else(|| "-".to_owned(), full_micros),
            text(transaction.gtid.as_deref().unwrap_or_default()),
            text(transaction.what.as_deref().unwrap_or("unknown")),
            binary_size(transaction.end.saturating_sub(transaction.start))
        ));
    }
    let undescribed = match timeline.undescribed {
        0 => String::new(),
        count => {
            format!(
                "<p>{} could not be read: the search says nothing about them.</p>\n",
                count_of(count, "transaction")
            )
        }
    };
    let headers = ["Committed", "GTID", "What", "Size"];
    format!("<h2>Transactions</h2>\n{}{undescribed}", table(&headers, &rows))
}
