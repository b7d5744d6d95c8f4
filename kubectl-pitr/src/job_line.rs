//! What our Jobs write: one JSON line a second at most, and a verdict as the last word.

use serde::Deserialize;
use serde_json::Value;

/// A line of a Job's log that means something here.
#[derive(Debug, Clone, PartialEq)]
pub enum JobLine {
    Method(Method),
    Progress(Progress),
    Verdict(Box<Verdict>),
    /// What a Job found out, whole: `kind: Verify`, `kind: Prune`.
    Document(Value),
}

/// How a base backup is made, and why so.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Method {
    pub method: String,
    pub reason: String,
}

/// How far a phase has come.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    pub phase: String,
    pub done: u64,
    pub total: Option<u64>,
    pub unit: String,
    pub eta_seconds: Option<f64>,
    pub binlog: Option<String>,
    pub gtid: Option<String>,
}

/// How a Job ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verdict {
    pub result: String,
    pub code: Option<String>,
    pub message: Option<String>,
    pub hint: Option<Words>,
    pub fix: Option<Words>,
    pub phase: Option<String>,
    pub plan_hash: Option<String>,
    pub gtid_set: Option<String>,
    pub last_gtid: Option<String>,
    pub transactions: Option<u64>,
    pub missing: Option<String>,
    pub unexpected: Option<String>,
    /// XA transactions that stay prepared.
    pub prepared_xa: u64,
    /// What the accounting of rows found.
    pub rows: Option<Rows>,
    /// Tables that were written down.
    pub dump: Option<Dump>,
    pub duration_seconds: Option<f64>,
    pub replay_seconds: Option<f64>,
    /// Of a restore in place that was turned back: whether something of what was restored is kept.
    pub kept: bool,
    /// Of a base backup.
    pub id: Option<String>,
    pub method: Option<String>,
    pub snapshot_at: Option<String>,
    pub raw_bytes: Option<u64>,
    pub stored_bytes: Option<u64>,
}

/// Rows of the tables, held against base and log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rows {
    pub equal: u64,
    pub not_accounted: u64,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// Tables as SQL files on the restored volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dump {
    pub directory: String,
    pub tables: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Reads a line; other programs' lines, and events that mean nothing here, are `None`.
pub fn parse(line: &str) -> Option<JobLine> {
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    if value["kind"].is_string() && value["apiVersion"].is_string() {
        return Some(JobLine::Document(value));
    }
    match value["event"].as_str()? {
        "method" => serde_json::from_value(value).ok().map(JobLine::Method),
        "progress" => serde_json::from_value(value).ok().map(JobLine::Progress),
        "verdict" => serde_json::from_value(value).ok().map(|v| JobLine::Verdict(Box::new(v))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ours_are_read_and_others_are_not() {
        let line = r#"{"ts":"2026-11-21T07:30:20.114Z","event":"progress","schemaVersion":1,"phase":"replay","done":778937,"total":1236408,"unit":"transactions","etaSeconds":56,"binlog":"binlog.000411","future":[1]}"#;
        let Some(JobLine::Progress(progress)) = parse(line) else { panic!("not read") };
        assert_eq!((progress.phase.as_str(), progress.done, progress.total), ("replay", 778_937, Some(1_236_408)));
        let Some(JobLine::Verdict(verdict)) =
            parse(r#"{"event":"verdict","result":"verified","code":null,"hint":["a","b"]}"#)
        else {
            panic!("not read")
        };
        assert_eq!((verdict.result.as_str(), verdict.hint.unwrap().all().len()), ("verified", 2));
        assert_eq!(parse("2026-11-21 mysqld: ready"), None);
        assert_eq!(parse(r#"{"event":"archived"}"#), None);
        let document = parse(r#"{"apiVersion":"kubectl-pitr/v1","kind":"Verify","ok":true}"#);
        assert!(matches!(document, Some(JobLine::Document(document)) if document["ok"] == true));
        assert_eq!(parse(r#"{"event":"progress","done":"#), None);
    }
}
