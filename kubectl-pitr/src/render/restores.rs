//! Restores: a row each, and the story of one.

use serde_json::{Value, json};

use super::{Table, duration};

/// Everything known of one restore.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RestoreRow {
    pub namespace: String,
    pub name: String,
    pub workload: String,
    pub target: String,
    pub plan_hash: Option<String>,
    /// The StatefulSet that the volume is named for.
    pub stateful_set: Option<String>,
    /// Its volume is the workload's own.
    pub in_place: bool,
    /// The Job that carried it last.
    pub job: Option<String>,
    pub phase: Option<String>,
    pub done_percent: Option<u64>,
    /// `verified`, `running`, `failed`, ...
    pub state: String,
    /// What is said behind the state.
    pub detail: Option<String>,
    pub ended_seconds_ago: Option<u64>,
    pub volume: Option<String>,
    pub code: Option<String>,
    pub gtid_set: Option<String>,
    /// What the accounting of rows found, in words.
    pub rows: Option<String>,
}

impl RestoreRow {
    fn state_text(&self) -> String {
        let ago = self.ended_seconds_ago.map_or_else(String::new, |s| format!(" {} ago", duration(s)));
        let code = self.code.as_ref().map_or_else(String::new, |c| format!(" [{c}]"));
        let detail = self.detail.as_ref().map_or_else(String::new, |d| format!("; {d}"));
        let detail = if self.in_place { format!("; in place{detail}") } else { detail };
        format!("{}{ago}{code}{detail}", self.state)
    }

    fn done(&self) -> String {
        self.done_percent.map_or_else(String::new, |p| format!("{p}%"))
    }
}

/// The table.
pub fn restores_table(rows: &[RestoreRow], headers: bool, namespaces: bool) -> String {
    let mut header = vec!["NAME", "WORKLOAD", "TARGET", "PHASE", "DONE", "STATE", "VOLUME"];
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&header);
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            row.workload.clone(),
            row.target.clone(),
            row.phase.clone().unwrap_or_default(),
            row.done(),
            short(&row.state_text()),
            row.volume.clone().unwrap_or_default(),
        ];
        if namespaces {
            cells.insert(0, row.namespace.clone());
        }
        table.row(cells);
    }
    table.text(headers)
}

/// A column is no place for a story: "describe" tells it.
fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 72;
    if text.chars().count() <= CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect()
}

/// One restore, a line a fact.
pub fn restore_story(row: &RestoreRow) -> String {
    let facts = [
        ("Name", Some(row.name.clone())),
        ("Workload", Some(row.workload.clone())),
        ("Target", Some(row.target.clone())),
        ("Plan", row.plan_hash.clone()),
        ("Job", row.job.clone()),
        ("Phase", row.phase.clone()),
        ("Done", row.done_percent.map(|p| format!("{p}%"))),
        ("State", Some(row.state_text())),
        ("Volume", row.volume.as_ref().map(|v| format!("pvc/{v}"))),
        ("GTID set", row.gtid_set.clone()),
        ("Rows", row.rows.clone()),
        ("Next", next(row)),
    ];
    facts.iter().filter_map(|(key, value)| value.as_ref().map(|v| format!("{key:<12}{v}\n"))).collect()
}

/// One restore as an item of [`restores_document`].
pub fn restore_item(row: &RestoreRow) -> Value {
    json!({
        "namespace": row.namespace, "name": row.name, "workload": row.workload, "target": row.target,
        "planHash": row.plan_hash, "inPlace": row.in_place, "job": row.job, "phase": row.phase, "donePercent": row.done_percent,
        "state": row.state, "detail": row.detail, "code": row.code, "volume": row.volume,
        "endedSecondsAgo": row.ended_seconds_ago, "gtidSet": row.gtid_set, "rows": row.rows,
    })
}

/// What goes on with one that ended before it was verified.
fn next(row: &RestoreRow) -> Option<String> {
    let goes_on = matches!(row.state.as_str(), "failed" | "incomplete") && row.job.is_some();
    goes_on.then(|| format!("kubectl pitr restores resume {} -n {}", row.name, row.namespace))
}

/// `kind: RestoreList`.
pub fn restores_document(rows: &[RestoreRow]) -> Value {
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "RestoreList",
        "items": rows.iter().map(restore_item).collect::<Vec<_>>(),
    })
}
