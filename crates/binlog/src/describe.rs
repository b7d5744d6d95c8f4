//! What a transaction does, for a person who has to decide where a restore stops.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::event::{
    ChecksumAlgorithm, Compression, Event, EventType, Events, IncidentEvent, MalformedEvent, PayloadEvent, QueryEvent,
    QueryKind, RowsEvent, RowsKind, TableMap, XaPrepareEvent,
};

/// One thing that a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Rows of one table. All events that do the same to the same table are one change.
    Rows {
        /// What happens to them.
        kind: RowsKind,
        /// The table's schema.
        schema: String,
        /// The table.
        table: String,
        /// How many rows; `None` where they can't be counted exactly.
        rows: Option<u64>,
    },
    /// A statement.
    Statement {
        /// The current schema of the connection that ran it.
        schema: String,
        /// Its text, in full.
        sql: String,
    },
    /// The end of the first phase of an XA transaction: what was done before takes effect if it is committed later.
    XaPrepare {
        /// Which, as the server writes it.
        id: String,
    },
    /// The server says that something is missing here.
    Incident {
        /// Its own words.
        message: String,
    },
    /// Changes that are compressed and that nobody could decompress.
    Compressed,
}

/// Decompresses what is compressed in a log: the compression, the bytes, the exact length of the result.
/// `None` if it can't, or if the length is more than it wants to hold.
pub type Decompress<'a> = &'a dyn Fn(Compression, &[u8], u64) -> Option<Vec<u8>>;

/// The changes of one transaction, given its raw bytes (one `Transaction`'s `start..end`) and how its file is protected.
pub fn describe(
    transaction: &[u8],
    checksum: ChecksumAlgorithm,
    decompress: Option<Decompress<'_>>,
) -> Result<Vec<Change>, MalformedEvent> {
    let mut description = Description { changes: Vec::new(), decompress, in_payload: false };
    description.add_events(transaction, checksum)?;
    Ok(description.changes)
}

/// The changes at the beginning of a transaction, given its first bytes: for one that is too large to be read whole. What follows
/// the last whole event is passed over, so the counts of rows are least counts.
#[must_use]
pub fn describe_beginning(
    transaction: &[u8],
    checksum: ChecksumAlgorithm,
    decompress: Option<Decompress<'_>>,
) -> Vec<Change> {
    let mut description = Description { changes: Vec::new(), decompress, in_payload: false };
    let _cut = description.add_events(transaction, checksum);
    description.changes
}

struct Description<'a> {
    changes: Vec<Change>,
    decompress: Option<Decompress<'a>>,
    in_payload: bool,
}

