//! Base backups: a row each.

use jiff::Timestamp;
use pitr_recovery::code;
use serde_json::{Value, json};

use super::status::server_name;
use super::{Table, binary_size, end_shown, seconds_up, to_micros};
use crate::state::{Backup, Backups};

/// The table; `wide` adds what each one holds, and whom it is encrypted to.
pub fn backups_table(list: &Backups, headers: bool, wide: bool) -> String {
    let mut header = vec!["ID", "METHOD", "SERVER", "CONSISTENT AT", "SIZE", "STORED", "FROM", "STATE", "REACHES"];
    if wide {
        header.extend(["ENCRYPTED TO", "GTID SET"]);
    }
    let is_of_several = list.items.iter().any(|backup| backup.workload.is_some());
    let mut table = Table::of_several(&header, is_of_several);
    for backup in &list.items {
        let mut cells: Vec<String> = [&backup.namespace, &backup.workload].into_iter().flatten().cloned().collect();
        cells.extend(self::cells(backup));
        if wide {
            cells.extend([backup.recipients.join(","), backup.gtid_set.clone()]);
        }
        table.row(cells);
    }
    table.text(headers)
}

fn cells(backup: &Backup) -> Vec<String> {
    let reaches = match (backup.usable, backup.reaches_to) {
        (true, Some(to)) => end_shown(backup.reaches_from, to),
        (true, None) => String::new(),
        (false, _) => {
            let reason = backup.reason.clone().unwrap_or_else(|| "no archived binlog continues it".to_owned());
            format!("{reason} [{}]", code::BACKUP_NOT_CONNECTED)
        }
    };
    vec![
        backup.id.clone(),
        backup.method.clone(),
        server_name(&backup.flavour, &backup.server_version),
        backup.consistent_at.map_or_else(String::new, |at| to_micros(seconds_up(at))),
        backup.raw_bytes.map_or_else(String::new, binary_size),
        backup.stored_bytes.map_or_else(String::new, binary_size),
        // A server's UUID is recognised by its first part.
        backup.source.split('-').next().unwrap_or_default().to_owned(),
        if backup.usable { "usable" } else { "unusable" }.to_owned(),
        reaches,
    ]
}

/// `kind: BackupList`.
pub fn backups_document(list: &Backups) -> Value {
    let instant = |at: Option<Timestamp>| at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    let item = |b: &Backup| {
        let mut item = json!({
            "id": b.id, "method": b.method, "flavour": b.flavour, "serverVersion": b.server_version, "source": b.source,
            "consistentAt": instant(b.consistent_at), "finishedAt": instant(b.finished_at), "rawBytes": b.raw_bytes,
            "storedBytes": b.stored_bytes, "gtidSet": b.gtid_set, "usable": b.usable,
            "reachesFrom": instant(b.reaches_from), "reachesTo": instant(b.reaches_to), "reason": b.reason,
        });
        for (key, value) in [("namespace", &b.namespace), ("workload", &b.workload)] {
            if let Some(value) = value {
                item[key] = value.as_str().into();
            }
        }
        if !b.recipients.is_empty() {
            item["recipients"] = json!(b.recipients);
        }
        item
    };
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "BackupList",
        "items": list.items.iter().map(item).collect::<Vec<_>>(),
    })
}
