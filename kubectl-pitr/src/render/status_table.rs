//! The status of several workloads: a row each.

use super::status::server_name;
use super::{Table, binary_size, duration, end_shown, seconds_up, to_micros};
use crate::state::{Judged, WorkloadState};

const HEADER: [&str; 12] = [
    "NAMESPACE",
    "WORKLOAD",
    "SERVER",
    "STATE",
    "ARCHIVING",
    "RECOVERABLE FROM",
    "RECOVERABLE TO",
    "END AGE",
    "CLOSED TO",
    "GAPS",
    "UNARCHIVED",
    "CODES",
];

/// The rows; `wide` adds the archive and the base backups.
pub fn status_table(rows: &[(WorkloadState, Judged)], headers: bool, wide: bool) -> String {
    let mut header = HEADER.to_vec();
    if wide {
        header.extend(["BASE BACKUPS", "NEWEST BASE", "ARCHIVE"]);
    }
    let mut table = Table::new(&header);
    for (state, judged) in rows {
        let mut cells = cells(state, judged);
        if wide {
            cells.push(state.usable_backups().map_or_else(String::new, |n| n.to_string()));
            cells.push(state.newest_backup().map_or_else(String::new, |(id, _)| id));
            cells.push(state.archive_url.clone().unwrap_or_default());
        }
        table.row(cells);
    }
    table.text(headers)
}

/// What a row says beside the age and the end of its window, which change by themselves.
pub fn status_said((state, judged): &(WorkloadState, Judged)) -> String {
    const MOVING: [&str; 3] = ["RECOVERABLE TO", "END AGE", "UNARCHIVED"];
    let cells = cells(state, judged);
    let said = HEADER.iter().zip(&cells).filter(|(name, _)| !MOVING.contains(name)).map(|(_, cell)| cell.as_str());
    said.collect::<Vec<_>>().join(" ")
}

fn cells(state: &WorkloadState, judged: &Judged) -> Vec<String> {
    let newest = state.windows.first().and_then(crate::state::WindowRow::span);
    let leading = state.leading().map(|(_, h)| h);
    let mut codes: Vec<String> = judged.findings.iter().map(|f| format!("{:04}", f.code.number)).collect();
    codes.sort();
    codes.dedup();
    vec![
        state.namespace.clone(),
        if state.offline { state.name.clone() } else { format!("statefulset/{}", state.name) },
        state.server.as_ref().map_or_else(String::new, |(flavour, version)| server_name(flavour, version)),
        judged.health.as_str().to_owned(),
        if state.offline { String::new() } else { format!("{}/{}", state.archiving(), state.replicas) },
        newest.map_or_else(String::new, |(from, to)| to_micros(seconds_up(from).min(to))),
        newest.map_or_else(String::new, |(from, to)| end_shown(Some(seconds_up(from).min(to)), to)),
        judged.end_age_seconds.map_or_else(String::new, duration),
        leading.and_then(|h| h.closed.as_ref()).map_or_else(String::new, |c| c.binlog.clone()),
        if state.windows.is_empty() && state.gaps_total == 0 { String::new() } else { state.gaps_total.to_string() },
        leading.and_then(|h| h.unarchived_bytes).map_or_else(String::new, binary_size),
        codes.join(","),
    ]
}
