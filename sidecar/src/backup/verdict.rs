//! The one verdict that a backup ends with.

use std::fmt;

use pitr_recovery::{BaseBackup, format_time};
use serde::Serialize;

use crate::error::Rendered;
use crate::termination;

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BackupOutcome {
    /// It is in the archive and was read back.
    Stored,
    /// Nothing partial is listed.
    Failed,
    /// Nothing was begun.
    Refused,
}

/// The verdict line.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackupVerdict {
    event: &'static str,
    schema_version: u32,
    /// How it ended.
    pub(super) result: BackupOutcome,
    code: Option<String>,
    message: Option<String>,
    id: Option<String>,
    method: Option<String>,
    gtid_set: Option<String>,
    snapshot_at: Option<String>,
    raw_bytes: u64,
    stored_bytes: u64,
    /// How long it took.
    pub(super) duration_seconds: u64,
}

impl BackupVerdict {
    /// Of a backup that is there.
    pub(super) fn stored(backup: &BaseBackup) -> Self {
        Self {
            id: Some(backup.id.clone()),
            method: Some(backup.method.clone()),
            gtid_set: Some(backup.executed.to_string()),
            snapshot_at: Some(format_time(backup.snapshot_us)),
            raw_bytes: backup.raw_bytes,
            stored_bytes: backup.stored_bytes,
            ..Self::new(BackupOutcome::Stored)
        }
    }

    /// Of a backup that is not.
    pub(super) fn of_error(error: &Rendered) -> Self {
        let result = if error.exit == 4 { BackupOutcome::Refused } else { BackupOutcome::Failed };
        Self { code: error.code.clone(), message: Some(error.text()), ..Self::new(result) }
    }

    fn new(result: BackupOutcome) -> Self {
        Self {
            event: "verdict",
            schema_version: 1,
            result,
            code: None,
            message: None,
            id: None,
            method: None,
            gtid_set: None,
            snapshot_at: None,
            raw_bytes: 0,
            stored_bytes: 0,
            duration_seconds: 0,
        }
    }

    /// One line of JSON, short enough for a termination log.
    pub(super) fn line(&self) -> String {
        termination::fit(|limit| {
            let cut = |text: &Option<String>| text.as_deref().map(|text| termination::cut(text, limit));
            Self { message: cut(&self.message), gtid_set: cut(&self.gtid_set), ..self.clone() }
        })
    }

    /// Leaves the line where Kubernetes looks for it, if we run there.
    pub(super) fn leave_for_kubernetes(&self) {
        termination::leave(&self.line());
    }
}

impl fmt::Display for BackupVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [id, set, at] = [&self.id, &self.gtid_set, &self.snapshot_at]
            .map(|text| termination::cut(text.as_deref().unwrap_or("-"), 400));
        write!(f, "Stored and read back: {id}, GTID set {set}; consistent at {at}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pitr_binlog::Flavour;
    use pitr_recovery::BaseBackup;

    use super::BackupVerdict;

    #[test]
    fn a_stored_backup_is_told_in_one_line() {
        let backup = BaseBackup {
            id: "bb-20261121-073314-e2f0".into(),
            method: "clone".into(),
            flavour: Flavour::MySql,
            server_version: "8.4.6".into(),
            source: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
            executed: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7".parse().unwrap(),
            position: None,
            snapshot_us: 1_795_246_394_201_733,
            started_us: 0,
            finished_us: 0,
            raw_bytes: 3,
            stored_bytes: 1,
            settings: BTreeMap::new(),
            recipients: Vec::new(),
        };
        let verdict = BackupVerdict::stored(&backup);
        let expected = "Stored and read back: bb-20261121-073314-e2f0, GTID set 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7; \
                        consistent at 2026-11-21T07:33:14.201733Z";
        assert_eq!(verdict.to_string(), expected);
        let line: serde_json::Value = serde_json::from_str(&verdict.line()).unwrap();
        assert_eq!((&line["result"], &line["snapshotAt"]), (&"stored".into(), &"2026-11-21T07:33:14.201733Z".into()));
    }
}
