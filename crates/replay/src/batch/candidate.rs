use std::sync::Arc;

use pitr_binlog::Gtid;
use pitr_binlog::event::{EventHeader, EventType, GtidEvent, LogicalClock, QueryEvent, RowsEvent};

use super::TRANSACTION_BYTES_MAX;
use super::payload::unpacked;

/// What is known of a transaction as its events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// So far it may be merged.
    Open,
    /// It is whole, and may be merged.
    Mergeable,
    /// It must stand alone.
    Alone,
}

/// A transaction that may turn out to be mergeable: its bytes are kept until that is known.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) gtid: Gtid,
    pub(super) place: GtidEvent,
    /// All events so far; the last one perhaps in part.
    bytes: Vec<u8>,
    /// Where the GTID event, BEGIN, and whatever is before the event in hand end.
    first_end: usize,
    begin_end: usize,
    event_at: usize,
    /// The event in hand.
    header: EventHeader,
    settings: Vec<u8>,
    /// Rows have come that no event has called the last ones of their statement.
    within_statement: bool,
    crc: usize,
}

/// A whole transaction that may be merged.
#[derive(Debug)]
pub(super) struct Mergeable {
    pub(super) gtid: Gtid,
    pub(super) clock: LogicalClock,
    /// Session settings that its BEGIN carries.
    pub(super) settings: Arc<[u8]>,
    bytes: Vec<u8>,
    first_end: usize,
    begin_end: usize,
    commit_at: usize,
}

impl Mergeable {
    /// The GTID event.
    pub(super) fn first(&self) -> &[u8] {
        &self.bytes[..self.first_end]
    }

    /// BEGIN.
    pub(super) fn begin(&self) -> &[u8] {
        &self.bytes[self.first_end..self.begin_end]
    }

    /// What is between BEGIN and commit.
    pub(super) fn changes(&self) -> &[u8] {
        &self.bytes[self.begin_end..self.commit_at]
    }

    /// XID.
    pub(super) fn commit(&self) -> &[u8] {
        &self.bytes[self.commit_at..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Candidate {
    /// A transaction with this GTID event, if that alone does not rule it out.
    pub(super) fn begin(gtid: Gtid, place: GtidEvent, header: EventHeader, event: &[u8], crc: usize) -> Option<Self> {
        const MAY_HAVE_STATEMENTS: u8 = 1;
        (place.flags & MAY_HAVE_STATEMENTS == 0 && place.sequence_number > 0).then(|| Self {
            gtid,
            place,
            bytes: event.to_vec(),
            first_end: event.len(),
            begin_end: event.len(),
            event_at: event.len(),
            header,
            settings: Vec::new(),
            within_statement: false,
            crc,
        })
    }

    /// The GTID event.
    pub(super) fn first(&self) -> &[u8] {
        &self.bytes[..self.first_end]
    }

    /// Another event begins.
    pub(super) fn next(&mut self, header: EventHeader, bytes: &[u8]) -> Standing {
        self.event_at = self.bytes.len();
        self.header = header;
        self.more(bytes)
    }

    /// More bytes of the event in hand.
    pub(super) fn more(&mut self, bytes: &[u8]) -> Standing {
        self.bytes.extend_from_slice(bytes);
        let size = self.header.size as usize;
        if self.event_at + size > TRANSACTION_BYTES_MAX {
            return Standing::Alone;
        }
        if self.bytes.len() < self.event_at + size {
            return Standing::Open;
        }
        self.judge()
    }

    /// The white list. Everything that is not on it stands alone.
    fn judge(&mut self) -> Standing {
        let event = &self.bytes[self.event_at..];
        let Some(body) = event.get(EventHeader::LENGTH..event.len().saturating_sub(self.crc)) else {
            return Standing::Alone;
        };
        let has_begun = self.begin_end > self.first_end;
        if self.header.event_type == EventType::TRANSACTION_PAYLOAD && !has_begun {
            return self.unpack();
        }
        let goes_on = match self.header.event_type {
            EventType::QUERY if !has_begun => match settings_of_begin(body) {
                Some(settings) => {
                    self.settings = settings;
                    self.begin_end = self.bytes.len();
                    true
                }
                None => false,
            },
            _ if !has_begun => false,
            // Followers have lost their own BEGIN: what a savepoint sets in the applier must be what is set already.
            EventType::QUERY => !self.within_statement && settings_of_savepoint(body).as_ref() == Some(&self.settings),
            EventType::ROWS_QUERY => true,
            EventType::TABLE_MAP => {
                self.within_statement = true;
                true
            }
            EventType::WRITE_ROWS
            | EventType::UPDATE_ROWS
            | EventType::DELETE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS => {
                let ends = RowsEvent::ends_statement(body);
                self.within_statement = ends != Some(true);
                ends.is_some()
            }
            EventType::XID if !self.within_statement => return Standing::Mergeable,
            _ => false,
        };
        if goes_on { Standing::Open } else { Standing::Alone }
    }

    /// The event in hand is the whole transaction, compressed: it becomes what it holds, if that may be merged. Else it goes as it is.
    fn unpack(&mut self) -> Standing {
        let event = &self.bytes[self.event_at..];
        let Some(body) = event.get(EventHeader::LENGTH..event.len().saturating_sub(self.crc)) else {
            return Standing::Alone;
        };
        let Some(events) = unpacked(&self.header, body, self.crc, TRANSACTION_BYTES_MAX) else {
            return Standing::Alone;
        };
        let own = Self::begin(self.gtid, self.place, self.header, self.first(), self.crc);
        let Some(mut inside) = own else { return Standing::Alone };
        let mut standing = Standing::Open;
        for event in &events {
            let header = event.first_chunk().map(EventHeader::parse);
            standing = match (standing, header) {
                (Standing::Open, Some(header)) => inside.next(header, event),
                // Something follows what ends it.
                _ => Standing::Alone,
            };
        }
        if standing != Standing::Mergeable {
            return Standing::Alone;
        }
        *self = inside;
        Standing::Mergeable
    }

    /// The transaction, once it is known to be mergeable; equal settings are shared with `like`.
    pub(super) fn whole(self, like: Option<&Arc<[u8]>>) -> Mergeable {
        let clock =
            LogicalClock { last_committed: self.place.last_committed, sequence_number: self.place.sequence_number };
        let settings = match like {
            Some(like) if **like == *self.settings => Arc::clone(like),
            _ => self.settings.into(),
        };
        Mergeable {
            gtid: self.gtid,
            clock,
            settings,
            first_end: self.first_end,
            begin_end: self.begin_end,
            commit_at: self.event_at,
            bytes: self.bytes,
        }
    }

    /// Everything after the GTID event: whole events, and the event in hand as far as it is there.
    pub(super) fn after_first(&self) -> (&[u8], EventHeader, &[u8]) {
        let at = self.event_at;
        (&self.bytes[self.first_end..at], self.header, &self.bytes[at..])
    }
}

/// The settings that BEGIN carries; `None` if it is another statement or has settings that we don't know.
fn settings_of_begin(body: &[u8]) -> Option<Vec<u8>> {
    let query = QueryEvent::parse(body).ok()?;
    (query.sql == b"BEGIN" && query.error_code == 0).then(|| query.settings_of_rows())?
}

/// The settings that a savepoint carries; `None` as for BEGIN.
fn settings_of_savepoint(body: &[u8]) -> Option<Vec<u8>> {
    let query = QueryEvent::parse(body).ok()?;
    (query.sql.starts_with(b"SAVEPOINT ") && query.error_code == 0).then(|| query.settings_of_rows())?
}
