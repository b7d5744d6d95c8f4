use std::collections::VecDeque;

use bytes::Bytes;
use pitr_binlog::event::build::EventBuilder;
use pitr_binlog::event::{ChecksumAlgorithm, EventHeader, EventType, GtidEvent, LogicalClock, renumbered};
use pitr_binlog::{Gtid, GtidSet};

use super::Windows;
use super::candidate::{Candidate, Mergeable, Standing};
use super::clock::Clock;
use super::holes::Holes;
use super::partition::Item;
use crate::cutter::{Cut, CutCounts, Known, Uncuttable};
use crate::splitter::Part;

/// What becomes of the events that come next.
#[derive(Debug)]
enum State {
    /// They go on as they come.
    Passing,
    /// They are not sent.
    Dropping,
    /// They are kept until it is known whether they may be merged.
    Gathering(Box<Candidate>),
}

/// Decides transaction by transaction as the plain cutter does, but puts together what may be.
#[derive(Debug)]
pub(crate) struct Batcher {
    windows: Windows,
    known: Known,
    holes: Holes,
    checksum: ChecksumAlgorithm,
    state: State,
    /// Parts of the event in hand are not sent.
    dropping_event: bool,
    /// Mergeable transactions that follow each other.
    run: VecDeque<Mergeable>,
    run_bytes: usize,
    clock: Clock,
    /// The last batch, or transaction that stands alone, is one that the replica has.
    passing_over: bool,
    /// Transactions beyond the start that the replica has.
    found: u64,
    /// Transactions beyond the start that have come.
    seen: GtidSet,
    pub(crate) counts: CutCounts,
}

impl Batcher {
    pub(crate) fn new(windows: Windows, known: Known, holes: Holes) -> Self {
        Self {
            windows,
            known,
            holes,
            checksum: ChecksumAlgorithm::Crc32,
            state: State::Passing,
            dropping_event: false,
            run: VecDeque::new(),
            run_bytes: 0,
            clock: Clock::default(),
            passing_over: false,
            found: 0,
            seen: GtidSet::new(),
            counts: CutCounts::default(),
        }
    }

    /// The events that follow are another file's: its clock begins again, so the run must have ended.
    pub(crate) fn restart(&mut self, checksum: ChecksumAlgorithm) {
        self.checksum = checksum;
        self.state = State::Passing;
        self.clock = Clock::default();
        self.passing_over = false;
    }

    /// Whether what was sent last, or would have been, is something that the replica has.
    pub(crate) fn is_passing_over(&self) -> bool {
        self.passing_over
    }

    /// How many transactions beyond the start have come that the replica has.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// What becomes of the next part, and of those that were kept.
    pub(crate) fn cut(&mut self, part: Part, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        let standing = match (&part, &mut self.state) {
            (Part::First { header, bytes }, _) if GtidEvent::is_one(header.event_type) => {
                return self.begin_transaction(*header, bytes, out);
            }
            (Part::First { header, .. }, _) if matches!(header.event_type, EventType::ROTATE | EventType::STOP) => {
                // The end of a file is announced by the next file's made-up ROTATE, if there is one.
                self.stand_alone(out)?;
                self.dropping_event = true;
                return Ok(());
            }
            (Part::Rest(_), _) if self.dropping_event => return Ok(()),
            (Part::First { header, bytes }, State::Gathering(candidate)) => candidate.next(*header, bytes),
            (Part::Rest(bytes), State::Gathering(candidate)) => candidate.more(bytes),
            (_, state) => {
                self.dropping_event = false;
                if matches!(state, State::Passing) {
                    out.push_back(Cut::Send(part));
                }
                return Ok(());
            }
        };
        self.dropping_event = false;
        match standing {
            Standing::Open => Ok(()),
            Standing::Mergeable => self.join_run(out),
            Standing::Alone => self.stand_alone(out),
        }
    }

    /// The file has no more events: whatever was kept is sent.
    pub(crate) fn end_file(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        self.stand_alone(out)?;
        self.close_run(out)
    }

    fn begin_transaction(
        &mut self,
        header: EventHeader,
        event: &Bytes,
        out: &mut VecDeque<Cut>,
    ) -> Result<(), Uncuttable> {
        self.stand_alone(out)?;
        self.dropping_event = false;
        self.state = State::Dropping;
        let (gtid, place) = self.known.place_of(&header, event, self.checksum)?;
        if self.windows.start.contains(&gtid) || self.seen.contains(&gtid) {
            self.passing_over = true;
            self.counts.passed_over += 1;
            return Ok(());
        }
        self.seen.insert(&gtid);
        if self.known.skip.contains(&gtid) {
            self.close_run(out)?;
            let clock = self.clock.place([clock_of(&place)].into_iter());
            if !self.passes_over(&gtid) {
                self.counts.emptied += 1;
                let builder = EventBuilder { server_id: header.server_id, checksum: self.checksum };
                let place =
                    GtidEvent { last_committed: clock.last_committed, sequence_number: clock.sequence_number, ..place };
                out.push_back(Cut::Alone(gtid));
                out.push_back(Cut::Instead(builder.empty_transaction(&gtid, &place, header.timestamp)));
            }
            return Ok(());
        }
        match Candidate::begin(gtid, place, header, event, self.checksum.length()) {
            Some(candidate) => self.state = State::Gathering(Box::new(candidate)),
            None => self.send_first(gtid, &place, event, out)?,
        }
        Ok(())
    }

