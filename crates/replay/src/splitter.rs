//! Cuts the bytes of a log into events, without holding more of them than one small event.

use bytes::{Buf as _, Bytes};
use pitr_binlog::event::{EventHeader, GtidEvent};

/// The largest event that is collected before it is handed on: a GTID event has some hundred bytes.
const WHOLE_LIMIT: usize = 64 * 1024;

/// A part of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// An event begins. Of one that begins a transaction, `bytes` is the whole; of any other, what was there of it.
    First { header: EventHeader, bytes: Bytes },
    /// More bytes of the event that began last.
    Rest(Bytes),
}

/// Bytes that are no event, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) offset: u64,
    pub(crate) reason: &'static str,
}

/// Takes bytes in any pieces and gives events back.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    input: Bytes,
    /// The beginning of an event that no single piece had enough of.
    pending: Vec<u8>,
    /// Bytes of the event in hand that are still to come.
    left: u64,
    /// Where in the file the first byte is that was not handed on.
    offset: u64,
    /// Where in the file the event in hand begins.
    event_offset: u64,
}

impl Splitter {
    /// The bytes that follow are those of another file, from this offset on.
    pub(crate) fn restart(&mut self, offset: u64) -> Result<(), Broken> {
        self.check_whole()?;
        self.offset = offset;
        Ok(())
    }

    /// Where in the file the event begins whose part came last.
    pub(crate) fn event_offset(&self) -> u64 {
        self.event_offset
    }

    /// Where the next byte must come from.
    pub(crate) fn expects(&self) -> u64 {
        self.offset + (self.pending.len() + self.input.len()) as u64
    }

    /// An error if the bytes so far end within an event.
    pub(crate) fn check_whole(&self) -> Result<(), Broken> {
        if self.left == 0 && self.pending.is_empty() && self.input.is_empty() {
            return Ok(());
        }
        Err(Broken { offset: self.expects(), reason: "the bytes end within an event" })
    }

    /// More bytes; those before must have been taken out.
    pub(crate) fn feed(&mut self, bytes: Bytes) {
        debug_assert!(self.input.is_empty(), "take everything out before feeding more");
        self.input = bytes;
    }

