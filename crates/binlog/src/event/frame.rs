use super::{ChecksumAlgorithm, EventHeader, EventType, crc32_matches};
use crate::event::MalformedEvent;

/// One whole event, as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its header.
    pub header: EventHeader,
    /// All its bytes: header, body, checksum.
    pub bytes: &'a [u8],
    /// What is between header and checksum.
    pub body: &'a [u8],
}

impl<'a> Event<'a> {
    /// Takes the first event off `bytes`, and verifies its checksum if the file has them.
    pub fn split_first(bytes: &'a [u8], checksum: ChecksumAlgorithm) -> Result<(Self, &'a [u8]), MalformedEvent> {
        let header = bytes.first_chunk().map(EventHeader::parse).ok_or(MalformedEvent("cut short in its header"))?;
        let (event, rest) =
            usize::try_from(header.size).ok().and_then(|size| bytes.split_at_checked(size)).ok_or(CUT_SHORT)?;
        let body = event
            .len()
            .checked_sub(checksum.length())
            .and_then(|end| event.get(EventHeader::LENGTH..end))
            .ok_or(MalformedEvent("shorter than a header"))?;
        if checksum == ChecksumAlgorithm::Crc32 && !crc32_matches(event) {
            return Err(MalformedEvent("wrong checksum"));
        }
        Ok((Self { header, bytes: event, body }, rest))
    }

    /// What it is.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        self.header.event_type
    }
}

const CUT_SHORT: MalformedEvent = MalformedEvent("cut short");

/// The events of a byte range that begins and ends between events. After an error nothing follows.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
    checksum: ChecksumAlgorithm,
}

impl<'a> Events<'a> {
    /// The events in `bytes`, of a file with this kind of checksum.
    #[must_use]
    pub const fn new(bytes: &'a [u8], checksum: ChecksumAlgorithm) -> Self {
        Self { rest: bytes, checksum }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, MalformedEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Event::split_first(self.rest, self.checksum) {
            Ok((event, rest)) => {
                self.rest = rest;
                Some(Ok(event))
            }
            Err(malformed) => {
                self.rest = &[];
                Some(Err(malformed))
            }
        }
    }
}