    /// The candidate, if there is one, can't be merged: it goes as it is, and so does what comes of it.
    fn stand_alone(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        let State::Gathering(candidate) = std::mem::replace(&mut self.state, State::Passing) else {
            return Ok(());
        };
        self.send_first(candidate.gtid, &candidate.place, candidate.first(), out)?;
        if matches!(self.state, State::Passing) {
            let (whole, header, bytes) = candidate.after_first();
            if !whole.is_empty() {
                out.push_back(Cut::Instead(whole.to_vec()));
            }
            if !bytes.is_empty() {
                out.push_back(Cut::Send(Part::First { header, bytes: Bytes::copy_from_slice(bytes) }));
            }
        }
        Ok(())
    }

    /// The GTID event of a transaction that stands alone, unless the replica has it.
    fn send_first(
        &mut self,
        gtid: Gtid,
        place: &GtidEvent,
        event: &[u8],
        out: &mut VecDeque<Cut>,
    ) -> Result<(), Uncuttable> {
        self.close_run(out)?;
        let has_clock = place.sequence_number > 0;
        let clock = if has_clock { Some(self.clock.place([clock_of(place)].into_iter())) } else { None };
        self.state = State::Dropping;
        if self.passes_over(&gtid) {
            return Ok(());
        }
        self.state = State::Passing;
        self.counts.sent += 1;
        self.counts.batches += 1;
        let rest = place.transaction_length.unwrap_or(0).saturating_sub(event.len() as u64);
        let event = match clock {
            Some(clock) => renumbered(event, self.checksum, clock, rest).map_err(|bad| Uncuttable::Malformed(bad.0))?,
            None => event.to_vec(),
        };
        out.push_back(Cut::Alone(gtid));
        out.push_back(Cut::Instead(event));
        Ok(())
    }

    /// Whether the replica has this transaction, which is accounted for then.
    fn passes_over(&mut self, gtid: &Gtid) -> bool {
        self.passing_over = self.known.executed.contains(gtid);
        self.counts.passed_over += u64::from(self.passing_over);
        self.found += u64::from(self.passing_over);
        self.passing_over
    }

    /// The candidate is whole and mergeable.
    fn join_run(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        let State::Gathering(candidate) = std::mem::replace(&mut self.state, State::Passing) else {
            return Ok(());
        };
        let before = self.run.back().map_or(i64::MIN, |last| last.clock.sequence_number);
        if candidate.place.sequence_number <= before {
            // Numbers that go back promise nothing about those before.
            self.close_run(out)?;
        }
        let transaction = candidate.whole(self.run.back().map(|last| &last.settings));
        self.run_bytes += transaction.len();
        self.run.push_back(transaction);
        while self.run.len() >= self.windows.span() || self.run_bytes >= self.windows.span_bytes() {
            self.send_group(out)?;
        }
        Ok(())
    }

    /// Sends what is whole: what follows is put together with none of it, neither with a transaction that is begun.
    pub(crate) fn close_run(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        while !self.run.is_empty() {
            self.send_group(out)?;
        }
        Ok(())
    }

    /// The first batches of the run.
    fn send_group(&mut self, out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        let before = [None].into_iter().chain(self.run.iter().map(|t| Some(&t.settings)));
        let item = |(transaction, before): (&Mergeable, Option<&_>)| Item {
            clock: transaction.clock,
            bytes: transaction.len(),
            same_settings: before.is_none_or(|before| *before == transaction.settings),
        };
        let items: Vec<Item> = self.run.iter().zip(before).map(item).collect();
        for length in self.windows.next_batches(&items) {
            let batch: Vec<Mergeable> = self.run.drain(..length.clamp(1, self.run.len())).collect();
            self.run_bytes -= batch.iter().map(Mergeable::len).sum::<usize>();
            self.send_batch(&batch, out)?;
        }
        Ok(())
    }

    fn send_batch(&mut self, batch: &[Mergeable], out: &mut VecDeque<Cut>) -> Result<(), Uncuttable> {
        let [first, followers @ ..] = batch else { return Ok(()) };
        let clock = self.clock.place(batch.iter().map(|transaction| transaction.clock));
        let others: GtidSet = followers.iter().map(|transaction| transaction.gtid).collect();
        let told = others.intersect(&self.known.executed);
        let passed_over = self.passes_over(&first.gtid);
        if !passed_over && !told.is_empty() {
            return Err(Uncuttable::Torn);
        }
        if !others.is_empty() && told != others {
            self.holes.open(first.gtid, others);
        }
        if passed_over {
            self.counts.passed_over += followers.len() as u64;
            self.found += told.count();
            return Ok(());
        }
        self.counts.sent += batch.len() as u64;
        self.counts.batches += 1;
        let changes = batch.iter().map(|transaction| transaction.changes().len()).sum::<usize>();
        let commit = batch.last().map_or(&[][..], Mergeable::commit);
        let rest = first.begin().len() + changes + commit.len();
        let mut events = renumbered(first.first(), self.checksum, clock, rest as u64)
            .map_err(|malformed| Uncuttable::Malformed(malformed.0))?;
        events.reserve_exact(rest);
        events.extend_from_slice(first.begin());
        for transaction in batch {
            events.extend_from_slice(transaction.changes());
        }
        events.extend_from_slice(commit);
        out.push_back(Cut::Instead(events));
        Ok(())
    }
}

fn clock_of(place: &GtidEvent) -> LogicalClock {
    LogicalClock { last_committed: place.last_committed, sequence_number: place.sequence_number }
}