impl Description<'_> {
    fn add_events(&mut self, events: &[u8], checksum: ChecksumAlgorithm) -> Result<(), MalformedEvent> {
        let mut tables = BTreeMap::new();
        for event in Events::new(events, checksum) {
            let event = event?;
            match event.event_type() {
                EventType::TABLE_MAP => {
                    let table = TableMap::parse(event.body)?;
                    tables.insert(table.table_id, table);
                }
                EventType::QUERY => self.add_statement(&QueryEvent::parse(event.body)?),
                EventType::EXECUTE_LOAD_QUERY => self.add_statement(&QueryEvent::parse_load(event.body)?),
                EventType::QUERY_COMPRESSED => self.add_compressed_statement(event.body)?,
                EventType::XA_PREPARE => {
                    let XaPrepareEvent { one_phase, id } = XaPrepareEvent::parse(event.body)?;
                    if !one_phase {
                        self.changes.push(Change::XaPrepare { id: id.to_string() });
                    }
                }
                EventType::INCIDENT => {
                    let message = text(IncidentEvent::parse(event.body)?.message);
                    self.changes.push(Change::Incident { message });
                }
                EventType::TRANSACTION_PAYLOAD => self.add_payload(event.body)?,
                event_type if RowsKind::of(event_type).is_some() => self.add_rows(&event, &tables)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_rows(&mut self, event: &Event<'_>, tables: &BTreeMap<u64, TableMap<'_>>) -> Result<(), MalformedEvent> {
        /// Ends a statement and maps no table (`dummy` rows events of replicas and old servers).
        const NO_TABLE: u64 = 0xff_ffff;
        let rows = RowsEvent::parse(event.event_type(), event.body)?;
        if rows.table_id == NO_TABLE {
            return Ok(());
        }
        let map = tables.get(&rows.table_id).ok_or(MalformedEvent("rows of a table that was not named"))?;
        let (new, kind) = (rows.count(map), rows.kind);
        let (new_schema, new_table) = (text(map.schema), text(map.table));
        for change in &mut self.changes {
            if let Change::Rows { kind: same_kind, schema, table, rows } = change
                && (*same_kind, &*schema, &*table) == (kind, &new_schema, &new_table)
            {
                *rows = rows.zip(new).map(|(a, b)| a + b);
                return Ok(());
            }
        }
        self.changes.push(Change::Rows { kind, schema: new_schema, table: new_table, rows: new });
        Ok(())
    }

    fn add_statement(&mut self, query: &QueryEvent<'_>) {
        let delimits = match query.kind() {
            QueryKind::Begin
            | QueryKind::Commit
            | QueryKind::Rollback
            | QueryKind::Savepoint
            | QueryKind::XaStart
            | QueryKind::XaEnd
            | QueryKind::XaPrepare => true,
            QueryKind::XaCommit
            | QueryKind::XaRollback
            | QueryKind::Definition
            | QueryKind::Change
            | QueryKind::Other => false,
        };
        if !delimits {
            self.changes.push(Change::Statement { schema: text(query.schema), sql: text(query.sql) });
        }
    }

    /// MariaDB: a byte whose low three bits say how many bytes (big endian) the length of the text has, then the text in
    /// zlib's form.
    fn add_compressed_statement(&mut self, body: &[u8]) -> Result<(), MalformedEvent> {
        const LENGTH_BITS: u8 = 0x07;
        let query = QueryEvent::parse(body)?;
        let length = query.sql.split_first().and_then(|(first, rest)| {
            let (length, compressed) = rest.split_at_checked(usize::from(first & LENGTH_BITS))?;
            Some((length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), compressed))
        });
        let (length, compressed) = length.ok_or(MalformedEvent("a compressed statement that ends too early"))?;
        match self.decompress.and_then(|decompress| decompress(Compression::Zlib, compressed, length)) {
            Some(sql) => self.add_statement(&QueryEvent { sql: &sql, ..query }),
            None => self.changes.push(Change::Compressed),
        }
        Ok(())
    }

    fn add_payload(&mut self, body: &[u8]) -> Result<(), MalformedEvent> {
        let event = PayloadEvent::parse(body)?;
        if std::mem::replace(&mut self.in_payload, true) {
            return Err(MalformedEvent("a payload within a payload"));
        }
        let events = match event.compression {
            Compression::None => Some(Cow::Borrowed(event.payload)),
            compression => self
                .decompress
                .and_then(|decompress| decompress(compression, event.payload, event.uncompressed_size))
                .map(Cow::Owned),
        };
        match events {
            // Events within a payload have no checksums.
            Some(events) => self.add_events(&events, ChecksumAlgorithm::None)?,
            None => self.changes.push(Change::Compressed),
        }
        self.in_payload = false;
        Ok(())
    }
}

/// The longest text of a statement that is shown, in characters.
const SHOWN_LENGTH_MAX: usize = 160;

/// A statement on one line, cut where it gets long, or where a password or its hash begins.
fn shown(sql: &str) -> String {
    let secret = |word: &&str| ["IDENTIFIED", "PASSWORD"].iter().any(|w| word.to_ascii_uppercase().contains(w));
    // A few more words than can be shown: the text may be a gigabyte.
    let words: Vec<&str> = sql.split_whitespace().take(SHOWN_LENGTH_MAX).collect();
    let public = words.iter().position(secret).unwrap_or(words.len());
    let line = words[..public].join(" ");
    let mut shown: String = line.chars().take(SHOWN_LENGTH_MAX).collect();
    if public < words.len() || shown.len() < line.len() || words.len() == SHOWN_LENGTH_MAX {
        shown.push_str(" ...");
    }
    shown
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Change {
    /// One line: "UPDATE shop.orders, 3 rows", "DROP TABLE `invoices`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { kind, schema, table, rows } => {
                let verb = match kind {
                    RowsKind::Insert => "INSERT",
                    RowsKind::Update => "UPDATE",
                    RowsKind::Delete => "DELETE",
                };
                write!(f, "{verb} {schema}.{table}")?;
                match rows {
                    Some(1) => f.write_str(", 1 row"),
                    Some(rows) => write!(f, ", {rows} rows"),
                    None => Ok(()),
                }
            }
            Self::Statement { sql, .. } => f.write_str(&shown(sql)),
            Self::XaPrepare { id } => write!(f, "XA PREPARE {id}"),
            Self::Incident { message } => write!(f, "incident: {message}"),
            Self::Compressed => f.write_str("compressed changes"),
        }
    }
}
