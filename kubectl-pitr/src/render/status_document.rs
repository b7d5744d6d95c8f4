//! `kind: StatusList`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::state::{Judged, WorkloadState};

fn instant(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()))
}

/// The document of all rows.
pub fn status_document(rows: &[(WorkloadState, Judged)]) -> Value {
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "StatusList",
        "items": rows.iter().map(|(state, judged)| item(state, judged)).collect::<Vec<_>>(),
    })
}

fn item(state: &WorkloadState, judged: &Judged) -> Value {
    let leading = state.leading().map(|(_, h)| h);
    let newest = state.newest_backup();
    json!({
        "namespace": state.namespace,
        "workload": state.name,
        "state": judged.health.as_str(),
        "server": state.server.as_ref().map(|(flavour, version)| json!({"flavour": flavour, "version": version})),
        "primary": state.primary().map(|(pod, _)| &pod.name),
        "replicas": if state.offline { Value::Null } else { json!(state.replicas) },
        "archiving": if state.offline { Value::Null } else { json!(state.archiving()) },
        "archive": state.archive_url,
        "windows": state.windows.iter().map(|w| json!({
            "branch": w.branch, "from": instant(w.from), "to": instant(w.to), "endsAt": w.ends_at,
            "transactions": w.transactions, "rawBytes": w.bytes,
        })).collect::<Vec<_>>(),
        "recoverableFrom": instant(state.windows.first().and_then(|w| w.from)),
        "recoverableTo": instant(state.end()),
        "endAgeSeconds": judged.end_age_seconds,
        "resolutionSeconds": state.resolution_seconds,
        "gaps": state.gaps.iter().map(|g| json!({
            "id": g.id, "state": if g.is_open() { "open" } else { "closed" }, "from": instant(g.from), "to": instant(g.to),
            "transactions": g.transactions, "reason": g.reason, "closedBy": g.closed_by,
        })).collect::<Vec<_>>(),
        "gapsTotal": state.gaps_total,
        "closedBinlog": leading.and_then(|h| h.closed.as_ref()).map(|c| &c.binlog),
        "lagSeconds": leading.and_then(|h| h.lag_seconds),
        "unarchivedBinlogs": leading.and_then(|h| h.unarchived_binlogs),
        "unarchivedBytes": leading.and_then(|h| h.unarchived_bytes),
        "secondsUntilPurge": leading.and_then(|h| h.seconds_until_purge),
        "baseBackups": {
            "usable": state.usable_backups(),
            "newestId": newest.as_ref().map(|(id, _)| id),
            "newestAt": instant(newest.as_ref().and_then(|(_, at)| *at)),
        },
        "verified": {
            "checksumsAt": instant(state.verify.checksums_at),
            "damagedObjects": state.verify.checksums_at.map(|_| state.verify.damaged_objects.unwrap_or(0)),
            "drillAt": instant(state.verify.drill_at),
            "drillSeconds": state.verify.drill_seconds,
            "drillFailedAt": instant(state.verify.drill_failed_at),
            "drillFailedCode": state.verify.drill_failed_code,
        },
        "findings": judged.findings.iter().map(|f| json!({
            "code": f.code.to_string(), "message": f.text, "fix": f.fix,
        })).collect::<Vec<_>>(),
        "pods": state.pods.iter().map(|p| json!({
            "name": p.name,
            "sidecar": p.carries_sidecar,
            "heartbeatAgeSeconds": p.beat.as_ref().and_then(|b| b.age_seconds),
            "version": p.beat.as_ref().and_then(|b| b.heartbeat.version.as_ref()),
            "silences": p.silences,
        })).collect::<Vec<_>>(),
    })
}
