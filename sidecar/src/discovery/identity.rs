//! Who wrote the binlogs: the name of the server in the archive.

use std::io::ErrorKind;
use std::path::Path;

use pitr_binlog::Uuid;

use super::DiscoveryError;

/// What only a MariaDB server writes into its data directory: the log of its Aria engine.
const MARIADB_ONLY: &str = "aria_log_control";

/// The server UUID from `auto.cnf`, which MySQL writes at its first start.
pub(super) fn server_uuid(datadir: &Path) -> Result<Uuid, DiscoveryError> {
    let path = datadir.join("auto.cnf");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(reason) if reason.kind() == ErrorKind::NotFound && datadir.join(MARIADB_ONLY).exists() => {
            return Err(DiscoveryError::NoUuid { datadir: datadir.into() });
        }
        Err(reason) if reason.kind() == ErrorKind::NotFound => {
            return Err(DiscoveryError::NoServerYet { datadir: datadir.into() });
        }
        Err(reason) => return Err(DiscoveryError::Unreadable { path, reason }),
    };
    parse_auto_cnf(&text).ok_or(DiscoveryError::NoIdentity { path })
}

fn parse_auto_cnf(text: &str) -> Option<Uuid> {
    let mut in_auto = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_auto = line == "[auto]";
        } else if in_auto
            && let Some((key, value)) = line.split_once('=')
            && matches!(key.trim(), "server-uuid" | "server_uuid")
        {
            return value.trim().parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_has_no_uuid_needs_a_name_and_one_that_never_started_does_not() {
        let datadir = tempfile::tempdir().unwrap();
        let fix = || server_uuid(datadir.path()).unwrap_err().failure().to_string();
        assert!(fix().contains("no server has started"), "{}", fix());
        std::fs::write(datadir.path().join(MARIADB_ONLY), "").unwrap();
        assert!(matches!(server_uuid(datadir.path()), Err(DiscoveryError::NoUuid { .. })), "{}", fix());
        std::fs::write(datadir.path().join("auto.cnf"), "[auto]\nserver-uuid=3e11fa47-71ca-11e1-9e33-c80aa9429562\n")
            .unwrap();
        assert!(server_uuid(datadir.path()).is_ok(), "one that MySQL left counts");
    }

    #[test]
    fn the_uuid_stands_in_the_auto_section() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        assert_eq!(parse_auto_cnf(&format!("[auto]\r\nserver-uuid={uuid}\r\n")).unwrap().to_string(), uuid);
        assert_eq!(parse_auto_cnf(&format!("[mysqld]\nserver-uuid={uuid}\n")), None);
        assert_eq!(parse_auto_cnf("[auto]\nserver-uuid=x\n"), None);
    }
}
