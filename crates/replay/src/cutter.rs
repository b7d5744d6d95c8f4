//! The stage between the log and the wire: decides of each transaction what is sent.

use pitr_binlog::GtidSet;
use pitr_binlog::event::build::EventBuilder;
use pitr_binlog::event::{ChecksumAlgorithm, EventHeader, EventType, GtidEvent};

use crate::splitter::Part;

/// How transactions are put together for the replica to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batch {
    /// Each transaction is committed alone, as it was on its server.
    #[default]
    One,
}

impl Batch {
    /// The cutter that puts transactions together so.
    pub(crate) fn cutter(self, executed: GtidSet, skip: GtidSet) -> Cutter {
        match self {
            Self::One => Cutter::new(executed, skip),
        }
    }
}

/// What becomes of a part of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is sent as it is.
    Send(Part),
    /// It is not sent.
    Drop,
    /// These events are sent in its place.
    Instead(Vec<u8>),
}

/// Why a transaction can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncuttable {
    Malformed(&'static str),
    Anonymous,
}

/// What a cutter has let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CutCounts {
    /// Transactions sent as they are.
    pub(crate) sent: u64,
    /// Transactions sent empty.
    pub(crate) emptied: u64,
    /// Transactions that the replica has.
    pub(crate) passed_over: u64,
}

/// What became of the transaction in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sent,
    Emptied,
    PassedOver,
}

/// Decides transaction by transaction: one that the replica has is dropped whole, one that is to be skipped is sent
/// empty, all others are sent as they are. The log's order and its logical clock stay as they are.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// What the replica has.
    executed: GtidSet,
    /// What is to be committed empty.
    skip: GtidSet,
    checksum: ChecksumAlgorithm,
    transaction: Fate,
    /// Parts of the event in hand are not sent.
    dropping_event: bool,
    pub(crate) counts: CutCounts,
}

impl CutCounts {
    /// What was added since an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            emptied: self.emptied - earlier.emptied,
            passed_over: self.passed_over - earlier.passed_over,
        }
    }
}

impl Cutter {
    fn new(executed: GtidSet, skip: GtidSet) -> Self {
        Self {
            executed,
            skip,
            checksum: ChecksumAlgorithm::Crc32,
            transaction: Fate::Sent,
            dropping_event: false,
            counts: CutCounts::default(),
        }
    }

    /// The events that follow are another file's.
    pub(crate) fn restart(&mut self, checksum: ChecksumAlgorithm) {
        self.checksum = checksum;
        self.transaction = Fate::Sent;
    }

    /// Whether the transaction in hand is one that the replica has.
    pub(crate) fn is_passing_over(&self) -> bool {
        self.transaction == Fate::PassedOver
    }

    /// What becomes of the next part.
    pub(crate) fn cut(&mut self, part: Part) -> Result<Cut, Uncuttable> {
        let Part::First { header, bytes, .. } = &part else {
            return Ok(if self.dropping_event { Cut::Drop } else { Cut::Send(part) });
        };
        self.dropping_event = false;
        if GtidEvent::is_one(header.event_type) {
            return self.begin_transaction(*header, bytes).map(|instead| instead.unwrap_or(Cut::Send(part)));
        }
        // The end of a file is announced by the next file's made-up ROTATE, if there is one.
        let ends_file = matches!(header.event_type, EventType::ROTATE | EventType::STOP);
        self.dropping_event = ends_file || self.transaction != Fate::Sent;
        Ok(if self.dropping_event { Cut::Drop } else { Cut::Send(part) })
    }

    /// What is sent in place of the event that begins a transaction, if not the event.
    fn begin_transaction(&mut self, header: EventHeader, event: &[u8]) -> Result<Option<Cut>, Uncuttable> {
        let body = event.get(EventHeader::LENGTH..event.len().saturating_sub(self.checksum.length()));
        let body = body.ok_or(Uncuttable::Malformed("a GTID event without a body"))?;
        let place = GtidEvent::parse(&header, body).map_err(|malformed| Uncuttable::Malformed(malformed.0))?;
        let gtid = place.gtid.ok_or(Uncuttable::Anonymous)?;
        if self.executed.contains(&gtid) {
            self.transaction = Fate::PassedOver;
            self.counts.passed_over += 1;
            return Ok(Some(Cut::Drop));
        }
        if self.skip.contains(&gtid) {
            self.transaction = Fate::Emptied;
            self.counts.emptied += 1;
            let builder = EventBuilder { server_id: header.server_id, checksum: self.checksum };
            return Ok(Some(Cut::Instead(builder.empty_transaction(&gtid, &place, header.timestamp))));
        }
        self.transaction = Fate::Sent;
        self.counts.sent += 1;
        Ok(None)
    }
}
