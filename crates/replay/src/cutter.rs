//! The stage between the log and the wire: decides of each transaction what is sent.

use std::collections::VecDeque;

use pitr_binlog::event::build::EventBuilder;
use pitr_binlog::event::{ChecksumAlgorithm, EventHeader, EventType, GtidEvent};
use pitr_binlog::{Gtid, GtidSet};

use crate::batch::{Batcher, Holes, Windows};
use crate::splitter::Part;

/// How transactions are put together for the replica to commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Batch {
    /// Each transaction is committed alone, as it was on its server.
    #[default]
    One,
    /// Many are committed as one. Only for a replica that writes no binary log of its own; the caller fills [`Holes`].
    Windows(Windows),
}

/// Decides of each part of the log what is sent.
#[derive(Debug)]
pub(crate) enum Cutter {
    One(Plain),
    Windows(Box<Batcher>),
}

/// What is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A part of the log as it is.
    Send(Part),
    /// Whole events in place of parts.
    Instead(Vec<u8>),
    /// Nothing yet: what comes next is a transaction that stands alone among batches.
    Alone(Gtid),
}

/// Why a transaction can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncuttable {
    Malformed(&'static str),
    Anonymous,
    /// The replica has a part of what is one transaction.
    Torn,
}

/// What a cutter has let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CutCounts {
    /// Transactions sent with what they change.
    pub(crate) sent: u64,
    /// What the replica commits them as.
    pub(crate) batches: u64,
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

/// What is known of a log and its replica beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What is to be committed empty.
    pub(crate) skip: GtidSet,
    /// What the replica has.
    pub(crate) executed: GtidSet,
}

impl Known {
    /// The GTID and the place of a transaction, by the event that begins it.
    pub(crate) fn place_of(
        &self,
        header: &EventHeader,
        event: &[u8],
        checksum: ChecksumAlgorithm,
    ) -> Result<(Gtid, GtidEvent), Uncuttable> {
        let body = event.get(EventHeader::LENGTH..event.len().saturating_sub(checksum.length()));
        let body = body.ok_or(Uncuttable::Malformed("a GTID event without a body"))?;
        let place = GtidEvent::parse(header, body).map_err(|malformed| Uncuttable::Malformed(malformed.0))?;
        Ok((place.gtid.ok_or(Uncuttable::Anonymous)?, place))
    }
}

impl Cutter {
    /// The cutter that puts transactions together so.
    pub(crate) fn new(batch: &Batch, known: Known, holes: &Holes) -> Self {
        match batch {
            Batch::One => Self::One(Plain::new(known)),
            Batch::Windows(windows) => Self::Windows(Box::new(Batcher::new(windows.clone(), known, holes.clone()))),
        }
    }

    /// The events that follow are another file's.
    pub(crate) fn restart(&mut self, checksum: ChecksumAlgorithm) {
        match self {
            Self::One(plain) => plain.restart(checksum),
            Self::Windows(batcher) => batcher.restart(checksum),
        }
    }

    /// Whether the transaction in hand is one that the replica has.
    pub(crate) fn is_passing_over(&self) -> bool {
        match self {
            Self::One(plain) => plain.transaction == Fate::PassedOver,
            Self::Windows(batcher) => batcher.is_passing_over(),
        }
    }

    /// What was let through so far.
    pub(crate) fn counts(&self) -> CutCounts {
        match self {
            Self::One(plain) => plain.counts,
            Self::Windows(batcher) => batcher.counts,
        }
    }

    /// What is sent for the next part is added to `out`: nothing, the part, or other events.
    pub(crate) fn cut(&mut self, part: Part, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        match self {
            Self::One(plain) => plain.cut(part).map(|cut| out.extend(cut)),
            Self::Windows(batcher) => batcher.cut(part, out),
        }
    }

    /// What comes next is put together with nothing that ended before.
    pub(crate) fn seam(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        match self {
            Self::One(_) => Ok(()),
            Self::Windows(batcher) => batcher.close_run(out),
        }
    }

    /// The file has no more events.
    pub(crate) fn end_file(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        match self {
            Self::One(_) => Ok(()),
            Self::Windows(batcher) => batcher.end_file(out),
        }
    }
}

/// Decides transaction by transaction: one that the replica has is dropped whole, one that is to be skipped is sent
/// empty, all others are sent as they are. The log's order and its logical clock stay as they are.
#[derive(Debug)]
pub(crate) struct Plain {
    known: Known,
    checksum: ChecksumAlgorithm,
    transaction: Fate,
    /// Parts of the event in hand are not sent.
    dropping_event: bool,
    counts: CutCounts,
}

impl CutCounts {
    /// What was added since an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            batches: self.batches - earlier.batches,
            emptied: self.emptied - earlier.emptied,
            passed_over: self.passed_over - earlier.passed_over,
        }
    }
}

impl Plain {
    pub(crate) fn new(known: Known) -> Self {
        Self {
            known,
            checksum: ChecksumAlgorithm::Crc32,
            transaction: Fate::Sent,
            dropping_event: false,
            counts: CutCounts::default(),
        }
    }

    pub(crate) fn restart(&mut self, checksum: ChecksumAlgorithm) {
        self.checksum = checksum;
        self.transaction = Fate::Sent;
    }

    /// What was let through so far.
    pub(crate) const fn counts(&self) -> CutCounts {
        self.counts
    }

    /// What is sent for the next part, if anything is.
    pub(crate) fn cut(&mut self, part: Part) -> Result<Option<Cut>, Uncuttable> {
        let Part::First { header, bytes, .. } = &part else {
            return Ok((!self.dropping_event).then_some(Cut::Send(part)));
        };
        self.dropping_event = false;
        if GtidEvent::is_one(header.event_type) {
            let instead = self.begin_transaction(*header, bytes)?;
            return Ok(match self.transaction {
                Fate::Sent => Some(Cut::Send(part)),
                Fate::Emptied | Fate::PassedOver => instead,
            });
        }
        // The end of a file is announced by the next file's made-up ROTATE, if there is one.
        let ends_file = matches!(header.event_type, EventType::ROTATE | EventType::STOP);
        self.dropping_event = ends_file || self.transaction != Fate::Sent;
        Ok((!self.dropping_event).then_some(Cut::Send(part)))
    }

    /// What is sent in place of a transaction that is not sent as it is.
    fn begin_transaction(&mut self, header: EventHeader, event: &[u8]) -> Result<Option<Cut>, Uncuttable> {
        let (gtid, place) = self.known.place_of(&header, event, self.checksum)?;
        if self.known.executed.contains(&gtid) {
            self.transaction = Fate::PassedOver;
            self.counts.passed_over += 1;
            return Ok(None);
        }
        self.counts.batches += 1;
        if self.known.skip.contains(&gtid) {
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