    /// The next part; `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, Broken> {
        if self.left > 0 {
            let length = self.input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if length == 0 {
                return Ok(None);
            }
            self.left -= length as u64;
            self.offset += length as u64;
            return Ok(Some(Part::Rest(self.input.split_to(length))));
        }
        if !self.collect(EventHeader::LENGTH) {
            return Ok(None);
        }
        let header = self.start().first_chunk().map(EventHeader::parse);
        let header = header.ok_or(Broken { offset: self.offset, reason: "no header" })?;
        let size = header.size as usize;
        if size < EventHeader::LENGTH {
            return Err(Broken { offset: self.offset, reason: "an event shorter than its header" });
        }
        if GtidEvent::is_one(header.event_type) {
            if size > WHOLE_LIMIT {
                return Err(Broken { offset: self.offset, reason: "a GTID event of more than 64 KiB" });
            }
            if !self.collect(size) {
                return Ok(None);
            }
        }
        let bytes = self.take(size);
        self.event_offset = self.offset;
        self.left = (size - bytes.len()) as u64;
        self.offset += bytes.len() as u64;
        Ok(Some(Part::First { header, bytes }))
    }

    /// The bytes from the beginning of the event, as far as [`Self::collect`] has them in one place.
    fn start(&self) -> &[u8] {
        if self.pending.is_empty() { &self.input } else { &self.pending }
    }

    /// Whether so many bytes of the event are there, in one place.
    fn collect(&mut self, length: usize) -> bool {
        if self.pending.is_empty() && self.input.len() >= length {
            return true;
        }
        let more = self.input.len().min(length.saturating_sub(self.pending.len()));
        self.pending.extend_from_slice(&self.input[..more]);
        self.input.advance(more);
        if self.input.is_empty() {
            // Even an empty slice keeps its owner, whose room in memory the next input may be waiting for.
            self.input = Bytes::new();
        }
        self.pending.len() >= length
    }

    /// Takes what is there of an event of this size.
    fn take(&mut self, size: usize) -> Bytes {
        if self.pending.is_empty() {
            return self.input.split_to(size.min(self.input.len()));
        }
        Bytes::from(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use pitr_binlog::event::EventType;

    fn event(event_type: EventType, size: u32) -> Vec<u8> {
        let header = EventHeader { timestamp: 1, event_type, server_id: 2, size, log_pos: 0, flags: 0 };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend((EventHeader::LENGTH..size as usize).map(|i| i as u8));
        bytes
    }

    /// The events as (offset, type, bytes), and whether GTID events came whole.
    fn split(log: &[u8], pieces: usize) -> Vec<(u64, EventType, Vec<u8>)> {
        let mut splitter = Splitter::default();
        splitter.restart(100).unwrap();
        let mut events: Vec<(u64, EventType, Vec<u8>)> = Vec::new();
        let mut fed = 100;
        for piece in log.chunks(pieces) {
            assert_eq!(splitter.expects(), fed);
            fed += piece.len() as u64;
            splitter.feed(Bytes::copy_from_slice(piece));
            while let Some(part) = splitter.next().unwrap() {
                match part {
                    Part::First { header, bytes } => {
                        assert!(header.event_type != EventType::GTID || bytes.len() == header.size as usize);
                        events.push((splitter.event_offset(), header.event_type, bytes.to_vec()));
                    }
                    Part::Rest(bytes) => events.last_mut().unwrap().2.extend_from_slice(&bytes),
                }
            }
        }
        splitter.check_whole().unwrap();
        events
    }

    #[test]
    fn events_come_out_whatever_the_pieces() {
        let parts = [
            event(EventType::GTID, 79),
            event(EventType::QUERY, 50),
            event(EventType::WRITE_ROWS, 5000),
            event(EventType::XID, 19),
            event(EventType::GTID, 85),
        ];
        let log = parts.concat();
        for pieces in [1, 7, 18, 19, 20, 79, 100, 1000, log.len()] {
            let events = split(&log, pieces);
            let mut offset = 100;
            assert_eq!(events.len(), parts.len());
            for ((at, event_type, bytes), part) in events.iter().zip(&parts) {
                assert_eq!((*at, event_type.0, bytes), (offset, part[4], part));
                offset += part.len() as u64;
            }
        }
    }

    /// Bytes that tell when nobody holds them any more.
    struct Owned(Vec<u8>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Owned {
        fn drop(&mut self) {
            self.1.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn input_that_ends_anywhere_is_let_go_of() {
        let log = [event(EventType::QUERY, 50), event(EventType::GTID, 79), event(EventType::XID, 31)].concat();
        for end in 1..log.len() {
            let gone = Arc::new(AtomicBool::new(false));
            let mut splitter = Splitter::default();
            splitter.feed(Bytes::from_owner(Owned(log[..end].to_vec(), Arc::clone(&gone))));
            while splitter.next().unwrap().is_some() {}
            assert!(gone.load(Ordering::SeqCst), "{end} bytes are held");
        }
    }

    #[test]
    fn nonsense_is_found_where_it_is() {
        for (bytes, reason) in [
            (event(EventType::QUERY, 18), "an event shorter than its header"),
            (event(EventType::GTID, 70_000), "a GTID event of more than 64 KiB"),
        ] {
            let mut splitter = Splitter::default();
            splitter.feed([event(EventType::QUERY, 30), bytes].concat().into());
            assert!(splitter.next().unwrap().is_some());
            assert_eq!(splitter.next(), Err(Broken { offset: 30, reason }));
        }
        let mut splitter = Splitter::default();
        splitter.feed(event(EventType::QUERY, 30)[..25].to_vec().into());
        assert!(splitter.next().unwrap().is_some());
        assert!(splitter.next().unwrap().is_none());
        assert_eq!(splitter.restart(4), Err(Broken { offset: 25, reason: "the bytes end within an event" }));
    }
}
