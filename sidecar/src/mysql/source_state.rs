//! The server beside the archiver: what its own word adds to what its files tell. Whatever it does not say stays unknown.

use std::collections::BTreeMap;

use super::dump::{DumpError, Session};

/// The server refuses a statement for want of a privilege (`ER_SPECIFIC_ACCESS_DENIED_ERROR`).
const DENIED: u16 = 1227;

/// What a server writes its own transactions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Clients write here.
    Primary,
    /// It repeats another server.
    Replica,
}

impl Role {
    /// As in documents.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What a server says about itself. `None`: it did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceState {
    /// `@@server_uuid`; MariaDB has none.
    pub(crate) server_uuid: Option<String>,
    /// Whether it repeats another server.
    pub(crate) role: Option<Role>,
    /// `@@gtid_mode`, in small letters; MariaDB has none.
    pub(crate) gtid_mode: Option<String>,
    /// After how many seconds it purges a binlog by itself; 0: never.
    pub(crate) expire_seconds: Option<u64>,
    /// `@@binlog_format`.
    pub(crate) format: Option<String>,
    /// `@@binlog_checksum`.
    pub(crate) checksum: Option<String>,
    /// Whether new binlogs are encrypted.
    pub(crate) encrypted: Option<bool>,
}

impl Session {
    /// Asks the server about itself. Needs no privilege; with REPLICATION CLIENT it says its role too.
    pub(crate) async fn source_state(&mut self) -> Result<SourceState, DumpError> {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'gtid_mode', 'read_only', 'binlog_expire_logs_seconds', \
                   'binlog_expire_logs_auto_purge', 'expire_logs_days', 'binlog_format', 'binlog_checksum', 'binlog_encryption', \
                   'encrypt_binlog')";
        let table = self.table(sql).await?;
        let rows = table.column("Variable_name").zip(table.column("Value"));
        let rows = rows.filter_map(|(name, value)| Some((name?.to_owned(), value?.to_owned()))).collect();
        let replicates = match self.replicates().await {
            Ok(replicates) => Some(replicates),
            Err(DumpError::Refused { number: DENIED, .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(understand(&rows, replicates))
    }
}

fn understand(variables: &BTreeMap<String, String>, replicates: Option<bool>) -> SourceState {
    let text = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
    let flag = |name: &str| text(name).map(|value| value.eq_ignore_ascii_case("ON") || value == "1");
    let seconds = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    // MariaDB before 10.6 has days only, fractions of them later; MySQL 8.0 has both, and the seconds decide.
    let days = || Some((text("expire_logs_days")?.parse::<f64>().ok()? * 86_400.0).max(0.0) as u64);
    let expires = flag("binlog_expire_logs_auto_purge").unwrap_or(true);
    SourceState {
        server_uuid: text("server_uuid"),
        role: match (replicates, flag("read_only")) {
            (Some(true), _) => Some(Role::Replica),
            (Some(false), Some(false)) => Some(Role::Primary),
            // Read-only and no replica: a member of a group, or somebody's maintenance.
            (Some(false), _) | (None, _) => None,
        },
        gtid_mode: text("gtid_mode").map(|mode| mode.to_lowercase()),
        expire_seconds: seconds("binlog_expire_logs_seconds")
            .or_else(days)
            .map(|after| if expires { after } else { 0 }),
        format: text("binlog_format"),
        checksum: text("binlog_checksum"),
        encrypted: flag("binlog_encryption").or_else(|| flag("encrypt_binlog")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Role, SourceState, understand};

    fn said(variables: &[(&str, &str)], replicates: Option<bool>) -> SourceState {
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        understand(&variables, replicates)
    }

    #[test]
    fn what_a_server_does_not_say_is_unknown() {
        assert_eq!(said(&[], None), SourceState::default());
        assert_eq!(said(&[("read_only", "OFF")], None).role, None);
        assert_eq!(said(&[("gtid_mode", "")], Some(false)).gtid_mode, None);
    }

    #[test]
    fn a_primary_is_one_that_is_written_to() {
        assert_eq!(said(&[("read_only", "OFF")], Some(false)).role, Some(Role::Primary));
        assert_eq!(said(&[("read_only", "ON")], Some(false)).role, None);
        assert_eq!(said(&[("read_only", "OFF")], Some(true)).role, Some(Role::Replica));
    }

    #[test]
    fn purging_that_is_switched_off_never_purges() {
        let expire = |variables: &[(&str, &str)]| said(variables, None).expire_seconds;
        assert_eq!(expire(&[("binlog_expire_logs_seconds", "2592000")]), Some(2_592_000));
        assert_eq!(
            expire(&[("binlog_expire_logs_seconds", "3600"), ("binlog_expire_logs_auto_purge", "OFF")]),
            Some(0)
        );
        assert_eq!(expire(&[("expire_logs_days", "1.500000")]), Some(129_600));
        assert_eq!(expire(&[]), None);
    }
}
