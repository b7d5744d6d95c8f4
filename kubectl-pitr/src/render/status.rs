//! The status of one workload as text: the first lines answer "can I restore, and to when?".

use jiff::Timestamp;

use super::{BarSpan, binary_size, count_of, duration, seconds_up, to_micros, window_bar};
use crate::state::{Finding, Gap, Health, Heartbeat, Judged, Limits, PURGE_SECONDS, WorkloadState};
use crate::terminal::{Terminal, Tone};

/// Width to which a line is filled before what stands at its right edge.
const RIGHT_EDGE: usize = 119;
/// How many gaps are shown unless all are wanted.
const GAPS_SHOWN: usize = 1;

/// All lines of a workload.
pub fn status_text(
    state: &WorkloadState,
    judged: &Judged,
    limits: Limits,
    (terminal, all_gaps): (Terminal, bool),
) -> String {
    let mut lines = vec![headline(state, judged, terminal)];
    windows(state, judged, limits, &mut lines);
    findings(state, judged, &mut lines);
    if let Some((_, heartbeat)) = state.leading() {
        lines.extend(archived(heartbeat));
    }
    base(state, judged, limits.now, &mut lines);
    lines.extend(verified(state, limits.now));
    gaps(state, all_gaps, &mut lines);
    if let Some(end) = state.end() {
        let place = place(state);
        lines.push(format!(
            "Restore to just before now:  kubectl pitr restore {}{place} --to {}",
            state.name,
            to_micros(end)
        ));
    }
    lines.join("\n") + "\n"
}

/// What follows a workload's name in a command about it.
fn place(state: &WorkloadState) -> String {
    match (state.archive_flags.as_str(), state.offline) {
        // Nobody else answers there.
        ("", true) => format!(" -n {} --via=job", state.namespace),
        ("", false) => format!(" -n {}", state.namespace),
        (flags, _) => flags.to_owned(),
    }
}

fn headline(state: &WorkloadState, judged: &Judged, terminal: Terminal) -> String {
    let mut parts = vec![if state.offline { state.name.clone() } else { format!("statefulset/{}", state.name) }];
    if let Some((flavour, version)) = &state.server {
        parts.push(server_name(flavour, version));
    }
    if let Some((pod, heartbeat)) = state.primary() {
        let known = heartbeat.server.role.as_deref() == Some("primary");
        parts.push(if known { format!("primary {}", pod.name) } else { pod.name.clone() });
    }
    if !state.offline {
        parts.push(format!("archiving {}/{}", state.archiving(), state.replicas));
    }
    parts.extend(state.archive_url.clone());
    let (word, tone) = match judged.health {
        Health::Ok => {
            let closed = state.gaps.iter().filter(|g| !g.is_open()).count() as u64;
            let word = if closed > 0 { format!("OK, {}", count_of(closed, "closed gap")) } else { "OK".to_owned() };
            (word, Tone::Good)
        }
        Health::Degraded => ("DEGRADED".to_owned(), Tone::Warning),
        Health::Never => ("NOTHING RECOVERABLE".to_owned(), Tone::Bad),
        Health::Unknown => ("UNKNOWN".to_owned(), Tone::Bad),
    };
    let left = parts.join("   ");
    format!("{}{}", filled(&left), terminal.paint(tone, &word))
}

/// A line with room for what stands at its right edge.
fn filled(left: &str) -> String {
    let width = left.chars().count();
    format!("{left}{}", " ".repeat(RIGHT_EDGE.saturating_sub(width).max(3)))
}

/// `MySQL 8.4.6`, without the build's own additions.
pub fn server_name(flavour: &str, version: &str) -> String {
    let name = match flavour {
        "mysql" => "MySQL",
        "mariadb" => "MariaDB",
        other => other,
    };
    let number: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    format!("{name} {}", if number.is_empty() { version } else { number.trim_end_matches('.') })
}

