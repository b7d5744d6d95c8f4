use super::{EventHeader, EventType, MalformedEvent, XaId};
use crate::reader::Reader;

/// A statement in the log (`Query_event`: thread u32, duration u32, schema length u8, error code u16, length of status
/// variables u16, status variables, schema, NUL, text). The text of a compressed one (MariaDB) is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// The connection that ran it.
    pub thread_id: u32,
    /// The error that it ended with, usually 0.
    pub error_code: u16,
    /// Session settings as coded pairs, unread.
    pub status_variables: &'a [u8],
    /// The current schema of the connection.
    pub schema: &'a [u8],
    /// The statement.
    pub sql: &'a [u8],
}

/// What a statement means for the transaction that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// BEGIN.
    Begin,
    /// COMMIT: the end of a transaction whose engines have none.
    Commit,
    /// ROLLBACK: the end of a transaction in which something could not be rolled back.
    Rollback,
    /// SAVEPOINT, ROLLBACK TO, RELEASE SAVEPOINT.
    Savepoint,
    /// XA START: begins like BEGIN.
    XaStart,
    /// XA END.
    XaEnd,
    /// XA PREPARE as a statement.
    XaPrepare,
    /// XA COMMIT: a transaction of its own.
    XaCommit,
    /// XA ROLLBACK: a transaction of its own.
    XaRollback,
    /// A statement that defines: CREATE, ALTER, DROP, TRUNCATE, RENAME.
    Definition,
    /// A statement that changes rows: INSERT, UPDATE, DELETE and the like.
    Change,
    /// Any other statement. Alone in a transaction it is one that commits by itself, such as GRANT.
    Other,
}

impl<'a> QueryEvent<'a> {
    /// As long as what stands before the statement can get, and the longest XA statement.
    pub(crate) const PREFIX_LENGTH_MAX: usize = EventHeader::LENGTH + 13 + 65535 + 255 + 1 + 512;

    /// Reads the body, or a prefix of it of at least `PREFIX_LENGTH_MAX`: then the statement is cut short.
    pub fn parse(body: &'a [u8]) -> Result<Self, MalformedEvent> {
        Self::read(&mut Reader::new(body), 0).ok_or(MalformedEvent("its body is not that of a QUERY event"))
    }

    /// Reads the body of an EXECUTE_LOAD_QUERY event: between fixed part and status variables stand file id u32, two
    /// positions u32 in the statement's text, and the handling of duplicates u8.
    pub fn parse_load(body: &'a [u8]) -> Result<Self, MalformedEvent> {
        const LOAD_FIELDS: usize = 13;
        let query = Self::read(&mut Reader::new(body), LOAD_FIELDS);
        query.ok_or(MalformedEvent("its body is not that of an EXECUTE_LOAD_QUERY event"))
    }

    /// Those of the status variables that may matter to rows which follow: pairs of code and value, as they stand. What rows
    /// events say themselves (flags2), the catalog, microseconds and lists of tables are left out. `None` if there is a
    /// code that is not known to be harmless.
    #[must_use]
    pub fn settings_of_rows(&self) -> Option<Vec<u8>> {
        let mut kept = Vec::new();
        let mut reader = Reader::new(self.status_variables);
        while !reader.is_empty() {
            let from_here = reader.rest();
            let matters = match reader.u8()? {
                status::FLAGS2 => reader.take(4).map(|_| false),
                status::SQL_MODE => reader.take(8).map(|_| true),
                status::AUTO_INCREMENT => reader.take(4).map(|_| true),
                status::CHARSET => reader.take(6).map(|_| true),
                status::TIME_ZONE => reader.u8().and_then(|length| reader.take(length.into())).map(|_| true),
                status::CATALOG => reader.u8().and_then(|length| reader.take(length.into())).map(|_| false),
                status::LC_TIME_NAMES | status::CHARSET_DATABASE | status::DEFAULT_COLLATION_FOR_UTF8MB4 => {
                    reader.take(2).map(|_| true)
                }
                status::TABLE_MAP_FOR_UPDATE => reader.take(8).map(|_| false),
                status::UPDATED_DB_NAMES => schema_names(&mut reader).map(|()| false),
                status::MICROSECONDS => reader.take(3).map(|_| false),
                status::EXPLICIT_DEFAULTS_FOR_TIMESTAMP
                | status::SQL_REQUIRE_PRIMARY_KEY
                | status::DEFAULT_TABLE_ENCRYPTION => reader.take(1).map(|_| true),
                _ => None,
            }?;
            if matters {
                kept.extend_from_slice(&from_here[..from_here.len() - reader.rest().len()]);
            }
        }
        Some(kept)
    }

