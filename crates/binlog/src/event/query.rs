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

    proptest! {
        #[test]
        fn never_panics(sql in prop::collection::vec(prop::sample::select(b"/*!-# \n(a1M".to_vec()), 0..40)) {
            kind_of(&sql);
        }
    }
}