fn windows(state: &WorkloadState, judged: &Judged, limits: Limits, lines: &mut Vec<String>) {
    let mut key = "Recoverable";
    let newest_end = state.end();
    for window in &state.windows {
        let Some((from, to)) = window.span() else { continue };
        let length = duration(u64::try_from(to.as_second() - from.as_second()).unwrap_or(0));
        let mut line = format!("{key:<13}{} .. {}   {length}", to_micros(seconds_up(from).min(to)), to_micros(to));
        if Some(to) == newest_end {
            let age =
                judged.end_age_seconds.map_or_else(String::new, |age| format!("; the end is {} old", duration(age)));
            line.push_str(&age);
            if !state.offline {
                line.push_str(&format!(" (limit {})", duration(limits.max_lag_seconds)));
            }
        }
        if let Some(gap) = &window.ends_at {
            line.push_str(&format!("; ends at {gap}"));
        }
        if let Some(seconds) = state.resolution_seconds.filter(|s| *s >= 1.0 && key == "Recoverable") {
            line.push_str(&format!("; resolution {}", duration(seconds as u64)));
        }
        let late = judged.findings.iter().find(|f| f.code.number == 501 && key == "Recoverable");
        lines.push(late.map_or_else(|| line.clone(), |finding| with_code(&line, finding)));
        key = "";
    }
    if state.windows.is_empty() {
        let reason = judged.findings.iter().find(|f| matches!(f.code.number, 503 | 504));
        let is_for_a_job = judged.health == Health::Unknown && !is_in_directory(state);
        lines.push(match reason {
            Some(finding) => with_code(&format!("{:<13}nothing: {}", "Recoverable", finding.text), finding),
            None if is_for_a_job => {
                format!("{:<13}unknown: no sidecar answered; a Job may read the archive", "Recoverable")
            }
            None => format!("{:<13}unknown: no sidecar answered", "Recoverable"),
        });
        if is_for_a_job {
            let command = format!("kubectl pitr status {} -n {} --via=job", state.name, state.namespace);
            lines.push(format!("{:<13}{command}", "Fix"));
        }
    }
    lines.extend(bar(state));
}

/// Whether the archive was last told to be a directory, which no Job can read.
fn is_in_directory(state: &WorkloadState) -> bool {
    let urls = state.pods.iter().filter_map(|pod| pod.beat.as_ref()?.heartbeat.archive.url.as_deref());
    urls.into_iter().any(|url| url.starts_with("file://"))
}

fn bar(state: &WorkloadState) -> Vec<String> {
    let span = |w: &crate::state::WindowRow| w.span().map(|(from, to)| BarSpan { from, to });
    let spans: Vec<_> = state.windows.iter().filter_map(span).collect();
    let backups: Vec<Timestamp> = match &state.backups {
        Some(list) => {
            list.items.iter().filter(|b| b.usable).filter_map(|b| b.reaches_from.or(b.consistent_at)).collect()
        }
        None => state.newest_backup().and_then(|(_, at)| at).into_iter().collect(),
    };
    let Some([labels, bar]) = window_bar(&spans, &backups) else { return Vec::new() };
    let gaps = if bar.contains('▒') { "   ▒ not recoverable" } else { "" };
    let legend = format!("█ recoverable{gaps}   B base backup");
    vec![format!("  {labels}         {legend}"), format!("  {bar}")]
}

/// A line whose finding's code stands at the right edge.
fn with_code(line: &str, finding: &Finding) -> String {
    format!("{}[{}]", filled(line), finding.code)
}

/// What is not said by another line.
fn findings(state: &WorkloadState, judged: &Judged, lines: &mut Vec<String>) {
    for finding in &judged.findings {
        let key = match finding.code.number {
            503 | 504 if state.windows.is_empty() => {
                lines.extend(finding.fix.as_ref().map(|fix| format!("{:<13}{fix}", "Fix")));
                continue;
            }
            504 if finding.fix.is_some() => "At risk",
            // They stand at the ends of their own lines.
            501 | 504 => continue,
            502 | 510 => "At risk",
            511 | 704 => "Archiver",
            601..=699 => "Cause",
            _ => "Finding",
        };
        lines.push(with_code(&format!("{key:<13}{}", finding.text), finding));
        lines.extend(finding.fix.as_ref().map(|fix| format!("{:<13}{fix}", "Fix")));
    }
}