    fn read(reader: &mut Reader<'a>, extra: usize) -> Option<Self> {
        let thread_id = reader.u32()?;
        let _duration = reader.u32()?;
        let schema_length = reader.u8()?;
        let error_code = reader.u16()?;
        let status_length = reader.u16()?;
        reader.take(extra)?;
        let status_variables = reader.take(status_length.into())?;
        let schema = reader.take(schema_length.into())?;
        reader.take(1)?;
        Some(Self { thread_id, error_code, status_variables, schema, sql: reader.rest() })
    }

    /// What the statement means for its transaction.
    #[must_use]
    pub fn kind(&self) -> QueryKind {
        kind_of(self.sql)
    }

    /// The identifier in an XA statement.
    #[must_use]
    pub fn xa_id(&self) -> Option<XaId> {
        XaId::from_statement(self.sql)
    }
}

/// Codes of status variables (`Query_event::Query_event_status_vars`, MySQL's `statement_events.h`).
mod status {
    pub(super) const FLAGS2: u8 = 0;
    pub(super) const SQL_MODE: u8 = 1;
    pub(super) const AUTO_INCREMENT: u8 = 3;
    pub(super) const CHARSET: u8 = 4;
    pub(super) const TIME_ZONE: u8 = 5;
    pub(super) const CATALOG: u8 = 6;
    pub(super) const LC_TIME_NAMES: u8 = 7;
    pub(super) const CHARSET_DATABASE: u8 = 8;
    pub(super) const TABLE_MAP_FOR_UPDATE: u8 = 9;
    pub(super) const UPDATED_DB_NAMES: u8 = 12;
    pub(super) const MICROSECONDS: u8 = 13;
    pub(super) const EXPLICIT_DEFAULTS_FOR_TIMESTAMP: u8 = 16;
    pub(super) const DEFAULT_COLLATION_FOR_UTF8MB4: u8 = 18;
    pub(super) const SQL_REQUIRE_PRIMARY_KEY: u8 = 19;
    pub(super) const DEFAULT_TABLE_ENCRYPTION: u8 = 20;
}

/// Names that each end with a NUL, after their number; 254 says that there were too many to name
/// (`OVER_MAX_DBS_IN_EVENT_MTS`).
fn schema_names(reader: &mut Reader<'_>) -> Option<()> {
    const TOO_MANY: u8 = 254;
    let count = reader.u8()?;
    let count = if count == TOO_MANY { 0 } else { count };
    for _ in 0..count {
        let length = reader.rest().iter().position(|byte| *byte == 0)?;
        reader.take(length + 1)?;
    }
    Some(())
}

/// Whether events of this type hold a statement.
pub(crate) const fn is_query(event_type: EventType) -> bool {
    matches!(event_type, EventType::QUERY | EventType::QUERY_COMPRESSED)
}

/// Control statements are written by the server itself, in one fixed spelling each; other statements as the client
/// wrote them.
fn kind_of(sql: &[u8]) -> QueryKind {
    const CONTROL: [(&[u8], QueryKind); 9] = [
        (b"SAVEPOINT ", QueryKind::Savepoint),
        (b"ROLLBACK TO ", QueryKind::Savepoint),
        (b"RELEASE SAVEPOINT ", QueryKind::Savepoint),
        (b"XA START ", QueryKind::XaStart),
        (b"XA BEGIN ", QueryKind::XaStart),
        (b"XA END ", QueryKind::XaEnd),
        (b"XA PREPARE ", QueryKind::XaPrepare),
        (b"XA COMMIT ", QueryKind::XaCommit),
        (b"XA ROLLBACK ", QueryKind::XaRollback),
    ];
    let is = |word: &[u8]| sql.eq_ignore_ascii_case(word);
    if is(b"BEGIN") || is(b"START TRANSACTION") {
        return QueryKind::Begin;
    }
    if is(b"COMMIT") {
        return QueryKind::Commit;
    }
    if is(b"ROLLBACK") {
        return QueryKind::Rollback;
    }
    let begins = |with: &[u8]| sql.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if let Some((_, kind)) = CONTROL.iter().find(|(with, _)| begins(with)) {
        return *kind;
    }
    kind_of_word(first_word(sql))
}

fn kind_of_word(word: &[u8]) -> QueryKind {
    const DEFINITIONS: [&[u8]; 5] = [b"CREATE", b"ALTER", b"DROP", b"TRUNCATE", b"RENAME"];
    const CHANGES: [&[u8]; 9] =
        [b"INSERT", b"UPDATE", b"DELETE", b"REPLACE", b"LOAD", b"WITH", b"CALL", b"DO", b"SELECT"];
    let is_one_of = |words: &[&[u8]]| words.iter().any(|candidate| word.eq_ignore_ascii_case(candidate));
    if is_one_of(&DEFINITIONS) {
        QueryKind::Definition
    } else if is_one_of(&CHANGES) {
        QueryKind::Change
    } else {
        QueryKind::Other
    }
}

