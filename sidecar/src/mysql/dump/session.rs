//! Questions over a connection of this kind. The driver of everything else cannot verify an authority without the host's name, and
//! certificates that a server makes for itself have none.

use super::super::dsn::Dsn;
use super::login::{self, Wire};
use super::{COM_QUERY, DumpError, EOF, ERROR, OK, refusal};

/// The longest row, and the most rows, of any answer that is asked for.
const ROW_MAX: usize = 16 << 20;
const ROWS_MAX: usize = 1_000_000;
const NOT_A_TABLE: DumpError = DumpError::Answer("a table");

/// A connection that is asked.
#[derive(Debug)]
pub(crate) struct Session(Wire);

/// Rows of an answer, as text.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The values of a column, by row; NULL and a column that is not there are nothing.
    pub(crate) fn column<'a>(&'a self, name: &str) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let at = self.columns.iter().position(|column| column == name);
        self.rows.iter().map(move |row| at.and_then(|at| row.get(at)?.as_deref()))
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Session {
    /// Connects and logs in.
    pub(crate) async fn open(dsn: &Dsn) -> Result<Self, DumpError> {
        login::connect(dsn).await.map(Self)
    }

    /// All rows of a query.
    pub(in super::super) async fn table(&mut self, sql: &str) -> Result<Table, DumpError> {
        self.0.command(COM_QUERY, sql.as_bytes()).await?;
        let head = self.0.answer(ROW_MAX).await?;
        let mut table = match head.first() {
            Some(&ERROR) => return Err(refusal(&head)),
            Some(&OK) => return Ok(Table::default()),
            _ => Table::default(),
        };
        let count = integer(&mut head.as_slice()).ok_or(NOT_A_TABLE)?;
        for _ in 0..count {
            let column = self.0.answer(ROW_MAX).await?;
            let mut rest = column.as_slice();
            // Catalog, schema, table and the table's own name come first.
            let name = (0..5).map(|_| text(&mut rest)).last().flatten().flatten();
            table.columns.push(name.ok_or(NOT_A_TABLE)?);
        }
        self.0.answer(ROW_MAX).await?;
        while table.rows.len() < ROWS_MAX {
            let row = self.0.answer(ROW_MAX).await?;
            match row.first() {
                Some(&ERROR) => return Err(refusal(&row)),
                Some(&EOF) if row.len() < 9 => return Ok(table),
                _ => {}
            }
            let mut rest = row.as_slice();
            let values: Option<Vec<_>> = (0..count).map(|_| text(&mut rest)).collect();
            table.rows.push(values.ok_or(NOT_A_TABLE)?);
        }
        Err(DumpError::Answer("a table without end"))
    }
}

/// An integer with its length.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let length = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xff => return None,
        small => {
            *bytes = rest;
            return Some(u64::from(*small));
        }
    };
    let (number, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(number.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// A text with its length, or NULL. The outer `None`: the bytes end before it does.
fn text(bytes: &mut &[u8]) -> Option<Option<String>> {
    if let [0xfb, rest @ ..] = bytes {
        *bytes = rest;
        return Some(None);
    }
    let length = usize::try_from(integer(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{integer, text};

    #[test]
    fn lengths_of_every_size_and_texts_that_end_too_early() {
        let parsed = |mut bytes: &[u8]| integer(&mut bytes);
        assert_eq!(
            [parsed(b"\xfa"), parsed(b"\xfc\x01\x02"), parsed(b"\xfd\x01\0\x01")],
            [Some(250), Some(513), Some(65537)]
        );
        assert_eq!(parsed(b"\xfe\0\0\0\0\x01\0\0\0"), Some(1 << 32));
        assert_eq!([parsed(b""), parsed(b"\xfc\x01"), parsed(b"\xff")], [None; 3]);
        let mut bytes: &[u8] = b"\x02ab\xfb\x00\x05x";
        assert_eq!(text(&mut bytes), Some(Some("ab".to_owned())));
        assert_eq!(text(&mut bytes), Some(None));
        assert_eq!(text(&mut bytes), Some(Some(String::new())));
        assert_eq!(text(&mut bytes), None);
    }
}