fn archived(heartbeat: &Heartbeat) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(closed) = &heartbeat.closed {
        let at = closed.archived_at.map_or_else(String::new, |t| format!(" ({})", t.strftime("%H:%M:%SZ")));
        parts.push(format!("closed binlogs to {}{at}", closed.binlog));
    }
    if let Some(active) = &heartbeat.active {
        parts.push(format!(
            "active {} to position {} of {}",
            active.binlog, active.shipped_bytes, active.position_bytes
        ));
    }
    if let Some(lag) = heartbeat.lag_seconds {
        let bytes = heartbeat.unarchived_bytes.unwrap_or(0);
        parts.push(format!("lag {}, {} unarchived", duration(lag.max(0.0) as u64), binary_size(bytes)));
    }
    // Soon is a finding; until then it is good to know, where something waits.
    let waits = heartbeat.unarchived_binlogs.is_some_and(|binlogs| binlogs > 0);
    if let Some(until) = heartbeat.seconds_until_purge.filter(|until| waits && *until >= PURGE_SECONDS) {
        parts.push(format!("the server purges the oldest of it in {}", duration(until as u64)));
    }
    (!parts.is_empty()).then(|| format!("{:<13}{}", "Archived", parts.join("; ")))
}

fn base(state: &WorkloadState, judged: &Judged, now: Timestamp, lines: &mut Vec<String>) {
    let Some((id, at)) = state.newest_backup() else { return };
    let usable = state.usable_backups().map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut line = format!("{:<13}{usable} usable; newest {id}", "Base");
    if let Some(backup) = state.backups.as_ref().and_then(|l| l.items.iter().find(|b| b.id == id)) {
        line.push_str(&format!(", {}", backup.method));
        line.extend(backup.raw_bytes.map(|b| format!(", {}", binary_size(b))));
    }
    if let Some(at) = at {
        line.push_str(&format!(", {} ago", age(at, now)));
    }
    lines.push(match judged.findings.iter().find(|f| f.code.number == 504 && f.fix.is_none()) {
        Some(finding) => with_code(&line, finding),
        None => line,
    });
}

fn age(at: Timestamp, now: Timestamp) -> String {
    duration(u64::try_from(now.as_second() - at.as_second()).unwrap_or(0))
}

fn verified(state: &WorkloadState, now: Timestamp) -> Option<String> {
    let verify = &state.verify;
    let damage = verify.damaged_objects.map_or_else(String::new, |n| format!(": {n} objects DAMAGED [PITR0606]"));
    let checksums = verify.checksums_at.map(|at| format!("checksums, last {} ago{damage}", age(at, now)));
    let drill = verify.drill_at.map(|at| {
        let took = verify.drill_seconds.map_or_else(String::new, |s| format!(" in {}", duration(s as u64)));
        format!("restore drill passed {} ago{took}", age(at, now))
    });
    let failed = verify.drill_failed_at.map(|at| {
        let code = verify.drill_failed_code.as_deref().unwrap_or("-");
        format!("restore drill FAILED {} ago with {code}", age(at, now))
    });
    let unreadable = state.leading().and_then(|(_, heartbeat)| heartbeat.archive.unreadable.as_ref());
    let unreadable = unreadable.map(|u| format!("{} objects UNREADABLE, such as {} [PITR0606]", u.objects, u.first));
    let parts: Vec<_> = checksums.into_iter().chain(drill).chain(failed).chain(unreadable).collect();
    (!parts.is_empty()).then(|| format!("{:<13}{}", "Verified", parts.join("; ")))
}

fn gaps(state: &WorkloadState, all: bool, lines: &mut Vec<String>) {
    let shown = if all { state.gaps.len() } else { GAPS_SHOWN };
    let mut newest: Vec<&Gap> = state.gaps.iter().collect();
    newest.sort_by_key(|g| std::cmp::Reverse(g.from));
    for gap in newest.iter().take(shown) {
        let after = gap.from.map_or_else(String::new, |t| format!(" after {}", to_micros(t)));
        lines.push(format!(
            "{:<13}{}{after}: {}, {};",
            "Gap",
            gap.id,
            gap.why(),
            count_of(gap.transactions, "transaction")
        ));
        let closed = match (&gap.closed_by, gap.is_open()) {
            (Some(by), _) => format!("closed by {by}"),
            (None, false) => "closed".to_owned(),
            (None, true) => "open".to_owned(),
        };
        let place = place(state);
        lines.push(format!("{:<13}{closed}. See: kubectl pitr explain {} {}{place}", "", gap.id, state.name));
    }
    let rest = state.gaps_total.saturating_sub(newest.len().min(shown) as u64);
    if rest > 0 {
        lines.push(format!("{:<13}and {}: --show-gaps", "", count_of(rest, "more gap")));
    }
}