/// The first word after white space and comments; the content of `/*! ... */` counts.
fn first_word(sql: &[u8]) -> &[u8] {
    let mut rest = sql.trim_ascii_start();
    loop {
        let after = if let Some(executable) = rest.strip_prefix(b"/*!").or_else(|| rest.strip_prefix(b"/*M!")) {
            let version = executable.iter().take_while(|b| b.is_ascii_digit()).count();
            &executable[version..]
        } else if let Some(comment) = rest.strip_prefix(b"/*") {
            after(comment, b"*/")
        } else if rest.starts_with(b"#") || rest.starts_with(b"-- ") {
            after(rest, b"\n")
        } else if let Some(inner) = rest.strip_prefix(b"(") {
            inner
        } else {
            break;
        };
        rest = after.trim_ascii_start();
    }
    let length = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    &rest[..length]
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.map_or(&[], |at| &text[at + end.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_of_statements() {
        let cases = [
            ("BEGIN", QueryKind::Begin),
            ("COMMIT", QueryKind::Commit),
            ("ROLLBACK", QueryKind::Rollback),
            ("ROLLBACK TO `a`", QueryKind::Savepoint),
            ("SAVEPOINT `ROLLBACK`", QueryKind::Savepoint),
            ("XA START X'61',X'',1", QueryKind::XaStart),
            ("XA END X'61',X'',1", QueryKind::XaEnd),
            ("XA COMMIT X'61',X'',1", QueryKind::XaCommit),
            ("XA ROLLBACK X'61',X'',1", QueryKind::XaRollback),
            ("CREATE TABLE `t` (`a` int) START TRANSACTION", QueryKind::Definition),
            (" /* app */ -- x\n#y\n/*!80000 drop table `t` */", QueryKind::Definition),
            ("(INSERT INTO t VALUES (1))", QueryKind::Change),
            ("with x as (select 1) update t set a=1", QueryKind::Change),
            ("BEGINNING", QueryKind::Other),
            ("GRANT ALL ON *.* TO u", QueryKind::Other),
            ("/* never closed DROP TABLE", QueryKind::Other),
            ("", QueryKind::Other),
        ];
        for (sql, kind) in cases {
            assert_eq!(kind_of(sql.as_bytes()), kind, "{sql}");
        }
    }

    #[test]
    fn parts_of_the_body() {
        let body = b"\x07\0\0\0\x01\0\0\0\x04\x02\0\x03\0abcshop\0DROP TABLE t";
        let query = QueryEvent::parse(body).unwrap();
        assert_eq!((query.thread_id, query.error_code), (7, 2));
        assert_eq!(
            (query.status_variables, query.schema, query.sql),
            (&b"abc"[..], &b"shop"[..], &b"DROP TABLE t"[..])
        );
        for length in 0..21 {
            assert!(QueryEvent::parse(&body[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn settings_that_matter_to_rows_are_kept() {
        let settings = |status_variables: &[u8]| {
            QueryEvent { thread_id: 1, error_code: 0, status_variables, schema: b"", sql: b"BEGIN" }.settings_of_rows()
        };
        let harmless: &[u8] = b"\x00abcd\x06\x03std\x0c\x02shop\0b\0\x0d123\x0912345678";
        let mattering: &[u8] = b"\x01sqlmode!\x04chrset\x05\x03UTC\x07lc\x08db\x10e\x12co\x13p\x14t\x03incr";
        assert_eq!(settings(&[harmless, mattering].concat()).unwrap(), mattering);
        assert_eq!(settings(b"\x0c\xfe\x0d123").unwrap(), b"");
        // Unknown, or cut short.
        for bad in [&b"\x0b\x01u\x01h"[..], b"\x11xid_xid_", b"\x01short", b"\x0c\x01shop", b"\x05"] {
            assert_eq!(settings(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn status_variables_never_panic(status_variables in prop::collection::vec(0..24_u8, 0..60)) {
            let query = QueryEvent { thread_id: 1, error_code: 0, status_variables: &status_variables, schema: b"", sql: b"" };
            let _ = query.settings_of_rows();
        }

        #[test]
        fn never_panics(sql in prop::collection::vec(prop::sample::select(b"/*!-# \n(a1M".to_vec()), 0..40)) {
            kind_of(&sql);
        }
    }
}
