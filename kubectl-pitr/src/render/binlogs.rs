//! Archived binlogs: a row each, or a row for each object.

use super::{Table, binary_size, to_micros};
use crate::state::{BinlogRow, Binlogs};

/// The table; `wide` adds the server.
pub fn binlogs_table(list: &Binlogs, headers: bool, wide: bool) -> String {
    let mut header =
        vec!["BINLOG", "STREAM", "FIRST COMMIT", "LAST COMMIT", "TRANSACTIONS", "SIZE", "STORED", "SEGMENTS", "STATE"];
    if wide {
        header.push("SERVER");
    }
    let mut table = Table::of_several(&header, is_of_several(list));
    for binlog in &list.items {
        let tail = binlog.segments.iter().filter(|segment| segment.tail).count();
        let rest = binlog.segments.len() - tail;
        let mut cells = owner(binlog);
        cells.extend([
            binlog.binlog.clone(),
            binlog.stream.clone().unwrap_or_default(),
            binlog.first_at.map_or_else(String::new, to_micros),
            binlog.last_at.map_or_else(String::new, to_micros),
            binlog.transactions.to_string(),
            binary_size(binlog.archived_to),
            binary_size(binlog.stored_bytes),
            if tail == 0 { rest.to_string() } else { format!("{rest}+{tail}") },
            state(binlog),
        ]);
        if wide {
            cells.push(binlog.source.clone());
        }
        table.row(cells);
    }
    table.text(headers)
}

fn is_of_several(list: &Binlogs) -> bool {
    list.items.iter().any(|binlog| binlog.workload.is_some())
}

fn owner(binlog: &BinlogRow) -> Vec<String> {
    [&binlog.namespace, &binlog.workload].into_iter().flatten().cloned().collect()
}

fn state(binlog: &BinlogRow) -> String {
    match (&binlog.damage, binlog.state.as_str()) {
        (Some(damage), _) => format!("damaged: {damage}"),
        (None, "open") => format!("open, archived to {}", binlog.archived_to),
        (None, "rotated" | "stopped") => "closed, archived".to_owned(),
        (None, "crashed") => "closed by a crash, archived".to_owned(),
        (None, other) => other.to_owned(),
    }
}

/// A row for each stored object.
pub fn segments_table(list: &Binlogs, headers: bool) -> String {
    let header = ["BINLOG", "FROM", "TO", "STORED", "PLACE", "OBJECT"];
    let mut table = Table::of_several(&header, is_of_several(list));
    for binlog in &list.items {
        for segment in &binlog.segments {
            let mut cells = owner(binlog);
            cells.extend([
                binlog.binlog.clone(),
                segment.start.to_string(),
                segment.end.to_string(),
                binary_size(segment.stored_bytes),
                if segment.tail { "tail" } else { "binlogs" }.to_owned(),
                segment.key.clone(),
            ]);
            table.row(cells);
        }
    }
    table.text(headers)
}
