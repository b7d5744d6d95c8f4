//! What a replica's receiver asks before it asks for the log (`get_master_version_and_clock` and the functions around it
//! in `sql/rpl_replica.cc`), under the names of old and new versions.

use std::time::Duration;

use crate::handshake::{COLLATION, EOF, OK, err};
use crate::identity::SourceIdentity;

/// What a session has set for itself.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// How long the source may be silent; zero: as it likes.
    pub(crate) heartbeat: Duration,
}

/// The answer to a statement, as payloads of packets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Vec<Vec<u8>>);

/// Answers a statement; `now_s` is the time in seconds since 1970.
pub(crate) fn answer(statement: &str, identity: &SourceIdentity, session: &mut Session, now_s: i64) -> Answer {
    let text = statement.trim().trim_end_matches(';').trim_end();
    let lower = text.to_ascii_lowercase();
    if let Some(assignments) = lower.strip_prefix("set ") {
        set(assignments, session);
        return Answer(vec![OK.to_vec()]);
    }
    let Some(wanted) = lower.strip_prefix("select ").map(str::trim) else {
        return Answer(vec![err(1235, b"42000", "pitr: this source answers only what a replica must ask")]);
    };
    let value = match wanted {
        "unix_timestamp()" => now_s.to_string(),
        "version()" | "@@version" | "@@global.version" => identity.server_version.clone(),
        "@@server_id" | "@@global.server_id" => identity.server_id.to_string(),
        "@@server_uuid" | "@@global.server_uuid" => identity.server_uuid.to_string(),
        "@@gtid_mode" | "@@global.gtid_mode" => "ON".to_owned(),
        // How the first made-up ROTATE is protected. What follows is as its file's format description says (T23).
        "@master_binlog_checksum" | "@source_binlog_checksum" => "CRC32".to_owned(),
        // ER_UNKNOWN_SYSTEM_VARIABLE: so a replica learns that there is no such thing (semi-synchronous replication).
        other if other.starts_with("@@") => {
            return Answer(vec![err(1193, b"HY000", &format!("Unknown system variable '{}'", &other[2..]))]);
        }
        _ => return Answer(vec![err(1235, b"42000", "pitr: this source answers only what a replica must ask")]),
    };
    one_value(wanted, &value)
}

/// Every assignment is accepted; only the heartbeat's period means something here.
fn set(assignments: &str, session: &mut Session) {
    for assignment in assignments.split(',') {
        let Some((name, value)) = assignment.split_once('=') else { continue };
        if let ("@master_heartbeat_period" | "@source_heartbeat_period", Ok(ns)) = (name.trim(), value.trim().parse()) {
            session.heartbeat = Duration::from_nanos(ns);
        }
    }
}

/// A result of one row with one text.
fn one_value(name: &str, value: &str) -> Answer {
    let mut column = Vec::new();
    // Catalog, schema, table twice, name twice.
    for text in ["def", "", "", "", name, ""] {
        push_text(&mut column, text);
    }
    column.push(0x0c);
    column.extend_from_slice(&u16::from(COLLATION).to_le_bytes());
    column.extend_from_slice(&1024_u32.to_le_bytes());
    // VAR_STRING, no flags, no decimals, two bytes of nothing.
    column.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0]);
    let mut row = Vec::new();
    push_text(&mut row, value);
    Answer(vec![vec![1], column, EOF.to_vec(), row, EOF.to_vec()])
}

/// A text with its length before it. The longest is a version or a variable's name.
fn push_text(packet: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(250)];
    packet.push(text.len() as u8);
    packet.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn ask(session: &mut Session, statement: &str) -> Result<String, u16> {
        let identity = SourceIdentity {
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap(),
            server_id: 4_000_000_000,
            server_version: "9.7.4".into(),
            user: "pitr".into(),
            password: Secret::random(),
        };
        let Answer(packets) = answer(statement, &identity, session, 1_700_000_000);
        match &packets[..] {
            [ok] if ok == OK => Ok("OK".into()),
            [err] => Err(u16::from_le_bytes([err[1], err[2]])),
            [_, _, _, row, _] => Ok(String::from_utf8(row[1..].to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn old_and_new_names_are_answered() {
        let mut session = Session::default();
        for (statement, expected) in [
            ("SELECT UNIX_TIMESTAMP()", "1700000000"),
            ("SELECT @@GLOBAL.SERVER_ID", "4000000000"),
            ("select @@server_id;", "4000000000"),
            ("SELECT @master_binlog_checksum", "CRC32"),
            ("SELECT @source_binlog_checksum", "CRC32"),
            ("SELECT @@GLOBAL.GTID_MODE", "ON"),
            ("SELECT @@GLOBAL.SERVER_UUID", "3e11fa47-71ca-11e1-9e33-c80aa9429562"),
            ("SELECT VERSION()", "9.7.4"),
            ("SET NAMES utf8mb4", "OK"),
            ("SET @slave_uuid = 'x', @replica_uuid = 'x'", "OK"),
            (
                "SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
                "OK",
            ),
        ] {
            assert_eq!(ask(&mut session, statement).as_deref(), Ok(expected), "{statement}");
        }
        assert_eq!(session.heartbeat, Duration::ZERO);
        ask(&mut session, "SET @master_heartbeat_period = 30000001024, @source_heartbeat_period = 30000001024")
            .unwrap();
        assert_eq!(session.heartbeat, Duration::from_nanos(30_000_001_024));
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let mut session = Session::default();
        assert_eq!(ask(&mut session, "SELECT @@GLOBAL.rpl_semi_sync_source_enabled"), Err(1193));
        for statement in ["SELECT 1", "SHOW TABLES", "DROP TABLE t", "", "SELECT"] {
            assert_eq!(ask(&mut session, statement), Err(1235), "{statement}");
        }
    }
}
