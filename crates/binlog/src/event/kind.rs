use std::fmt;

/// The type byte of an event. A number that we don't know is a value like any other (T27).
///
/// Numbers: `mysql::binlog::event::Log_event_type` (MySQL, `binlog_event.h`) and `enum Log_event_type` (MariaDB,
/// `log_event.h`). Up to 28 both agree; above, MySQL counts on and MariaDB begins at 160.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($name:ident = $number:literal, $about:literal;)*) => {
        impl EventType {
            $(#[doc = $about] pub const $name: Self = Self($number);)*

            /// The type's name without `_EVENT`, or "UNKNOWN".
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }

            /// Whether this library knows the type.
            #[must_use]
            pub const fn is_known(self) -> bool {
                matches!(self.0, $($number)|*)
            }
        }
    };
}

event_types! {
    START_V3 = 1, "Head of binlogs before MySQL 5.0.";
    QUERY = 2, "A statement, or BEGIN, COMMIT, XA START and the like.";
    STOP = 3, "The server shut down: the end of a file.";
    ROTATE = 4, "The name of the next file: the end of a file, or the announcement of one in a stream.";
    INTVAR = 5, "LAST_INSERT_ID or INSERT_ID for the next statement.";
    LOAD = 6, "LOAD DATA of MySQL 3.23.";
    SLAVE = 7, "Never written.";
    CREATE_FILE = 8, "LOAD DATA of MySQL 4.0.";
    APPEND_BLOCK = 9, "A further part of the file of a LOAD DATA.";
    EXEC_LOAD = 10, "LOAD DATA of MySQL 4.0.";
    DELETE_FILE = 11, "The file of a failed LOAD DATA goes.";
    NEW_LOAD = 12, "LOAD DATA of MySQL 4.0.";
    RAND = 13, "Seeds of RAND() for the next statement.";
    USER_VAR = 14, "A user variable for the next statement.";
    FORMAT_DESCRIPTION = 15, "The first event of each file.";
    XID = 16, "The commit of a transaction.";
    BEGIN_LOAD_QUERY = 17, "The first part of the file of a LOAD DATA.";
    EXECUTE_LOAD_QUERY = 18, "The statement of a LOAD DATA.";
    TABLE_MAP = 19, "Names and columns of a table whose rows follow.";
    PRE_GA_WRITE_ROWS = 20, "Rows of MySQL 5.1 before its release.";
    PRE_GA_UPDATE_ROWS = 21, "Rows of MySQL 5.1 before its release.";
    PRE_GA_DELETE_ROWS = 22, "Rows of MySQL 5.1 before its release.";
    WRITE_ROWS_V1 = 23, "Inserted rows (MySQL 5.1 to 5.5, MariaDB).";
    UPDATE_ROWS_V1 = 24, "Updated rows (MySQL 5.1 to 5.5, MariaDB).";
    DELETE_ROWS_V1 = 25, "Deleted rows (MySQL 5.1 to 5.5, MariaDB).";
    INCIDENT = 26, "The log has a hole: something was not written to it.";
    HEARTBEAT = 27, "In streams only: the source lives.";
    IGNORABLE = 28, "May be ignored by whoever doesn't know it.";
    ROWS_QUERY = 29, "The text of the statement whose rows follow (MySQL).";
    WRITE_ROWS = 30, "Inserted rows.";
    UPDATE_ROWS = 31, "Updated rows.";
    DELETE_ROWS = 32, "Deleted rows.";
    GTID = 33, "The beginning of a transaction, with its GTID (MySQL).";
    ANONYMOUS_GTID = 34, "The beginning of a transaction without a GTID (MySQL).";
    PREVIOUS_GTIDS = 35, "All GTIDs in the files before this one (MySQL).";
    TRANSACTION_CONTEXT = 36, "Certification data of group replication, in its relay logs.";
    VIEW_CHANGE = 37, "The members of a replication group changed.";
    XA_PREPARE = 38, "XA PREPARE, or XA COMMIT ... ONE PHASE: the end of a transaction.";
    PARTIAL_UPDATE_ROWS = 39, "Updated rows with parts of JSON values.";
    TRANSACTION_PAYLOAD = 40, "A whole transaction but its GTID, compressed.";
    HEARTBEAT_V2 = 41, "In streams only: the source lives, with 64-bit positions.";
    GTID_TAGGED = 42, "The beginning of a transaction whose GTID has a tag (MySQL 8.3+).";
    ANNOTATE_ROWS = 160, "The text of the statement whose rows follow (MariaDB).";
    BINLOG_CHECKPOINT = 161, "The oldest file that crash recovery needs (MariaDB).";
    MARIADB_GTID = 162, "The beginning of a transaction, with its GTID (MariaDB).";
    GTID_LIST = 163, "The last GTID of each domain and server before this file (MariaDB).";
    START_ENCRYPTION = 164, "All further events of the file are encrypted (MariaDB).";
    QUERY_COMPRESSED = 165, "A statement, compressed with zlib (MariaDB).";
    WRITE_ROWS_COMPRESSED_V1 = 166, "Inserted rows, compressed (MariaDB).";
    UPDATE_ROWS_COMPRESSED_V1 = 167, "Updated rows, compressed (MariaDB).";
    DELETE_ROWS_COMPRESSED_V1 = 168, "Deleted rows, compressed (MariaDB).";
    WRITE_ROWS_COMPRESSED = 169, "Inserted rows, compressed (MariaDB).";
    UPDATE_ROWS_COMPRESSED = 170, "Updated rows, compressed (MariaDB).";
    DELETE_ROWS_COMPRESSED = 171, "Deleted rows, compressed (MariaDB).";
    PARTIAL_ROW_DATA = 172, "A part of a rows event that was too large for one (MariaDB 12).";
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() { f.write_str(self.name()) } else { write!(f, "type {}", self.0) }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_types_have_text() {
        assert_eq!(EventType::GTID_TAGGED.to_string(), "GTID_TAGGED");
        assert_eq!(EventType(200).to_string(), "type 200");
        assert_eq!((EventType(200).name(), EventType(200).is_known()), ("UNKNOWN", false));
        let known: Vec<u8> = (0..=255).filter(|n| EventType(*n).is_known()).collect();
        assert_eq!(known, (1..=42).chain(160..=172).collect::<Vec<u8>>());
    }
}
